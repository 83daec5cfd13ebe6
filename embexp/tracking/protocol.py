"""What a tracker is, and the one that keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from embexp.config import ConfigError
from embexp.config import Tracker as TrackerConfig

# Where a sweep's jobs, in whatever process, find the run that they belong to.
PARENT_RUN = "EMBEXP_PARENT_RUN"
# And how many they are.
JOBS = "EMBEXP_JOBS"


class Status(StrEnum):
    """How a run stands: MLflow's own words."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


@dataclass(frozen=True)
class FoundRun:
    """A run of the same key: its id, how it stands, and the last value of each of its metrics."""

    run_id: str
    status: Status
    metrics: dict[str, float]


class MetricLogger(Protocol):
    """What training needs of a tracker."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Values by name, at an optimiser step."""


class Tracker(MetricLogger, Protocol):
    """What a run needs of a tracker. `run_id` is None before `start`, and where nothing is kept."""

    @property
    def run_id(self) -> str | None: ...

    def start(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None,
        run_id: str | None = None,
    ) -> None:
        """A new run, child of `parent` where there is one; or goes on with the run `run_id`."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keeps a file, or a folder with all that is in it."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Adds or replaces tags."""

    def end(self, status: Status, reason: str | None = None) -> None:
        """Closes the run."""

    def find_run(self, key: str) -> FoundRun | None:
        """The run of this key: the finished one if there is, else the last that was begun."""


def build_tracker(config: TrackerConfig) -> Tracker:
    """The tracker that an option describes.

    Raises:
        ConfigError: the target cannot be found or does not take these keys.
    """
    from hydra.utils import get_object

    try:
        tracker: Tracker = get_object(config.target)(**config.arguments())
    except (ImportError, TypeError) as error:
        raise ConfigError([f"tracker._target_={config.target}: cannot be built: {error}."]) from error
    return tracker


class NullTracker:
    """Keeps nothing: the scores are in the run's folder and in the table."""

    run_id: str | None = None

    def start(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None,
        run_id: str | None = None,
    ) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifact(self, path: Path, folder: str | None = None) -> None: ...

    def set_tags(self, tags: Mapping[str, str]) -> None: ...

    def end(self, status: Status, reason: str | None = None) -> None: ...

    def find_run(self, key: str) -> FoundRun | None:
        return None

"""What a tracker is; as it stands here it keeps nothing, and a tracker that keeps something overrides it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from embexp.config import ConfigError
from embexp.config import Tracker as TrackerConfig

# A run's tag: what tells the folder of its checkpoints from all others, on whatever machine it is used.
PLACE = "embexp.place"
# A run's tag: what was warned of its data and model, a line each.
CAUTIONS = "embexp.cautions"
# Tags of a run, this one and some that begin so: a line for each thing that was scored beside the pairs, with a fingerprint.
SCORED_ON = "embexp.scored_on"
# Lines a tag, which MLflow cuts; letters of a fingerprint, of which a benchmark has hundreds.
LINES_A_TAG, OF_A_FINGERPRINT = 60, 12
# Where a sweep's jobs, in whatever process, find the run that they belong to.
PARENT_RUN = "EMBEXP_PARENT_RUN"
# And how many they are.
JOBS = "EMBEXP_JOBS"
# And the keys in which they differ, with blanks between.
SWEPT = "EMBEXP_SWEPT"


class Status(StrEnum):
    """How a run stands: MLflow's own words, and one for a sweep's job that became no run there."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    NOT_BEGUN = "NOT BEGUN"


@dataclass(frozen=True)
class FoundRun:
    """A run of the same key: how it stands, and the last value of each of its metrics.

    Attributes:
        run_id: MLflow's; the path of its journal where the server does not know the run yet. `start` takes both.
        artifacts: where the run's files are, as a path or URI.
        missed: what could not be scored, and why; None where nothing is known of such.
        cautions: what was warned of its data and model when it was made.
        scored_on: what was scored beside the pairs; see `embexp.evaluation.parts.Extra`.
        began: in seconds since 1970.
    """

    run_id: str
    status: Status
    metrics: dict[str, float]
    artifacts: str
    missed: str | None = None
    cautions: tuple[str, ...] = ()
    scored_on: Mapping[str, str] = field(default_factory=dict)
    began: float = 0.0


def param_text(value: Any) -> str:
    """A setting as text; true and false as they are typed, for Hydra's sweeper makes Python's words of them."""
    text = str(value)
    return text.lower() if text in ("True", "False") else text


def cautions_of(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Those that a run's tags tell of."""
    return tuple(tags.get(CAUTIONS, "").splitlines())


def scored_on_tags(scored_on: Mapping[str, str]) -> dict[str, str]:
    """The tags that tell it; see `embexp.evaluation.parts.Extra`."""
    lines = [f"{name} {fingerprint[:OF_A_FINGERPRINT]}" for name, fingerprint in scored_on.items()]
    parts = [lines[first : first + LINES_A_TAG] for first in range(0, len(lines), LINES_A_TAG)]
    return {f"{SCORED_ON}.{number}": "\n".join(part) for number, part in enumerate(parts)}


def scored_on_of(tags: Mapping[str, str]) -> dict[str, str]:
    """What a run's tags tell of it."""
    lines = [line for key, value in tags.items() if key.startswith(SCORED_ON) for line in value.splitlines()]
    return {name: fingerprint for name, _, fingerprint in (line.rpartition(" ") for line in lines)}


class MetricLogger(Protocol):
    """What training needs of a tracker."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Values by name, at an optimiser step."""


class Tracker:
    """What a run needs of a tracker; as it stands here, it keeps nothing."""

    @property
    def run_id(self) -> str | None:
        """The tracker's id of the run; None before `start`, and as long as the server has not given one."""
        return None

    @property
    def reference(self) -> str | None:
        """What other runs name this one by, as their parent; None where nothing is kept."""
        return None

    @property
    def keeps_end(self) -> bool:
        """Whether `find_run` is certain to find the end of this run, though what called `end` was interrupted."""
        return False

    def start(
        self,
        name: str,
        *,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None,
        run_id: str | None = None,
    ) -> None:
        """A new run, or one that goes on.

        Args:
            name: as it reads in the tracker.
            folder: the run's.
            params: by short names, at most 40.
            tags: likewise.
            parent: the `reference` of the run that it belongs to, or its run id.
            run_id: of the run that it goes on with, as `find_run` told.
        """

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """See `MetricLogger`."""

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keeps a file, or a folder with all that is in it."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Adds or replaces tags."""

    def settle(self) -> None:
        """Has what was held back so that the first step came soon sent now; returns when that was tried, or after a bounded time."""

    def end(self, status: Status, reason: str | None = None, *, hurried: bool = False) -> None:
        """Closes the run.

        Args:
            status: how it ended.
            reason: why, where it did not finish.
            hurried: the process was told to go, however the run ended, and has little time. One that is KILLED always is.
        """

    def find_run(
        self, key: str, *, finished: bool = True, place: str | None = None, folder: Path | None = None
    ) -> FoundRun | None:
        """The run of this key: the finished one if there is, else the last that was begun and is not under way.

        Args:
            key: of the run.
            finished: whether a finished one may be told.
            place: the caller alone makes this run there at present: one that says it is under way and has this for its
                PLACE is not, whatever machine it was on.
            folder: the caller's own: a run that an earlier attempt left there is found, though the server does not know it.
        """
        return None


class NullTracker(Tracker):
    """Keeps nothing: the scores are in the run's folder and in the table."""


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

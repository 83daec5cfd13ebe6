"""Trackers: where a run's settings, scores and files go. MLflow, or nowhere, with the same face.

MLflow is imported where it is used: it takes seconds, and a typo must not.
"""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from embexp.config import ConfigError
from embexp.config import Tracker as TrackerConfig

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

# Where a sweep's jobs, in whatever process, find the run that they belong to.
PARENT_RUN = "EMBEXP_PARENT_RUN"
DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"
MOST_PARAMS = 40
LONGEST_PARAM, LONGEST_TAG = 6_000, 5_000
NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


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


@dataclass
class MLflowTracker:
    """Runs in an MLflow store.

    Attributes:
        uri: of the store; None: MLFLOW_TRACKING_URI where it is set, else mlflow.db in the current folder.
        experiment: its name; made where it is not there.
        system_metrics: whether MLflow samples CPU, memory and GPU while the run lasts.
    """

    uri: str | None
    experiment: str
    system_metrics: bool
    run_id: str | None = None
    _logged: dict[str, int] = field(default_factory=dict)
    _unsent: list[tuple[str, float, int, int]] = field(default_factory=list)
    _monitor: Any = None

    def start(
        self,
        name: str,
        *,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None,
        run_id: str | None = None,
    ) -> None:
        """See `Tracker`.

        Raises:
            ConfigError: the store cannot be reached.
        """
        from mlflow.entities import Param, RunTag

        if len(params) > MOST_PARAMS:
            raise ValueError(f"{len(params)} params, at most {MOST_PARAMS} can be compared at a glance")
        experiment_id = prepare_store(self.uri, experiment=self.experiment)
        client = _client(self.uri)
        owner = {
            "embexp.host": socket.gethostname(),
            "embexp.pid": str(os.getpid()),
            "embexp.pid_started": _started(os.getpid()),
        }
        relation = {"mlflow.parentRunId": parent} if parent is not None else {}
        if run_id is None:
            run_id = client.create_run(experiment_id, run_name=name, tags={"mlflow.source.name": "embexp"}).info.run_id
        else:
            client.update_run(run_id, status=Status.RUNNING.value)
            self._logged = {key: self._last_step(client, run_id, key) for key in client.get_run(run_id).data.metrics}
        self.run_id = run_id
        every_tag = {**tags, **owner, **relation}
        with self._spared("settings"):
            client.log_batch(
                run_id,
                params=[Param(key, str(value)[:LONGEST_PARAM]) for key, value in params.items()],
                tags=[RunTag(key, value[:LONGEST_TAG]) for key, value in every_tag.items()],
            )
        if self.system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(run_id, tracking_uri=store_uri(self.uri))
            self._monitor.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """See `MetricLogger`. What is no number is not logged, nor a step that a resumed run has logged before."""
        now = int(time.time() * 1000)
        for name, value in metrics.items():
            if math.isfinite(value) and step > self._logged.get(name, -1):
                self._unsent.append((NOT_IN_NAMES.sub("_", name), float(value), now, step))
        self._send()

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """See `Tracker`."""
        if self.run_id is None:
            return
        client = _client(self.uri)
        with self._spared(path.name):
            if path.is_dir():
                client.log_artifacts(self.run_id, str(path), folder or path.name)
            else:
                client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """See `Tracker`."""
        if self.run_id is None:
            return
        client = _client(self.uri)
        with self._spared("tags"):
            for key, value in tags.items():
                client.set_tag(self.run_id, key, value[:LONGEST_TAG])

    def end(self, status: Status, reason: str | None = None) -> None:
        """See `Tracker`. What could not be sent before is tried once more."""
        if self.run_id is None:
            return
        if self._monitor is not None:
            self._monitor.finish()
        self._send()
        if reason is not None:
            self.set_tags({"embexp.reason": reason})
        with self._spared("its end"):
            _client(self.uri).set_terminated(self.run_id, status=status.value)

    def find_run(self, key: str) -> FoundRun | None:
        """See `Tracker`."""
        experiment_id = prepare_store(self.uri, experiment=self.experiment)
        found = _client(self.uri).search_runs(
            [experiment_id],
            f"tags.`embexp.key` = '{key}'",
            order_by=["attributes.start_time DESC"],
            max_results=100,
        )
        # A run that is still being made elsewhere is left to whoever makes it.
        runs = [run for run in found if run.info.status != Status.RUNNING or _is_dead(run.data.tags)]
        runs.sort(key=lambda run: run.info.status != Status.FINISHED)
        if not runs:
            return None
        return FoundRun(runs[0].info.run_id, Status(runs[0].info.status), dict(runs[0].data.metrics))

    def _send(self) -> None:
        from mlflow.entities import Metric

        if self.run_id is None or not self._unsent:
            return
        waiting = list(self._unsent)
        with self._spared("metrics"):
            for begin in range(0, len(waiting), 1000):
                batch = [Metric(*values) for values in waiting[begin : begin + 1000]]
                _client(self.uri).log_batch(self.run_id, metrics=batch)
                del self._unsent[: len(batch)]

    @contextmanager
    def _spared(self, what: str) -> Iterator[None]:
        # A tracker that fails must not cost a training: it is told, and tried again with the next values.
        try:
            yield
        except Exception as error:
            log.warning("tracker: %s could not be sent (%s: %s)", what, type(error).__name__, error)

    @staticmethod
    def _last_step(client: MlflowClient, run_id: str, key: str) -> int:
        return max(metric.step for metric in client.get_metric_history(run_id, key))


def store_uri(uri: str | None) -> str:
    """The store that is meant: `uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the current folder."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / DATABASE}"


def prepare_store(uri: str | None, *, experiment: str) -> str:
    """The id of the experiment; store and experiment are made, under a lock, where they are not there yet.

    Processes that make an MLflow database at the same time crash each other, so all but one wait.

    Raises:
        ConfigError: the store cannot be reached or opened.
    """
    from filelock import FileLock

    where = store_uri(uri)
    local = where.startswith("sqlite:///")
    try:
        # The lock lies beside the database; a server takes care of itself.
        with FileLock(f"{where.removeprefix('sqlite:///')}.lock") if local else nullcontext():
            client = _client(uri)
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return str(
                    client.create_experiment(
                        experiment, artifact_location=(Path.cwd() / ARTIFACTS).as_uri() if local else None
                    )
                )
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
    except Exception as error:
        reason = without_secrets(str(error).splitlines()[0])
        raise ConfigError(
            [
                f"tracker.uri={without_secrets(where)}: cannot be opened: {reason}; name another store, or use tracker=none."
            ]
        ) from error


def reap_dead_runs(uri: str | None, *, experiment: str) -> int:
    """Closes as KILLED the runs of this machine that say RUNNING though their process is gone; returns how many."""
    experiment_id = prepare_store(uri, experiment=experiment)
    client = _client(uri)
    dead = [
        run
        for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=1000)
        if _is_dead(run.data.tags)
    ]
    for run in dead:
        client.set_tag(run.info.run_id, "embexp.reason", "its process is gone")
        client.set_terminated(run.info.run_id, status=Status.KILLED.value)
    return len(dead)


def without_secrets(uri: str) -> str:
    """The URI without user name and password."""
    return re.sub(r"//[^/@]+@", "//", uri)


def _client(uri: str | None) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # An unreachable server would be tried for four minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=store_uri(uri))


def _is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that made a run of this machine is gone; its number may be another's by now."""
    if tags.get("embexp.host") != socket.gethostname() or "embexp.pid" not in tags:
        return False
    return _started(int(tags["embexp.pid"])) != tags.get("embexp.pid_started")


def _started(pid: int) -> str:
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return "gone"

"""The tracker over an MLflow store; MLflow itself is imported where it is used, because it takes seconds."""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embexp.tracking.protocol import FoundRun, Status
from embexp.tracking.store import client_of, is_dead, prepare_store, started_at, store_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

MOST_PARAMS = 40
LONGEST_PARAM, LONGEST_TAG = 6_000, 5_000
NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")


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
        client = client_of(self.uri)
        owner = {
            "embexp.host": socket.gethostname(),
            "embexp.pid": str(os.getpid()),
            "embexp.pid_started": started_at(os.getpid()),
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
        client = client_of(self.uri)
        with self._spared(path.name):
            if path.is_dir():
                client.log_artifacts(self.run_id, str(path), folder or path.name)
            else:
                client.log_artifact(self.run_id, str(path), folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """See `Tracker`."""
        if self.run_id is None:
            return
        client = client_of(self.uri)
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
            client_of(self.uri).set_terminated(self.run_id, status=status.value)

    def find_run(self, key: str) -> FoundRun | None:
        """See `Tracker`."""
        experiment_id = prepare_store(self.uri, experiment=self.experiment)
        found = client_of(self.uri).search_runs(
            [experiment_id],
            f"tags.`embexp.key` = '{key}'",
            order_by=["attributes.start_time DESC"],
            max_results=100,
        )
        # A run that is still being made elsewhere is left to whoever makes it.
        runs = [run for run in found if run.info.status != Status.RUNNING or is_dead(run.data.tags)]
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
                client_of(self.uri).log_batch(self.run_id, metrics=batch)
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

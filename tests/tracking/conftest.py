"""A store that is made once, for making one takes seconds, and what a test asks of it."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from embexp.tracking import MLflowTracker, Status
from embexp.tracking.journal import Journal
from embexp.tracking.store import open_store

EXPERIMENT = "tests"


class Store:
    """A real MLflow store, runs started in it, and what it holds of them."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self._number = itertools.count()

    def tracker(self) -> MLflowTracker:
        return MLflowTracker(uri=self.uri, experiment=EXPERIMENT, system_metrics=False)

    def started(self, **given) -> MLflowTracker:
        tracker = self.tracker()
        defaults = {
            "folder": self.folder / f"run{next(self._number)}",
            "params": {"loss": "mnr"},
            "tags": {},
            "parent": None,
        }
        tracker.start("a run", **{**defaults, **given})
        tracker.settle()
        return tracker

    @property
    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def run(self, run_id: str):
        return self.client.get_run(run_id)

    def history(self, run_id: str, name: str) -> list[tuple[int, float]]:
        return [(metric.step, metric.value) for metric in self.client.get_metric_history(run_id, name)]

    def runs_with(self, tag: str, value: str) -> list:
        experiment = self.client.get_experiment_by_name(EXPERIMENT)
        return self.client.search_runs([experiment.experiment_id], f"tags.`{tag}` = '{value}'")


@pytest.fixture(scope="session")
def sqlite_store(tmp_path_factory, empty_store) -> str:
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{shutil.copy(empty_store, folder)}"
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        open_store(uri, experiment=EXPERIMENT)
    return uri


@pytest.fixture
def store(sqlite_store, workplace) -> Store:
    return Store(sqlite_store, workplace / "multirun")


def journal_of(tracker: MLflowTracker) -> Journal:
    return Journal(Path(tracker.reference))


def logged(*journals: Journal) -> dict[str, list[tuple[int, float]]]:
    """Every metric of the journals, by name, as it should stand at the server: a name and step once."""
    found: dict[str, dict[int, float]] = {}
    for journal in journals:
        for entry in journal.entries():
            if entry["kind"] == "metrics":
                for name, value in entry["values"].items():
                    found.setdefault(name, {}).setdefault(entry["step"], value)
    return {name: sorted(values.items()) for name, values in found.items()}


def end(tracker: MLflowTracker, status: Status = Status.FINISHED, reason: str | None = None) -> str:
    """Ends the run and returns its id."""
    tracker.end(status, reason)
    assert tracker.run_id is not None
    return tracker.run_id

"""Trackers, against a real sqlite store: statuses, what is never logged, what a resumed run does not log again."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from embexp.compare.runs import _from_client, read_runs
from embexp.config import ConfigError
from embexp.tracking import (
    MLflowTracker,
    NullTracker,
    Status,
    prepare_store,
    reap_dead_runs,
    store_uri,
    without_secrets,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    """One store for all: making one takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    before = Path.cwd()
    os.chdir(folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    prepare_store(uri, experiment="tests")
    yield uri
    os.chdir(before)


def started(uri: str, **given) -> MLflowTracker:
    tracker = MLflowTracker(uri=uri, experiment="tests", system_metrics=False)
    defaults = {"params": {"loss": "mnr"}, "tags": {}, "parent": None}
    tracker.start("a run", **{**defaults, **given})
    return tracker


def stored(tracker: MLflowTracker):
    from mlflow import MlflowClient

    return MlflowClient(tracker.uri).get_run(tracker.run_id)


def history(tracker: MLflowTracker, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [
        (metric.step, metric.value) for metric in MlflowClient(tracker.uri).get_metric_history(tracker.run_id, name)
    ]


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED, Status.KILLED])
def test_a_run_ends_as_it_is_said_to_end(store, status):
    tracker = started(store)
    tracker.end(status, "for a reason")
    assert stored(tracker).info.status == status
    assert stored(tracker).data.tags["embexp.reason"] == "for a reason"


def test_what_is_no_number_is_not_logged(store):
    tracker = started(store)
    tracker.log_metrics({"dev/score": 0.5, "dev/nan": math.nan, "dev/inf": math.inf}, 1)
    tracker.end(Status.FINISHED)
    assert stored(tracker).data.metrics == {"dev/score": 0.5}


def test_names_that_mlflow_refuses_are_made_fit(store):
    tracker = started(store)
    tracker.log_metrics({"accuracy@1": 0.5}, 1)
    assert stored(tracker).data.metrics == {"accuracy_1": 0.5}


def test_a_continued_run_logs_no_step_twice(store):
    first = started(store)
    for step in (0, 1, 2):
        first.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    first.end(Status.KILLED)
    second = started(store, run_id=first.run_id)
    assert stored(second).info.status == "RUNNING"
    for step in (1, 2, 3):
        second.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    second.end(Status.FINISHED)
    assert [step for step, _ in history(second, "train/loss")] == [0, 1, 2, 3]


def test_a_run_is_found_by_its_key_the_finished_one_first(store):
    for status in (Status.KILLED, Status.FINISHED, Status.FAILED):
        tracker = started(store, tags={"embexp.key": "the key"})
        tracker.log_metrics({"dev/score": 0.7}, 1)
        tracker.end(status)
    found = MLflowTracker(store, "tests", False).find_run("the key")
    assert found.status is Status.FINISHED
    assert found.metrics == {"dev/score": 0.7}
    assert MLflowTracker(store, "tests", False).find_run("another key") is None


def test_a_child_knows_its_parent(store):
    parent = started(store, tags={"embexp.sweep": "folder"})
    child = started(store, parent=parent.run_id)
    assert stored(child).data.tags["mlflow.parentRunId"] == parent.run_id
    names = [run.sweep for run in read_runs(store, experiment="tests")]
    assert parent.run_id in names


def test_more_than_forty_params_are_a_mistake(store):
    with pytest.raises(ValueError, match="41 params"):
        started(store, params={f"p{n}": n for n in range(41)})


def test_a_run_whose_process_was_killed_is_closed_at_the_next_start(store):
    script = (
        "import os, signal; from embexp.tracking import MLflowTracker;"
        f"t = MLflowTracker({store!r}, 'tests', False); t.start('dies', params={{}}, tags={{}}, parent=None);"
        "print(t.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    living = started(store)
    dead = MLflowTracker(store, "tests", False, run_id=done.stdout.split()[-1])
    assert stored(dead).info.status == "RUNNING"
    assert reap_dead_runs(store, experiment="tests") >= 1
    assert stored(dead).info.status == "KILLED"
    assert stored(living).info.status == "RUNNING"
    living.end(Status.FINISHED)


def test_both_readers_of_a_store_tell_the_same(store):
    tracker = started(store, tags={"embexp.evaluation": "set"})
    tracker.log_metrics({"dev/score": 0.25}, 3)
    tracker.end(Status.FAILED, "why")
    assert read_runs(store, experiment="tests") == _from_client(store, "tests")


def test_a_failing_tracker_costs_a_warning_and_what_it_missed_is_sent_later(store, caplog, monkeypatch):
    from mlflow import MlflowClient

    tracker = started(store)
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "log_batch", lambda *a, **k: (_ for _ in ()).throw(OSError("gone")))
        tracker.log_metrics({"train/loss": 1.0}, 1)
    assert "OSError: gone" in caplog.text
    tracker.log_metrics({"train/loss": 0.5}, 2)
    assert history(tracker, "train/loss") == [(1, 1.0), (2, 0.5)]


def test_a_server_that_is_not_there_is_told_with_what_to_do():
    with pytest.raises(ConfigError, match="tracker=none"):
        prepare_store("http://127.0.0.1:9", experiment="tests")


@pytest.mark.slow
def test_processes_that_make_one_store_at_once_all_get_it(tmp_path):
    script = "from embexp.tracking import prepare_store; print(prepare_store(None, experiment='e'))"
    made = [subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(4)]
    answers = {process.communicate()[0].split()[-1] for process in made}
    assert len(answers) == 1


def test_the_store_is_beside_the_runs_unless_another_is_named(workplace, monkeypatch):
    assert store_uri(None) == f"sqlite:///{workplace}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    assert store_uri(None) == "http://somewhere"
    assert store_uri("sqlite:///x.db") == "sqlite:///x.db"


def test_secrets_of_a_uri_are_not_shown():
    assert without_secrets("postgresql://me:secret@host/db") == "postgresql://host/db"


def test_the_null_tracker_has_the_same_face():
    tracker = NullTracker()
    tracker.start("a run", params={}, tags={}, parent=None)
    tracker.log_metrics({"a": 1.0}, 0)
    tracker.log_artifact(Path("nowhere"))
    tracker.end(Status.FINISHED)
    assert (tracker.run_id, tracker.find_run("key")) == (None, None)

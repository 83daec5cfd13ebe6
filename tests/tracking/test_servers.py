"""The tracker against real servers: `mlflow server` that dies and comes back, and MLflow on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from embexp.tracking import Status
from embexp.tracking.__main__ import main
from tests.tracking.conftest import Store, end, journal_of, logged
from tests.tracking.servers import mlflow_server, postgresql

STEPS = 300
NAMES = ("train/loss", "train/learning_rate", "train/grad_norm")


def log_steps(tracker, steps: range) -> None:
    for step in steps:
        tracker.log_metrics({name: number + 1 / (step + 1) for number, name in enumerate(NAMES)}, step)
        time.sleep(0.02)


def assert_equal_to_journal(store: Store, run_id: str, tracker) -> None:
    expected = logged(journal_of(tracker))
    assert len(expected["train/loss"]) == STEPS
    assert {name: store.history(run_id, name) for name in expected} == expected


@pytest.mark.slow
def test_a_server_killed_for_the_middle_third_has_every_metric_at_the_end(workplace, monkeypatch, caplog, capfd):
    monkeypatch.setattr("embexp.tracking.background.INTERVAL_SECONDS", 0.2)
    monkeypatch.setattr("embexp.tracking.background.MOST_OF_A_CORE", 1.0)
    with mlflow_server(workplace) as server:
        store = Store(server.uri.replace("://", "://me:s3cret@"), workplace / "multirun")
        tracker = store.started()
        (workplace / "note.txt").write_text("note")
        log_steps(tracker, range(100))
        tracker.log_artifact(workplace / "note.txt")
        server.kill()
        log_steps(tracker, range(100, 200))
        server.start()
        log_steps(tracker, range(200, STEPS))
        run_id = end(tracker)
        assert_equal_to_journal(store, run_id, tracker)
        assert store.run(run_id).info.status == "FINISHED"
        assert [file.path for file in store.client.list_artifacts(run_id)] == ["note.txt"]
    assert caplog.text.count("cannot be reached") == 1
    written = "".join(path.read_text() for path in (workplace / "multirun").rglob("*") if path.is_file())
    assert "s3cret" not in written + caplog.text + "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_sweep_whose_server_comes_up_late_is_whole(workplace, monkeypatch):
    monkeypatch.setattr("embexp.tracking.background.LONGEST_PAUSE_SECONDS", 1.0)
    with mlflow_server(workplace) as server:
        server.kill()
        store = Store(server.uri, workplace / "multirun")
        parent = store.started(tags={"embexp.sweep": "s"})
        child = store.started(parent=parent.reference)
        assert (parent.run_id, child.run_id) == (None, None)
        log_steps(child, range(STEPS))
        server.start()
        assert_equal_to_journal(store, end(child), child)
        assert store.run(child.run_id).data.tags["mlflow.parentRunId"] == end(parent)
        assert len(store.runs_with("mlflow.parentRunId", parent.run_id)) == 1


@pytest.mark.slow
def test_what_a_killed_process_had_not_sent_is_sent_by_the_command(workplace, capsys):
    script = (
        "import os, signal, sys; from pathlib import Path; from embexp.tracking import MLflowTracker\n"
        "t = MLflowTracker(sys.argv[1], 'tests', False)\n"
        "t.start('dies', folder=Path('multirun/dies'), params={}, tags={'test': 'dies'}, parent=None)\n"
        f"for step in range({STEPS}): t.log_metrics({{'train/loss': 1 / (step + 1)}}, step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with mlflow_server(workplace) as server:
        store = Store(server.uri, workplace / "multirun")
        subprocess.run([sys.executable, "-c", script, server.uri], check=False)
        assert main(["sync"]) == 0
        assert "all there" in capsys.readouterr().out
        (run,) = store.runs_with("test", "dies")
        assert run.info.status == "KILLED"
        assert store.history(run.info.run_id, "train/loss") == [(step, 1 / (step + 1)) for step in range(STEPS)]


@pytest.mark.services
@pytest.mark.parametrize("over_http", [False, True], ids=["directly", "over HTTP"])
def test_mlflow_on_postgresql_has_what_the_journal_has(workplace, caplog, over_http):
    folder = workplace / "postgresql"
    folder.mkdir()
    with postgresql(folder) as uri:
        if over_http:
            with mlflow_server(workplace, uri) as server:
                run_and_compare(Store(server.uri, workplace / "multirun"))
        else:
            run_and_compare(Store(uri, workplace / "multirun"))
            written = "".join(path.read_text() for path in Path("multirun").rglob("*") if path.is_file())
            assert "pa55word" not in written + caplog.text


def run_and_compare(store: Store) -> None:
    parent = store.started(tags={"embexp.sweep": "s"})
    tracker = store.started(parent=parent.reference, tags={"embexp.key": "key"})
    log_steps(tracker, range(200))
    tracker.end(Status.KILLED, "terminated (SIGTERM)")
    found = store.tracker().find_run("key")
    assert (found.run_id, found.status) == (tracker.run_id, Status.KILLED)
    resumed = store.started(parent=parent.reference, tags={"embexp.key": "key"}, run_id=found.run_id)
    log_steps(resumed, range(150, STEPS))
    run_id = end(resumed)
    expected = logged(journal_of(tracker), journal_of(resumed))
    assert len(expected["train/loss"]) == STEPS
    assert {name: store.history(run_id, name) for name in expected} == expected
    assert store.run(run_id).info.status == "FINISHED"
    assert store.run(run_id).data.tags["mlflow.parentRunId"] == end(parent)

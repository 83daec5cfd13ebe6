"""Trackers, against a real sqlite store: statuses, what is never logged, what a resumed run does not log again."""

from __future__ import annotations

import math
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import create_engine

from embexp.compare.runs import _from_client, read_runs, runs_of
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.sweep import Sweep
from embexp.tracking import (
    EXPERIMENT,
    PLACE,
    MLflowTracker,
    NullTracker,
    Status,
    reap_dead_runs,
    store_uri,
)
from embexp.tracking.store import client_of, open_store
from tests import warm
from tests.report.conftest import leave_run


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED, Status.KILLED])
def test_a_run_ends_as_it_is_said_to_end(store, status):
    tracker = store.started()
    tracker.end(status, "for a reason")
    assert store.run(tracker.run_id).info.status == status
    assert store.run(tracker.run_id).data.tags["embexp.reason"] == "for a reason"


def test_what_is_no_number_is_not_logged(store):
    tracker = store.started()
    tracker.log_metrics({"dev/score": 0.5, "dev/nan": math.nan, "dev/inf": math.inf}, 1)
    tracker.end(Status.FINISHED)
    assert store.run(tracker.run_id).data.metrics == {"dev/score": 0.5}


def test_names_that_mlflow_refuses_are_made_fit(store):
    tracker = store.started()
    tracker.log_metrics({"accuracy@1": 0.5}, 1)
    tracker.end(Status.FINISHED)
    assert store.run(tracker.run_id).data.metrics == {"accuracy_1": 0.5}


def test_a_continued_run_logs_no_step_twice(store):
    first = store.started()
    for step in (0, 1, 2):
        first.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    first.end(Status.KILLED)
    second = store.started(run_id=first.run_id)
    assert store.run(second.run_id).info.status == "RUNNING"
    for step in (1, 2, 3):
        second.log_metrics({"train/loss": 1.0 / (step + 1)}, step)
    second.end(Status.FINISHED)
    assert [step for step, _ in store.history(second.run_id, "train/loss")] == [0, 1, 2, 3]


def test_a_run_is_found_by_its_key_the_finished_one_first(store):
    for status in (Status.KILLED, Status.FINISHED, Status.FAILED):
        tracker = store.started(tags={"embexp.key": "the key"})
        tracker.log_metrics({"dev/score": 0.7}, 1)
        tracker.end(status)
    found = store.tracker().find_run("the key")
    assert found.status is Status.FINISHED
    assert found.metrics == {"dev/score": 0.7}
    assert store.tracker().find_run("another key") is None


def test_a_run_whose_machine_died_is_gone_on_with_by_whoever_has_its_checkpoints(store):
    tracker = store.started(tags={"embexp.key": "machine", PLACE: "a folder"})
    store.client.set_tag(tracker.run_id, "embexp.host", "another machine")
    assert store.tracker().find_run("machine") is None
    assert store.tracker().find_run("machine", place="another folder") is None
    found = store.tracker().find_run("machine", place="a folder")
    assert (found.run_id, found.status) == (tracker.run_id, Status.RUNNING)


def test_a_run_that_finished_on_a_second_attempt_does_not_keep_the_reason_of_the_first(store):
    first = store.started()
    first.end(Status.KILLED, "terminated (SIGTERM)")
    second = store.started(run_id=first.run_id)
    second.end(Status.FINISHED)
    assert second.run_id == first.run_id
    assert "embexp.reason" not in store.run(first.run_id).data.tags


def test_files_and_folders_are_kept(store):
    tracker = store.started()
    folder = Path(tracker.reference).parent
    (folder / "model").mkdir()
    (folder / "model" / "weights.bin").write_bytes(b"w")
    (folder / "result.json").write_text("{}")
    tracker.log_artifact(folder / "result.json")
    tracker.log_artifact(folder / "model")
    tracker.end(Status.FINISHED)
    kept = {file.path for file in store.client.list_artifacts(tracker.run_id)}
    assert kept == {"result.json", "model"}
    assert [file.path for file in store.client.list_artifacts(tracker.run_id, "model")] == ["model/weights.bin"]


def test_a_child_knows_its_parent(store):
    parent = store.started(tags={"embexp.sweep": "folder"})
    child = store.started(parent=parent.reference)
    assert store.run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
    found = next(run for run in read_runs(store.uri, experiment="tests") if run.where == f"run {child.run_id}")
    assert list(found.sweeps) == [parent.run_id]


def test_a_run_that_was_interrupted_and_went_on_in_a_later_sweep_is_a_job_of_both(store, tmp_path):
    first, later = (store.started(tags={"embexp.sweep": "folder"}) for _ in range(2))
    begun = store.started(parent=first.reference)
    begun.end(Status.KILLED, "terminated (SIGTERM)")
    gone_on = store.started(parent=later.reference, run_id=begun.run_id)
    gone_on.end(Status.FINISHED)
    own = store.started(parent=later.reference)
    own.end(Status.FINISHED)
    for number, child in enumerate((gone_on, own)):
        leave_run(tmp_path / str(number), "mnr", 16, run_id=child.run_id)
    assert Sweep(later, tmp_path, [["seed=1"], ["seed=2"]]).close(None) == 0
    sweeps = {run.where: set(run.sweeps) for run in read_runs(store.uri, experiment="tests")}
    assert sweeps[f"run {begun.run_id}"] == {first.run_id, later.run_id}
    assert sweeps[f"run {own.run_id}"] == {later.run_id}


def test_more_than_forty_params_are_a_mistake(store):
    with pytest.raises(ValueError, match="41 params"):
        store.started(params={f"p{n}": n for n in range(41)})


def test_a_run_whose_process_was_killed_is_told_to_be_and_closed_at_the_next_start(store):
    script = (
        "import os, signal; from pathlib import Path; from embexp.tracking import MLflowTracker;"
        f"t = MLflowTracker({store.uri!r}, 'tests', False);"
        "t.start('dies', folder=Path('dies'), params={}, tags={}, parent=None); t.settle();"
        "print(t.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = warm.run(["-c", script], cwd=Path.cwd())
    dead = done.stdout.split()[-1]
    living = store.started()
    assert store.run(dead).info.status == "RUNNING"
    told = {run.where: (run.status, run.reason) for run in read_runs(store.uri, experiment="tests")}
    assert told[f"run {dead}"] == (Status.KILLED, "its process is gone")
    assert told[f"run {living.run_id}"][0] is Status.RUNNING
    assert store.run(dead).info.status == "RUNNING"
    assert reap_dead_runs(store.uri, experiment="tests") >= 1
    assert store.run(dead).info.status == "KILLED"
    assert store.run(living.run_id).info.status == "RUNNING"
    living.end(Status.FINISHED)


@pytest.mark.parametrize(
    ("where", "of_another"),
    [
        ("socket.gethostname", lambda: "another"),
        ("embexp.tracking.processes.NAMESPACE", Path("/proc/self/ns/net")),
    ],
    ids=["machine", "container"],
)
def test_the_runs_of_a_sweep_that_is_over_are_closed_though_nobody_here_sees_their_processes(
    store, monkeypatch, where, of_another
):
    with monkeypatch.context() as patched:
        patched.setattr(where, of_another)
        parent = store.started(tags={"embexp.sweep": "folder"})
        child, stranger = store.started(parent=parent.reference), store.started()
    reap_dead_runs(store.uri, experiment="tests", ended_sweep=parent.run_id)
    said = [store.run(tracker.run_id).info.status for tracker in (parent, child, stranger)]
    assert said == ["RUNNING", "KILLED", "RUNNING"]
    for tracker in (parent, child, stranger):
        tracker.end(Status.FINISHED)


def test_a_run_that_another_sweep_goes_on_with_outlives_the_sweep_that_began_it(store, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("socket.gethostname", lambda: "another")
        first, second = (store.started(tags={"embexp.sweep": name}) for name in ("first", "second"))
        began = store.started(parent=first.reference)
        began.end(Status.KILLED)
        goes_on = store.started(parent=second.reference, run_id=began.run_id)
        alone = store.started(parent=first.reference)
        alone.end(Status.KILLED)
        by_itself = store.started(run_id=alone.run_id)
    reap_dead_runs(store.uri, experiment="tests", ended_sweep=first.run_id)
    assert store.run(goes_on.run_id).data.tags["mlflow.parentRunId"] == first.run_id
    assert [store.run(tracker.run_id).info.status for tracker in (goes_on, by_itself)] == ["RUNNING"] * 2
    reap_dead_runs(store.uri, experiment="tests", ended_sweep=second.run_id)
    assert [store.run(tracker.run_id).info.status for tracker in (goes_on, by_itself)] == ["KILLED", "RUNNING"]
    for tracker in (first, second, goes_on, by_itself):
        tracker.end(Status.FINISHED)


def test_a_run_whose_process_lives_here_is_not_closed_with_its_sweep(store):
    parent = store.started(tags={"embexp.sweep": "folder"})
    child = store.started(parent=parent.reference)
    reap_dead_runs(store.uri, experiment="tests", ended_sweep=parent.run_id)
    assert store.run(child.run_id).info.status == "RUNNING"
    for tracker in (child, parent):
        tracker.end(Status.FINISHED)


@pytest.mark.parametrize(
    ("status", "hurried", "seconds"),
    [(Status.FINISHED, False, 20), (Status.FINISHED, True, 3), (Status.FAILED, True, 3), (Status.KILLED, False, 3)],
)
def test_a_process_that_was_told_to_go_does_not_wait_long_however_its_run_ended(
    store, monkeypatch, status, hurried, seconds
):
    waited = []
    tracker = store.started()
    tracker._background.stop()
    monkeypatch.setattr("embexp.tracking.background.Background.finish", lambda self, at_most: waited.append(at_most))
    tracker.end(status, hurried=hurried)
    assert waited == [seconds]


def test_an_end_that_cannot_be_written_leaves_nothing_that_samples_the_machine_and_what_is_there_is_sent(
    store, monkeypatch
):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    done = []
    tracker = store.started()
    tracker._background.stop()
    tracker._monitor = SimpleNamespace(finish=lambda: done.append("sampled"))
    monkeypatch.setattr("embexp.tracking.background.Background.finish", lambda self, at_most: done.append(at_most))
    monkeypatch.setattr("embexp.tracking.journal.Journal.append", full)
    with pytest.raises(OSError, match="No space left"):
        tracker.end(Status.FINISHED)
    assert done == ["sampled", 3]


def test_both_readers_of_a_store_tell_the_same(store):
    tracker = store.started(tags={"embexp.evaluation": "set"})
    tracker.log_metrics({"dev/score": 0.25}, 3)
    tracker.end(Status.FAILED, "why")
    found = read_runs(store.uri, experiment="tests")
    assert found == runs_of(_from_client(store.uri, "tests"))
    assert found == read_runs(f"{store.uri}?timeout=60", experiment="tests")


@pytest.mark.slow
def test_processes_that_make_one_store_at_once_all_get_it(tmp_path):
    script = "from embexp.tracking.store import open_store; print(open_store(None, experiment='e'))"
    made = [subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE) for _ in range(4)]
    answers = {process.communicate()[0].split()[-1] for process in made}
    assert len(answers) == 1


@pytest.mark.parametrize("asked", ["find_run", "client_of"])
def test_no_store_is_made_in_place_whoever_asks_first(workplace, monkeypatch, asked):
    made = []
    original = SqlAlchemyStore.__init__

    def watched(self, uri, *given, **named):
        made.extend([] if Path(uri.removeprefix("sqlite:///")).exists() else [uri])
        original(self, uri, *given, **named)

    monkeypatch.setattr(SqlAlchemyStore, "__init__", watched)
    tracker = MLflowTracker(None, EXPERIMENT, False)
    if asked == "find_run":
        assert tracker.find_run("key") is None
    else:
        client_of(None)
    assert made == [f"sqlite:///{workplace}/.mlflow.db.partial"]


OLDER = "UPDATE alembic_version SET version_num = '451aebb31d03'"


@pytest.mark.filterwarnings("ignore:Unnamed CHECK constraint")
@pytest.mark.parametrize(
    ("spoilt_by", "told"),
    [
        (["DELETE FROM alembic_version"], "its tables are half made"),
        ([OLDER, "DROP TABLE webhooks"], "its tables are half made"),
        ([OLDER], "another version of MLflow"),
        (["UPDATE alembic_version SET version_num = 'later'"], "another version of MLflow"),
    ],
)
def test_a_store_that_is_half_made_or_of_another_version_is_refused_and_how_it_is_mended_told(
    workplace, empty_store, spoilt_by, told
):
    shutil.copy(empty_store, workplace / "mlflow.db")
    with closing(sqlite3.connect("mlflow.db")) as database, database:
        for statement in spoilt_by:
            database.execute(statement)
    with pytest.raises(ConfigError, match=told):
        MLflowTracker(None, EXPERIMENT, False).find_run("key")
    with pytest.raises(ConfigError, match=told):
        reap_dead_runs(None, experiment="e")


def test_a_process_that_is_killed_while_it_makes_the_store_leaves_none_that_cannot_be_opened(workplace):
    # As a SIGKILL in the middle of MLflow's dozens of steps would.
    script = (
        "import os, signal, mlflow.store.db.utils as tables\n"
        "from embexp.tracking.store import open_store\n"
        "tables._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)\n"
        "open_store(None, experiment='e')"
    )
    killed = warm.run(["-c", script], cwd=workplace)
    assert killed.returncode == -9
    assert not Path("mlflow.db").exists()
    assert open_store(None, experiment="e")
    assert sorted(path.name for path in workplace.glob("*mlflow.db*")) == ["mlflow.db", "mlflow.db.lock"]


@pytest.mark.parametrize("name", ["mlflow.db", "Süß ordner/mlflow.db"])
def test_only_while_a_store_is_made_and_in_no_other_one_writes_wait_for_no_disk(workplace, monkeypatch, name):
    Path(name).parent.mkdir(exist_ok=True)
    modes: dict[str, int] = {}
    original = SqlAlchemyStore.__init__

    def opened(uri: str) -> int:
        engine = create_engine(uri)
        with engine.connect() as connection:
            return connection.exec_driver_sql("PRAGMA synchronous").scalar()

    def watched(self, uri, *given, **named):
        original(self, uri, *given, **named)
        modes["made"] = opened(uri)
        modes["other"] = opened("sqlite:///other.db")

    monkeypatch.setattr(SqlAlchemyStore, "__init__", watched)
    client = SimpleNamespace(
        get_experiment_by_name=lambda _: SimpleNamespace(lifecycle_stage="active", experiment_id=7)
    )
    monkeypatch.setattr("mlflow.MlflowClient", lambda **_: client)
    monkeypatch.chdir(workplace)
    assert open_store(f"sqlite:///{name}", experiment="e") == "7"
    modes["later"] = opened(f"sqlite:///{name}")
    full, off = 2, 0
    assert modes == {"made": off, "other": full, "later": full}


def test_the_store_is_beside_the_runs_unless_another_is_named(workplace, monkeypatch):
    assert store_uri(None) == f"sqlite:///{workplace}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://somewhere")
    assert store_uri(None) == "http://somewhere"
    assert store_uri("sqlite:///x.db") == "sqlite:///x.db"


def test_runs_are_looked_for_where_they_are_logged_unless_another_experiment_is_named():
    assert compose().tracker.model_dump()["experiment"] == EXPERIMENT


def test_the_null_tracker_has_the_same_face():
    tracker = NullTracker()
    tracker.start("a run", folder=Path("nowhere"), params={}, tags={}, parent=None)
    tracker.log_metrics({"a": 1.0}, 0)
    tracker.log_artifact(Path("nowhere"))
    tracker.end(Status.FINISHED)
    assert (tracker.run_id, tracker.find_run("key")) == (None, None)


def test_of_a_file_that_was_not_written_to_yet_it_is_not_said_that_a_server_is_slow(store, monkeypatch, caplog):
    # As where MLflow is still being imported when the run is told to go.
    for name in ("run", "finish", "wait_for_first_try"):
        monkeypatch.setattr(f"embexp.tracking.background.Background.{name}", lambda *_: None)
    tracker = store.started()
    tracker.end(Status.KILLED, "terminated (SIGTERM)")
    assert "not sent yet (there was no time)" in caplog.text
    assert "server" not in caplog.text

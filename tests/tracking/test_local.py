"""A store that is a file, read without MLflow, and not written to before the first step: it must tell what MLflow tells."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from embexp.compare.runs import read_runs
from embexp.config import ConfigError
from embexp.tracking import Status, local
from embexp.tracking import mlflow as trackers
from embexp.tracking.local import is_ready, ready_runs, stored
from embexp.tracking.store import client_of, open_store
from tests import warm
from tests.tracking.conftest import EXPERIMENT


@pytest.fixture
def own_store(sqlite_store, tmp_path) -> str:
    """A copy, to be spoilt."""
    return f"sqlite:///{shutil.copy(sqlite_store.removeprefix('sqlite:///'), tmp_path / 'own.db')}"


def changed(uri: str, statement: str) -> None:
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as database, database:
        database.execute(statement)


def until(there, seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not there() and time.monotonic() < end:
        time.sleep(0.05)
    return there()


def test_runs_are_read_as_mlflow_reads_them(store):
    ids = set()
    for status in (Status.FINISHED, Status.KILLED):
        tracker = store.started(tags={"embexp.key": "read twice"}, params={"loss": "mnr", "batch_size": 32})
        tracker.log_metrics({"dev/score": 0.5}, 0)
        tracker.log_metrics({"dev/score": 0.7, "train/loss": 1.5}, 10)
        tracker.end(status, "for a reason")
        ids.add(tracker.run_id)
    store.started(tags={"embexp.key": "another"}).end(Status.FINISHED)
    found = ready_runs(store.uri, experiment=EXPERIMENT, tag=("embexp.key", "read twice"))
    assert {run.run_id for run in found} == ids
    assert found == [stored(store.run(run.run_id)) for run in found]
    assert found[0].started >= found[1].started
    of_status = ready_runs(store.uri, experiment=EXPERIMENT, tag=("embexp.key", "read twice"), status=Status.KILLED)
    assert [run.status for run in of_status] == ["KILLED"]
    store.client.delete_run(found[0].run_id)
    left = ready_runs(store.uri, experiment=EXPERIMENT, tag=("embexp.key", "read twice"))
    assert left == found[1:]


def test_a_run_that_was_made_before_is_found_without_mlflow(store):
    store.started(tags={"embexp.key": "no import"}).end(Status.FINISHED)
    script = (
        "import sys; from embexp.tracking import MLflowTracker, reap_dead_runs;"
        f"reap_dead_runs({store.uri!r}, experiment={EXPERIMENT!r});"
        f"print(MLflowTracker({store.uri!r}, {EXPERIMENT!r}, False).find_run('no import').status, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["FINISHED", "False"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE experiments SET lifecycle_stage = 'deleted'",
        f"UPDATE experiments SET name = 'another' WHERE name = '{EXPERIMENT}'",
        "UPDATE alembic_version SET version_num = 'older'",
        "DELETE FROM alembic_version",
        "DROP TABLE alembic_version",
    ],
)
def test_a_store_that_mlflow_would_not_log_to_as_it_is_is_left_to_mlflow(own_store, statement):
    assert is_ready(own_store, experiment=EXPERIMENT)
    changed(own_store, statement)
    assert not is_ready(own_store, experiment=EXPERIMENT)
    assert ready_runs(own_store, experiment=EXPERIMENT) is None


def test_what_is_no_file_or_no_database_is_left_to_mlflow(own_store, tmp_path):
    assert not is_ready("http://127.0.0.1:9", experiment=EXPERIMENT)
    assert not is_ready(f"{own_store}?timeout=5", experiment=EXPERIMENT)
    assert not is_ready(f"sqlite:///{tmp_path}/none.db", experiment=EXPERIMENT)
    (tmp_path / "text.db").write_text("no database")
    assert not is_ready(f"sqlite:///{tmp_path}/text.db", experiment=EXPERIMENT)


def test_a_ready_store_is_not_written_to_before_the_first_step(store):
    tracker = store.tracker()
    started = {"folder": store.folder / "held", "params": {}, "tags": {"embexp.key": "held"}, "parent": None}
    tracker.start("held", **started)
    tracker.log_metrics({"dev/score": 0.5}, 0)
    time.sleep(0.5)
    assert store.runs_with("embexp.key", "held") == []
    assert tracker.run_id is None
    tracker.settle()
    assert tracker.run_id == store.runs_with("embexp.key", "held")[0].info.run_id
    tracker.end(Status.FINISHED)
    assert store.history(tracker.run_id, "dev/score") == [(0, 0.5)]


def test_a_run_without_steps_is_there_after_a_while(store, monkeypatch):
    monkeypatch.setattr(trackers, "HOLD_SECONDS", 0.2)
    tracker = store.tracker()
    tracker.start("waits", folder=store.folder / "w", params={}, tags={"embexp.key": "waits"}, parent=None)
    assert until(lambda: bool(store.runs_with("embexp.key", "waits")))
    tracker.end(Status.FINISHED)


def test_a_run_that_is_killed_before_anything_was_sent_is_gone_on_with(store):
    script = (
        "import os, signal; from pathlib import Path; from embexp.tracking import MLflowTracker;"
        f"t = MLflowTracker({store.uri!r}, {EXPERIMENT!r}, False);"
        "t.start('dies', folder=Path('multirun/dies'), params={}, tags={'embexp.key': 'dies'}, parent=None);"
        "t.log_metrics({'dev/score': 0.5}, 0); print(t.run_id, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert warm.run(["-c", script], cwd=Path.cwd()).stdout.split() == ["None"]
    assert store.runs_with("embexp.key", "dies") == []
    found = store.tracker().find_run("dies")
    assert (found.status, found.metrics) == (Status.KILLED, {"dev/score": 0.5})
    assert found.run_id == store.runs_with("embexp.key", "dies")[0].info.run_id


def test_a_store_that_a_killed_process_left_half_written_is_read_all_the_same(own_store):
    before = read_runs(own_store, experiment=EXPERIMENT)
    script = (
        "import os, signal, sqlite3;"
        f"d = sqlite3.connect({own_store.removeprefix('sqlite:///')!r}); d.execute('PRAGMA cache_size=1');"
        "d.execute('BEGIN'); d.execute('CREATE TABLE more (text)');"
        "d.executemany('INSERT INTO more VALUES (?)', [('x' * 2000,)] * 500); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)
    assert Path(f"{own_store.removeprefix('sqlite:///')}-journal").exists()
    assert not is_ready(own_store, experiment=EXPERIMENT)
    assert read_runs(own_store, experiment=EXPERIMENT) == before
    assert is_ready(own_store, experiment=EXPERIMENT)


def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE addresses (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is a database of something else, with addresses"):
        read_runs(f"sqlite:///{path}", experiment=EXPERIMENT)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["other.db"]


@pytest.mark.parametrize(
    ("scripts", "last"),
    [
        (['revision = "a"\ndown_revision = None', "revision = 'b'\ndown_revision = 'a'"], "b"),
        (
            ['revision: str = "a"\ndown_revision: str | None = None', 'revision: str = "b"\ndown_revision: str = "a"'],
            "b",
        ),
        (['revision = "a"', 'revision = "b"', 'revision = "c"\ndown_revision = ("a", "b")'], "c"),
        (['revision = "a"', 'revision = "b"'], None),
        ([], None),
    ],
)
def test_the_last_change_of_mlflow_s_tables_is_that_on_which_no_other_builds(tmp_path, monkeypatch, scripts, last):
    folder = tmp_path / local.MIGRATIONS
    folder.mkdir(parents=True)
    for number, script in enumerate(scripts):
        (folder / f"{number}.py").write_text(script)
    monkeypatch.setattr(local, "find_spec", lambda _: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    assert local._installed_revision() == last


def test_a_store_that_is_spoilt_while_nothing_is_sent_is_told_and_the_run_kept(own_store, workplace, caplog):
    tracker = trackers.MLflowTracker(own_store, EXPERIMENT, False)
    tracker.start("kept", folder=workplace / "multirun" / "kept", params={}, tags={"embexp.key": "kept"}, parent=None)
    experiment = client_of(own_store).get_experiment_by_name(EXPERIMENT)
    client_of(own_store).delete_experiment(experiment.experiment_id)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    tracker.settle()
    tracker.end(Status.FINISHED)
    assert "was deleted" in caplog.text
    assert "to send them: python -m embexp.tracking sync multirun/kept" in caplog.text
    client_of(own_store).restore_experiment(experiment.experiment_id)
    assert open_store(own_store, experiment=EXPERIMENT)
    # Asking for the run sends what was not sent.
    assert trackers.MLflowTracker(own_store, EXPERIMENT, False).find_run("kept").metrics == {"train/loss": 1.0}


def test_of_a_store_that_is_an_empty_file_it_is_said_how_it_is_filled(tmp_path):
    (tmp_path / "mlflow.db").touch()
    with pytest.raises(ConfigError, match=r"it is empty: python -m embexp.tracking sync --anew  fills it"):
        read_runs(f"sqlite:///{tmp_path / 'mlflow.db'}", experiment=EXPERIMENT)

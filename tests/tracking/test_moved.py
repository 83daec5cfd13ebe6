"""A working folder that was moved or copied, with its store and its runs."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from embexp.compare.runs import read_runs
from embexp.tracking import MLflowTracker, Status
from embexp.tracking.__main__ import main
from embexp.tracking.journal import Journal
from embexp.tracking.kept import never_sent
from embexp.tracking.moved import artifacts_beside, moved_along, take_artifacts_along
from tests.tracking.conftest import EXPERIMENT


@pytest.mark.parametrize(
    ("recorded", "now", "found"),
    [
        ("/a/w/mlflow.db", "/b/v/multirun/1", "/b/v/mlflow.db"),
        ("/a/w/mlflow.db", "/b/w/multirun/1", "/b/w/mlflow.db"),
        ("/a/w/mlflow.db", "/a/w/multirun/1", "/a/w/mlflow.db"),
        ("/a/w/mlflow.db", "/a/w/copy/multirun/1", "/a/w/copy/mlflow.db"),
        # What was not in the folder stays where it is, whatever that is called.
        ("/a/shared/mlflow.db", "/b/w/multirun/1", "/a/shared/mlflow.db"),
        ("/a/mlflow.db", "/b/w/multirun/1", "/a/mlflow.db"),
        # The runs alone, into another folder.
        ("/a/w/mlflow.db", "/a/w/archive/1", "/a/w/mlflow.db"),
        ("mlflow.db", "/b/v/multirun/1", "mlflow.db"),
    ],
)
def test_what_was_moved_with_a_journal_is_found(recorded, now, found):
    was = {"home": Path("/a/w"), "folder": Path("/a/w/multirun/1")}
    assert moved_along(Path(recorded), **was, now=Path(now)) == Path(found)
    assert moved_along(Path(recorded), home=Path("/a/w"), folder=Path("/elsewhere/1"), now=Path(now)) == Path(recorded)


def test_files_are_looked_for_beside_the_database_only_where_they_are_there(tmp_path):
    (tmp_path / "mlruns" / "1" / "artifacts").mkdir(parents=True)
    database, here = tmp_path / "mlflow.db", (tmp_path / "mlruns").as_uri()
    uris = [
        f"{here}/2/artifacts",
        "file:///old/mlruns/1/artifacts",
        "file:///old/mlruns/2/artifacts",
        "s3://b/mlruns/1",
        None,
    ]
    assert artifacts_beside(database, uris) == [uris[0], f"{here}/1/artifacts", *uris[2:4], ""]
    # One folder by two names.
    (tmp_path / "other").symlink_to(tmp_path, target_is_directory=True)
    assert artifacts_beside(tmp_path / "other" / "mlflow.db", [f"{here}/1/artifacts"]) == [f"{here}/1/artifacts"]


def test_a_store_that_is_elsewhere_than_its_runs_files_is_left_alone_though_a_copy_of_them_lies_beside_it(tmp_path):
    for folder in ("shared/mlruns/1", "project/mlruns/1", "project/mlruns/2"):
        (tmp_path / folder / "artifacts").mkdir(parents=True)
    uris = [(tmp_path / "project" / "mlruns" / run / "artifacts").as_uri() for run in "12"]
    # The project has another store of its own, too.
    for folder, there in (("shared", uris), ("project", ["file:///x"])):
        with closing(sqlite3.connect(tmp_path / folder / "mlflow.db")) as database, database:
            database.execute("CREATE TABLE runs (run_uuid TEXT, artifact_uri TEXT)")
            database.executemany("INSERT INTO runs VALUES ('r', ?)", [[uri] for uri in there])
    before = (tmp_path / "shared" / "mlflow.db").read_bytes()
    assert artifacts_beside(tmp_path / "shared" / "mlflow.db", uris) == uris
    assert take_artifacts_along(tmp_path / "shared" / "mlflow.db") is None
    assert (tmp_path / "shared" / "mlflow.db").read_bytes() == before


def test_a_store_that_is_opened_with_options_knows_its_runs(used):
    uri = f"sqlite:///{used}/mlflow.db?timeout=30"
    journal = Journal.create(used / "multirun" / "2")
    said = {"home": str(used), "folder": str(used / "multirun" / "2"), "uri": uri, "experiment": EXPERIMENT}
    journal.append("start", **said, name="never sent", params={}, tags={}, parent=None, continues=None)
    journal.append("end", status="KILLED", reason=None)
    assert len(never_sent(Path("multirun"), uri=uri, experiment=EXPERIMENT)) == 1


def run(folder: Path, name: str) -> str:
    """A finished run with predictions, made in the current folder."""
    tracker = MLflowTracker(uri=None, experiment=EXPERIMENT, system_metrics=False)
    tracker.start("a run", folder=folder, params={"name": name}, tags={}, parent=None)
    tracker.settle()
    tracker.log_metrics({"train/loss": 1.0}, 1)
    (folder / "predictions.parquet").write_bytes(name.encode())
    tracker.log_artifact(folder / "predictions.parquet")
    tracker.end(Status.FINISHED)
    return str(tracker.run_id)


@pytest.fixture
def used(tmp_path, monkeypatch, empty_store) -> Path:
    """A working folder with a run."""
    folder = tmp_path / "old"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(empty_store, folder / "mlflow.db")
    run(folder / "multirun" / "1", "before")
    return folder


def predicted() -> dict[str, Path]:
    return {found.params["name"]: found.predictions for found in read_runs(None, experiment=EXPERIMENT)}


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_what_is_done_in_a_folder_that_was_moved_or_copied_is_done_there(used, way, monkeypatch, caplog, capsys):
    caplog.set_level("INFO")
    before = sorted(path.relative_to(used) for path in used.rglob("*"))
    folder = used.with_name("new name")
    way(used, folder)
    monkeypatch.chdir(folder)
    assert predicted()["before"].read_bytes() == b"before"
    assert main(["sync"]) == 0
    assert "nothing is missing: 1 journal" in capsys.readouterr().out
    run(folder / "multirun" / "2", "after")
    assert f"mlflow.db was moved here from {used}" in caplog.text
    found = predicted()
    assert {name: path.read_bytes() for name, path in found.items()} == {"before": b"before", "after": b"after"}
    assert all(path.is_relative_to(folder / "mlruns") for path in found.values())
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        assert not database.execute("SELECT * FROM runs WHERE artifact_uri LIKE ?", (f"{used.as_uri()}/%",)).fetchall()
    # What was copied is as it was, and what was moved is not made again.
    assert sorted(path.relative_to(used) for path in used.rglob("*")) == (before if way is shutil.copytree else [])


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_a_folder_that_was_moved_or_copied_without_its_store_has_one_made_there(used, way, monkeypatch):
    before = (used / "mlflow.db").read_bytes()
    way(used, folder := used.with_name("new"))
    monkeypatch.chdir(folder)
    (folder / "mlflow.db").unlink()
    assert main(["sync", "--anew"]) == 0
    assert predicted()["before"].is_relative_to(folder / "mlruns")
    assert not used.exists() or (used / "mlflow.db").read_bytes() == before


def test_a_run_that_was_not_sent_before_its_folder_was_moved_is_sent_to_the_store_that_was_moved(
    used, monkeypatch, capsys
):
    tracker = MLflowTracker(uri=None, experiment=EXPERIMENT, system_metrics=False)
    monkeypatch.setattr("embexp.tracking.background.Background.finish", lambda *_: None)
    tracker.start("late", folder=used / "multirun" / "2", params={"name": "late"}, tags={}, parent=None)
    tracker.end(Status.FINISHED)
    tracker._background.stop()
    folder = used.rename(used.with_name("new"))
    monkeypatch.chdir(folder)
    assert len(never_sent(Path("multirun"), uri=None, experiment=EXPERIMENT)) == 1
    assert main(["sync"]) == 0
    assert set(predicted()) == {"before", "late"}
    assert not used.exists()


def test_a_folder_whose_name_has_percent_signs_and_question_marks_has_a_store(tmp_path, monkeypatch, empty_store):
    folder = tmp_path / "a b%20c?d#e"
    folder.mkdir()
    monkeypatch.chdir(folder)
    shutil.copy(empty_store, folder / "mlflow.db")
    run(folder / "multirun" / "1", "odd")
    assert predicted()["odd"].read_bytes() == b"odd"
    assert main(["sync"]) == 0
    assert [found.name for found in tmp_path.iterdir()] == [folder.name]

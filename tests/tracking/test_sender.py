"""Sending: a server that is down, slow, or answers so that nobody knows what arrived; order kept, nothing twice."""

from __future__ import annotations

import http.server
import itertools
import json
import shutil
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import Timeout
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_STATE, UNAUTHENTICATED

from embexp.compare.runs import RUNS_OF_SWEEP, read_runs
from embexp.config import ConfigError
from embexp.record import Record
from embexp.tracking import MLflowTracker, Status, reap_dead_runs, without_secrets
from embexp.tracking.__main__ import main, sync
from embexp.tracking.background import Background
from embexp.tracking.journal import Journal, Sent, journals_under
from embexp.tracking.kept import send_at_last, store_for
from embexp.tracking.local import history_in, ready_runs
from embexp.tracking.sender import Sender
from embexp.tracking.store import ExperimentIsDeleted
from tests import warm
from tests.tracking.conftest import EXPERIMENT, Store, end, journal_of, logged


def nobody() -> str:
    """The address of a server that is down."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def down(workplace) -> Store:
    return Store(nobody(), workplace / "multirun")


@pytest.fixture
def hanging():
    """The address of a server that takes requests and never answers."""
    stop = threading.Event()

    class Hanging(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            stop.wait(60)

        def do_POST(self):
            self.do_GET()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hanging)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    stop.set()
    server.shutdown()


def broken(monkeypatch, name: str, *, times: int, after: bool):
    """MLflow's method raises `times` times; `after` it did its work, as when the answer is lost."""
    from mlflow import MlflowClient

    real, left = getattr(MlflowClient, name), itertools.count(1)

    def method(self, *args, **kwargs):
        fails = next(left) <= times
        if fails and not after:
            raise ConnectionError("lost")
        answer = real(self, *args, **kwargs)
        if fails:
            raise ConnectionError("lost")
        return answer

    monkeypatch.setattr(MlflowClient, name, method)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("name", ["create_run", "log_batch", "set_terminated"])
def test_a_lost_answer_neither_doubles_nor_loses(store, monkeypatch, name, after):
    monkeypatch.setattr("embexp.tracking.background.INTERVAL_SECONDS", 0.05)
    monkeypatch.setattr("embexp.tracking.background.MOST_OF_A_CORE", 1.0)
    broken(monkeypatch, name, times=2, after=after)
    tracker = store.started(tags={"test": f"{name} {after}"})
    for step in range(20):
        tracker.log_metrics({"train/loss": 1 / (step + 1)}, step)
        time.sleep(0.01)
    tracker.end(Status.FINISHED)
    # The end may take both of the failing tries, or leave the second to the first sync.
    assert 0 in (sync([store.folder], uri=None), sync([store.folder], uri=None))
    (run,) = store.runs_with("test", f"{name} {after}")
    assert run.info.status == "FINISHED"
    assert store.history(run.info.run_id, "train/loss") == logged(journal_of(tracker))["train/loss"]


def test_what_the_server_refuses_does_not_hold_up_the_rest(store, caplog):
    tracker = store.started()
    tracker.log_metrics({"a" * 300: 1.0}, 0)
    tracker.log_metrics({"train/loss": 1.0}, 1)
    run_id = end(tracker)
    assert store.run(run_id).data.metrics == {"train/loss": 1.0}
    assert store.run(run_id).info.status == "FINISHED"
    assert "refused metrics" in caplog.text


def test_a_server_down_at_the_start_is_told_once_and_costs_nothing(down, store, caplog, capsys):
    begun = time.monotonic()
    tracker = down.started(tags={"test": "down"})
    for step in range(500):
        tracker.log_metrics({"train/loss": 1 / (step + 1)}, step)
    tracker.end(Status.FINISHED)
    assert time.monotonic() - begun < 5
    assert tracker.run_id is None
    assert caplog.text.count("cannot be reached (Connection refused)") == 1
    assert (
        "502 lines are not sent yet (Connection refused); to send them: python -m embexp.tracking sync multirun/run"
        in caplog.text
    )
    assert main(["sync"]) == 1
    said = capsys.readouterr().out
    assert "not all sent (Connection refused)" in said
    # Which run, in which file, at which server, and what to do.
    assert (
        f"{down.uri} has not all that journal.jsonl has of a run (no run there yet); give the same command again"
        in said
    )
    assert main(["sync", "--uri", store.uri]) == 0
    (run,) = store.runs_with("test", "down")
    assert run.info.status == "FINISHED"
    assert store.history(run.info.run_id, "train/loss") == logged(journal_of(tracker))["train/loss"]
    assert main(["sync", "--uri", store.uri]) == 0
    assert "nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize("parent_first", [True, False])
def test_a_sweep_whose_server_was_down_has_its_parent_when_it_is_sent(down, store, parent_first):
    parent = down.started(tags={"embexp.sweep": "s", "test": f"parent {parent_first}"})
    children = [down.started(parent=parent.reference, tags={"test": f"child {parent_first}"}) for _ in range(2)]
    for tracker in (*children, parent):
        tracker.end(Status.FINISHED)
    order = [parent, *children] if parent_first else [*children, parent]
    for tracker in order:
        sync([Path(tracker.reference).parent], uri=store.uri)
    (made,) = store.runs_with("test", f"parent {parent_first}")
    assert made.info.status == "FINISHED"
    found = store.runs_with("mlflow.parentRunId", made.info.run_id)
    assert [run.data.tags["test"] for run in found] == [f"child {parent_first}"] * 2


def test_a_run_killed_and_resumed_while_the_server_is_down_is_one_run(down, store, caplog):
    first = down.started(tags={"embexp.key": "resumed", "test": "first"})
    for step in range(10):
        first.log_metrics({"train/loss": 1 / (step + 1)}, step)
    first.end(Status.KILLED, "terminated (SIGTERM)")
    found = down.tracker().find_run("resumed")
    assert found.status is Status.KILLED
    assert "could not be looked up" in caplog.text
    second = down.started(tags={"embexp.key": "resumed"}, run_id=found.run_id)
    for step in range(6, 20):
        second.log_metrics({"train/loss": 1 / (step + 1)}, step)
    second.end(Status.FINISHED)
    assert sync([Path(second.reference).parent], uri=store.uri) == 0
    (run,) = store.runs_with("embexp.key", "resumed")
    assert run.info.status == "FINISHED"
    assert "embexp.reason" not in run.data.tags
    expected = logged(journal_of(first), journal_of(second))["train/loss"]
    assert store.history(run.info.run_id, "train/loss") == expected
    assert [step for step, _ in expected] == list(range(20))


def test_a_run_made_before_is_found_in_the_journals_when_the_server_is_down(down):
    assert down.tracker().find_run("made") is None
    tracker = down.started(tags={"embexp.key": "made"})
    tracker.log_metrics({"dev/score": 0.5}, 1)
    tracker.set_tags({"embexp.missed": "mteb: no network"})
    assert down.tracker().find_run("made") is None  # its process lives
    tracker.end(Status.FINISHED)
    found = down.tracker().find_run("made")
    assert (found.status, found.metrics) == (Status.FINISHED, {"dev/score": 0.5})
    assert found.missed == "mteb: no network"


def test_a_run_in_a_folder_of_its_own_is_found_there_when_the_server_is_down(down, workplace):
    tracker = down.started(tags={"embexp.key": "own"}, folder=workplace / "own")
    tracker.log_metrics({"dev/score": 0.5}, 1)
    tracker.end(Status.KILLED, "interrupted (Ctrl-C)")
    assert down.tracker().find_run("own") is None
    assert down.tracker().find_run("own", folder=Path("another")) is None
    found = down.tracker().find_run("own", folder=Path("own"))
    assert (found.status, found.metrics) == (Status.KILLED, {"dev/score": 0.5})
    second = down.started(tags={"embexp.key": "own"}, folder=workplace / "own", run_id=found.run_id)
    second.end(Status.FINISHED)
    assert journal_of(second).start["continues"]["journal"] == tracker.reference
    found = down.tracker().find_run("own", folder=Path("own"))
    assert (found.status, found.metrics) == (Status.FINISHED, {"dev/score": 0.5})


def test_what_a_store_lacks_is_sent_at_last_or_it_is_told_why_not(down, store, caplog):
    tracker = down.started(tags={"test": "at last"})
    tracker.end(Status.FINISHED)
    send_at_last(journal_of(tracker))
    assert "journal.jsonl was not sent (Connection refused)" in caplog.text
    assert journal_of(tracker).unsent()
    # The same server, back at its address.
    path = journal_of(tracker).path
    path.write_text(path.read_text().replace(down.uri, store.uri))
    send_at_last(Journal(path))
    assert not Journal(path).unsent()
    assert store.runs_with("test", "at last")[0].info.status == "FINISHED"


def test_what_was_cut_off_unsent_is_sent_before_the_run_is_looked_up(down, store):
    tracker = down.started(tags={"embexp.key": "unsent"})
    tracker.log_metrics({"dev/score": 0.5}, 1)
    tracker.end(Status.FINISHED)
    # The same server, back at its address.
    journal = journal_of(tracker)
    journal.path.write_text(journal.path.read_text().replace(down.uri, store.uri))
    found = store.tracker().find_run("unsent")
    assert (found.status, found.metrics) == (Status.FINISHED, {"dev/score": 0.5})
    assert found.run_id == store.runs_with("embexp.key", "unsent")[0].info.run_id


def left_by_a_killed_process(store: Store, tracker: MLflowTracker, *, unsent: str = "") -> Journal:
    """A copy of the journal so far, all of it sent but `unsent`, of a process that is not there any more."""
    content = Path(tracker.reference).read_text().replace('"embexp.pid_started":"', '"embexp.pid_started":"before ')
    own = Journal(Path(tracker.reference)).start["tags"]["embexp.pid_started"]
    store.client.set_tag(tracker.run_id, "embexp.pid_started", f"before {own}")
    folder = store.folder / "copy"
    folder.mkdir()
    (folder / "journal.jsonl").write_text(content + unsent)
    (folder / "journal.jsonl.sent").write_text(f'{{"bytes": {len(content)}, "run_id": "{tracker.run_id}"}}')
    return Journal(folder / "journal.jsonl")


@pytest.mark.parametrize("unsent", ["", '{"kind":"metrics","time":1,"step":1,"values":{"a":1.0}}\n{"torn'])
def test_a_killed_process_leaves_a_journal_that_sync_closes_as_killed(store, unsent):
    tracker = store.started(tags={"test": "gone"})
    journal = left_by_a_killed_process(store, tracker, unsent=unsent)
    assert sync([journal.path.parent], uri=None) == 0
    run = store.run(tracker.run_id)
    assert (run.info.status, run.data.tags["embexp.reason"]) == ("KILLED", "its process is gone")
    assert run.data.metrics == ({"a": 1.0} if unsent else {})
    assert journal.end() is not None


def test_a_run_that_another_process_has_finished_is_not_killed_by_the_journal_of_the_one_before(store):
    first = store.started(tags={"embexp.key": "taken over"})
    journal = left_by_a_killed_process(store, first)
    second = store.started(tags={"embexp.key": "taken over"}, run_id=first.run_id)
    assert end(second) == first.run_id
    assert sync([journal.path.parent], uri=None) == 0
    run = store.run(first.run_id)
    assert (run.info.status, "embexp.reason" in run.data.tags) == ("FINISHED", False)
    assert sync([journal.path.parent], uri=None) == 0
    assert journal.unsent() == 0


@pytest.mark.parametrize("broken", ["garbage\n", "half a li", "\0" * 70_000 + "\n"])
def test_a_finished_run_stays_finished_whatever_follows_its_end_in_the_journal(store, broken):
    tracker = store.started(tags={"embexp.key": "broken behind"})
    run_id = end(tracker)
    journal = left_by_a_killed_process(store, tracker, unsent=broken)
    assert sync([journal.path.parent], uri=None) == 0
    assert store.run(run_id).info.status == "FINISHED"
    assert (journal.end()["status"], journal.unsent()) == ("FINISHED", 0)


@pytest.mark.parametrize("status", [Status.FINISHED, Status.FAILED])
def test_a_run_whose_end_its_journal_has_lost_stays_what_the_store_says_that_it_is(store, status):
    tracker = store.started(tags={"embexp.key": f"lost its end {status}"})
    run_id = end(tracker, status)
    journal = left_by_a_killed_process(store, tracker)
    lines = journal.path.read_text().splitlines(keepends=True)
    journal.path.write_text("".join(lines[:-1]) + "garbage\n")
    journal.mark(replace(journal.sent(), bytes=len("".join(lines[:-1]))))
    assert sync([journal.path.parent], uri=None) == 0
    run = store.run(run_id)
    assert (run.info.status, "embexp.reason" in run.data.tags) == (status, False)
    assert journal.unsent() == 0


def test_a_lost_cursor_makes_no_second_run(store):
    tracker = store.started(tags={"test": "cursor"})
    tracker.log_metrics({"a": 1.0}, 1)
    run_id = end(tracker)
    Path(f"{tracker.reference}.sent").unlink()
    assert sync([store.folder], uri=None) == 0
    assert [run.info.run_id for run in store.runs_with("test", "cursor")] == [run_id]
    assert store.history(run_id, "a") == [(1, 1.0)]


def test_a_run_under_way_is_sent_as_far_as_it_is_and_stays_open(store, capsys):
    tracker = store.started()
    tracker.log_metrics({"a": 1.0}, 1)
    assert sync([store.folder], uri=None) == 0
    assert "its run goes on" in capsys.readouterr().out
    assert store.run(tracker.run_id).info.status == "RUNNING"
    assert store.run(tracker.run_id).data.metrics == {"a": 1.0}
    assert store.history(end(tracker), "a") == [(1, 1.0)]


def test_a_run_deleted_at_the_server_is_kept_and_sent_when_it_is_restored(store, monkeypatch, capsys):
    monkeypatch.setattr("embexp.tracking.mlflow.WAIT_SECONDS", 2.0)
    tracker = store.started()
    store.client.delete_run(tracker.run_id)
    tracker.log_metrics({"a": 1.0}, 1)
    tracker.end(Status.FINISHED)
    assert journal_of(tracker).unsent() > 0
    assert sync([store.folder], uri=None) == 1
    assert f"mlflow runs restore --run-id {tracker.run_id}\n" in capsys.readouterr().out
    store.client.restore_run(tracker.run_id)
    assert sync([store.folder], uri=None) == 0
    assert store.history(tracker.run_id, "a") == [(1, 1.0)]


def test_a_run_that_the_store_has_lost_is_sent_anew(store, caplog):
    tracker = store.started()
    tracker.log_metrics({"a": 1.0}, 1)
    lost = end(tracker)
    journal = journal_of(tracker)
    journal.mark(replace(journal.sent(), run_id="0" * 32, bytes=journal.sent().bytes - 10))
    assert sync([store.folder], uri=None) == 0
    assert "is not in the store any more" in caplog.text
    made = journal.sent().run_id
    assert made == lost  # known by its own id; where that is gone too, another is made
    assert store.history(made, "a") == [(1, 1.0)]


def test_of_a_store_that_was_made_anew_every_run_is_sent_from_its_start(store, empty_store, tmp_path, monkeypatch):
    tracker = store.started(params={"loss": "mnr", "batch_size": 8})
    tracker.log_metrics({"a": 1.0}, 1)
    lost = end(tracker)
    journal = journal_of(tracker)
    journal.mark(replace(journal.sent(), bytes=journal.sent().bytes - 1))
    other = Store(f"sqlite:///{shutil.copy(empty_store, tmp_path)}", store.folder)
    monkeypatch.chdir(tmp_path)
    Sender(journal, other.uri).deliver()
    made = journal.sent().run_id
    assert made != lost
    assert other.run(made).data.params == {"loss": "mnr", "batch_size": "8"}
    assert other.history(made, "a") == [(1, 1.0)]
    assert other.run(made).info.status == "FINISHED"


@pytest.mark.parametrize("status", [Status.KILLED, Status.FINISHED])
def test_of_a_store_that_was_removed_what_can_be_gone_on_with_is_there_again(
    store, empty_store, tmp_path, monkeypatch, caplog, status
):
    tracker = store.started(tags={"embexp.key": f"removed {status}"})
    tracker.log_metrics({"a": 1.0}, 1)
    end(tracker, status)
    other = Store(f"sqlite:///{shutil.copy(empty_store, tmp_path)}", store.folder)
    # As if the journal had been sent to the one before under this name.
    path = journal_of(tracker).path
    path.write_text(path.read_text().replace(without_secrets(store.uri), other.uri))
    journal = Journal(path)
    journal.mark(replace(journal.sent(), bytes=path.stat().st_size))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("embexp.tracking.mlflow.RUNS", store.folder)
    found = other.tracker().find_run(f"removed {status}")
    if status is Status.FINISHED:
        assert found is None
        said = f"sync --anew {path.parent.relative_to(tmp_path)}  brings it back, and it need not be trained again"
        assert said in caplog.text
    else:
        assert found.metrics == {"a": 1.0}
        assert other.history(found.run_id, "a") == [(1, 1.0)]


def test_runs_that_a_store_had_and_has_no_more_are_told_and_sent_anew_if_it_is_said(empty_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = Store(f"sqlite:///{shutil.copy(empty_store, tmp_path / 'own.db')}", tmp_path / "multirun")
    parent = own.started(tags={"embexp.sweep": "folder"})
    child = own.started(parent=parent.reference)
    child.log_metrics({"a": 1.0}, 1)
    before = {end(child), end(parent)}
    (tmp_path / "own.db").unlink()

    def synced(*words: str) -> list[str]:
        # This process has the file that was removed open.
        done = warm.run(["-m", "embexp.tracking", "sync", *words], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    told = f"sent before, and not in {own.uri}: 2 journals; with --anew they are sent again"
    assert synced() == [told]
    lines = synced("--anew")
    assert [line.partition(" · ")[0] for line in lines] == [
        "multirun/run0: 2 lines sent, all there",
        "multirun/run1: 3 lines sent, all there",
    ]
    found = ready_runs(own.uri, experiment=EXPERIMENT)
    assert not before & {run.run_id for run in found}
    of_sweep, of_job = sorted(found, key=lambda run: "embexp.sweep" not in run.tags)
    assert of_job.metrics == {"a": 1.0}
    assert of_job.tags["mlflow.parentRunId"] == of_sweep.run_id
    assert synced("--anew") == ["nothing is missing: 2 journals in multirun"]


def test_what_is_sent_anew_is_what_it_was_a_resumed_run_one_and_a_sweep_with_all_its_jobs(
    empty_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    own = Store(f"sqlite:///{shutil.copy(empty_store, tmp_path / 'own.db')}", tmp_path / "multirun")
    waits = own.started(tags={"embexp.key": "waits"})
    before = end(waits)
    sent = journal_of(waits).sent()
    first = own.started(tags={"embexp.key": "k"})
    for step in (1, 2):
        first.log_metrics({"train/loss": 1.0 / step}, step)
    end(first, Status.KILLED, "interrupted (Ctrl-C)")
    found = own.tracker().find_run("k")
    second = own.started(tags={"embexp.key": "k"}, run_id=found.run_id)
    for step in (2, 3):
        second.log_metrics({"train/loss": 1.0 / step}, step)
    run_id = end(second)
    result = journal_of(second).path.with_name("result.json")
    result.write_text(json.dumps({"name": "a run", "run_id": run_id}))
    sweep = own.started(tags={"embexp.sweep": "folder"})
    sweep.set_tags({f"{RUNS_OF_SWEEP}.0": f"{run_id} {before} another"})
    end(sweep)
    (tmp_path / "own.db").unlink()
    # As if the end of it had not been sent.
    journal_of(waits).mark(replace(sent, bytes=sent.bytes - 1))
    done = warm.run(["-m", "embexp.tracking", "sync", "--anew"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = ready_runs(own.uri, experiment=EXPERIMENT)
    (again,) = [run for run in runs if run.tags.get("embexp.key") == "k"]
    (waited,) = [run for run in runs if run.tags.get("embexp.key") == "waits"]
    (parent,) = [run for run in runs if "embexp.sweep" in run.tags]
    assert (again.status, again.metrics) == ("FINISHED", {"train/loss": pytest.approx(1 / 3)})
    assert again.run_id != run_id
    assert [step for step, _ in history_in(tmp_path / "own.db", again.run_id, "train/loss")] == [1, 2, 3]
    assert parent.tags[f"{RUNS_OF_SWEEP}.0"] == f"{again.run_id} {waited.run_id} another"
    assert json.loads(result.read_text()) == {"name": "a run", "run_id": again.run_id}


def test_a_sweep_outside_the_folder_that_is_sent_is_sent_with_its_jobs(store, capsys):
    sweep = store.started(tags={"test": "sweep outside"})
    job = store.started(parent=sweep.reference, tags={"test": "job inside"})
    end(job)
    end(sweep)
    # As after the store was removed.
    for tracker in (sweep, job):
        store.client.delete_run(tracker.run_id)
        (journal := journal_of(tracker)).mark(replace(journal.sent(), run_id=None, bytes=0))
        journal.path.write_text(journal.path.read_text().replace(journal.start["id"], f"again {journal.start['id']}"))
    assert main(["sync", str(Path(job.reference).parent)]) == 0
    (parent,) = store.runs_with("test", "sweep outside")
    (child,) = store.runs_with("test", "job inside")
    assert (parent.info.status, child.info.status) == ("FINISHED", "FINISHED")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


def test_a_journal_whose_end_cannot_be_written_is_told_and_holds_up_no_other(store, monkeypatch, capsys):
    tracker = store.started(tags={"test": "read only"})
    journal = left_by_a_killed_process(store, tracker)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Journal, "close_as", refused)
    sync([journal.path.parent], uri=None)
    assert f"{journal.path}: its end could not be written (PermissionError: [Errno 13]" in capsys.readouterr().out


def test_runs_whose_folder_was_moved_with_their_store_are_not_told_to_be_gone(store, tmp_path, capsys):
    tracker = store.started()
    end(tracker)
    path = journal_of(tracker).path
    elsewhere = f"sqlite:///{tmp_path}/elsewhere/mlflow.db"
    path.write_text(path.read_text().replace(store.uri, elsewhere))
    journal_of(tracker).mark(replace(journal_of(tracker).sent(), store=elsewhere, bytes=path.stat().st_size))
    for words in ([], ["--anew"]):
        assert main(["sync", *words]) == 0
        assert "nothing is missing: 1 journal" in capsys.readouterr().out
    assert not (tmp_path / "elsewhere").exists()


def test_an_end_that_is_written_while_a_try_is_looking_for_it_is_not_taken_for_sent(store, monkeypatch):
    tracker = store.started()
    tracker._background.stop()
    real = Journal.unsent

    def then_the_end_is_written(self):
        found = real(self)
        tracker._journal.append("end", status="FINISHED", reason=None)
        return found

    monkeypatch.setattr(Journal, "unsent", then_the_end_is_written)
    assert not Sender(journal_of(tracker), store.uri).deliver()


def test_what_was_not_sent_is_told_though_the_wait_for_it_is_interrupted(store, monkeypatch, caplog):
    tracker = store.started()

    def interrupted(self, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("embexp.tracking.background.Background.finish", interrupted)
    tracker._background.stop()
    with pytest.raises(KeyboardInterrupt):
        tracker.end(Status.FINISHED)
    assert "1 line is not sent yet" in caplog.text
    assert journal_of(tracker).end()["status"] == "FINISHED"


def test_a_run_whose_start_is_interrupted_is_one_run(down, monkeypatch):
    def interrupted(self, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("embexp.tracking.background.Background.wait_for_first_try", interrupted)
    record = Record(down.tracker(), down.folder / "run", "a run", {})
    with pytest.raises(KeyboardInterrupt):
        record.start(tags={}, parent=None)
    assert record.started
    record.end(Status.KILLED, "interrupted (Ctrl-C)")
    (journal,) = journals_under(down.folder)
    assert journal.end()["reason"] == "interrupted (Ctrl-C)"


def test_of_a_server_that_is_down_it_is_not_said_that_nothing_is_missing(down, store, capsys):
    tracker = store.started()
    end(tracker)
    path = journal_of(tracker).path
    path.write_text(path.read_text().replace(store.uri, down.uri))
    journal_of(tracker).mark(replace(journal_of(tracker).sent(), store=down.uri, bytes=path.stat().st_size))
    assert main(["sync"]) == 0
    assert "nothing is missing: 1 journal" in capsys.readouterr().out
    assert main(["sync", "--anew"]) == 1
    said = capsys.readouterr().out
    assert "could not be looked up (Connection refused)" in said
    assert f"whether {down.uri} still has run {tracker.run_id} of journal.jsonl; give the same command again" in said


def test_a_command_whose_killed_run_was_deleted_begins_a_new_one(store, caplog):
    tracker = store.started(tags={"embexp.key": "k"})
    run_id = tracker.run_id
    tracker.log_metrics({"a": 1.0}, 1)
    tracker._background.stop()
    store.client.delete_run(run_id)
    path = journal_of(tracker).path
    path.write_text(path.read_text().replace('"embexp.pid_started":"', '"embexp.pid_started":"before '))
    assert store.tracker().find_run("k") is None
    assert "was not sent (RunIsGone" in caplog.text
    again = store.started(tags={"embexp.key": "k"}, run_id=run_id)
    again.log_metrics({"a": 2.0}, 2)
    assert end(again) != run_id
    assert "which this one goes on with, is not there any more" in caplog.text


def test_a_file_that_the_server_does_not_take_holds_nothing_up_and_is_owed(store, monkeypatch, caplog, capsys):
    real, tried = MlflowClient.log_artifact, []

    def too_large(self, run_id, path, *given):
        if path.endswith("large.bin"):
            tried.append(path)
            raise OSError("413 Request Entity Too Large")
        return real(self, run_id, path, *given)

    monkeypatch.setattr(MlflowClient, "log_artifact", too_large)
    tracker = store.started()
    folder = journal_of(tracker).path.parent
    for name in ("large.bin", "small.txt"):
        (folder / name).write_text("content")
        tracker.log_artifact(folder / name)
    tracker.log_metrics({"a": 1.0}, 1)
    run_id = end(tracker)
    assert store.run(run_id).info.status == "FINISHED"
    assert store.history(run_id, "a") == [(1, 1.0)]
    assert [file.path for file in store.client.list_artifacts(run_id)] == ["small.txt"]
    assert len(tried) == 2  # once more at the end
    assert caplog.text.count("did not take large.bin (OSError: 413") == 1
    assert "did not take large.bin; python -m embexp.tracking sync" in caplog.text
    assert sync([store.folder], uri=None) == 1
    assert f"all but 1 file, which {store.uri} does not take; the same command tries again" in capsys.readouterr().out
    monkeypatch.undo()
    assert sync([store.folder], uri=None) == 0
    assert sorted(file.path for file in store.client.list_artifacts(run_id)) == ["large.bin", "small.txt"]
    assert sync([store.folder], uri=None) == 0
    assert "nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize(("sent", "missing"), [(0, 1), (-1, 0)], ids=["half sent", "all sent"])
def test_what_is_of_a_local_store_is_not_sent_to_another_and_counts_as_missing(store, capsys, sent, missing):
    begun = {"experiment": EXPERIMENT, "name": "n", "params": {}, "tags": {}, "parent": None, "continues": None}
    journal = Journal.create(store.folder / "other")
    journal.append("start", id="0", uri="sqlite:////other.db", **begun)
    journal.append("end", status="FINISHED", reason=None)
    journal.mark(Sent(journal.unsent() if sent else 0, "id"))
    tracker = store.started()
    tracker.log_metrics({"a": 1.0}, 1)
    own = end(tracker)
    assert sync([store.folder], uri=store.uri) == missing
    assert "left alone, for they are of sqlite:////other.db: 1 journal\n" in capsys.readouterr().out
    assert store.history(own, "a") == [(1, 1.0)]


def test_a_run_half_sent_to_a_server_that_moved_is_sent_whole_to_where_it_is(down, store):
    tracker = down.started(tags={"test": "moved"})
    tracker.log_metrics({"a": 1.0}, 1)
    tracker.end(Status.FINISHED)
    journal = journal_of(tracker)
    journal.mark(Sent(journal.unsent() - 1, "0" * 32))
    assert sync([store.folder], uri=store.uri) == 0
    (run,) = store.runs_with("test", "moved")
    assert store.history(run.info.run_id, "a") == [(1, 1.0)]
    assert sync([store.folder], uri=None) == 0


def test_an_experiment_that_was_deleted_is_not_brought_back_in_silence(store):
    experiment = store.client.get_experiment_by_name(EXPERIMENT)
    store.client.delete_experiment(experiment.experiment_id)
    try:
        for ask in (lambda: store.tracker().find_run("k"), store.started):
            with pytest.raises(ConfigError, match=r"tracker\.experiment=tests: was deleted in .* restore it"):
                ask()
    finally:
        store.client.restore_experiment(experiment.experiment_id)


def test_a_run_that_another_process_took_for_dead_goes_on_and_ends_as_it_ends(store):
    tracker = store.started()
    Journal(Path(tracker.reference)).close_as("KILLED", "its process is gone")
    tracker._background._try()
    assert store.run(tracker.run_id).info.status == "KILLED"
    tracker.log_metrics({"train/loss": 1.0}, 1)
    end(tracker)
    run = store.run(tracker.run_id)
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"train/loss": 1.0})
    assert "embexp.reason" not in run.data.tags


def test_an_end_that_is_asked_for_while_that_of_another_process_is_sent_is_sent_too():
    class SendsAnothers:
        uri = None

        def deliver(self) -> bool:
            # As by the main thread, meanwhile.
            background._ended = True
            return True

    background = Background(SendsAnothers())
    background._try()
    assert not background.done
    background._try()
    assert background.done


def test_a_file_that_a_later_run_in_the_same_folder_wrote_is_not_sent_as_that_of_an_earlier(
    store, monkeypatch, caplog, capsys
):
    monkeypatch.setattr("embexp.tracking.background.Background.finish", lambda *_: None)
    folder = store.folder / "fixed"
    for key in "ab":
        tracker = store.started(folder=folder, tags={"embexp.key": f"fixed {key}"})
        tracker._background.stop()
        # Of a file system that counts in hundredths of a second.
        time.sleep(0.02)
        for name in ("predictions.parquet", "config.yaml"):
            (folder / name).write_text(key)
            tracker.log_artifact(folder / name)
        (folder / f"of {key} alone.json").write_text(key)
        tracker.log_artifact(folder / f"of {key} alone.json")
        end(tracker)
    # As a later run removes what it may not have itself.
    (folder / "of a alone.json").unlink()
    assert sync([folder], uri=None) == 0
    (first,), (second,) = (store.runs_with("embexp.key", f"fixed {key}") for key in "ab")
    assert [file.path for file in store.client.list_artifacts(first.info.run_id)] == []
    assert [file.path for file in store.client.list_artifacts(second.info.run_id)] == [
        "config.yaml",
        "of b alone.json",
        "predictions.parquet",
    ]
    # One sentence, that names the run.
    assert [record.getMessage() for record in caplog.records if "later" in record.getMessage()] == [
        "tracker: multirun/fixed: a run that began later in this folder has replaced 3 files of a run (key fixed a, journal.jsonl) "
        "before they could be sent: predictions.parquet, config.yaml, of a alone.json"
    ]
    first_said, second_said = capsys.readouterr().out.splitlines()
    assert "all there but 3 files that a later run has replaced" in first_said
    assert "replaced" not in second_said


def test_nothing_is_written_after_the_end(store):
    tracker = store.started()
    end(tracker)
    # As of a thread that samples the machine and was late.
    tracker.log_metrics({"system/cpu": 1.0}, 1)
    tracker.set_tags({"late": "1"})
    assert journal_of(tracker).end()["status"] == "FINISHED"


def test_a_table_of_a_server_that_is_down_is_refused_at_once_and_without_its_password():
    address = nobody().replace("http://", "http://me:secret@")
    begun = time.monotonic()
    with pytest.raises(ConfigError, match="cannot be read: Connection refused; name the store with --uri") as refused:
        read_runs(address, experiment=EXPERIMENT)
    assert "secret" not in str(refused.value)
    assert time.monotonic() - begun < 20


def test_a_server_that_never_answers_does_not_slow_logging(workplace, hanging, monkeypatch, caplog):
    monkeypatch.setattr("embexp.tracking.mlflow.patience", lambda uri: 0.5)
    tracker = Store(hanging, workplace / "multirun").started()
    times = []
    for step in range(2000):
        begun = time.perf_counter()
        tracker.log_metrics({"train/loss": 0.1, "train/learning_rate": 0.2, "train/grad_norm": 0.3}, step)
        times.append(time.perf_counter() - begun)
    assert sorted(times)[len(times) // 2] < 0.001  # 15 µs on a quiet machine: 1 % of a step of 100 ms is 1000 µs
    begun = time.monotonic()
    tracker.end(Status.KILLED, "terminated (SIGTERM)")
    assert time.monotonic() - begun < 5
    assert journal_of(tracker).end()["status"] == "KILLED"
    assert "the server is slow" in caplog.text


def test_a_store_that_cannot_be_is_refused_before_anything_is_logged(workplace, caplog):
    senders = {thread for thread in threading.enumerate() if thread.name == "embexp-sender"}
    (workplace / "text.db").write_text("no database at all " * 100)
    for uri in ("htp://host", "sqlite:///text.db"):
        store = Store(uri, workplace / "multirun")
        with pytest.raises(ConfigError, match="tracker=none"):
            store.started()
        with pytest.raises(ConfigError, match="tracker=none"):
            store.tracker().find_run("key")
        with pytest.raises(ConfigError, match="tracker=none"):
            reap_dead_runs(uri, experiment=EXPERIMENT)
    assert not list(workplace.glob("multirun/**/journal*"))
    assert {thread for thread in threading.enumerate() if thread.name == "embexp-sender"} <= senders
    assert "the run goes on" not in caplog.text


def test_a_password_is_nowhere_but_in_the_request(workplace, caplog, capfd):
    uri = nobody().replace("://", "://me:s3cret@")
    tracker = MLflowTracker(uri, EXPERIMENT, system_metrics=False)
    assert reap_dead_runs(uri, experiment=EXPERIMENT) == 0
    assert tracker.find_run("key") is None
    tags = {"embexp.command": f"python -m embexp tracker.uri={uri}"}
    tracker.start("run", folder=workplace / "multirun", params={"uri": uri}, tags=tags, parent=None)
    tracker.end(Status.FAILED, f"{uri} did it")
    assert main(["sync"]) == 1
    out, err = capfd.readouterr()
    written = "".join(path.read_text() for path in workplace.rglob("*") if path.is_file())
    assert "127.0.0.1" in caplog.text
    assert "127.0.0.1" in written
    assert "s3cret" not in caplog.text + out + err + written


def test_the_environment_gives_a_journal_its_password_back(workplace, monkeypatch):
    uri = nobody().replace("://", "://me:s3cret@")
    tracker = MLflowTracker(uri, EXPERIMENT, system_metrics=False)
    tracker.start("run", folder=workplace / "multirun", params={}, tags={}, parent=None)
    tracker.end(Status.FINISHED)
    assert "s3cret" not in store_for(journal_of(tracker), None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert store_for(journal_of(tracker), None) == uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    assert "elsewhere" not in store_for(journal_of(tracker), None)


def test_a_folder_that_is_not_there_is_told(workplace, capsys):
    assert main(["sync", "nowhere"]) == 1
    assert "nowhere: there is no such folder" in capsys.readouterr().err


def test_a_journal_that_is_named_in_place_of_its_folder_is_told_with_that(workplace, capsys):
    (workplace / "run").mkdir()
    (workplace / "run" / "journal.jsonl").touch()
    assert main(["sync", "run/journal.jsonl"]) == 1
    assert "run/journal.jsonl: is a file; name the folder that it is in: run\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (Timeout("journal.jsonl.lock"), "another process is sending it"),
        (ExperimentIsDeleted("tests", "7"), "mlflow experiments restore --experiment-id 7"),
        (FileNotFoundError("there is no folder nowhere"), "mend that, and give the same command again"),
        (MlflowException("no", error_code=UNAUTHENTICATED), "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (MlflowException("no", error_code=INVALID_STATE), "mend that, and give the same command again"),
    ],
    ids=["locked", "experiment", "folder", "password", "other"],
)
def test_what_helps_is_told_of_each_way_in_which_sending_fails(store, monkeypatch, capsys, error, helps):
    def fails(_):
        raise error

    end(store.started())
    (journal,) = journals_under(store.folder)
    journal.mark(replace(journal.sent(), bytes=0))
    monkeypatch.setattr(Sender, "deliver", fails)
    assert sync([store.folder], uri=None) == 1
    (said,) = capsys.readouterr().out.splitlines()
    assert "run0: 0 lines sent, not all sent (" in said
    assert helps in said


def test_where_there_are_no_journals_it_is_not_said_that_nothing_is_missing(workplace, capsys):
    (workplace / "multirun").mkdir(exist_ok=True)
    assert main(["sync"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("no run has logged anything in multirun")
    assert said.endswith("name these: python -m embexp.tracking sync FOLDER\n")


@pytest.mark.parametrize(
    ("content", "wrong"), [("a text of more than sixteen letters", "is no SQLite database"), (None, "is damaged")]
)
def test_a_store_that_is_damaged_is_told_once_with_the_cure_and_nothing_is_looked_up(
    store, workplace, capsys, content, wrong
):
    database = workplace / "own.db"
    shutil.copy(store.uri.removeprefix("sqlite:///"), database)
    own = Store(f"sqlite:///{database}", store.folder)
    for _ in range(2):
        end(own.started())
    if content is None:
        # Where what follows a database's first page is not there.
        database.write_bytes(database.read_bytes()[:20_000])
    else:
        database.write_text(content)
    capsys.readouterr()
    assert sync([store.folder], uri=None) == 2
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"sqlite:///{database}: {wrong}")
    assert said.endswith("fill a new one with what is in this folder: python -m embexp.tracking sync --anew")


@pytest.mark.parametrize(
    ("uri", "wrong"),
    [
        ("sqlite://m.db", "write sqlite:///m.db"),
        ("sqlite:///nowhere/m.db", "there is no folder nowhere"),
        ("htp://me:secret@host", "MLflow has no store of this kind"),
    ],
)
def test_a_uri_that_names_no_store_is_refused_though_there_is_nothing_to_send(workplace, capsys, uri, wrong):
    (workplace / "multirun").mkdir(exist_ok=True)
    assert main(["sync", "--uri", uri]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"--uri {without_secrets(uri)}: ")
    assert wrong in said.err
    assert (said.out, "secret" in said.err) == ("", False)

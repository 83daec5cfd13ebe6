"""Whose a run's folder is: another run's files and a person's own are neither lost nor taken for this run's."""

from __future__ import annotations

import json
import socket
import time

import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.experiment import run_experiment
from embexp.record import Record
from embexp.run_folder import ARTIFACTS, read_object
from embexp.tracking import NullTracker, Status
from embexp.tracking.journal import Journal, Sent
from embexp.tracking.sender import Sender


class Told(NullTracker):
    """Keeps which files it is handed."""

    def __init__(self) -> None:
        self.files: list[str] = []

    def log_artifact(self, path, folder=None):
        self.files.append(path.name)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return compose(["model=tiny", "tracker=none"])


@pytest.fixture
def told(tmp_path) -> Record:
    """A run whose tracker keeps what it is handed, in a folder of its own."""
    (tmp_path / "run").mkdir()
    return Record(Told(), tmp_path / "run", "a run", params={}, key="0123")


def left_by_another_run(record: Record, *, model: bool, key: str = "another") -> None:
    """What a run leaves in its folder."""
    for name in (*ARTIFACTS, "evaluations.json"):
        (record.folder / name).write_text(json.dumps({"key": key, "status": "FINISHED", "owns_model": model}))
    if model:
        (record.folder / "model").mkdir()
        (record.folder / "model" / "README.md").write_text("its scores")


def test_what_another_run_left_in_the_folder_is_not_taken_for_its_own(told, config, tmp_path):
    left_by_another_run(told, model=False)
    told.describe(config, None)
    told.claim_folder(keeps_model=True)
    # Written anew, or by others: what is typed is not known here, and outside a checkout there is no diff.
    assert {path.name for path in told.folder.iterdir()} == {"config.yaml", "environment.json", "run.log"}


@pytest.mark.parametrize("left", ["inputs.json", "result.json"])
def test_what_the_same_run_left_in_the_folder_stays(told, left):
    left_by_another_run(told, model=True, key="0123")
    (told.folder / ("result.json" if left == "inputs.json" else "inputs.json")).unlink()
    told.claim_folder(keeps_model=True)
    assert (told.folder / "predictions.parquet").is_file()
    assert (told.folder / "model" / "README.md").read_text() == "its scores"


def contents(folder) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("keeps_model", [True, False])
@pytest.mark.parametrize("lost", ["inputs.json", "result.json"])
def test_a_folder_that_holds_the_weights_of_another_run_is_refused_again_and_again_and_stays_as_it_is(
    told, config, keeps_model, lost
):
    left_by_another_run(told, model=True)
    (told.folder / lost).unlink()
    before = contents(told.folder)
    for _ in range(2):
        attempt = Record(Told(), told.folder, "a run", params={}, key="0123")
        attempt.describe(config, ["seed=2"])
        with pytest.raises(ConfigError, match=r"run.model: is there already, and not from this run.*hydra\.run\.dir="):
            attempt.claim_folder(keeps_model=keeps_model)
        attempt.start(tags={}, parent=None)
        attempt.end(Status.FAILED, "refused")
        assert attempt.tracker.files == ["run.log"]
    assert contents(told.folder) == before


def test_an_attempt_that_comes_to_no_key_leaves_the_record_of_another_run_that_had_finished(told, config):
    left_by_another_run(told, model=False)
    before = contents(told.folder)
    told.key = None
    told.describe(config, ["data.train=nowhere.csv"])
    told.end(Status.FAILED, "there is no such file")
    assert contents(told.folder) == before


def test_an_attempt_that_comes_to_no_key_tells_of_itself_where_no_other_run_is(told, config):
    told.key = None
    told.describe(config, ["data.train=nowhere.csv"])
    told.end(Status.FAILED, "there is no such file")
    assert set(contents(told.folder)) == {"config.yaml", "overrides.yaml", "environment.json", "result.json"}
    # And is in the way of none.
    Record(Told(), told.folder, "a run", params={}, key="0123").claim_folder(keeps_model=True)


def test_that_the_files_of_another_run_are_replaced_is_said(told, caplog):
    left_by_another_run(told, model=False)
    (told.folder / "result.json").write_text('{"key": "another", "name": "mnr · seed=1"}')
    told.claim_folder(keeps_model=False)
    assert "held another run (mnr · seed=1, key another); its files are replaced\n" in caplog.text


def in_no_store(folder) -> Journal:
    """The journal of a run whose store was away, in the folder that it left so."""
    journal = Journal.create(folder)
    journal.append("start", id="1", home="", folder="", uri="http://away", tags={}, continues=None)
    for name in ("config.yaml", "result.json", "config.yaml", "run.log", "never there"):
        journal.append("artifact", path=name, folder=None)
    return journal


def test_files_that_are_in_no_store_and_cannot_be_sent_are_not_lost_however_often_it_is_tried(
    told, config, caplog, monkeypatch
):
    def away(sender):
        raise OSError("Connection refused")

    monkeypatch.setattr(Sender, "deliver", away)
    left_by_another_run(told, model=False)
    in_no_store(told.folder)
    before = contents(told.folder)
    for number in (2, 3):
        attempt = Record(Told(), told.folder, "a run", params={}, key="0123")
        attempt.describe(config, ["seed=2"])
        said = r"run: holds another run \(.*key another\); 2 files of it would be lost, .*sync run  sends .*run\.dir="
        with pytest.raises(ConfigError, match=said):
            attempt.claim_folder(keeps_model=False)
        # A run that is refused has a journal, too.
        later = Journal.create(told.folder)
        later.append("start", time=int(time.time() * 1000) + 1000 * number, id=str(number), tags={}, continues=None)
        attempt.start(tags={}, parent=None)
        attempt.end(Status.FAILED, "refused")
        assert f"{told.folder}/journal.jsonl was not sent (Connection refused)" in caplog.text
    assert {name: text for name, text in contents(told.folder).items() if name in before} == before


def test_files_that_are_in_no_store_are_sent_before_they_are_replaced(told, caplog, monkeypatch):
    sent = []

    def deliver(sender):
        sent.append((sender.journal.path.name, (told.folder / "predictions.parquet").exists()))
        sender.journal.mark(Sent(sender.journal.path.stat().st_size, "id"))

    monkeypatch.setattr(Sender, "deliver", deliver)
    left_by_another_run(told, model=False)
    in_no_store(told.folder)
    told.claim_folder(keeps_model=False)
    assert sent == [("journal.jsonl", True)]
    assert "its files are replaced\n" in caplog.text
    assert not (told.folder / "predictions.parquet").exists()


def test_of_files_that_are_replaced_and_have_been_sent_nothing_is_sent_or_said(told, caplog, monkeypatch):
    monkeypatch.setattr(Sender, "deliver", pytest.fail)
    left_by_another_run(told, model=False)
    journal = in_no_store(told.folder)
    journal.mark(Sent(journal.path.stat().st_size, "id"))
    # Which is appended to.
    journal.append("artifact", path="run.log", folder=None)
    told.claim_folder(keeps_model=False)
    assert "its files are replaced\n" in caplog.text


@pytest.mark.parametrize("name", ["predictions.parquet", "evaluations.json", "result.json", "config.yaml"])
@pytest.mark.parametrize("content", ["a person's", "[1, 2]", "{}", '{"key": null'])
def test_files_that_no_run_has_left_are_in_the_way_and_stay(told, config, name, content):
    (told.folder / name).write_text(content)
    told.describe(config, ["seed=2"])
    with pytest.raises(ConfigError, match=rf"run.{name}: is there already, and not from this run: it would be lost"):
        told.claim_folder(keeps_model=False)
    told.end(Status.FAILED, "refused")
    other = Record(Told(), told.folder, "a run", params={})
    other.describe(config, ["seed=3"])
    other.end(Status.FAILED, "before it had a key")
    assert contents(told.folder) == {name: content}


def test_a_person_s_own_folder_called_model_is_in_the_way_of_the_same_run_s_model_too(told):
    (told.folder / "model").mkdir()
    (told.folder / "model" / "README.md").write_text("a person's")
    told.claim_folder(keeps_model=False, inputs={"key": "0123"})
    told.start(tags={}, parent=None)
    told.end(Status.FINISHED)
    again = Record(Told(), told.folder, "a run", params={}, key="0123")
    again.claim_folder(keeps_model=False, inputs={"key": "0123"})
    again.start(tags={}, parent=None)
    again.end(Status.FINISHED)
    with pytest.raises(ConfigError, match=r"run.model: is there already"):
        Record(Told(), told.folder, "a run", params={}, key="0123").claim_folder(keeps_model=True)
    assert (told.folder / "model" / "README.md").read_text() == "a person's"


def test_beside_a_person_s_own_folder_called_model_any_run_may_be_made_that_keeps_none(told):
    left_by_another_run(told, model=False)
    (told.folder / "model").mkdir()
    told.claim_folder(keeps_model=False)
    assert not told.claim.owns_model


def test_the_same_run_may_write_its_own_model_again(told):
    told.claim_folder(keeps_model=True, inputs={"key": "0123"})
    told.keep_model(lambda folder: folder.mkdir())
    for keeps_model in (False, True):
        again = Record(Told(), told.folder, "a run", params={}, key="0123")
        again.claim_folder(keeps_model=keeps_model, inputs={"key": "0123"})
        assert again.claim.owns_model


def test_what_was_killed_while_it_put_its_model_there_may_write_it_again(told):
    def killed(folder):
        folder.mkdir()
        raise KeyboardInterrupt

    told.claim_folder(keeps_model=True, inputs={"key": "0123"})
    with pytest.raises(KeyboardInterrupt):
        told.keep_model(killed)
    Record(Told(), told.folder, "a run", params={}, key="0123").claim_folder(keeps_model=True)


def test_a_folder_called_model_that_is_no_run_s_is_in_the_way_of_a_model_alone(told):
    (told.folder / "model").mkdir()
    told.claim_folder(keeps_model=False)
    with pytest.raises(ConfigError, match="is there already"):
        told.claim_folder(keeps_model=True)


def test_no_card_is_put_into_a_folder_called_model_that_is_no_run_s(told):
    (told.folder / "model").mkdir()
    told.claim_folder(keeps_model=False)
    told.start(tags={}, parent=None)
    told.end(Status.FINISHED)
    assert not list((told.folder / "model").iterdir())
    assert told.tracker.files == ["result.json"]


def test_the_same_run_in_a_folder_of_its_own_is_not_made_twice_while_the_tracking_server_is_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        away = f"http://127.0.0.1:{free.getsockname()[1]}"
    small = ["data.rows=1000", "data.evaluation_rows=100", "max_steps=2", "evaluation.times=1", "trainer.threads=1"]
    typed = ["model=tiny", f"tracker.uri={away}", *small]
    first = run_experiment(compose(typed), folder="own")
    with monkeypatch.context() as patched:
        patched.setattr("embexp.experiment.train", pytest.fail)
        again = run_experiment(compose(typed), folder="own")
    assert (again.skipped, again.metrics, again.history) == (True, first.metrics, first.history)
    assert (tmp_path / "own" / "predictions.parquet").is_file()
    with pytest.raises(ConfigError, match=r"own: holds another run .* files of it would be lost"):
        run_experiment(compose([*typed, "seed=7"]), folder="own")
    assert read_object(tmp_path / "own" / "result.json")["key"] == first.key

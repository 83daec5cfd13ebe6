"""What is kept of a run: its own curves, and of what it was warned of no more than spoils its scores."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager

import pytest

from embexp.cautions import warn_of
from embexp.config.composition import compose
from embexp.experiment import skip
from embexp.record import Record
from embexp.tracking import FoundRun, NullTracker, Status, build_tracker


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return compose(["model=tiny", "tracker=none", "trainer.save_model=true"])


@pytest.fixture
def record(config, tmp_path) -> Record:
    (tmp_path / "run").mkdir()
    return Record(build_tracker(config.tracker), tmp_path / "run", "a run", params={}, key="0123")


def test_what_is_warned_of_data_and_model_is_kept_once(record):
    with record.hearing_cautions():
        for _ in range(2):
            warn_of(["dev: 100 pairs are few"])
            logging.getLogger("embexp.data.files.source").warning("%d bad rows dropped", 3)
    assert record.cautions == ["dev: 100 pairs are few", "3 bad rows dropped"]


@pytest.mark.parametrize("logger", ["embexp.data.cache", "embexp.data.tokens", "embexp.training.checkpoints"])
def test_that_something_could_not_be_kept_is_no_caution(record, logger):
    with record.hearing_cautions():
        logging.getLogger(logger).warning("cannot be kept there")
    assert record.cautions == []


def test_what_is_said_of_a_run_that_had_finished_before_is_no_caution(config, record, tmp_path, caplog):
    before = tmp_path / "before"
    before.mkdir()
    (before / "predictions.parquet").touch()
    with record.hearing_cautions():
        skip(config, record, FoundRun("1", Status.FINISHED, {}, str(before), missed="mteb: no network"))
    assert "could not be scored then" in caplog.text
    assert "its model was not kept then" in caplog.text
    assert record.cautions == []


class Told(NullTracker):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics, step):
        self.metrics.append((step, dict(metrics)))


@pytest.fixture
def told(tmp_path) -> Record:
    """A run whose tracker keeps what it is told, in a folder of its own."""
    (tmp_path / "run").mkdir()
    return Record(Told(), tmp_path / "run", "a run", params={}, key="0123")


BEFORE_THE_CHECKPOINT = {"dev/x": [(0, 0.1), (10, 0.2)], "train/loss": [(5, 3.0), (10, 2.0)]}


def test_a_run_that_is_new_to_its_tracker_tells_it_the_curves_of_before_its_checkpoint(told):
    told.start(tags={}, parent=None)
    told.log_metrics({"dev/x": 0.1}, 0)
    told.restore(BEFORE_THE_CHECKPOINT)
    assert told.tracker.metrics == [
        (0, {"dev/x": 0.1}),
        (5, {"train/loss": 3.0}),
        (10, {"dev/x": 0.2, "train/loss": 2.0}),
    ]
    assert told.history == BEFORE_THE_CHECKPOINT


def test_a_run_that_its_tracker_knows_does_not_tell_its_curves_twice(told):
    told.start(tags={}, parent=None, run_id="that was interrupted")
    told.restore(BEFORE_THE_CHECKPOINT)
    assert told.tracker.metrics == []
    assert told.metrics == {"dev/x": 0.2, "train/loss": 2.0}


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"key": "0123", "status": "FINISHED"}', "{"])
def test_of_a_result_that_is_damaged_or_another_s_nothing_is_recalled(told, content):
    (told.folder / "result.json").write_text(content)
    told.recall()
    assert told.history == {}


def test_a_tracker_is_told_that_a_run_ended_whose_result_cannot_be_written(told, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    ended = []
    monkeypatch.setattr("os.replace", full)
    monkeypatch.setattr(told.tracker, "end", lambda status, reason, *, hurried: ended.append(status))
    told.start(tags={}, parent=None)
    with pytest.raises(OSError, match="No space left"):
        told.end(Status.FINISHED)
    assert ended == [Status.FINISHED]


@contextmanager
def interrupted_once(at: str, monkeypatch):
    """Within it the first call of what is there is interrupted, and comes out as such."""
    with monkeypatch.context() as patched:

        def interrupted(*_):
            patched.undo()
            raise KeyboardInterrupt

        patched.setattr(at, interrupted)
        with pytest.raises(KeyboardInterrupt):
            yield


@pytest.mark.parametrize(
    "at",
    [
        "embexp.run_folder.Claim.spare_another_s",
        "embexp.record.write_whole",
        "tests.test_record.Told.settle",
        "embexp.record.Record._card",
    ],
)
def test_who_interrupts_the_end_of_a_run_costs_it_none_of_its_files(told, monkeypatch, at):
    handed = []
    monkeypatch.setattr(told.tracker, "log_artifact", lambda path: handed.append(path.name))
    monkeypatch.setattr(told.tracker, "end", lambda *_, hurried: handed.append(hurried))
    told.claim_folder(keeps_model=False)
    (told.folder / "predictions.parquet").touch()
    told.start(tags={}, parent=None)
    with interrupted_once(at, monkeypatch):
        told.end(Status.FINISHED)
    assert handed == ["result.json", "predictions.parquet", True]
    assert json.loads((told.folder / "result.json").read_text())["status"] == "FINISHED"


def test_who_interrupts_the_end_of_an_attempt_that_came_to_no_key_leaves_another_run_s_folder_as_it_is(
    told, monkeypatch
):
    another_s = json.dumps({"key": "another", "status": "FINISHED"})
    (told.folder / "result.json").write_text(another_s)
    handed = []
    monkeypatch.setattr(told.tracker, "log_artifact", lambda path: handed.append(path.name))
    told.start(tags={}, parent=None)
    with interrupted_once("embexp.run_folder.Claim.spare_another_s", monkeypatch):
        told.end(Status.FAILED, "why")
    assert (handed, (told.folder / "result.json").read_text()) == ([], another_s)


def test_a_run_that_had_finished_in_this_very_folder_keeps_its_predictions_and_curves(config, record):
    history = {"dev/x": [[0, 0.1], [10, None]]}
    kept = {"key": "0123", "status": "FINISHED", "history": history}
    (record.folder / "result.json").write_text(json.dumps(kept))
    (record.folder / "predictions.parquet").write_text("pairs")
    result = skip(config, record, FoundRun("1", Status.FINISHED, {"dev/x": 0.2}, str(record.folder)))
    assert (result.status, result.skipped, result.metrics) == (Status.FINISHED, True, {"dev/x": 0.2})
    assert json.loads((record.folder / "result.json").read_text())["history"] == history
    assert (record.folder / "predictions.parquet").read_text() == "pairs"


def test_a_folder_called_model_beside_a_finished_run_is_not_told_as_its_own(config, record):
    (record.folder / "model").mkdir()
    (record.folder / "predictions.parquet").touch()
    for owns, model in ((False, None), (True, record.folder / "model")):
        (record.folder / "result.json").write_text(json.dumps({"key": "of then", "owns_model": owns}))
        attempt = Record(Told(), record.folder.parent / "again", "a run", params={}, key="0123")
        attempt.folder.mkdir(exist_ok=True)
        assert skip(config, attempt, FoundRun("1", Status.FINISHED, {}, str(record.folder))).model == model

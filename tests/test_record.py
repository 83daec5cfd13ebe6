"""What is kept of a run: its own curves and files, and of what it was warned of no more than spoils its scores."""

from __future__ import annotations

import json
import logging

import pytest

from embexp.cautions import warn_of
from embexp.config import ConfigError, compose
from embexp.experiment import skip
from embexp.record import ARTIFACTS, Record
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
        self.files: list[str] = []

    def log_metrics(self, metrics, step):
        self.metrics.append((step, dict(metrics)))

    def log_artifact(self, path, folder=None):
        self.files.append(path.name)


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
    assert "held another run (mnr · seed=1, key another); its files are replaced" in caplog.text


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


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"key": "0123", "status": "FINISHED"}', "{"])
def test_of_a_result_that_is_damaged_or_another_s_nothing_is_recalled(told, content):
    (told.folder / "result.json").write_text(content)
    told.recall()
    assert told.history == {}


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
    assert not told.owns_model


def test_the_same_run_may_write_its_own_model_again(told):
    told.claim_folder(keeps_model=True, inputs={"key": "0123"})
    told.keep_model(lambda folder: folder.mkdir())
    for keeps_model in (False, True):
        again = Record(Told(), told.folder, "a run", params={}, key="0123")
        again.claim_folder(keeps_model=keeps_model, inputs={"key": "0123"})
        assert again.owns_model


def test_what_was_killed_while_it_put_its_model_there_may_write_it_again(told):
    def killed(folder):
        folder.mkdir()
        raise KeyboardInterrupt

    told.claim_folder(keeps_model=True, inputs={"key": "0123"})
    with pytest.raises(KeyboardInterrupt):
        told.keep_model(killed)
    Record(Told(), told.folder, "a run", params={}, key="0123").claim_folder(keeps_model=True)


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

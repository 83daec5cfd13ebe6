"""What is kept of a run: of what it was warned of no more than spoils its scores."""

from __future__ import annotations

import logging

import pytest

from embexp.cautions import warn_of
from embexp.config import compose
from embexp.experiment import skip
from embexp.record import Record
from embexp.tracking import FoundRun, Status, build_tracker


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

"""What the terminal is told of a sweep's jobs."""

from __future__ import annotations

import logging
from argparse import Namespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from embexp import command, evaluate, job
from embexp.config import ConfigError
from embexp.terminal import Terminal, a_job_begins, nothing_is_said_yet


@pytest.fixture
def told() -> Terminal:
    nothing_is_said_yet()
    return Terminal()


def passes(terminal: Terminal, logger: str, message: str = "threads: 2") -> bool:
    return terminal.filter(logging.LogRecord(logger, logging.WARNING, "", 0, message, (), None))


@pytest.mark.parametrize(
    "logger", ["embexp.inputs", "embexp.data.files.source", "embexp.experiment", "embexp.cautions"]
)
def test_a_job_tells_once_what_the_job_before_did_not_tell(told, logger):
    assert passes(told, logger)
    assert not passes(told, logger)
    a_job_begins()
    assert not passes(told, logger)
    assert passes(told, logger, "threads: 1")
    a_job_begins()
    assert not passes(told, logger, "threads: 1")
    # As in the first: but who reads on has the second's before their eyes.
    a_job_begins()
    assert passes(told, logger)
    nothing_is_said_yet()
    assert passes(told, logger, "threads: 1")


def test_logging_that_is_set_up_again_within_a_job_begins_no_other_job(told):
    assert passes(told, "embexp.data")
    a_job_begins()
    for _ in range(2):
        again = Terminal()
    assert not passes(again, "embexp.data")


def test_jobs_of_training_and_of_scoring_each_begin_anew(told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heard = []

    def ran(*_, **__):
        heard.append([passes(told, "embexp.data", message) for message in ("every job's", f"job {len(heard) % 2}'s")])
        raise ConfigError(["that is all"])

    hydra = {
        "mode": RunMode.MULTIRUN,
        "sweep": {"dir": tmp_path},
        "runtime": {"output_dir": tmp_path},
        "overrides": {"task": []},
    }
    monkeypatch.setattr(job.HydraConfig, "get", lambda: OmegaConf.create(hydra))
    monkeypatch.setattr(job, "checked", lambda *_, **__: None)
    monkeypatch.setattr(job, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(job, "run_experiment", ran)
    for _ in range(3):
        job.run_job(OmegaConf.create())
    # The third job says what the first said and the second did not.
    told_anew = [[True, True], [False, True], [False, True]]
    assert heard == told_anew
    heard.clear()
    monkeypatch.setattr(evaluate, "evaluate_model", ran)
    monkeypatch.setattr(evaluate, "log_to", lambda folder: None)
    monkeypatch.setattr(evaluate, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(evaluate, "ask_for_large_pages", lambda: None)
    evaluate.run_command(Namespace(overrides=["model=tiny", "model.seed=1,2,3"], config_dir=None))
    assert heard == told_anew


@pytest.mark.parametrize("logger", ["embexp.training.callbacks", "embexp.job", "embexp", "embexp.database"])
def test_what_a_job_does_is_told_however_often(told, logger):
    assert passes(told, logger)
    assert passes(told, logger)


@pytest.mark.parametrize("logger", ["root", "transformers", "embexpert"])
def test_others_are_not_heard(told, logger):
    assert not passes(told, logger)


@pytest.mark.parametrize(("mode", "said"), [(RunMode.RUN, 1), (RunMode.MULTIRUN, 0)])
def test_a_job_of_a_sweep_does_not_say_again_that_torch_is_loaded(monkeypatch, mode, said):
    heard = []
    monkeypatch.setattr(command.HydraConfig, "get", lambda: Namespace(mode=mode))
    monkeypatch.setattr(command, "tell_of_loading", lambda: heard.append("loading"))
    monkeypatch.setattr(job, "run_job", lambda composed: 0.5)
    assert command.job(OmegaConf.create()) == 0.5
    assert len(heard) == said

"""What the terminal is told of a sweep's jobs."""

from __future__ import annotations

import logging

import pytest

from embexp.terminal import Terminal, nothing_is_said_yet


@pytest.fixture
def told() -> Terminal:
    nothing_is_said_yet()
    return Terminal()


def passes(terminal: Terminal, logger: str, message: str = "threads: 2") -> bool:
    return terminal.filter(logging.LogRecord(logger, logging.WARNING, "", 0, message, (), None))


@pytest.mark.parametrize("logger", ["embexp.inputs", "embexp.data", "embexp.data.files.source", "embexp.experiment"])
def test_what_jobs_have_in_common_is_told_once_in_a_command_also_by_the_next_job_s_logging(told, logger):
    assert passes(told, logger)
    assert not passes(Terminal(), logger)
    assert passes(told, logger, "threads: 1")
    nothing_is_said_yet()
    assert passes(told, logger)


@pytest.mark.parametrize("logger", ["embexp.training.callbacks", "embexp.job", "embexp", "embexp.database"])
def test_what_a_job_does_is_told_however_often(told, logger):
    assert passes(told, logger)
    assert passes(told, logger)


@pytest.mark.parametrize("logger", ["root", "transformers", "embexpert"])
def test_others_are_not_heard(told, logger):
    assert not passes(told, logger)

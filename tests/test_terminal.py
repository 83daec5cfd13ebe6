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
def test_a_job_tells_once_what_the_job_before_did_not_tell(told, logger):
    assert passes(told, logger)
    assert not passes(told, logger)
    second = Terminal()
    assert not passes(second, logger)
    assert passes(second, logger, "threads: 1")
    third = Terminal()
    assert not passes(third, logger, "threads: 1")
    # As in the first: but who reads on has the second's before their eyes.
    fourth = Terminal()
    assert passes(fourth, logger)
    nothing_is_said_yet()
    assert passes(fourth, logger, "threads: 1")


@pytest.mark.parametrize("logger", ["embexp.training.callbacks", "embexp.job", "embexp", "embexp.database"])
def test_what_a_job_does_is_told_however_often(told, logger):
    assert passes(told, logger)
    assert passes(told, logger)


@pytest.mark.parametrize("logger", ["root", "transformers", "embexpert"])
def test_others_are_not_heard(told, logger):
    assert not passes(told, logger)

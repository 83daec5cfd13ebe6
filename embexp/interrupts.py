"""SIGTERM as an exception, so that a run that is told to go closes its record first, and while training not before a
checkpoint is written."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(BaseException):
    """SIGTERM reached the process: the run ends KILLED."""


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises `Terminated` in the main thread; a second one ends the process at once."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated


class Preemption:
    """Whether SIGTERM has come, since it is waited for a good moment to obey."""

    asked = False

    def _note(self, signum: int, frame: FrameType | None) -> None:
        # The first is obeyed at the end of the step, the second at once.
        self.asked = True
        signal.signal(signal.SIGTERM, _terminate)


@contextmanager
def waiting_for_a_good_moment() -> Iterator[Preemption]:
    """SIGTERM is noted, and left to whoever looks at the `Preemption`; at the end of the block it is obeyed.

    A program that does not raise on SIGTERM (a notebook, another framework) keeps its own way.
    """
    preemption = Preemption()
    if signal.getsignal(signal.SIGTERM) is not _terminate:
        yield preemption
        return
    signal.signal(signal.SIGTERM, preemption._note)
    try:
        yield preemption
    finally:
        raise_on_sigterm()
    if preemption.asked:
        raise Terminated

"""SIGTERM as an exception, so that a run that is told to go closes its record first; and while training neither it nor
Ctrl-C before a checkpoint is written."""

from __future__ import annotations

import os
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
    """Whether SIGTERM or Ctrl-C has come, since it is waited for a good moment to obey.

    Attributes:
        asked: what is to be raised then; None as long as neither has come.
    """

    asked: type[BaseException] | None = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        # The first is obeyed at the end of the step, the second at once.
        self.asked = KeyboardInterrupt if signum == signal.SIGINT else Terminated
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if signum == signal.SIGINT and os.isatty(2):
            os.write(2, b"\ninterrupted: it ends with this step, and saves a checkpoint; again to end it at once\n")


@contextmanager
def waiting_for_a_good_moment() -> Iterator[Preemption]:
    """SIGTERM and Ctrl-C are noted, and left to whoever looks at the `Preemption`; at the end of the block they are obeyed.

    A program that does not raise on SIGTERM (a notebook, another framework) keeps its own way.
    """
    preemption = Preemption()
    if signal.getsignal(signal.SIGTERM) is not _terminate:
        yield preemption
        return
    at_interrupt = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, preemption._note)
    # Ignored, as in what a shell starts in the background, it stays.
    if at_interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, preemption._note)
    try:
        yield preemption
    finally:
        raise_on_sigterm()
        signal.signal(signal.SIGINT, at_interrupt)
    if preemption.asked is not None:
        raise preemption.asked

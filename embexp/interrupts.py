"""SIGTERM as an exception, so that a run that is told to go closes its record first; and while training neither it nor
Ctrl-C before a checkpoint is written. The same for a queue's notice that it wants the machine back. Programs that train
nothing end at once, without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Terminated(BaseException):
    """SIGTERM reached the process: the run ends KILLED."""


class Preempted(Terminated):
    """A queue's notice reached the process: the run ends KILLED, and its job is queued again."""


# When what waits for a good moment obeys, as whoever presses Ctrl-C is told.
WITH_THE_STEP, LOADED = "with this step, and saves a checkpoint", "when what it needs is loaded"
# What Slurm can be asked to send before it ends a job; submitit asks for SIGUSR2.
NOTICES = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises `Terminated` in the main thread; a second one ends the process at once."""
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(signum: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # A notice that comes along must not disturb the end of the run.
    for number in _raising_notices():
        signal.signal(number, _overhear)
    raise Terminated


def raise_on_notice(number: int) -> None:
    """From now on this signal, of a queue, raises `Preempted` in the main thread, once."""
    signal.signal(number, _preempt)


def _preempt(signum: int, frame: FrameType | None) -> None:
    # Queues send SIGTERM along with it, and the notice twice: what is to end at once they kill.
    for number in (signal.SIGTERM, signum):
        signal.signal(number, _overhear)
    raise Preempted


def _overhear(signum: int, frame: FrameType | None) -> None:
    # Not SIG_IGN: Python complains of a signal that came just before it was set.
    pass


def _raising_notices() -> list[signal.Signals]:
    return [number for number in NOTICES if signal.getsignal(number) is _preempt]


def end_at_once_from_now_on() -> None:
    """All is said and recorded: a signal that comes now only ends the process sooner, without a traceback."""
    # What ends at once writes out nothing any more. A reader may have left, as `head` does, or nobody ever read.
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Ignored, as in what a shell starts in the background, it stays.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


class Preemption:
    """Whether SIGTERM, Ctrl-C or a queue's notice has come, since it is waited for a good moment to obey.

    Attributes:
        until: when that is, as whoever presses Ctrl-C at a terminal is told.
        asked: what is to be raised then; None as long as none has come.
    """

    def __init__(self, until: str = WITH_THE_STEP) -> None:
        self.until = until
        self.asked: type[BaseException] | None = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        # The first is obeyed at the end of the step, the second at once.
        self.asked = KeyboardInterrupt if signum == signal.SIGINT else Terminated
        signal.signal(signal.SIGTERM, _terminate)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if signum == signal.SIGINT and os.isatty(2):
            os.write(2, f"\ninterrupted: it ends {self.until}; again to end it at once\n".encode())

    def _note_notice(self, signum: int, frame: FrameType | None) -> None:
        # It outweighs a SIGTERM that came before it: the job is to come back. What comes after it adds nothing.
        self.asked = Preempted
        for number in (signal.SIGTERM, signum):
            signal.signal(number, _overhear)


@contextmanager
def waiting_for_a_good_moment(until: str = WITH_THE_STEP) -> Iterator[Preemption]:
    """SIGTERM, Ctrl-C and a queue's notice are noted, and left to whoever looks at the `Preemption`.

    At the end of the block they are obeyed, whatever broke in it meanwhile. Imports are such a block too: what is raised in one
    may not come through. numpy makes an ImportError of it, others go on without.

    A program that does not raise on SIGTERM (a notebook, another framework) keeps its own way.

    Args:
        until: when that is, as whoever presses Ctrl-C at a terminal is told: "it ends ...".
    """
    preemption = Preemption(until)
    if signal.getsignal(signal.SIGTERM) is not _terminate:
        yield preemption
        return
    at_interrupt = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGTERM, preemption._note)
    # Ignored, as in what a shell starts in the background, it stays.
    if at_interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, preemption._note)
    notices = _raising_notices()
    for number in notices:
        signal.signal(number, preemption._note_notice)
    try:
        yield preemption
    except Exception as error:
        # What broke meanwhile, as a checkpoint for which there is no room, is no reason to go on.
        if preemption.asked is not None:
            raise preemption.asked from error
        raise
    finally:
        if preemption.asked is not Preempted:
            for number in notices:
                raise_on_notice(number)
            raise_on_sigterm()
        signal.signal(signal.SIGINT, at_interrupt)
    if preemption.asked is not None:
        raise preemption.asked


def leave_on_interrupt() -> None:
    """From now on, while a program imports what it needs, Ctrl-C ends it at once: there is nothing yet to be closed or told.

    `raise_on_interrupt` ends that.
    """
    # Ignored, as in what a shell starts in the background, it stays.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def leave_on_sigterm() -> None:
    """From now on SIGTERM ends the process at once, as one that was told to go and not as one that was killed.

    `raise_on_sigterm` ends that.
    """
    signal.signal(signal.SIGTERM, _leave)


def raise_on_interrupt() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt again, where it was to end the program at once."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(signum: int, frame: FrameType | None) -> None:
    os._exit(128 + signum)


@contextmanager
def leaving_while_importing(what_next: str) -> Iterator[None]:
    """While a program whose work has not begun imports what it needs, Ctrl-C and SIGTERM end it at once, with a line.

    What they raise may not come through: see `waiting_for_a_good_moment`.

    Args:
        what_next: what is said behind who told it to go.
    """

    def leave(signum: int, frame: FrameType | None) -> None:
        # Whatever is wrong with stdout, as that it is being written to at this moment, the process ends.
        with suppress(Exception):
            sys.stdout.flush()
        told = "interrupted (Ctrl-C)" if signum == signal.SIGINT else "terminated (SIGTERM)"
        with suppress(OSError):
            os.write(2, f"{told}; {what_next}\n".encode())
        os._exit(128 + signum)

    raising = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    # Of another framework's, and of what is ignored, nothing is changed.
    replaced = {number: handler for number, handler in raising.items() if signal.getsignal(number) is handler}
    for number in replaced:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)


@contextmanager
def ended_in_one_line() -> Iterator[None]:
    """A program's whole work: Ctrl-C, and SIGTERM where it raises, end it with a line and their exit codes, 130 and 143."""
    raise_on_interrupt()
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted (Ctrl-C)", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except Terminated:
        print("terminated (SIGTERM)", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)

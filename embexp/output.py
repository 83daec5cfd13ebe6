"""What a command was asked to tell, on its way to a terminal, a file or a pipe."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path


def say(text: str) -> None:
    """Prints a text that is the whole of what was asked for; a reader may leave before its end, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer would be written at the process's end, and fail again, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def caution(sentences: Iterable[str]) -> None:
    """Tells what a person should hear before anything starts."""
    for sentence in sentences:
        print(sentence, file=sys.stderr)


@contextmanager
def saying() -> Iterator[None]:
    """What is printed in the block is said at its end, in one piece: see `say`."""
    printed = io.StringIO()
    try:
        with redirect_stdout(printed):
            yield
    finally:
        if text := printed.getvalue():
            say(text.removesuffix("\n"))


def from_here(path: Path) -> str:
    """A path as it is shortest to type: in the current folder without that folder's."""
    whole = path.absolute()
    return str(whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole)

"""What a command was asked to tell, on its way to a terminal, a file or a pipe."""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Prints a text that is the whole of what was asked for; a reader may leave before its end, as `head` does."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer would be written at the process's end, and fail again, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

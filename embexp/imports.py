"""Imports of the libraries that training needs, without the garbage collector.

They make a million objects, nearly all of which stay. Going through them again and again took an eighth of the
imports' time, and a quarter of that of a sweep of small runs: transformers collects twice a run.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """What is imported inside is never looked through for garbage, neither now nor later (`gc.freeze`).

    For a process of embexp's own, at its start: objects that are there already are kept out of later collections too.
    Where torch is imported already, nothing is done: by then there may be models among them.
    """
    if "torch" in sys.modules:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

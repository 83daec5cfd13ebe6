"""The start of embexp's commands: the libraries' imports, without the garbage collector.

They make some hundred thousand objects, nearly all of which stay. Each later collection would go through them again, and
transformers collects twice a run.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """What is imported inside is never looked through for garbage, neither now nor later (`gc.freeze`).

    For a process of embexp's own: objects that are there already are kept out of later collections too. Where torch is
    imported already, nothing is done: by then there may be models among them.
    """
    if "torch" in sys.modules:
        yield
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if enabled:
            gc.enable()

"""One process at a time: a lock beside what is being made."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


@contextmanager
def alone_with(made: Path, *, waiting: str) -> Iterator[None]:
    """No other process makes the same meanwhile; one that does is waited for.

    Args:
        made: file or folder; it need not be there. The lock stands beside it.
        waiting: what is said where another must be waited for.

    Raises:
        OSError: no lock can be had there.
    """
    made.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{made}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s", waiting)
        lock.acquire(timeout=-1)
    try:
        yield
    finally:
        # Whoever waits sees that the file is gone and takes a new one.
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()

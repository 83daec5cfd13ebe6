"""Temporary folders that go when nobody needs them any more; those of a process that was killed go with the next one's."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
import weakref
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout


class TemporaryFolder:
    """A folder that lives as long as this object; a killed process's until the next that makes one.

    Its lock stands beside it, and is the system's: of a killed process nobody holds it, and the next who makes such a folder
    removes what is left.

    Attributes:
        path: of the folder.
    """

    def __init__(self, prefix: str) -> None:
        remove_what_is_left(prefix)
        self.path = Path(tempfile.gettempdir()) / f"{prefix}{uuid.uuid4().hex}"
        # Before the folder: without it the folder would be taken for one that is left. In whatever thread it is removed.
        lock = FileLock(f"{self.path}.lock", thread_local=False)
        lock.acquire()
        self._finalizer = weakref.finalize(self, _remove, lock)
        self.path.mkdir(mode=0o700)

    def remove(self) -> None:
        """Takes it away, once."""
        self._finalizer()


def remove_what_is_left(prefix: str) -> None:
    """The folders of processes that were killed; those of others that live, and of other people, stay."""
    for held in Path(tempfile.gettempdir()).glob(f"{prefix}*.lock"):
        lock = FileLock(held, thread_local=False)
        with suppress(Timeout, OSError):
            lock.acquire(timeout=0)
            _remove(lock)


def _remove(lock: FileLock) -> None:
    shutil.rmtree(lock.lock_file.removesuffix(".lock"), ignore_errors=True)
    # Before it is released: whoever waits sees that the file is gone.
    with suppress(OSError):
        os.unlink(lock.lock_file)
    lock.release()

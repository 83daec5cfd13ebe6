"""Paths as people type them: ~ is the home folder."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path, ~ and ~user replaced; where there is no such user it stands as it is, as in a shell: a file may be called so."""
    return Path(os.path.expanduser(path))

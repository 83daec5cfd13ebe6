"""Where runs are written to."""

from __future__ import annotations

import os
from pathlib import Path

from embexp.config.errors import ConfigError


def refuse_a_folder_that_cannot_be_written_to() -> None:
    """Looks before anything is made in it: what Hydra and pathlib raise would be told with a traceback.

    Raises:
        ConfigError: runs could not be kept in the current folder.
    """
    runs = Path("multirun")
    if runs.exists() and not runs.is_dir():
        raise ConfigError(
            [f"{runs.absolute()}: is a file, and runs are kept in a folder of this name; start in another folder."]
        )
    folder = runs.absolute() if runs.is_dir() else Path.cwd()
    if not os.access(folder, os.W_OK):
        raise ConfigError([f"{folder}: cannot be written to, and runs are kept there; start in a folder of your own."])

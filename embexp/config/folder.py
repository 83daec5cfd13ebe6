"""Where runs are written to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from embexp.config.errors import ConfigError
from embexp.naming import unquoted

RUN_FOLDER = "hydra.run.dir"


def refuse_a_folder_that_cannot_be_written_to(overrides: Sequence[str] = ()) -> None:
    """Looks before a run is begun in it: what Hydra and pathlib raise would be told with a traceback.

    Args:
        overrides: checked ones; the run's own folder may be among them, and is made then.

    Raises:
        ConfigError: runs could not be kept in the current folder, or not in the one that was named.
    """
    named = [unquoted(value) for word in overrides for key, _, value in [word.partition("=")] if _is_run_folder(key)]
    if named:
        _make(named[-1])
        return
    runs = Path("multirun")
    if runs.exists() and not runs.is_dir():
        raise ConfigError(
            [f"{runs.absolute()}: is a file, and runs are kept in a folder of this name; start in another folder."]
        )
    folder = runs.absolute() if runs.is_dir() else Path.cwd()
    if not os.access(folder, os.W_OK):
        raise ConfigError([f"{folder}: cannot be written to, and runs are kept there; start in a folder of your own."])


def _is_run_folder(key: str) -> bool:
    return key.lstrip("+") == RUN_FOLDER


def _make(typed: str) -> None:
    # What stands in ${...} is Hydra's to resolve: of that, what comes before it.
    fixed, resolved, _ = typed.partition("${")
    folder = Path(fixed[: fixed.rfind("/") + 1] if resolved else fixed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "no permission"
    except OSError as error:
        reason = str(error.strerror)
    if reason:
        raise ConfigError([f"{RUN_FOLDER}={typed}: cannot be written to: {reason}; name another folder."])

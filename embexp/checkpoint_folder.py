"""The folder of a run's checkpoints: found by the run's key, used by one process at a time, known again by any machine."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from embexp.config import Config, ConfigError
from embexp.locks import alone_with

# The file that holds what a run is tagged with as its place (embexp.tracking.PLACE).
KEPT_IN = "place"


def checkpoints_of(config: Config, key: str | None) -> Path:
    """Where a run's checkpoints are, whatever sweep it is part of."""
    return Path(config.trainer.checkpoint_folder) / str(key)


@contextmanager
def alone_in(folder: Path, *, waiting: str) -> Iterator[str]:
    """No other process makes this run meanwhile, and writes over its checkpoints; one that does is waited for.

    Args:
        folder: from `checkpoints_of`.
        waiting: what is said where another must be waited for.

    Yields:
        What tells the folder from one of the same path on another machine: drawn once, kept in it.

    Raises:
        ConfigError: nothing can be written there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(alone_with(folder, waiting=waiting))
            place = _place_of(folder)
        except OSError as error:
            raise ConfigError(
                [
                    f"trainer.checkpoint_folder={folder.parent}: cannot be written to: {error.strerror}; name another folder."
                ]
            ) from error
        yield place


def remove_checkpoints(config: Config, key: str | None) -> None:
    """Those of a run that has finished, or can go nowhere."""
    shutil.rmtree(checkpoints_of(config, key), ignore_errors=True)


def _place_of(folder: Path) -> str:
    kept = folder / KEPT_IN
    if not kept.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(uuid.uuid4().hex, encoding="utf-8")
    return kept.read_text(encoding="utf-8")

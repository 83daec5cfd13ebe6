"""The code of a person's own that a run is made with: what embexp and the libraries have is known by content and by version."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.identity import sha256_of
from embexp.loss_plan import found_target

# Whose code is in the key without being named: embexp's by its content, theirs by their versions.
PINNED = ("embexp", "sentence_transformers", "torch", "transformers")

# By target, what this process imported under that name, and the sha256 of its file when it was first asked for.
_imported: dict[str, tuple[Any, str]] = {}


def is_pinned(name: str) -> bool:
    """Whether a module, class or function of this full name is of embexp or of a library whose version is in the key."""
    return name.partition(".")[0] in PINNED


def own_code(targets: Mapping[str, str]) -> dict[str, str]:
    """By target, the sha256 of the file of a person's own class or function: what the libraries have is in their versions.

    Args:
        targets: by group.

    Raises:
        ConfigError: there is no such class or function, or its file has changed since, and the run would be known by code that it
            does not run.
    """
    found = {}
    for group, target in targets.items():
        if is_pinned(target):
            continue
        own = found_target(group, target)
        file = _file_of(own, target)
        if file is None:
            continue
        found[target] = sha256_of(Path(file))
        before = _imported.setdefault(target, (own, found[target]))
        if before[0] is not own:
            _imported[target] = own, found[target]
        elif before[1] != found[target]:
            raise ConfigError(
                [
                    f"{group}._target_={target}: {file} has changed since this process imported it, and what it said then would be "
                    "trained; start Python anew, or importlib.reload it."
                ]
            )
    return found


def _file_of(own: Any, target: str) -> str | None:
    try:
        return inspect.getsourcefile(inspect.unwrap(own))
    except TypeError:
        # What is called and has no source itself, as a functools.partial: it was made in the module that holds it.
        return getattr(sys.modules.get(target.rpartition(".")[0]), "__file__", None)


def code_of_classes(modules: set[str]) -> list[str]:
    """The sha256 of the files, by name, of those of these imported Python modules that are not pinned."""
    files = [getattr(sys.modules.get(name), "__file__", None) for name in sorted(modules) if not is_pinned(name)]
    return [sha256_of(Path(file)) for file in files if file is not None]

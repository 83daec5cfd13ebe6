"""The code of a person's own that a run is made with: what embexp and the libraries have is known by content and by version."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.identity import sha256_of
from embexp.loss_plan import found_target

# Whose code is in the key without being named: embexp's by its content, theirs by their versions.
PINNED = ("embexp", "sentence_transformers", "torch", "transformers")

# By its id, each class or function that this process imported, and the sha256 of its file when it was first asked for.
_imported: dict[int, tuple[Any, str]] = {}


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
        found[target] = _as_imported(own, file)
        _refuse_if_changed(own, file, whose=f"{group}._target_={target}")
    return found


def _as_imported(own: Any, file: str) -> str:
    # What is kept with it keeps its id from being another's.
    return _imported.setdefault(id(own), (own, sha256_of(Path(file))))[1]


def _refuse_if_changed(own: Any, file: str, *, whose: str) -> None:
    if _as_imported(own, file) != sha256_of(Path(file)):
        raise ConfigError(
            [
                f"{whose}: {file} has changed since this process imported it, and what it said then would be run; start Python "
                "anew, or importlib.reload it."
            ]
        )


def _file_of(own: Any, target: str) -> str | None:
    try:
        return inspect.getsourcefile(inspect.unwrap(own))
    except TypeError:
        # What is called and has no source itself, as a functools.partial: it was made in the module that holds it.
        return getattr(sys.modules.get(target.rpartition(".")[0]), "__file__", None)


def code_of_classes(classes: Iterable[type]) -> list[str]:
    """The sha256 of the files, by module, of those of these classes that are not pinned, as they were when first asked for."""
    found = {own.__module__: _as_imported(own, file) for own, file in _files_of(classes)}
    return [found[name] for name in sorted(found)]


def refuse_changed_classes(classes: Iterable[type]) -> None:
    """Lets no model be built of classes whose file says something else by now.

    Raises:
        ConfigError: that of one has changed since; the model would be known by code that it does not run.
    """
    for own, file in _files_of(classes):
        _refuse_if_changed(own, file, whose=f"model: {own.__qualname__}")


def _files_of(classes: Iterable[type]) -> Iterator[tuple[type, str]]:
    for own in classes:
        file = None if is_pinned(own.__module__) else getattr(sys.modules.get(own.__module__), "__file__", None)
        if file is not None:
            yield own, file

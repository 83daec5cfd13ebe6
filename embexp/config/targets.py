"""Whether an option's `_target_` exists, as far as files tell: importing it takes seconds, and every job of a sweep would tell it anew."""

from __future__ import annotations

import re
import symtable
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path

from embexp.config.errors import nearest

# A module that has one of these may have names which its text does not show.
HIDES = re.compile(r"import\s*\*|__getattr__|globals\(|vars\(|setattr\(|exec\(|sys\.modules|^\s*global\s", re.MULTILINE)


def what_is_missing_of(target: str) -> str | None:
    """What of a dotted path is not there; None where all is, or where only an import can tell.

    Args:
        target: a class or a function, "package.module.Name".
    """
    first, *rest = target.split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return f"there is no module {first!r} here; what is not installed lies in the current folder or on PYTHONPATH."
    if not rest:
        return None
    path = first
    for part in rest[:-1]:
        path = f"{path}.{part}"
        below = _submodule(path, spec)
        # A class, or a module that is made as the package is imported, as sentence_transformers.losses is.
        if below is None:
            return None
        spec = below
    if _submodule(target, spec) is not None:
        return None
    return _missing_name(rest[-1], path, spec.origin)


def _submodule(path: str, package: ModuleSpec) -> ModuleSpec | None:
    # Without a place to look, all of sys.path would be searched.
    places = package.submodule_search_locations
    return None if places is None else PathFinder.find_spec(path, places)


def _missing_name(name: str, module: str, file: str | None) -> str | None:
    """What to say where the module's text binds no such name."""
    if file is None or not file.endswith(".py"):
        return None
    try:
        text = Path(file).read_text(encoding="utf-8")
        symbols = symtable.symtable(text, file, "exec").get_symbols()
    except (OSError, ValueError, SyntaxError):
        return None
    bound = [s.get_name() for s in symbols if s.is_assigned() or s.is_imported() or s.is_namespace()]
    if name in bound or HIDES.search(text) or hasattr(sys.modules.get(module), name):
        return None
    # Another module may add names to it: only what is likely misspelt is refused.
    likely = nearest(name, bound)
    return f"{module} has no {name!r}.{likely}" if likely else None

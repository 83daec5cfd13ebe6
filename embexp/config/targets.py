"""Whether an option's `_target_` exists and takes its arguments, as far as files tell.

To import it takes seconds, and every job of a sweep would tell it anew.
"""

from __future__ import annotations

import ast
import re
import symtable
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, resolve_name
from inspect import Parameter
from pathlib import Path

from embexp.config.errors import nearest

# A module that has one of these may have names which its text does not show.
HIDES = re.compile(r"import\s*\*|__getattr__|globals\(|vars\(|setattr\(|exec\(|sys\.modules|^\s*global\s", re.MULTILINE)
# sentence-transformers makes the module of this name as it is imported: of tutorials' names most begin so.
# Source: sentence_transformers/util/deprecated_import.py.
MADE_ON_IMPORT = {"sentence_transformers.losses": "sentence_transformers.sentence_transformer.losses"}
# Losses of another loss, whose part matryoshka_dims has here.
CUTTING = ("MatryoshkaLoss", "Matryoshka2dLoss")
# Keys of a loss's file that its target is not given.
KEPT_FOR_EMBEXP = ("view", "batches", "in_batch_negatives", "deletion_ratio")
# From module to module, where a name is imported from another.
MOST_IMPORTS = 5


def what_is_missing_of(target: str) -> str | None:
    """What of a dotted path is not there; None where all is, or where only an import can tell.

    Args:
        target: a class or a function, "package.module.Name".
    """
    first = target.partition(".")[0]
    # What is imported need not have been found in files.
    if first not in sys.modules and _spec_of(first) is None:
        return f"there is no module {first!r} here; what is not installed lies in the current folder or on PYTHONPATH."
    module, _, name = target.rpartition(".")
    spec = _spec_of(module)
    # In a class, or in a module that is made as the package is imported.
    if spec is None or _submodule(target, spec) is not None:
        return None
    return _missing_name(name, module, spec.origin)


@dataclass(frozen=True)
class Argument:
    """One that a loss takes beside the model."""

    name: str
    is_needed: bool


def what_is_wrong_with_arguments(target: str, given: Collection[str], allowed: Sequence[Argument]) -> list[str]:
    """What is to be said of the arguments that a loss's target does not take, and of those that it needs and lacks.

    Args:
        target: of the loss.
        given: the arguments, by name.
        allowed: those that it takes beside the model.
    """
    names = [each.name for each in allowed]
    takes = ", ".join(names) or "none beside the model"
    unknown = [
        f"loss.{key}: {target} takes no such argument; it takes {takes}.{nearest(key, names)}"
        for key in given
        if key not in names
    ]
    lacking = [each.name for each in allowed if each.is_needed and each.name not in given]
    return [*unknown, *(_of_one_that_is_lacking(key, target) for key in lacking)]


def _of_one_that_is_lacking(key: str, target: str) -> str:
    if target.endswith(CUTTING):
        return f"loss.{key}: {target} is a loss of another loss, which no file can name; cut those of any with matryoshka_dims=[256,64]."
    if key in KEPT_FOR_EMBEXP:
        return f"loss.{key}: {target} needs it, but the key is embexp's own; write a function that calls it (docs/extending.md)."
    return (
        f"loss.{key}: {target} needs it, and it is not given; write {key}: VALUE in the loss's file, or, where it is no number or text, "
        "a function that makes it (docs/extending.md)."
    )


def beside_the_model(parameters: Sequence[Parameter]) -> list[Argument] | None:
    """What a loss takes by name beside its first parameter, the model, which it is given by place; None: any."""
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    by_name = [each for each in parameters[1:] if each.kind is each.POSITIONAL_OR_KEYWORD]
    by_name += [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    return [Argument(each.name, is_needed=each.default is each.empty) for each in by_name]


def arguments_of(target: str) -> list[Argument] | None:
    """The arguments that a class or function of this dotted path takes beside the model; None where only an import can tell."""
    for _ in range(MOST_IMPORTS):
        module, _, name = target.rpartition(".")
        spec = _spec_of(module)
        bound = None if spec is None else _binding(spec.origin, name)
        if isinstance(bound, ast.ClassDef):
            return _parameters_of_class(bound)
        if isinstance(bound, ast.FunctionDef):
            return _parameters(bound)
        if spec is None or not isinstance(bound, ast.ImportFrom):
            return None
        try:
            there = resolve_name(f"{'.' * bound.level}{bound.module or ''}", spec.parent)
        except ImportError:
            return None
        target = next(f"{there}.{alias.name}" for alias in bound.names if name == (alias.asname or alias.name))
    return None


def _spec_of(module: str) -> ModuleSpec | None:
    """Where a module lies; None where there is none, or where only an import can tell."""
    first, *rest = MADE_ON_IMPORT.get(module, module).split(".")
    try:
        spec = find_spec(first)
    except (ImportError, ValueError):
        return None
    path = first
    for part in rest:
        path = f"{path}.{part}"
        spec = None if spec is None else _submodule(path, spec)
    return spec


def _binding(file: str | None, name: str) -> ast.stmt | None:
    """The statement of a module that binds a name, where it is the only one, and stands by itself."""
    if file is None or not file.endswith(".py"):
        return None
    try:
        module = ast.parse(Path(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None
    found = [node for node in ast.walk(module) if _binds(node, name)]
    return next((statement for statement in module.body if found == [statement]), None)


def _binds(node: ast.AST, name: str) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return any(name == (alias.asname or alias.name) for alias in node.names)
    if isinstance(node, ast.Name):
        return node.id == name and isinstance(node.ctx, ast.Store)
    return isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name


def _parameters_of_class(of: ast.ClassDef) -> list[Argument] | None:
    made = [each for each in of.body if isinstance(each, ast.FunctionDef) and each.name in ("__init__", "__new__")]
    return None if of.decorator_list or of.keywords or len(made) != 1 else _parameters(made[0], of_method=True)


def _parameters(of: ast.FunctionDef, *, of_method: bool = False) -> list[Argument] | None:
    arguments = of.args
    if of.decorator_list or arguments.kwarg is not None:
        return None
    by_place = [*arguments.posonlyargs, *arguments.args]
    # The last of them have defaults.
    needed = len(by_place) - len(arguments.defaults)
    # Before the model a method has its object.
    begin = max(len(arguments.posonlyargs), 2 if of_method else 1)
    taken = [Argument(each.arg, is_needed=place < needed) for place, each in enumerate(by_place) if place >= begin]
    return taken + [
        Argument(each.arg, is_needed=default is None)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]


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

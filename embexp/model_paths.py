"""What a path of a model can be told by, before anything is loaded: a folder that holds one, or a name that the hub may know."""

from __future__ import annotations

import re
from pathlib import Path

from embexp.config.errors import nearest
from embexp.home import expanded
from embexp.network import hub_is_reachable

HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
# Of these a folder has one where sentence-transformers can load it: its own list, a plain checkpoint's config, an adapter's.
OF_A_FOLDER = ("modules.json", "config.json", "adapter_config.json")
# As in embexp.run_folder, which is made of configs itself.
OF_A_RUN = "model"
WEIGHTS = (".safetensors", ".bin")
# Folders in a folder that are named where it is these that hold models, as a run's and its checkpoints'.
MOST_BELOW = 5


def is_no_model(path: str, key: str = "model.path") -> str | None:
    """What is wrong with a path that is neither a folder nor a hub id; None where it is one of them."""
    if not path.strip():
        return f"{key}={path}: is empty; name a folder, or a hub id (owner/name)."
    if expanded(path).is_dir() or (HUB_ID.match(path) and not path.startswith((".", "/", "~"))):
        return None
    return f"{key}={path}: there is no such folder, and it is no hub id (owner/name) either."


def is_nowhere(path: str, key: str = "model.path") -> str | None:
    """What is wrong with a path of one word that is no folder and that nobody knows, as a mistyped folder is where the hub cannot
    be reached; None where there is such a folder, where the cache has something of it, or where the hub can be asked.

    Told in two seconds, without what loading imports: of owner/name, which is no folder by mistake, loading it tells.
    """
    if "/" in path or expanded(path).is_dir() or is_no_model(path) is not None:
        return None
    from huggingface_hub import constants

    if (Path(constants.HF_HUB_CACHE) / f"models--{path}").is_dir() or hub_is_reachable():
        return None
    meant = nearest(path, [folder.name for folder in Path().iterdir() if folder.is_dir()])
    return (
        f"{key}={path}: there is no such folder here; if it is a name on the hub, nothing of it is on this machine, and the hub "
        f"cannot be reached.{meant} Name a local folder ({key}=FOLDER), use model=minilm, which needs no network, or connect."
    )


def holds_none(path: str, key: str = "model.path") -> str | None:
    """What is wrong with a folder in which there is no model, and where one may be that was meant; None of all others."""
    folder = expanded(path)
    if not folder.is_dir():
        return None
    try:
        there = list(folder.iterdir())
    except OSError as error:
        return f"{key}={path}: cannot be read: {error.strerror}."
    if {each.name for each in there} & {*OF_A_FOLDER}:
        return None
    said = f"{key}={path}: holds no model (no {', '.join(OF_A_FOLDER[:-1])} or {OF_A_FOLDER[-1]})"
    below = sorted((each for each in there if _is_a_model(each)), key=_model_first_then_by_number)
    if not below:
        return f"{said}; name the folder that its files are in."
    first, *others = [str(Path(path) / each.name) for each in below]
    also = f"; or {', '.join(others[: MOST_BELOW - 1])}" if others else ""
    return f"{said}, but the folder {first} in it does{also}."


def _is_a_model(folder: Path) -> bool:
    """Whether it holds a model wholly: parts of one, and exports, have a config too."""
    try:
        names = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    except OSError:
        return False
    return "modules.json" in names or ("config.json" in names and any(name.endswith(WEIGHTS) for name in names))


def _model_first_then_by_number(folder: Path) -> tuple[bool, list[int], str]:
    """As a run's own before its checkpoints, and checkpoint-20 before checkpoint-100."""
    return folder.name != OF_A_RUN, [int(number) for number in re.findall(r"\d+", folder.name)], folder.name

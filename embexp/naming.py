"""How a run is called, and which of its settings stand beside its scores."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from embexp.config import Config
from embexp.identity import CHANGES_NO_RESULT

SCALARS = (
    "epochs",
    "max_steps",
    "learning_rate",
    "warmup_steps",
    "matryoshka_dims",
    "matryoshka_weights",
    "seed",
    "devices",
)
# The keys that hold a file or a folder.
OF_FILES = (
    "path",
    "train",
    "dev",
    "test",
    "queries",
    "corpus",
    "relevance",
    "checkpoint_folder",
    "data_cache",
    "cache",
    "decoder",
)
# The sections whose values are files, whatever their keys.
SETS = ("sets", "own")
# What parts a value that is a list, a dictionary or an interpolation.
BETWEEN = re.compile(r"([{}\[\],]|:(?!//))")
# What parts the settings in a name; within brackets nothing does.
IN_A_NAME = re.compile(r"( · |, )(?![^{\[]*[}\]])")
# The folders before a file's name, or before a folder's, in a sentence; not those of an address.
FOLDERS = re.compile(r"(?<![\w.:/~-])(?:~|[A-Za-z]:)?/(?:[^\s,/'\"{}\[\]]+/)*(?=[^\s,/])")
QUOTES = "\"'"
LONGEST_NAME = 200
# What the machine decides comes to them.
MOST_PARAMS = 34
IN_NAME = ("loss", "batch_size", "model", "data")
# What a person who reads a name would look for in vain in its scores.
NOT_IN_NAME = ("tracker", "rerun", *CHANGES_NO_RESULT)


def run_name(config: Config, overrides: Sequence[str]) -> str:
    """What is chosen most often, then what else was typed and may change scores: "mnr · bs 64 · minilm · helpdesk · seed=2".

    A file is called by its folder and its name, wherever that folder is.
    """
    names = config.names
    parts = [names["loss"], f"bs {config.batch_size}", names["model"], names["data"]]
    others = [typed for typed in last_of_each(overrides) if _key(typed) not in (*IN_NAME, *NOT_IN_NAME)]
    return _cut(" · ".join([*parts, *map(_short, others)]))


def job_name(overrides: Sequence[str], swept: Sequence[str]) -> str | None:
    """What tells a job from the others of its sweep: "batch_size=32, seed=2"; None where nothing does.

    Args:
        overrides: of the job, as typed.
        swept: the keys in which the sweep's jobs differ.
    """
    own = [_short(typed.lstrip("+~")) for typed in last_of_each(overrides) if _typed_key(typed) in swept]
    return _cut(", ".join(own)) or None


def run_params(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """At most MOST_PARAMS settings by short names, as typed; the machine's own decisions are added where they are made."""
    names, overrides = config.names, last_of_each(overrides)
    params: dict[str, Any] = {group: names[group] for group in ("loss", "model", "data", "evaluation")}
    params["model"] = model_name(config, overrides)
    if "experiment" in names:
        params["experiment"] = names["experiment"]
    params["batch_size"] = config.batch_size
    params["effective_batch_size"] = config.batch_size * config.trainer.accumulation_steps
    params |= {key: getattr(config, key) for key in SCALARS if getattr(config, key) is not None}
    params |= {f"loss.{key}": value for key, value in config.loss.arguments().items() if value is not None}
    params |= {key: value for key, value in typed_params(overrides).items() if key not in params}
    return dict(list(params.items())[:MOST_PARAMS])


def model_name(config: Config, overrides: Sequence[str]) -> str:
    """The option of conf/model; where a path was typed that path, for the option's name would be that of another model."""
    paths = (unquoted(typed.partition("=")[2]) for typed in last_of_each(overrides) if _key(typed) == "model.path")
    return next(paths, config.names["model"])


def typed_params(overrides: Sequence[str]) -> dict[str, str]:
    """What was typed of the sections, by key, without quotation marks; of the model's path its params tell by themselves.

    Of a file all of its path: a table shows no more of it than tells it from others (`embexp.compare.cells.values_of`).
    """
    typed = (override.partition("=") for override in last_of_each(overrides))
    return {
        name: unquoted(value)
        for key, _, value in typed
        if "." in (name := key.lstrip("+~")) and not name.startswith(("hydra.", "tracker.", "model.path"))
    }


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def last_of_each(overrides: Sequence[str]) -> list[str]:
    """The overrides that count: of a key that was typed twice Hydra takes the last."""
    return list({_typed_key(typed): typed for typed in overrides}.values())


def _short(override: str) -> str:
    """Of a file, its name and its folder's: "data.train=fold1/train.csv"."""
    key, equals, value = override.partition("=")
    if key.rpartition(".")[2] not in OF_FILES or value.startswith(("{", "[", "$")):
        return override
    return f"{key}{equals}{PurePath(*PurePath(unquoted(value)).parts[-2:])}"


def unquoted(value: str) -> str:
    """A value as it is meant, of one that is typed in quotation marks."""
    inner = value[1:-1]
    return inner if inner and value[0] == value[-1] and value[0] in QUOTES and value[0] not in inner else value


def may_be_files(key: str) -> bool:
    """Whether a setting's value, by its key or its name among a run's params, is a file or a folder, or may be one."""
    section, _, last = key.rpartition(".")
    return key == "model" or last in OF_FILES or section.rpartition(".")[2] in SETS


def without_folders(text: str) -> str:
    """A sentence with the names of files and folders alone where it holds whole paths: whose machine it was is nobody's affair."""
    return FOLDERS.sub("", text)


def name_of(key: str, value: str) -> str:
    """A setting's value: of a file or a folder its name, wherever it lies; all others as they are.

    Args:
        key: of the setting; of a model's path, or its name among a run's params, a hub id stays whole.
        value: as typed, or without the quotation marks.
    """
    if may_be_files(key) or key.rpartition(".")[2] in SETS:
        is_hub_id = key in ("model", "model.path") and value.count("/") == 1 and value[0] not in "./~"
        return value if is_hub_id else _names(value)
    return value


def shared_command(typed: Sequence[str]) -> list[str]:
    """A command's words as others may read them: files by their names, and nothing of the tracker or of Hydra's folders."""
    shown = []
    for word in typed:
        key, equals, value = word.partition("=")
        if not equals:
            shown.append(PurePath(word).name if word.startswith(("/", "~/", "../")) else word)
        elif key.startswith("--"):
            shown.append(f"{key}={_names(value)}")
        elif not key.lstrip("+~").startswith(("hydra.", "tracker.")):
            shown.append(f"{key}={name_of(key.lstrip('+~'), value)}")
    return shown


def shared_name(name: str) -> str:
    """A run's name as others may read it: of its settings that are files, no folder."""
    words = IN_A_NAME.split(name)
    return "".join(
        f"{key}={name_of(key, value)}" if equals else word
        for word in words
        for key, equals, value in [word.partition("=")]
    )


def _names(value: str) -> str:
    """A file's name of its path, in the quotation marks that it had; of each, where the value holds several."""
    if value.startswith(("{", "[", "$")):
        return "".join(part if BETWEEN.fullmatch(part) else _names_after_blanks(part) for part in BETWEEN.split(value))
    inner = unquoted(value)
    mark = "" if inner == value else value[0]
    return f"{mark}{PurePath(inner).name or inner}{mark}"


def _names_after_blanks(part: str) -> str:
    word = part.lstrip()
    return part[: len(part) - len(word)] + (_names(word) if word and word[0] != "$" else word)


def _typed_key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _key(override: str) -> str:
    key = _typed_key(override)
    return "tracker" if key.startswith(("hydra", "tracker.")) else key

"""Where a config's rows come from, and what can be told of them before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from embexp.config.errors import ConfigError, closest, did_you_mean
from embexp.config.kinds import USING_LABELS, VIEWS_OF_KIND, Kind, view_of
from embexp.config.schema import Config, Data, Files, Hub
from embexp.config.sections import data_schema
from embexp.home import expanded

if TYPE_CHECKING:
    from embexp.data.files import FileSource
    from embexp.data.rows import Split

PAIRS = "evaluation.source"
SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def sources_of(config: Config) -> Iterator[tuple[str, Data]]:
    """By the section in which it stands: what is trained on, and other pairs to score on, if any."""
    yield "data", config.data
    if config.evaluation.source is not None:
        yield PAIRS, data_schema(config.evaluation.source)


def kind_of(data: Data) -> Kind | None:
    """What the rows are: as configured, or read off a file's header; None where only loading would tell.

    Raises:
        ConfigError: a file is missing, or its columns are none that embexp knows.
    """
    if data.kind != "auto":
        return data.kind
    return next(iter(kinds_of(data).values()), None) if isinstance(data, Files) else None


def kinds_of(files: Files) -> dict[Split, Kind]:
    """What the rows of each file are that is named.

    Raises:
        ConfigError: as of `kind_of`.
    """
    named = _paths(files)
    return dict(_kinds(_Headers(files, tuple(named), tuple(map(_state, named.values())), files.model_dump_json())))


def sources_are_there(config: Config) -> Iterator[str]:
    """Whether the folders and files are there that are named, and those named that must be; none is opened."""
    for section, source in sources_of(config):
        if isinstance(source, Hub) and source.path is not None:
            key, folder = "evaluation.path" if section == PAIRS else f"{section}.path", expanded(source.path)
            if not any(folder.glob("*.parquet")):
                what = "holds no parquet files" if folder.is_dir() else "there is no such folder"
                yield f"{key}={source.path}: {what}; name a folder of parquet files, or leave it out to use the hub."
        if isinstance(source, Files):
            yield from _not_there(section, source)


def what_is_wrong_with_rows(config: Config) -> Iterator[str]:
    """Files that are there and not what they should be, and the bad rows of those that are read in no time."""
    for section, source in sources_of(config):
        if isinstance(source, Files) and not _not_there(section, source):
            yield from _wrong_in_files(config, section, source)


def _not_there(section: str, source: Files) -> Sequence[str]:
    if section == PAIRS and source.train is not None:
        return [f"{PAIRS}.train={source.train}: nothing is trained on there; name data.train=FILE, or leave it out."]
    if section == PAIRS and not source.dev:
        return [f"{PAIRS}.dev={_typed(source.dev)}: name a file of scored pairs: {PAIRS}.dev=FILE."]
    if section == "data" and not source.train:
        return [
            f"data.train={_typed(source.train)}: name a file: data.train=FILE.csv (or .tsv, .jsonl, .json, .parquet, .txt). To score "
            f"on files alone: evaluation=files {PAIRS}.dev=FILE."
        ]
    paths = _paths(source)
    if empty := [split for split, path in paths.items() if not path]:
        return [f"{section}.{split}=: is empty; name a file, or leave it out." for split in empty]
    # What may not be looked into holds none, to os.path; to Path.exists it is an error.
    absent = [split for split, path in paths.items() if not os.path.exists(expanded(path))]
    return [f"{section}.{split}={paths[split]}: there is no such file.{_beside(paths[split])}" for split in absent]


def _beside(path: str) -> str:
    """ " Did you mean 'faq.csv'?", of the files beside one that is not there; or nothing."""
    wanted = expanded(path).absolute()
    try:
        match = _closest_in(wanted.parent, wanted.name, wanted.parent.stat().st_mtime_ns)
    except OSError:
        return ""
    return "" if match is None else did_you_mean(path, str(Path(path).parent / match))


@lru_cache(maxsize=64)
def _closest_in(folder: Path, name: str, changed: int) -> str | None:
    """The file of a folder that is called most like it; asked for by every job, and anew when the folder has `changed`."""
    return closest(name, [each.name for each in folder.iterdir()])


def _paths(source: Files) -> dict[Split, str]:
    """The files that are named."""
    return {split: path for split in SPLITS if (path := getattr(source, split)) is not None}


def _wrong_in_files(config: Config, section: str, source: Files) -> Sequence[str]:
    paths, files = _paths(source), _opened(source)
    # Files that are only scored on are read where nothing else is.
    scored = [split for split in paths if split != "train" and (section == PAIRS or config.evaluation.source is None)]
    read = [split for split in paths if split == "train" or split in scored]
    try:
        kinds = files.kinds(list(paths) if source.kind == "auto" else read)
    except ConfigError as error:
        return [*error.problems, *_where_delimiters_differ(section, files, paths)]
    if unscored := [split for split in scored if "scored" not in VIEWS_OF_KIND[kinds[split]]]:
        return [
            f"{section}.{split}={paths[split]}: it holds {kinds[split]} alone, which cannot be scored; name a file with columns "
            "sentence1, sentence2, score, or with another kind of pairs."
            for split in unscored
        ]
    dev_is_scored = section == "data" and config.evaluation.source is None
    fed_labels = view_of("labelled", config.loss.view) in USING_LABELS
    asked = [
        _asked(files, split, source, dev_is_scored=dev_is_scored, labels_tell=split != "train" or fed_labels)
        for split in read
    ]
    return [problem for each in asked for problem in _bad_rows(each)]


def _where_delimiters_differ(section: str, files: FileSource, paths: Mapping[Split, str]) -> Sequence[str]:
    """What helps where one key cannot fit all the tables, so that what is said of each file leads in a circle."""
    # Not above: pyarrow takes a while, and most commands name no files of their own.
    from embexp.data.files.content import TYPED_TAB, delimiter_of

    signs = files.delimiters()
    if len(set(signs.values())) < 2:
        return []
    names = ", ".join(Path(paths[split]).name for split in signs)
    said = f"{section}.delimiter: is one for all files, and {names} are separated differently; "
    scored = {split: path for split, path in paths.items() if split != "train"}
    of_scored = {signs[split] for split in scored if split in signs}
    if "dev" not in scored or len(of_scored) != 1:
        return [f"{said}write them alike."]
    typed = [f"'{PAIRS}.{split}={path}'" for split, path in scored.items()]
    (sign,) = of_scored
    if any(delimiter_of(Path(path), None) != sign for split, path in scored.items() if split in signs):
        typed.append(f"'{PAIRS}.delimiter=\"{TYPED_TAB if sign.isspace() else sign}\"'")
    return [
        f"{said}in place of {' and '.join(f'data.{split}' for split in scored)} write evaluation=files {' '.join(typed)}."
    ]


def _typed(path: str | None) -> str:
    return "null" if path is None else path


def _opened(files: Files) -> FileSource:
    # Not above: pyarrow takes a while, and most commands name no files of their own.
    from embexp.data.files import FileSource

    return FileSource(**files.arguments())


@dataclass(frozen=True)
class _Headers:
    """Files as they are now, whose columns are asked for again by every rule and every job."""

    files: Files = field(compare=False)
    splits: tuple[Split, ...]
    states: tuple[tuple[int, int] | None, ...]
    settings: str


@lru_cache(maxsize=64)
def _kinds(asked: _Headers) -> Mapping[Split, Kind]:
    return _opened(asked.files).kinds(asked.splits)


def _state(path: str) -> tuple[int, int] | None:
    """By which it is seen that a file has changed; None where there is none."""
    try:
        found = expanded(path).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@dataclass(frozen=True)
class _Asked:
    """A file as it is now, and how it is to be read: the same again need not be read again."""

    files: FileSource = field(compare=False)
    split: Split
    path: Path
    state: tuple[int, int]
    settings: str
    dev_is_scored: bool
    labels_tell: bool


def _asked(files: FileSource, split: Split, source: Files, *, dev_is_scored: bool, labels_tell: bool) -> _Asked:
    path = expanded(getattr(source, split)).absolute()
    found = path.stat()
    state = found.st_mtime_ns, found.st_size
    return _Asked(files, split, path, state, source.model_dump_json(), dev_is_scored, labels_tell)


@lru_cache(maxsize=64)
def _bad_rows(asked: _Asked) -> Sequence[str]:
    """The jobs of a sweep share their files."""
    return asked.files.bad_rows(asked.split, dev_is_scored=asked.dev_is_scored, labels_tell=asked.labels_tell)

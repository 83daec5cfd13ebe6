"""Tables that evaluations read, whole or column by column, with a person's mistakes told.

In a folder they are looked for as parquet, jsonl, csv or tsv; one that is named may be json, txt or packed (.gz) too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.data.files.content import SUFFIXES, UnreadableError
from embexp.data.files.readers import read


def find_table(folder: Path, names: Sequence[str]) -> Path | None:
    """The first file of these names that the folder holds, with any suffix that can be read."""
    found = (folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES)
    return next((path for path in found if path.is_file()), None)


def read_columns(
    path: Path, columns: Mapping[str, Sequence[str]], *, key: str, optional: Sequence[str] = ()
) -> dict[str, list[Any]]:
    """The values of each column, none of them missing; of an optional one, None where the file has it not.

    Args:
        path: of the file.
        columns: our name of a column, and the names that it may have in the file, the likeliest first.
        key: the config key that named the file, for messages.
        optional: our names of columns that may be missing.

    Raises:
        ConfigError: the file cannot be read, a column is missing, or a row is broken.
    """
    try:
        records = read(path, encoding="utf-8", delimiter=None)
        rows = list(records.read(records.columns))
    except UnreadableError as error:
        raise ConfigError([f"{key}={path}: {error}."]) from error
    good = [(number, row) for number, row in rows if not isinstance(row, str)]
    problems = [f"{path} row {number}: {row}." for number, row in rows if isinstance(row, str)][:10]
    if not good:
        problems.append(f"{key}={path}: holds no rows.")
    found: dict[str, list[Any]] = {}
    for column, names in columns.items():
        name = next((name for name in names if name in records.columns), None)
        if name is None and column not in optional:
            problems.append(f"{key}={path}: no column {' or '.join(names)}; it has {', '.join(records.columns)}.")
            continue
        found[column] = [row.get(name or "") for _, row in good]
        empty = [number for (number, _), value in zip(good, found[column], strict=True) if value is None]
        if empty and column not in optional:
            problems.append(f"{path} row {empty[0]}: {name} is empty; fill it in or leave the row out.")
    if problems:
        raise ConfigError(problems)
    return found


def fingerprint_of(*values: Iterable[Any]) -> str:
    """sha256 hex over all values, in order."""
    digest = hashlib.sha256()
    for series in values:
        for value in series:
            digest.update(repr(value).encode())
            digest.update(b"\0")
        digest.update(b"\1")
    return digest.hexdigest()

"""Tables that evaluations read, whole or column by column, with a person's mistakes told.

In a folder they are looked for as parquet, jsonl, csv or tsv; one that is named may be json, txt or packed (.gz) too.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.config.errors import printable
from embexp.data.files.columns import listed
from embexp.data.files.content import SUFFIXES, UnreadableError
from embexp.data.files.readers import read
from embexp.data.files.records import Records

# Our columns of documents that may be empty: BEIR has some with a title only.
BLANK = ("title", "text")
MOST_TOLD = 10


def opened(path: Path) -> Records:
    """The records of a table, which is of utf-8: no key changes how it is read.

    Raises:
        UnreadableError: it cannot be read.
    """
    return read(path, encoding="utf-8", delimiter=None, section=None)


def find_table(folder: Path, names: Sequence[str]) -> Path | None:
    """The first file of these names that the folder holds, with any suffix that can be read."""
    found = (folder / f"{name}{suffix}" for name in names for suffix in SUFFIXES)
    return next((path for path in found if path.is_file()), None)


def lacks(names: Sequence[str], there: Sequence[str], path: Path, key: str) -> str:
    """What is to be said of a file that has no column of these names."""
    return f"{key}={path}: no column {' or '.join(names)}; it has {listed(there)}."


def read_columns(
    path: Path,
    columns: Mapping[str, Sequence[str]],
    *,
    key: str,
    optional: Sequence[str] = (),
    blank: Sequence[str] = (),
    one_of: Sequence[str] = (),
    numbers: Sequence[str] = (),
    lists: Sequence[str] = (),
    unique: Sequence[str] = (),
) -> dict[str, list[Any]]:
    """The values of each column, none of them missing; of an optional one, None where the file has it not.

    Args:
        path: of the file.
        columns: our name of a column, and the names that it may have in the file, the likeliest first.
        key: the config key that named the file, for messages.
        optional: our names of columns that a file may lack as a whole.
        blank: our names of columns whose cells may be empty; what is missing is "" then.
        one_of: our names of columns of which a row has something in one, whatever may be blank.
        numbers: our names of columns that hold numbers; they are given as floats, all finite.
        lists: our names of columns whose cells may be several values; of others they would be read as one text, in brackets.
        unique: our names of the columns by which a row is known, an id, or a query and a document; one that says again what an
            earlier row says is left out.

    Raises:
        ConfigError: the file cannot be read, a column is missing, or a row is broken.
    """
    table = _read(path, dict.fromkeys(chain.from_iterable(columns.values())), key)
    problems = [*table.problems]
    if not table.rows:
        problems.append(f"{key}={path}: holds no rows.")
    found: dict[str, list[Any]] = {}
    named = {ours: next((name for name in names if name in table.cells), None) for ours, names in columns.items()}
    for column, name in named.items():
        if name is None:
            if column not in optional:
                problems.append(lacks(columns[column], table.columns, path, key))
            found[column] = [None] * len(table.rows)
            continue
        try:
            found[column] = [
                _value(
                    cell,
                    name,
                    may_be_blank=column in blank,
                    may_be_list=column in lists,
                    is_number=column in numbers,
                    where=number,
                )
                for number, cell in zip(table.rows, table.cells[name], strict=True)
            ]
        except ValueError as error:
            problems.append(f"{path} {error}.")
    if one_of and not problems:
        there = {name: found[column] for column, name in named.items() if column in one_of and name is not None}
        problems += _nothing_in(there, table.rows, path)
    if problems:
        raise ConfigError(problems)
    return _each_once(found, table.rows, unique, named, path) if unique else found


@dataclass(frozen=True)
class _Table:
    """What was read of a file.

    Attributes:
        columns: all that it has.
        rows: the numbers of those that could be read.
        cells: of these, by column, of those columns that were asked for and are there; None where a row has it not.
        problems: the first rows that could not.
    """

    columns: list[str]
    rows: list[int]
    cells: dict[str, list[Any]]
    problems: list[str]


def _read(path: Path, names: Collection[str], key: str) -> _Table:
    """No more than the columns of these names, whatever else stands beside them: embeddings, the markup of a page."""
    rows: list[int] = []
    cells: dict[str, list[Any]] = {name: [] for name in names}
    problems: list[str] = []
    try:
        records = opened(path)
        # Objects of JSON need not all have the same keys, and an optional column may be that of later rows.
        there = set(records.columns)
        for number, row in records.read([name for name in names if name in there]):
            if isinstance(row, str):
                problems += [f"{path} row {number}: {row}."] if len(problems) < MOST_TOLD else []
                continue
            rows.append(number)
            there.update(row)
            for name, values in cells.items():
                values.append(row.get(name))
    except UnreadableError as error:
        raise ConfigError([f"{key}={path}: {error}."]) from error
    return _Table(records.columns, rows, {name: values for name, values in cells.items() if name in there}, problems)


def _value(value: Any, name: str, *, may_be_blank: bool, may_be_list: bool, is_number: bool, where: int) -> Any:
    """What a cell holds; in csv and tsv every cell is text.

    Raises:
        ValueError: there is nothing in it, or no number; with the row.
    """
    # Parquet has what is missing as NaN where pandas wrote it.
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        if may_be_blank:
            return value if isinstance(value, str) else ""
        raise ValueError(f"row {where}: {name} is empty; fill it in or leave the row out")
    if not is_number:
        if isinstance(value, dict) or (isinstance(value, list) and not may_be_list):
            raise ValueError(f"row {where}: {name} is {printable(repr(value))}, not one text or number")
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"row {where}: {name} {printable(repr(value))} is no number")
    return number


def _nothing_in(found: Mapping[str, list[Any]], rows: Sequence[int], path: Path) -> Iterator[str]:
    """The first row that has nothing in any column."""
    what = f"{' and '.join(found)} {'is empty; fill it' if len(found) == 1 else 'are empty; fill one'} in"
    for number, cells in zip(rows, zip(*found.values(), strict=True), strict=True):
        if not any(str(cell).strip() for cell in cells):
            yield f"{path} row {number}: {what} or leave the row out."
            return


def _each_once(
    found: Mapping[str, list[Any]],
    rows: Sequence[int],
    unique: Sequence[str],
    named: Mapping[str, str | None],
    path: Path,
) -> dict[str, list[Any]]:
    """The rows, those left out that say again what an earlier one says.

    Raises:
        ConfigError: two rows are called alike and say different things: one of them would be lost.
    """
    seen: dict[tuple[str, ...], int] = {}
    again, problems = set(), []
    rest = {column: values for column, values in found.items() if column not in unique}
    for place, values in enumerate(zip(*(found[column] for column in unique), strict=True)):
        # As ids are held against those of other files.
        called = tuple(map(str, values))
        first = seen.setdefault(called, place)
        if first == place:
            continue
        again.add(place)
        differing = [column for column, cells in rest.items() if cells[first] != cells[place]]
        if differing and len(unique) == 1:
            problems.append(
                f"{path} row {rows[place]}: the id {printable(called[0])} is that of row {rows[first]}, which says something else; "
                "give each its own."
            )
        elif differing:
            what = " and ".join(f"{column} {printable(name)}" for column, name in zip(unique, called, strict=True))
            problems.append(
                f"{path} row {rows[place]}: {what} stand in row {rows[first]} too, with another {named[differing[0]]} "
                f"({_as_typed(rest[differing[0]][first])}, here {_as_typed(rest[differing[0]][place])}); leave one of them out."
            )
    if problems:
        more = [f"{path}: and {len(problems) - MOST_TOLD} more."] if len(problems) > MOST_TOLD else []
        raise ConfigError([*problems[:MOST_TOLD], *more])
    return {
        column: [value for place, value in enumerate(values) if place not in again] for column, values in found.items()
    }


def _as_typed(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


def relevant_to_each(judged: Mapping[str, Mapping[str, float]], *, judging: str) -> dict[str, set[str]]:
    """The relevant documents of each query that has any.

    Args:
        judged: the gains of each query's documents.
        judging: where they were read, for the message.

    Raises:
        ConfigError: none has any, and every score would be 0.
    """
    positive = {query: {document for document, gain in gains.items() if gain > 0} for query, gains in judged.items()}
    relevant = {query: documents for query, documents in positive.items() if documents}
    if not relevant:
        raise ConfigError([f"{judging}: no score is above 0, so that no document is relevant to any query."])
    return relevant


def no_id_agrees(what: str, column: str, *, judging: Path, unknown: str, file: Path, known: str) -> str:
    """What is to be said of judgements of which none can count.

    Args:
        what: they are of, as "query that is judged".
        column: of the judgements that names it.
        judging: their file.
        unknown: an id of theirs.
        file: in which none of these is.
        known: an id of that file.
    """
    return (
        f"no {what} of {judging} is in {file}: there ids are as {printable(known)}, in the judgements as {printable(unknown)}; every "
        f"score would be 0: write the same ids in {column} of the one and in _id of the other"
    )


def add_to(digest: hashlib._Hash, file: Path) -> None:
    """A file's bytes, of which a part at a time is in memory: a corpus has gigabytes."""
    with file.open("rb") as opened:
        hashlib.file_digest(opened, lambda: digest)


def fingerprint_of(*values: Iterable[Any]) -> str:
    """sha256 hex over all values, in order."""
    digest = hashlib.sha256()
    for series in values:
        for value in series:
            digest.update(repr(value).encode())
            digest.update(b"\0")
        digest.update(b"\1")
    return digest.hexdigest()

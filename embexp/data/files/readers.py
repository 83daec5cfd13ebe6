"""Reads a file's records, one after another, with the row numbers that a person would count; `NA` and `null` are words.

However long a file is, no more of it is in memory than is looked at; but a JSON array, which only its end makes one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from embexp.config.errors import printable
from embexp.data.files.columns import match
from embexp.data.files.content import READABLE, UnreadableError, check_format, delimiter_of, suffix_of, text_of
from embexp.data.files.delimited import Delimited
from embexp.data.files.records import Records, Row
from embexp.data.tables import AT_ONCE
from embexp.units import counted

HEAD_ROWS = 100
# The column of a file that has no header.
TEXT = "text"


def read(
    path: Path,
    *,
    encoding: str,
    delimiter: str | None,
    quoted: bool | None = None,
    section: str | None = "data",
) -> Records:
    """The records of a file, by its suffix; only its head is read before they are asked for.

    Args:
        path: of the file.
        encoding: of text files.
        delimiter: of csv and tsv, a tab also as it is typed, \\t; None: a comma, or a tab in .tsv.
        quoted: whether a cell of csv or tsv may stand in quotation marks; None: in .csv it may, in .tsv a mark is a
            character like others, as in the public corpora.
        section: of the config, where the keys stand that help; None: there are none, as of a table that an evaluation reads.

    Raises:
        UnreadableError: missing, empty, of another format than its suffix says, or not in this encoding.
    """
    if not path.is_file():
        raise UnreadableError("is a folder; name a file" if path.is_dir() else "there is no such file")
    suffix = suffix_of(path)
    if suffix not in READABLE:
        raise UnreadableError(
            f"the suffix {path.suffix!r} is none of {', '.join(READABLE)} (text also as .gz); convert it to one of them, a "
            "table best to .csv"
        )
    check_format(path, encoding, section)
    if suffix == ".parquet":
        return _parquet(path)
    text = partial(text_of, path, encoding, section)
    with text() as head:
        if suffix == ".txt":
            _refuse_tables(head)
            return _records([TEXT], text, _lines)
        if suffix in (".jsonl", ".json"):
            if suffix == ".json" and _is_array(head):
                return _json_array(head.read())
            _refuse_rows_within(head, in_lines=suffix == ".jsonl")
            return _records(_keys_of(_jsonl(head)), text, _jsonl)
        delimiter = delimiter_of(path, delimiter)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            raise UnreadableError(f"{section}.delimiter={delimiter!r} must be one character, such as ';'")
        quoted = suffix == ".csv" if quoted is None else quoted
        table = Delimited(delimiter, quoted, section)
        return _records(table.columns(head), text, table.rows)


def _records(
    columns: list[str], text: Callable[[], AbstractContextManager[TextIO]], rows: Callable[[TextIO], Iterator[Row]]
) -> Records:
    """Records of a text, which is opened for each reading."""

    def all_rows(_: Sequence[str]) -> Iterator[Row]:
        with text() as opened:
            yield from rows(opened)

    return Records(columns, all_rows)


def _jsonl(lines: Iterable[str]) -> Iterator[Row]:
    """An object a line.

    Raises:
        UnreadableError: the first line is, or begins, an array.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise UnreadableError("it is one JSON array; name it .json, or write one JSON object a line") from None
            yield number, _no_json(error.msg, error.pos + 1)
            continue
        if isinstance(value, list) and number == 1:
            raise UnreadableError("it is a JSON array; name it .json, or write one JSON object a line")
        yield number, value if isinstance(value, dict) else "a line must be a JSON object"


def _no_json(why: str, column: int) -> str:
    # Some of json's messages end where a place is to follow: "Invalid control character at".
    return f"broken JSON: {why.removesuffix(' at')} at column {column}"


def _keys_of(rows: Iterable[Row], hint: str = "; write one JSON object a line") -> list[str]:
    """The columns: the keys of the first HEAD_ROWS objects.

    Raises:
        UnreadableError: there is no object, but something else; with what helps.
    """
    objects, broken = 0, None
    columns: dict[str, None] = {}
    for number, value in rows:
        if isinstance(value, str):
            broken = broken or f"row {number}: {value}{hint}"
            continue
        columns |= dict.fromkeys(value)
        objects += 1
        if objects == HEAD_ROWS:
            break
    if not objects and broken is not None:
        raise UnreadableError(broken)
    return list(columns)


def _is_array(text: TextIO) -> bool:
    """Whether the first character that is no blank begins one; the text is at its begin again."""
    begin = text.tell()
    first = next((line.lstrip() for line in iter(text.readline, "") if line.strip()), "")
    text.seek(begin)
    return first.startswith("[")


def _refuse_rows_within(text: TextIO, *, in_lines: bool) -> None:
    """The text is at its begin again.

    Args:
        text: of the file.
        in_lines: whether an object must be one line.

    Raises:
        UnreadableError: all of it is one object, and the rows are a list in this.
    """
    begin = text.tell()
    lines = filter(str.strip, iter(text.readline, ""))
    value = _parsed(next(lines, ""))
    if value is None and not in_lines:
        # Its first line is none by itself, but all of them together may be.
        text.seek(begin)
        value = _parsed(text.read())
    elif next(lines, None) is not None:
        value = None
    text.seek(begin)
    if not isinstance(value, dict):
        return
    matched = match(list(value), None, None, section="")
    if not isinstance(matched, str):
        # A row may hold a list of objects, too.
        _, names = matched
        if all(isinstance(value[column], (dict, list)) for column in names.values()):
            raise UnreadableError(
                f"it holds columns, not rows: {', '.join(names.values())}; write an array of objects as .json, in pandas by "
                "to_json(FILE, orient='records')"
            )
        return
    for key, rows in value.items():
        if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
            raise UnreadableError(
                f"it is one object, whose key {printable(key)!r} holds {counted(len(rows), 'row')}: write that list alone as .json, or "
                "one of its objects a line as .jsonl"
            )


def _parsed(text: str) -> Any:
    """What JSON says; None where it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _json_array(text: str) -> Records:
    """The objects of an array, numbered from 1; the columns as of jsonl."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"line {error.lineno}: {_no_json(error.msg, error.colno)}") from None
    if not values:
        raise UnreadableError("it holds no rows: its array is empty")
    rows: list[Row] = [
        (number, value if isinstance(value, dict) else "what stands in the array must be a JSON object")
        for number, value in enumerate(values, start=1)
    ]
    return Records(_keys_of(rows, hint=""), lambda _: iter(rows))


def _lines(lines: Iterable[str]) -> Iterator[Row]:
    """A text a line, blank ones left out."""
    return ((number, {TEXT: line}) for number, line in enumerate(lines, start=1) if line.strip())


def _refuse_tables(lines: Iterable[str]) -> None:
    """Of a text a line.

    Raises:
        UnreadableError: its lines look like the rows of a table.
    """
    head = [line.strip().count("\t") for line in islice(filter(str.strip, lines), HEAD_ROWS)]
    if len(head) > 1 and head[0] and len(set(head)) == 1:
        tabs = "a tab" if head[0] == 1 else f"{head[0]} tabs"
        raise UnreadableError(
            f"each of the {len(head)} lines that were looked at has {tabs}, as the rows of a table have; name it .tsv, with the names "
            "of its columns in row 1, or take the tabs out"
        )


def _parquet(path: Path) -> Records:
    def values(columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        try:
            # Mapped: of a group of rows, which may be all of them, no column is copied into memory.
            with pq.ParquetFile(path, memory_map=True) as file:
                for batch in file.iter_batches(batch_size=AT_ONCE, columns=list(columns)):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise _broken(error) from None

    try:
        return Records(list(pq.read_schema(path).names), lambda columns: enumerate(values(columns), start=1))
    except (pa.ArrowException, OSError) as error:
        raise _broken(error) from None


def _broken(error: Exception) -> UnreadableError:
    return UnreadableError(f"broken parquet: {str(error).splitlines()[0]}")

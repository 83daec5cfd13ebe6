"""Reads a file into records with the row numbers that a person would count; `NA` and `null` are words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embexp.config.errors import printable
from embexp.data.files.content import READABLE, UnreadableError, check_format, suffix_of, text_of

HEAD_ROWS = 100
# A tab as it can be typed.
TYPED_TAB = "\\t"
# The column of a file that has no header.
TEXT = "text"
LONGEST_CELL = 2**31 - 1  # characters


@dataclass
class Records:
    """What a file holds.

    Attributes:
        columns: in the file's order.
        rows: (row number, values by column); csv and tsv count the header as row 1.
        problems: (row number, what is wrong): rows that could not be read.
    """

    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)

    def first(self, limit: int | None) -> Records:
        """The first so many rows, those with problems counted in."""
        numbers = sorted(number for number, _ in [*self.rows, *self.problems])
        if limit is None or len(numbers) <= limit:
            return self
        end = numbers[limit]
        return Records(self.columns, [r for r in self.rows if r[0] < end], [p for p in self.problems if p[0] < end])


def read(
    path: Path,
    *,
    encoding: str,
    delimiter: str | None,
    quoted: bool | None = None,
    header_only: bool = False,
    section: str = "data",
) -> Records:
    """The records of a file, by its suffix.

    Args:
        path: of the file.
        encoding: of text files.
        delimiter: of csv and tsv, a tab also as it is typed, \\t; None: a comma, or a tab in .tsv.
        quoted: whether a cell of csv or tsv may stand in quotation marks; None: in .csv it may, in .tsv a mark is a
            character like others, as in the public corpora.
        header_only: no rows.
        section: of the config, where the keys stand that help.

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
        return _parquet(path, header_only)
    # An array is only told from a broken one by its end.
    head_only = header_only and suffix != ".json"
    text = io.StringIO(text_of(path, encoding, head_only=head_only, section=section), newline="")
    if suffix == ".txt":
        return _lines(text, header_only)
    if suffix == ".json" and text.getvalue().lstrip().startswith("["):
        return _json_array(text.getvalue(), header_only)
    if suffix in (".jsonl", ".json"):
        return _jsonl(text, header_only)
    delimiter = "\t" if delimiter == TYPED_TAB else delimiter or ("\t" if suffix == ".tsv" else ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UnreadableError(f"{section}.delimiter={delimiter!r} must be one character, such as ';'")
    quoted = suffix == ".csv" if quoted is None else quoted
    return _csv(text, delimiter, header_only, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, section=section)


def _csv(text: io.StringIO, delimiter: str, header_only: bool, *, quoting: Any, section: str) -> Records:
    # Once for the process: csv's own limit is shorter than some documents.
    csv.field_size_limit(LONGEST_CELL)
    hint = f"; in a quoted cell a quotation mark is written twice, and with {section}.quoted=false it is a character like others"
    reader = csv.reader(text, delimiter=delimiter, strict=True, quoting=quoting)
    try:
        columns = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise UnreadableError(f"row 1: {error}{hint}") from None
    repeated = sorted({name for name in columns if name and columns.count(name) > 1})
    if repeated:
        raise UnreadableError(f"row 1: the header has {', '.join(map(printable, repeated))} more than once")
    if not any(columns):
        raise UnreadableError("row 1 is blank; the names of the columns must stand there")
    records = Records(columns)
    skipped = 0
    while not header_only:
        first, start = skipped + reader.line_num + 1, text.tell()
        try:
            cells = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            skipped += _read_to_the_end_of_the_broken(text, start)
            wrong = f"{error}{hint}"
        else:
            if len(cells) in (0, len(columns)):
                records.rows += [(first, dict(zip(columns, cells, strict=True)))] if cells else []
                continue
            wrong = f"{len(cells)} cells, the header has {len(columns)}"
        # All its lines count: what of them is a row and what the inside of a cell is not known.
        others = range(first + 1, skipped + reader.line_num + 1)
        records.problems += [(first, wrong), *((row, f"belongs to row {first}, which is broken") for row in others)]
    return records


def _read_to_the_end_of_the_broken(text: io.StringIO, start: int) -> int:
    """Reads on from a broken record, which began at `start`, until its quotation marks are even; how many lines that took."""
    end = text.tell()
    text.seek(start)
    marks, lines = text.read(end - start).count('"'), 0
    while marks % 2 and (line := text.readline()):
        marks, lines = marks + line.count('"'), lines + 1
    return lines


def _jsonl(lines: io.StringIO, header_only: bool) -> Records:
    """The columns are those of the first HEAD_ROWS objects, whether the rest is read or not."""
    records = Records([])
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            if number == 1 and line.lstrip().startswith("["):
                raise UnreadableError("it is one JSON array; name it .json, or write one JSON object a line") from None
            records.problems.append((number, f"broken JSON: {error.msg}"))
            continue
        if isinstance(value, list) and number == 1:
            raise UnreadableError("it is a JSON array; name it .json, or write one JSON object a line")
        if not isinstance(value, dict):
            records.problems.append((number, "a line must be a JSON object"))
            continue
        if len(records.rows) < HEAD_ROWS:
            records.columns += [key for key in value if key not in records.columns]
        elif header_only:
            break
        records.rows.append((number, value))
    if not records.rows and records.problems:
        raise UnreadableError(f"row {records.problems[0][0]}: {records.problems[0][1]}; write one JSON object a line")
    return Records(records.columns) if header_only else records


def _json_array(text: str, header_only: bool) -> Records:
    """The objects of an array, numbered from 1; the columns as of jsonl."""
    records = Records([])
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"line {error.lineno}: broken JSON: {error.msg}") from None
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            records.problems.append((number, "what stands in the array must be a JSON object"))
            continue
        if len(records.rows) < HEAD_ROWS:
            records.columns += [key for key in value if key not in records.columns]
        records.rows.append((number, value))
    if not records.rows and records.problems:
        raise UnreadableError(f"row {records.problems[0][0]}: {records.problems[0][1]}")
    return Records(records.columns) if header_only else records


def _lines(lines: io.StringIO, header_only: bool) -> Records:
    """A text a line, blank ones left out.

    Raises:
        UnreadableError: its lines look like the rows of a table.
    """
    rows = [(number, {TEXT: line}) for number, line in enumerate(lines, start=1) if line.strip()]
    head = [row[TEXT].strip().count("\t") for _, row in rows[:HEAD_ROWS]]
    if len(head) > 1 and head[0] and len(set(head)) == 1:
        tabs = "a tab" if head[0] == 1 else f"{head[0]} tabs"
        raise UnreadableError(
            f"each of the {len(head)} lines that were looked at has {tabs}, as the rows of a table have; name it .tsv, with the names "
            "of its columns in row 1, or take the tabs out"
        )
    return Records([TEXT], [] if header_only else rows)


def _parquet(path: Path, header_only: bool) -> Records:
    try:
        file = pq.ParquetFile(path)
        columns = list(file.schema_arrow.names)
        rows: Iterator[tuple[int, dict[str, Any]]] = iter(())
        if not header_only:
            rows = enumerate(file.read().to_pylist(), start=1)
        return Records(columns, list(rows))
    except (pa.ArrowException, OSError) as error:
        raise UnreadableError(f"broken parquet: {str(error).splitlines()[0]}") from None

"""Reads a file into records with the row numbers that a person would count; `NA` and `null` are words."""

from __future__ import annotations

import codecs
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

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
PARQUET_MAGIC = b"PAR1"
# The first bytes of what is often given a wrong suffix, and what to do about it.
FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file; export it as csv",
    b"\xd0\xcf\x11\xe0": "an old Excel file; export it as csv",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    codecs.BOM_UTF16_LE: "utf-16; set {section}.encoding=utf-16",
    codecs.BOM_UTF16_BE: "utf-16; set {section}.encoding=utf-16",
}
HEAD_BYTES = 1 << 20
HEAD_ROWS = 100
# Of a file that is read, and its rows judged, in half a second.
SMALL_BYTES, SMALL_ROWS = 4 << 20, 20_000
LONGEST_CELL = 2**31 - 1  # characters


class UnreadableError(Exception):
    """The file as a whole cannot be read; the message says why."""


def is_small(path: Path) -> bool:
    """Whether all of a file is read, or found to be none, in no time."""
    if not path.is_file():
        return True
    if path.suffix.lower() != ".parquet":
        return path.stat().st_size <= SMALL_BYTES and path.read_bytes().count(b"\n") <= SMALL_ROWS
    try:
        held = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return True
    size = sum(held.row_group(group).total_byte_size for group in range(held.num_row_groups))
    return held.num_rows <= SMALL_ROWS and size <= SMALL_BYTES


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
        delimiter: of csv and tsv; None: a comma, or a tab in .tsv.
        quoted: whether a cell of csv or tsv may stand in quotation marks; None: in .csv it may, in .tsv a mark is a
            character like others, as in the public corpora.
        header_only: no rows.
        section: of the config, where the keys stand that help.

    Raises:
        UnreadableError: missing, empty, of another format than its suffix says, or not in this encoding.
    """
    if path == Path():
        raise UnreadableError("is empty; name a file")
    if not path.is_file():
        raise UnreadableError("is a folder; name a file" if path.is_dir() else "there is no such file")
    if path.suffix.lower() not in SUFFIXES:
        raise UnreadableError(f"the suffix {path.suffix!r} is none of {', '.join(SUFFIXES)}")
    with path.open("rb") as file:
        start = file.read(8192)
    suffix = path.suffix.lower()
    _check_format(start, suffix, encoding, section)
    if suffix == ".parquet":
        return _parquet(path, header_only)
    text = io.StringIO(_text(path, encoding, header_only, section), newline="")
    if suffix == ".jsonl":
        return _jsonl(text, header_only)
    delimiter = delimiter or ("\t" if suffix == ".tsv" else ",")
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UnreadableError(f"{section}.delimiter={delimiter!r} must be one character, such as ';'")
    quoted = suffix == ".csv" if quoted is None else quoted
    return _csv(text, delimiter, header_only, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE, section=section)


def _check_format(start: bytes, suffix: str, encoding: str, section: str) -> None:
    """Refuses what is not of the format that its suffix says, as far as the first bytes tell."""
    if not start.removeprefix(codecs.BOM_UTF8).strip():
        raise UnreadableError("the file is empty")
    parquet = start.startswith(PARQUET_MAGIC)
    if parquet != (suffix == ".parquet"):
        raise UnreadableError(
            f"its content is {'parquet' if parquet else 'no parquet'}, whatever its suffix {suffix} says"
        )
    wide = encoding.lower().startswith(("utf-16", "utf16", "utf-32", "utf32"))
    if parquet or wide:
        return
    foreign = next((kind for magic, kind in FOREIGN.items() if start.startswith(magic)), None)
    if foreign is not None:
        raise UnreadableError(f"it is {foreign.format(section=section)}")
    if b"\0" in start:
        raise UnreadableError("it holds binary data, not text")
    if suffix != ".jsonl" and start.lstrip(codecs.BOM_UTF8 + b" \r\n").startswith((b"{", b"[")):
        raise UnreadableError("its content is JSON; write one object a line and name it .jsonl")


def _text(path: Path, encoding: str, head_only: bool, section: str) -> str:
    """The text of a file, or of its head, without a byte order mark; `section` as in `read`."""
    try:
        if head_only:
            with path.open("rb") as file:
                data = file.read(HEAD_BYTES)
                head = data.decode(encoding, errors="ignore").removeprefix("\ufeff")
                if not file.read(1):
                    return head
            # A line that was cut would be taken for a broken one; where no other is there, all is read.
            if whole_lines := head[: head.rfind("\n") + 1]:
                return whole_lines
        data = path.read_bytes()
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        better = next((name for name in ("utf-8", "cp1252") if _decodes(data, name)), "latin-1")
        raise UnreadableError(
            f"row {row}: byte 0x{data[error.start]:02x} is no {encoding}; {section}.encoding={better} would read it"
        ) from None
    except LookupError:
        raise UnreadableError(
            f"{section}.encoding={encoding}: there is no such encoding; common ones are utf-8, utf-16, cp1252, latin-1"
        ) from None


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


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
                raise UnreadableError("it is one JSON array; write one JSON object a line") from None
            records.problems.append((number, f"broken JSON: {error.msg}"))
            continue
        if isinstance(value, list) and number == 1:
            raise UnreadableError("it is a JSON array; write one JSON object a line")
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

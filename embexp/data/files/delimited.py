"""Rows of cells, as csv and tsv have them; what is broken costs its own lines, and none of these is taken for a row."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from embexp.config.errors import printable
from embexp.data.files.content import UnreadableError
from embexp.data.files.records import Row, Swallowed, Torn
from embexp.units import counted

LONGEST_CELL = 2**31 - 1  # characters


@dataclass(frozen=True)
class Delimited:
    """How rows are parted into cells.

    Attributes:
        delimiter: between two of them, one character.
        quoted: whether a cell may stand in quotation marks.
        section: of the config, where the keys stand that help; None: there are none.
    """

    delimiter: str
    quoted: bool
    section: str | None

    def columns(self, text: TextIO) -> list[str]:
        """Those that the header names.

        Raises:
            UnreadableError: it is blank, broken, or names one twice.
        """
        try:
            columns = [name.strip() for name in next(self._cells(text), [])]
        except csv.Error as error:
            raise UnreadableError(f"row 1: {self._told(error)}") from None
        repeated = sorted({name for name in columns if name and columns.count(name) > 1})
        if repeated:
            raise UnreadableError(f"row 1: the header has {', '.join(map(printable, repeated))} more than once")
        if not any(columns):
            raise UnreadableError("row 1 is blank; the names of the columns must stand there")
        return columns

    def rows(self, text: TextIO) -> Iterator[Row]:
        """All but the header."""
        record: list[str] = []
        lines = _noted(text, record)
        reader = self._cells(lines)
        columns = [name.strip() for name in next(reader)]
        skipped = 0
        while True:
            record.clear()
            first = skipped + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                skipped += _read_to_the_end_of_the_broken(lines, record)
                wrong = self._told(error)
            else:
                if len(cells) in (0, len(columns)):
                    if cells:
                        yield first, dict(zip(columns, cells, strict=True))
                    continue
                wrong = f"{counted(len(cells), 'cell')}, the header has {len(columns)}"
                if not self.quoted and any(cell.count('"') % 2 for cell in cells):
                    wrong = Torn(wrong)
            yield first, wrong
            # All its lines count: what of them is a row and what the inside of a cell is not known.
            for row in range(first + 1, skipped + reader.line_num + 1):
                yield row, Swallowed.of(first)

    def _cells(self, lines: Iterable[str]) -> Any:
        # Once for the process: csv's own limit is shorter than some documents.
        csv.field_size_limit(LONGEST_CELL)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
        )

    def _told(self, error: csv.Error) -> str:
        told = f"{error}; in a quoted cell a quotation mark is written twice"
        if self.section is None:
            return told
        return f"{told}, and with {self.section}.quoted=false it is a character like others"


def _noted(text: TextIO, record: list[str]) -> Iterator[str]:
    """The lines of a text; each is added to what is noted, too."""
    for line in text:
        record.append(line)
        yield line


def _read_to_the_end_of_the_broken(lines: Iterator[str], record: Sequence[str]) -> int:
    """Reads on from a broken record until its quotation marks are even; how many lines that took."""
    marks, count = sum(line.count('"') for line in record), 0
    while marks % 2 and (line := next(lines, "")):
        marks, count = marks + line.count('"'), count + 1
    return count

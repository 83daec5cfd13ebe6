"""What files are read into: rows, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any


class Swallowed(str):
    """What is said of a line that another row, which is broken, has taken with it.

    Attributes:
        by: the number of that row.
    """

    by: int

    @classmethod
    def of(cls, row: int) -> Swallowed:
        """By the row of this number."""
        said = cls(f"belongs to row {row}, which is broken")
        said.by = row
        return said


class Torn(str):
    """What is said of a line with too few or too many cells, one of which has an odd number of quotation marks."""


# Its number, and its values by column; a sentence instead, of what could not be read.
Row = tuple[int, dict[str, Any] | str]


@dataclass(frozen=True)
class Records:
    """What a file holds.

    Attributes:
        columns: in the file's order.
        read: gives all rows, with these columns or more; csv and tsv count the header as row 1. As it is used it raises
            UnreadableError where the file is broken further down, or not in its encoding.
    """

    columns: list[str]
    read: Callable[[Sequence[str]], Iterator[Row]]

    def first(self, limit: int | None) -> Records:
        """The first so many rows, those with problems counted in."""
        return self if limit is None else replace(self, read=lambda columns: islice(self.read(columns), limit))

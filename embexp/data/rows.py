"""Rows: one split of a source, checked, with exactly the columns that its kind has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.config import ConfigError, Kind
from embexp.config.errors import first_line, printable
from embexp.data.tables import AT_ONCE, records_of

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "dev", "test"]

NLI_LABELS = ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "nli": ("premise", "hypothesis", "label"),
    "scored": ("sentence1", "sentence2", "score"),
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "labelled": ("text", "label"),
    "texts": ("text",),
}
# Whose first text asks for the others, as a question does: scored rows and NLI's are alike on both sides.
DIRECTED: tuple[Kind, ...] = ("pairs", "triplets")
TYPES = {"label": pa.int64(), "score": pa.float64()}
# What a person who got a value wrong is told that it must be.
CALLED = {
    pa.string(): "a text",
    pa.int64(): "a whole number (embexp.data.rows.label_number makes one of a word)",
    pa.float64(): "a number",
}
# What a text may end with or not, and be the same text.
ENDINGS = ".,;:!?…。！？ "


def text_key(text: str) -> int:
    """By which a text is held against others: capitals, the number of blanks and what it ends with make no other text of it.

    A number of this process, not the text: of millions of them it takes little memory.
    """
    return hash(" ".join(text.casefold().split()).rstrip(ENDINGS) or text)


def label_number(word: str) -> int:
    """The number that stands for a text's label: the same everywhere, so that no list of all labels is needed."""
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), signed=True)


def hashes_of(table: pa.Table, key: Callable[[str], int] = hash) -> NDArray[np.int64]:
    """A number of 8 bytes for each text of some rows, [rows, texts of a row]; of this process: see `text_key`."""
    columns = [table.column(name).to_pylist() for name in table.column_names if name not in TYPES]
    return np.array([list(map(key, column)) for column in columns], dtype=np.int64).T


@dataclass(frozen=True)
class Rows:
    """One split.

    Attributes:
        kind: what a row is; `COLUMNS[kind]` are its columns. NLI's `label` is 0 entailment, 1 neutral,
            2 contradiction; a text's any number that texts of its label have, and no others; `score` lies in 0..1.
        table: exactly these columns, in this order; no missing value, no blank text.
        name: what messages and logs call it: "helpdesk train", "my.csv".
        counts: what was read and what was dropped, and why: {"read": 10, "dropped_bad_rows": 1}.
        known_fingerprint: where it was computed before; None: it is computed when it is asked for.
    """

    kind: Kind
    table: Dataset
    name: str
    counts: dict[str, int] = field(default_factory=dict)
    known_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if tuple(self.table.column_names) != COLUMNS[self.kind]:
            wanted, given = ", ".join(COLUMNS[self.kind]), ", ".join(self.table.column_names)
            raise ConfigError(
                [f"{self.name}: rows of kind {self.kind} have the columns {wanted}, in this order; given: {given}."]
            )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of kind and values, in order: the same rows from another file have the same fingerprint."""
        if self.known_fingerprint is not None:
            return self.known_fingerprint
        digest = hashlib.sha256(self.kind.encode())
        for column in COLUMNS[self.kind]:
            for (value,) in chain.from_iterable(map(records_of, self.batches([column]))):
                digest.update(repr(value).encode())
                digest.update(b"\0")
        return digest.hexdigest()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Some rows at a time, with these columns."""
        tables: Iterator[pa.Table] = (
            self.table.select_columns(list(columns)).with_format("arrow").iter(batch_size=AT_ONCE)
        )
        return tables

    @property
    def text_columns(self) -> list[str]:
        """The columns that hold texts, in order."""
        return [column for column in COLUMNS[self.kind] if column not in TYPES]

    def values(self, column: str) -> list[Any]:
        """A column as plain values; by way of Arrow, many times faster than `list(self.table[column])`."""
        values: list[Any] = self.table.with_format("arrow")[:].column(column).to_pylist()
        return values


class Source(Protocol):
    """What a data option's `_target_` builds."""

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; None where the source has no such split."""


class KeptSource(Source, Protocol):
    """One of embexp's own, whose rows are kept: what they depend on beside its arguments is known."""

    def files(self) -> Sequence[Path] | None:
        """All that it reads; None where that cannot be told, and the rows are not kept."""


@runtime_checkable
class WritingSource(KeptSource, Protocol):
    """One that writes rows as it reads them: however many they are, they take no memory."""

    def load_into(self, split: Split, folder: Path | None) -> Rows | None:
        """As `load`, mapped from a file of this folder; None: in memory.

        Raises:
            UnwritableError: no more can be written there.
        """


def arrow_table(kind: Kind, columns: Mapping[str, list[Any]]) -> pa.Table:
    """A table from one list of values a column."""
    return pa.table([columns[name] for name in COLUMNS[kind]], schema=schema_of(COLUMNS[kind]))


def schema_of(columns: Sequence[str]) -> pa.Schema:
    """Texts, but for labels and scores."""
    return pa.schema([(column, TYPES.get(column, pa.string())) for column in columns])


def rows_from(kind: Kind, columns: dict[str, list[object]], *, name: str, counts: dict[str, int]) -> Rows:
    """Rows from one list of values a column.

    Args:
        kind: what a row is.
        columns: those of the kind, in any order; others are left out.
        name, counts: see `Rows`.

    Raises:
        ConfigError: there is no such kind, a column is missing, they are not of one length, or a value is not what its column has.
    """
    from datasets import Dataset

    if problem := _what_is_wrong_with_columns(kind, columns):
        raise ConfigError([f"{name}: {problem}."])
    try:
        table = arrow_table(kind, columns)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        told = _first_wrong_value(kind, columns) or f": {first_line(error)}"
        raise ConfigError([f"{name}{told}."]) from error
    return Rows(kind, Dataset(table), name, counts)


def _what_is_wrong_with_columns(kind: Kind, columns: Mapping[str, Any]) -> str | None:
    if kind not in COLUMNS:
        return f"there are no rows of kind {kind!r}; kinds: {', '.join(COLUMNS)}"
    wanted = COLUMNS[kind]
    if any(column not in columns for column in wanted):
        given = ", ".join(map(str, columns)) or "none"
        return f"rows of kind {kind} have the columns {', '.join(wanted)}; given: {given}"
    for column in wanted:
        if not isinstance(columns[column], Iterable):
            return f"{column} is {printable(repr(columns[column]))}, not a list of values"
    lengths = {column: len(columns[column]) for column in wanted if isinstance(columns[column], Sized)}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{column} has {length}" for column, length in lengths.items())
        return f"each row has a value in every column, but {told}"
    return None


def _first_wrong_value(kind: Kind, columns: Mapping[str, Iterable[Any]]) -> str | None:
    """Which row, counted from 1, has a value that Arrow cannot take; one by one, for it is known that there is one."""
    for column in COLUMNS[kind]:
        dtype = TYPES.get(column, pa.string())
        for row, value in enumerate(columns[column], start=1):
            try:
                pa.array([value], dtype)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                return f" row {row}: {column} is {printable(repr(value))}, not {CALLED[dtype]}"
    return None

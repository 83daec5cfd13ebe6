"""A split of a published data set as it lies in parquet files or in the hub's cache: read some rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from embexp.config import ConfigError
from embexp.data.tables import AT_ONCE

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Stored:
    """What can be read.

    Attributes:
        schema: of all columns.
        count: of the rows.
        read: gives the rows, some at a time, with the columns that are named.
    """

    schema: pa.Schema
    count: int
    read: Callable[[Sequence[str]], Iterator[pa.Table]]

    @property
    def columns(self) -> list[str]:
        """Their names."""
        names: list[str] = self.schema.names
        return names

    def has_texts(self, column: str) -> bool:
        """Whether nothing else can stand in a column, as its type says."""
        held = self.schema.field(column).type
        return bool(pa.types.is_string(held) or pa.types.is_large_string(held))

    def values(self, column: str) -> Iterator[Any]:
        """All of a column, one after another."""
        for table in self.read([column]):
            yield from table.column(column).to_pylist()

    def first(self, limit: int) -> Stored:
        """The first so many rows."""

        def read(columns: Sequence[str]) -> Iterator[pa.Table]:
            left = limit
            for table in self.read(columns):
                yield table[:left]
                left -= len(table)
                if left <= 0:
                    return

        return replace(self, count=min(limit, self.count), read=read)


def of_hub(dataset: Dataset) -> Stored:
    """A data set that the library has loaded."""

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        tables: Iterator[pa.Table] = dataset.select_columns(list(columns)).with_format("arrow").iter(batch_size=AT_ONCE)
        return tables

    return Stored(dataset.features.arrow_schema, len(dataset), read)


def of_parquet(files: Sequence[Path]) -> Stored:
    """Files of one folder, one after another.

    Raises:
        ConfigError: one is not parquet, or not of the same columns as the others; also while it is read.
    """

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        try:
            for file in files:
                # Mapped: of a group of rows, which may be all of them, no column is copied into memory.
                with pq.ParquetFile(file, memory_map=True) as opened:
                    for batch in opened.iter_batches(batch_size=AT_ONCE, columns=list(columns)):
                        yield pa.Table.from_batches([batch])
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(files, error) from error

    try:
        held = [pq.read_metadata(file) for file in files]
        schema = pa.concat_tables([pq.read_schema(file).empty_table() for file in files]).schema
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(files, error) from error
    return Stored(schema, sum(each.num_rows for each in held), read)


def said_by(error: Exception) -> str:
    """The first line of what a library says is wrong."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _unreadable(files: Sequence[Path], error: Exception) -> ConfigError:
    names = ", ".join(file.name for file in files)
    return ConfigError([f"{files[0].parent}: {names}: not parquet, or not of the same columns: {said_by(error)}"])

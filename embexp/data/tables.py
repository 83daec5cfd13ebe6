"""Tables that are never in memory as a whole: made and read some rows at a time, in between in a file that is mapped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

TABLE, PASSING = "table.arrow", "passing.arrow"
# Rows that are read, judged and written at once: enough for Arrow, few enough for their lists to be nothing.
AT_ONCE = 5_000


class UnwritableError(OSError):
    """What is made cannot be written where it should be."""


def written(tables: Iterable[pa.Table], schema: pa.Schema, folder: Path | None, *, called: str = TABLE) -> Dataset:
    """One table of all, in a new file of a folder that is called so, mapped from there; without a folder, in memory.

    The file may be renamed or removed while the table is in use.

    Raises:
        UnwritableError: no more can be written there.
    """
    from datasets import Dataset

    if folder is None:
        return Dataset(pa.concat_tables([schema.empty_table(), *tables]))
    file = folder / called
    writer = _Writer(file, schema)
    try:
        for table in tables:
            writer.write(table)
    finally:
        writer.close()
    # Without a name of its own it would be hashed, and for that copied into memory.
    return Dataset(pa.ipc.open_stream(pa.memory_map(str(file))).read_all(), fingerprint=folder.name)


def passing(tables: Iterable[pa.Table], schema: pa.Schema, folder: Path | None) -> Dataset:
    """As `written`, in a file that is gone with the table: for what is wanted on the way to another one."""
    table = written(tables, schema, folder, called=PASSING)
    if folder is not None:
        (folder / PASSING).unlink()
    return table


def filtered(tables: Iterable[pa.Table], kept: NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Of each table the rows to keep.

    Args:
        tables: one after another.
        kept: of all their rows, in order, which.
    """
    end = 0
    for table in tables:
        start, end = end, end + len(table)
        yield table.filter(pa.array(kept[start:end]))


def parts(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Of rows, as many at a time as are made at once."""
    return (numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE))


def records_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Its rows as plain values."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)


class _Writer:
    """An Arrow stream; what its file cannot take is told apart from what goes wrong where the rows come from."""

    def __init__(self, file: Path, schema: pa.Schema) -> None:
        try:
            self._file = pa.OSFile(str(file), "wb")
            self._stream = pa.ipc.new_stream(self._file, schema)
        except OSError as error:
            raise UnwritableError(*error.args) from error

    def write(self, table: pa.Table) -> None:
        try:
            # In one piece at first: what was filtered may be in many.
            self._stream.write_table(table.combine_chunks(), max_chunksize=AT_ONCE)
        except OSError as error:
            raise UnwritableError(*error.args) from error

    def close(self) -> None:
        try:
            self._stream.close()
            self._file.close()
        except OSError as error:
            raise UnwritableError(*error.args) from error

"""Rows that say what an earlier row says, found without holding the rows: 9 bytes of memory each.

Rows whose hashes are alike are compared for real: none is taken for another because of its hash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.data.tables import records_of

# Hashes that several rows have, whose rows are in memory at once to be compared.
COMPARED_AT_ONCE = 50_000
# Between them hashes are sorted, one part after another.
EDGES = np.linspace(-(2.0**63), 2.0**63, 17)[1:-1].astype(np.int64)


def first_of_each(read: Callable[[], Iterator[pa.Table]]) -> NDArray[np.bool_]:
    """Of all rows, in order, whether it is the first that says this.

    Args:
        read: gives all rows, some at a time, and the same ones each time.
    """
    hashes = np.fromiter((_hash_of(record) for table in read() for record in records_of(table)), dtype=np.int64)
    first = np.ones(len(hashes), dtype=bool)
    shared = _shared(hashes)
    for start in range(0, len(shared), COMPARED_AT_ONCE):
        _compare(read(), hashes, shared[start : start + COMPARED_AT_ONCE], first)
    return first


def _shared(hashes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The hashes that more than one row has, in order."""
    found = []
    for low, high in pairwise([None, *EDGES, None]):
        part = np.ones(len(hashes), dtype=bool) if low is None else hashes >= low
        part &= True if high is None else hashes < high
        ordered = np.sort(hashes[part])
        found.append(np.unique(ordered[1:][ordered[1:] == ordered[:-1]]))
    return np.concatenate(found)


def _compare(
    tables: Iterator[pa.Table], hashes: NDArray[np.int64], some: NDArray[np.int64], first: NDArray[np.bool_]
) -> None:
    """Marks in `first` which rows that have one of some hashes are not the first of their kind."""
    seen: set[tuple[Any, ...]] = set()
    end = 0
    for table in tables:
        start, end = end, end + len(table)
        of_table = hashes[start:end]
        chosen = np.flatnonzero(some[np.searchsorted(some, of_table).clip(max=len(some) - 1)] == of_table)
        for row, record in zip(chosen, records_of(table.take(chosen)), strict=True):
            first[start + row] = record not in seen
            seen.add(record)


def _hash_of(record: tuple[Any, ...]) -> int:
    return hash(record)

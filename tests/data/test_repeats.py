"""Rows that say what an earlier one says: found whatever their hashes are, and however many are compared at once."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from embexp.data import repeats
from embexp.data.repeats import first_of_each

EXTREMES = [-(2**63), -1, 0, 1 << 60, 2**63 - 1]
HASHES: dict[str, Callable[[tuple], int]] = {
    "its own": hash,
    "one of all": lambda record: 7,
    "one of a few": lambda record: EXTREMES[hash(record) % len(EXTREMES)],
}


def tables(records: list[tuple], *, at_once: int) -> list[pa.Table]:
    table = pa.Table.from_pylist([{"text": text, "score": score} for text, score in records])
    return [table[start : start + at_once] for start in range(0, len(table), at_once)]


def first(records: list[tuple], *, at_once: int = 3) -> list[bool]:
    return first_of_each(lambda: iter(tables(records, at_once=at_once))).tolist()


@pytest.mark.parametrize("compared", [1, 2, 50_000])
@pytest.mark.parametrize("hashed", HASHES)
def test_the_first_of_equal_rows_is_found_and_none_is_lost_to_a_hash_that_others_have(monkeypatch, hashed, compared):
    monkeypatch.setattr(repeats, "_hash_of", HASHES[hashed])
    monkeypatch.setattr(repeats, "COMPARED_AT_ONCE", compared)
    draw = random.Random(1)
    records = [(f"text {draw.randrange(12)}", draw.randrange(3) / 2) for _ in range(60)]
    expected = [record not in records[:place] for place, record in enumerate(records)]
    assert 10 < sum(expected) < 50
    assert first(records) == expected


def test_rows_that_differ_in_one_value_are_not_the_same():
    assert first([("a", 1.0), ("a", 0.5), ("b", 1.0), ("a", 1.0)]) == [True, True, True, False]


def test_no_rows_have_no_first():
    assert first_of_each(lambda: iter([])).tolist() == []


def test_only_rows_that_share_a_hash_are_read_again(monkeypatch):
    compared: list[tuple] = []
    whole = repeats.records_of

    def watched(table):
        found = list(whole(table))
        compared.extend(found)
        return iter(found)

    hashes, first_ones = np.array([3, 4, 3, 5]), np.ones(4, dtype=bool)
    monkeypatch.setattr(repeats, "records_of", watched)
    read = tables([("3", 0.0), ("4", 0.0), ("3", 0.0), ("5", 0.0)], at_once=2)
    repeats._compare(iter(read), hashes, np.array([3]), first_ones)
    assert compared == [("3", 0.0)] * 2
    assert first_ones.tolist() == [True, True, False, True]

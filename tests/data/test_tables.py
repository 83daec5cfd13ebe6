"""Tables that are written as they are made: the same as in memory, and what goes wrong is told apart."""

from __future__ import annotations

import pyarrow as pa
import pytest

from embexp.data.tables import TABLE, UnwritableError, records_of, written

SCHEMA = pa.schema([("text", pa.string()), ("label", pa.int64())])


def tables(count: int = 3) -> list[pa.Table]:
    return [pa.table([[f"text {n}", "ä"], [n, n]], schema=SCHEMA) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_table_that_is_mapped_is_the_one_that_would_be_in_memory(tmp_path, count):
    mapped, plain = written(tables(count), SCHEMA, tmp_path), written(tables(count), SCHEMA, None)
    assert mapped.to_dict() == plain.to_dict()
    assert mapped.features == plain.features
    assert len(mapped) == 2 * count


def test_a_mapped_table_takes_no_memory_of_arrow_s(tmp_path):
    many = pa.table([["a text that is rather long"] * 100_000, range(100_000)], schema=SCHEMA)
    before = pa.total_allocated_bytes()
    mapped = written((many for _ in range(10)), SCHEMA, tmp_path)
    assert len(mapped) == 1_000_000
    assert pa.total_allocated_bytes() - before < many.nbytes


def test_a_table_outlives_the_name_of_its_file(tmp_path):
    mapped = written(tables(), SCHEMA, tmp_path)
    (tmp_path / TABLE).unlink()
    assert mapped["label"][:] == [0, 0, 1, 1, 2, 2]


def test_a_folder_that_cannot_be_written_in_is_told_as_such(tmp_path):
    with pytest.raises(UnwritableError, match="nowhere"):
        written(tables(), SCHEMA, tmp_path / "nowhere")


def test_what_goes_wrong_where_the_rows_come_from_is_told_as_it_is(tmp_path):
    def broken():
        yield from tables(1)
        raise FileNotFoundError("the rows")

    with pytest.raises(FileNotFoundError, match="the rows"):
        written(broken(), SCHEMA, tmp_path)


def test_records_are_rows_of_plain_values():
    assert list(records_of(tables(1)[0])) == [("text 0", 0), ("ä", 0)]

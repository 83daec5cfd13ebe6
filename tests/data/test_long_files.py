"""Files of any length: read some rows at a time, the same rows as at once, and never in memory as a whole."""

from __future__ import annotations

import gzip
import json
import logging
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data import build_source
from embexp.data.files import file as opened
from embexp.data.files import readers
from embexp.data.files import source as sources
from embexp.data.files.readers import read
from embexp.data.rows import Rows
from embexp.data.tables import TABLE
from tests.data.test_files import PAIRS, problems_of, source, written

SPLITS = ("train", "dev", "test")


@pytest.fixture
def few_at_once(monkeypatch) -> None:
    monkeypatch.setattr(opened, "AT_ONCE", 7)
    monkeypatch.setattr(readers, "AT_ONCE", 7)


@pytest.fixture
def file(tmp_path) -> Path:
    """Forty pairs, two of them bad."""
    return written(tmp_path, "r.csv", PAIRS + ",no question\nno answer,\n")


def content(rows: Rows | None) -> tuple[object, ...] | None:
    return rows and (rows.table.to_dict(), rows.table.features, rows.counts, rows.fingerprint, rows.name)


@pytest.mark.parametrize("given", [{}, {"dev": "own"}, {"dev_fraction": 0.0}, {"limit": 12}])
@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_written_into_the_folder_and_are_those_that_are_read_at_once(
    file, tmp_path, monkeypatch, split, given
):
    given = {**given, **({"dev": file} if "dev" in given else {}), "train": file, "test": file, "on_bad_rows": "drop"}
    at_once = source(**given).load(split)
    monkeypatch.setattr(opened, "AT_ONCE", 7)
    folder = tmp_path / "folder"
    folder.mkdir()
    some = source(**given).load_into(split, folder)
    assert content(some) == content(at_once)
    # Of the file as a whole, which is written before it is split, nothing stays.
    assert [each.name for each in folder.iterdir()] == ([TABLE] if some else [])


@pytest.mark.parametrize(("silence", "said"), [(0, ["is being read, 7 rows so far"]), (60, [])])
def test_who_waits_for_a_long_file_is_told_once_of_it_and_not_where_its_rows_are_kept(
    file, tmp_path, few_at_once, monkeypatch, caplog, silence, said
):
    data = compose(["data=files", f"data.train={file}", "data.on_bad_rows=drop"]).data
    # Not before: as it is composed, a small file is read too.
    monkeypatch.setattr(opened, "SILENCE_SECONDS", silence)
    caplog.set_level(logging.INFO)
    build_source(data, cache=str(tmp_path / "cache")).load("train")
    assert [each.message for each in caplog.records if "so far" in each.message] == [
        f"data.train={file}: {words}" for words in said
    ]
    caplog.clear()
    build_source(data, cache=str(tmp_path / "cache")).load("train")
    assert "read as pairs rows" in caplog.text
    assert "so far" not in caplog.text


def test_a_source_reads_its_file_once_for_both_parts(file, tmp_path, caplog):
    folders = [tmp_path / split for split in ("train", "dev")]
    made = source(train=file, on_bad_rows="drop")
    with caplog.at_level("INFO"):
        for folder in folders:
            folder.mkdir()
            assert made.load_into(folder.name, folder) is not None
    told = [record.getMessage() for record in caplog.records]
    assert [sum(word in line for line in told) for word in ("read as", "bad rows", "set aside")] == [1, 1, 1]


def test_a_file_that_changes_between_its_parts_is_read_again(tmp_path):
    file = written(tmp_path, "r.csv", PAIRS)
    made = source(train=file)
    made.load("train")
    written(tmp_path, "r.csv", PAIRS.replace("question", "other question"))
    assert content(made.load("dev")) == content(source(train=file).load("dev"))
    assert content(made.load("train")) == content(source(train=file).load("train"))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_what_is_wrong_far_behind_is_told_by_its_row(tmp_path, few_at_once, suffix):
    rows = [{"sentence1": f"a {n}", "sentence2": f"b {n}", "score": n % 6} for n in range(30)]
    rows[25]["sentence2"] = " "
    file = tmp_path / f"r.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        file.write_text(
            "sentence1,sentence2,score\n" + "".join(",".join(map(str, row.values())) + "\n" for row in rows)
        )
    number = 27 if suffix == "csv" else 26
    assert f"row {number}: sentence2 is empty" in problems_of(file)
    kept = source(train=file, dev=file, on_bad_rows="drop").load("train")
    # The scale is that of all rows, though the first seven would do with another.
    assert kept.table["score"][:7] == [(n % 6) / 5 for n in range(7)]
    assert len(kept.table) == 29


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "txt", "csv.gz"])
def test_a_file_is_never_in_memory_as_a_whole(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(opened, "AT_ONCE", 500)
    monkeypatch.setattr(readers, "AT_ONCE", 500)
    rows = [{"anchor": f"the question {n}", "positive": f"the answer {n}"} for n in range(20_000)]
    file = tmp_path / f"r.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    elif suffix == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif suffix == "txt":
        file.write_text("".join(f"the text {n}\n" for n in range(20_000)))
    else:
        content = ("anchor,positive\n" + "".join(f"{row['anchor']},{row['positive']}\n" for row in rows)).encode()
        file.write_bytes(gzip.compress(content) if suffix == "csv.gz" else content)
    del rows
    made = source(train=file)
    source(train=written(tmp_path, "few.csv", PAIRS)).load_into("train", tmp_path)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    rows = made.load_into("train", tmp_path)
    of_arrow = pa.total_allocated_bytes() - before
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows.table) >= 18_000
    assert of_arrow < 100_000
    # Of it are the numbers that files are split by; lists of all rows took 11 to 15 million.
    assert peak < 5_000_000


def test_of_parquet_no_other_columns_are_read(tmp_path):
    file = tmp_path / "r.parquet"
    pq.write_table(pa.table({"anchor": ["a"], "positive": ["b"], "vector": [[1.0, 2.0]]}), file)
    records = read(file, encoding="utf-8", delimiter=None)
    assert records.columns == ["anchor", "positive", "vector"]
    assert list(records.read(["anchor", "positive"])) == [(1, {"anchor": "a", "positive": "b"})]


def test_of_a_large_file_no_more_is_set_aside_than_is_worth_scoring(tmp_path, monkeypatch):
    file = written(tmp_path, "r.csv", PAIRS)
    assert len(source(train=file).load("dev").table) == 4
    monkeypatch.setattr(sources, "MOST_DEV_ROWS", 2)
    assert len(source(train=file).load("dev").table) == 2
    # A fraction that is typed is taken.
    assert len(source(train=file, dev_fraction=0.2).load("dev").table) == 8


def test_a_gzip_that_breaks_off_far_behind_is_told(tmp_path):
    packed = gzip.compress(b"".join(b"%d words, and %d more\n" % (n, 7 * n) for n in range(50_000)))
    file = written(tmp_path, "r.txt.gz", packed[: len(packed) // 2])
    assert source(train=file).kinds(["train"])["train"] == "texts"
    with pytest.raises(ConfigError, match="broken gzip"):
        source(train=file).load("train")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_text_without_a_byte_order_mark_is_told_how_to_read_it(tmp_path, encoding):
    file = written(tmp_path, "r.csv", "anchor,positive\na,é\n".encode(f"{encoding}-le"))
    assert f"data.encoding={encoding}-le or {encoding}-be would read it" in problems_of(file, encoding=encoding)
    rows = source(train=file, dev=file, encoding=f"{encoding}-le").load("train")
    assert rows.table["positive"][:] == ["é"]

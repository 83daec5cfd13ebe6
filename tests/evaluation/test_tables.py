"""Tables that evaluations read: what is empty, no number or said twice is told with its file and row."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from embexp.config import ConfigError
from embexp.evaluation.tables import add_to, read_columns

COLUMNS = {"id": ("_id", "id"), "text": ("text",), "title": ("title",)}


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    return file


def columns_of(file: Path, columns=None, **given) -> dict[str, list]:
    return read_columns(file, columns or COLUMNS, key="evaluation.it", optional=["title", "gain"], **given)


def problems_of(file: Path, columns=None, **given) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        columns_of(file, columns, **given)
    return refused.value.problems


def test_a_column_that_a_file_has_not_is_not_the_one_without_a_name(tmp_path):
    file = tmp_path / "corpus.csv"
    pd.DataFrame({"_id": ["a", "b"], "text": ["one", "two"]}).to_csv(file)
    assert file.read_text().startswith(",_id,text")
    assert columns_of(file) == {"id": ["a", "b"], "text": ["one", "two"], "title": [None, None]}


@pytest.mark.parametrize("cell", ["", "  ", '" "'])
def test_an_empty_cell_is_told_where_it_may_not_be(tmp_path, cell):
    file = written(tmp_path, "queries.csv", f"_id,text\na,one\nb,{cell}\n")
    assert problems_of(file) == [f"{file} row 3: text is empty; fill it in or leave the row out."]
    # As it is: blanks are a text to whoever published them.
    assert columns_of(file, blank=["text"])["text"] == ["one", cell.strip('"')]


def test_an_empty_cell_of_a_column_that_others_may_lack_is_told_too(tmp_path):
    file = written(tmp_path, "qrels.csv", "query,gain\na,1\nb,\n")
    columns = {"query": ("query",), "gain": ("gain",)}
    assert problems_of(file, columns, numbers=["gain"]) == [
        f"{file} row 3: gain is empty; fill it in or leave the row out."
    ]


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_an_optional_column_may_first_stand_in_a_late_row(tmp_path, suffix):
    rows = [{"_id": str(number), "text": "a"} for number in range(150)] + [{"_id": "z", "text": "b", "title": "Last"}]
    lines = "\n".join(map(json.dumps, rows))
    file = written(tmp_path, f"corpus.{suffix}", lines if suffix == "jsonl" else json.dumps(rows))
    assert columns_of(file, blank=["title"])["title"] == [""] * 150 + ["Last"]


@pytest.mark.parametrize("value", ["[1]", "Infinity", "-Infinity", '"much"', "{}"])
def test_what_is_no_number_is_told_with_its_row(tmp_path, value):
    file = written(tmp_path, "qrels.jsonl", f'{{"query": "a", "gain": 1}}\n{{"query": "b", "gain": {value}}}\n')
    columns = {"query": ("query",), "gain": ("gain",)}
    (problem,) = problems_of(file, columns, numbers=["gain"])
    assert problem.startswith(f"{file} row 2: gain ")
    assert problem.endswith(" is no number.")


def test_nan_is_no_value(tmp_path):
    file = tmp_path / "qrels.parquet"
    pd.DataFrame({"query": ["a", "b"], "gain": [1.0, float("nan")]}).to_parquet(file)
    (problem,) = problems_of(file, {"query": ("query",), "gain": ("gain",)}, numbers=["gain"])
    assert "row 2: gain is empty" in problem


def test_two_rows_of_one_id_are_refused_and_one_that_is_there_twice_is_taken_once(tmp_path):
    file = written(tmp_path, "corpus.jsonl", '{"_id": "1", "text": "a"}\n{"_id": 2, "text": "b"}\n' * 2)
    assert columns_of(file, unique=["id"])["text"] == ["a", "b"]
    with file.open("a") as opened:
        opened.write('{"_id": 1, "text": "c"}\n')
    assert problems_of(file, unique=["id"]) == [
        f"{file} row 5: the id 1 is that of row 1, which says something else; give each its own."
    ]


def test_of_a_parquet_file_only_the_columns_that_are_needed_are_read(tmp_path, monkeypatch):
    file = tmp_path / "corpus.parquet"
    pd.DataFrame({"embedding": [[0.0], [1.0]], "_id": ["a", "b"], "text": ["one", "two"]}).to_parquet(file)
    read = []

    class Noting(pq.ParquetFile):
        def iter_batches(self, *given, columns, **named):
            read.extend(columns)
            return super().iter_batches(*given, columns=columns, **named)

    monkeypatch.setattr(pq, "ParquetFile", Noting)
    assert columns_of(file) == {"id": ["a", "b"], "text": ["one", "two"], "title": [None, None]}
    assert read == ["_id", "text"]
    # What is missing is told with all that is there, also where nothing is read.
    missing = [f"evaluation.it={file}: no column word; it has embedding, _id, text."]
    assert problems_of(file, {"word": ("word",)}) == missing
    assert problems_of(file, {"id": ("_id",), "word": ("word",)}) == missing


@pytest.mark.parametrize(
    ("header", "row", "told"),
    [
        ("_id,title,text", "b,,", "text and title are empty; fill one in"),
        ("_id,title,text", 'b," "," "', "text and title are empty; fill one in"),
        ("_id,text", 'b," "', "text is empty; fill it in"),
    ],
)
def test_a_row_with_nothing_in_any_of_its_texts_is_told(tmp_path, header, row, told):
    file = written(tmp_path, "corpus.csv", f"{header}\na{',one' * header.count(',')}\n{row}\n")
    blank = ("title", "text")
    assert problems_of(file, blank=blank, one_of=blank) == [f"{file} row 3: {told} or leave the row out."]
    columns_of(file, blank=blank)
    file.write_text("_id,title,text\na,one,\nb,,two\n")
    assert columns_of(file, blank=blank, one_of=blank)["text"] == ["", "two"]


@pytest.mark.parametrize("value", ['["a", "b"]', '{"de": "a"}'])
def test_several_values_in_a_cell_are_not_taken_for_one_text(tmp_path, value):
    file = written(tmp_path, "corpus.jsonl", f'{{"_id": 1, "text": "a"}}\n{{"_id": 2, "text": {value}}}\n')
    (problem,) = problems_of(file)
    assert problem.startswith(f"{file} row 2: text is ")
    assert problem.endswith("not one text or number.")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("queries.csv", "_id,text\na,café\n".encode("cp1252"), "row 2: byte 0xe9 is no utf-8; save it as utf-8."),
        ("queries.csv", "_id,text\na,one\n".encode("utf-16"), "it is utf-16; save it as utf-8."),
        ("queries.csv", b'_id,text\na,"one" two\n', "in a quoted cell a quotation mark is written twice."),
    ],
)
def test_what_a_table_breaks_at_names_no_key_that_nothing_reads_here(tmp_path, name, content, told):
    file = tmp_path / name
    file.write_bytes(content)
    (problem,) = problems_of(file)[:1]
    assert problem.endswith(told)
    assert "data." not in problem


def test_a_file_s_hash_is_that_of_its_bytes_and_takes_no_more_memory_than_a_part_of_it(tmp_path):
    file, digest = tmp_path / "corpus.csv", hashlib.sha256(b"name")
    size = 16 << 20
    file.write_bytes(b"a" * size)
    tracemalloc.start()
    try:
        add_to(digest, file)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert digest.hexdigest() == hashlib.sha256(b"name" + b"a" * size).hexdigest()
    assert most < size // 4

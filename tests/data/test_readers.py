"""What is broken within a text file: it costs its own lines, all counted, and none of them is taken for a row."""

from __future__ import annotations

from pathlib import Path

import pytest

from embexp.data.files.content import UnreadableError
from embexp.data.files.readers import read
from tests.data.test_files import problems_of, source, written


def kept(file: Path) -> tuple[list[str], int]:
    """What is trained on where bad rows are dropped, and how many were."""
    rows = source(train=file, dev=file, on_bad_rows="drop").load("train")
    return list(rows.table["anchor"]), rows.counts.get("dropped_bad_rows", 0)


def test_a_quotation_mark_that_is_broken_within_a_line_costs_that_row(tmp_path):
    file = written(tmp_path, "r.csv", 'anchor,positive\n"a ""1""",b\n"he said "hi" to me",b\n"a\n3",b\n"a, 4",b\n')
    told = problems_of(file).splitlines()
    assert told[0].endswith("is a character like others.")
    assert "row 3: ',' expected" in told[0]
    assert "data.quoted=false" in told[0]
    assert told[1].endswith("1 of 4 rows is bad; data.on_bad_rows=drop leaves it out.")
    assert kept(file) == (['a "1"', "a\n3", "a, 4"], 1)


@pytest.mark.parametrize(
    ("lines", "bad"),
    [
        # Inside of a cell of several lines; its other lines could be taken for rows.
        (['"line one', 'he said "hi", then', "and, so", 'left",b'], 4),
        # Opened and not closed: by a mark of another row, in the row after it, at the end of the file.
        (['"a 1,b', "a 2,b", 'a 3,"b"'], 4),
        (['"a 1,b', 'a 2,b"'], 2),
        (['"a 1,b', "a 2,b"], 3),
    ],
)
def test_no_line_of_a_broken_record_is_taken_for_a_row_and_all_are_counted(tmp_path, lines, bad):
    file = written(tmp_path, "r.csv", "\n".join(["anchor,positive", "before,b", *lines, "after,b", ""]))
    assert kept(file) == (["before"] if bad > len(lines) else ["before", "after"], bad)


def test_a_long_document_in_a_cell_is_read(tmp_path):
    document = "\n".join(f"line {n}, of many" for n in range(20_000))
    file = written(tmp_path, "r.csv", f'anchor,positive\n"{document}",b\nc,d\n')
    assert kept(file) == ([document, "c"], 0)


def test_columns_of_jsonl_are_those_of_its_first_objects_before_and_when_it_is_read(tmp_path):
    later = '{"anchor": "a", "positive": "b", "negative": "c"}\n'
    file = written(tmp_path, "r.jsonl", '{"anchor": "a"}\n' + '{"anchor": "b", "positive": "c"}\n' * 120 + later)
    assert source(train=file).kinds(["train"])["train"] == "pairs"
    assert source(train=file, dev=file, on_bad_rows="drop").load("train").kind == "pairs"
    assert "row 1: positive is missing" in problems_of(file)


@pytest.mark.parametrize(
    ("content", "told", "by_key"),
    [
        (
            "_id,text\na,é\n".encode("cp1252"),
            "row 2: byte 0xe9 is no utf-8",
            "evaluation.encoding=cp1252 would read it",
        ),
        ("_id,text\na,b\n".encode("utf-16"), "it is utf-16", "evaluation.encoding=utf-16 would read it"),
    ],
)
def test_where_no_key_changes_how_a_file_is_read_it_is_to_be_saved_otherwise(tmp_path, content, told, by_key):
    (tmp_path / "r.csv").write_bytes(content)
    for section, cure in (("evaluation", by_key), (None, "save it as utf-8")):
        with pytest.raises(UnreadableError) as refused:
            read(tmp_path / "r.csv", encoding="utf-8", delimiter=None, section=section)
        assert str(refused.value) == f"{told}; {cure}"


def test_where_no_key_changes_how_a_file_is_read_a_mark_is_to_be_written_twice(tmp_path):
    file = written(tmp_path, "r.csv", '_id,text\n"a" b,c\n')
    ((row, told),) = read(file, encoding="utf-8", delimiter=None, section=None).read([])
    assert (row, told) == (2, "',' expected after '\"'; in a quoted cell a quotation mark is written twice")

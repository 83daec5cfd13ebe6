"""A person's own files: what is recognised, and that what is wrong is named by file and row."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embexp.config import ConfigError
from embexp.data.files import FileSource
from embexp.data.rows import COLUMNS

PAIRS = "anchor,positive\n" + "".join(f"question {n},answer {n}\n" for n in range(40))


def source(**given) -> FileSource:
    defaults = {
        "kind": "auto", "limit": None, "train": None, "dev": None, "test": None, "columns": None, "labels": None,
        "score_scale": None, "dev_fraction": 0.1, "on_bad_rows": "refuse", "encoding": "utf-8", "delimiter": None,
        "seed": 1,
    }  # fmt: skip
    return FileSource(**{**defaults, **{key: str(v) if isinstance(v, Path) else v for key, v in given.items()}})


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def problems_of(file: Path, **given) -> str:
    with pytest.raises(ConfigError) as refused:
        source(train=file, dev=file, **given).load("train")
    return str(refused.value)


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("anchor,positive,negative", "a,b,c", "triplets"),
        ("premise,hypothesis,label", "a,b,entailment", "nli"),
        ("sentence1,sentence2,score", "a,b,0.5", "scored"),
        ("Sentence1,Sentence2,Label", "a,b,0.5", "scored"),
        ("id,question,answer", "1,a,b", "pairs"),
        ("query,document", "a,b", "pairs"),
        ("text", "a", "texts"),
    ],
)
def test_columns_are_recognised_by_name(tmp_path, header, row, kind):
    file = written(tmp_path, "rows.csv", f"{header}\n{row}\n")
    assert source(train=file).peek_kind() == kind
    rows = source(train=file, dev=file).load("train")
    assert rows.kind == kind
    assert tuple(rows.table.column_names) == COLUMNS[kind]


def test_columns_are_taken_as_named_in_the_config(tmp_path):
    file = written(tmp_path, "rows.tsv", "b\ta\nyes\tquestion\n")
    rows = source(train=file, dev=file, columns={"anchor": "a", "positive": "b"}).load("train")
    assert list(rows.table["anchor"]) == ["question"]


def test_the_same_rows_in_every_format_have_one_fingerprint(tmp_path):
    rows = [{"anchor": f"a {n}", "positive": f"p {n}"} for n in range(5)]
    files = [
        written(tmp_path, "r.csv", "anchor,positive\n" + "".join(f"{r['anchor']},{r['positive']}\n" for r in rows)),
        written(tmp_path, "r.tsv", "anchor\tpositive\n" + "".join(f"{r['anchor']}\t{r['positive']}\n" for r in rows)),
        written(tmp_path, "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
        tmp_path / "r.parquet",
    ]
    pq.write_table(pa.Table.from_pylist(rows), files[3])
    assert len({source(train=file, dev=file).load("train").fingerprint for file in files}) == 1


def test_na_and_null_are_words(tmp_path):
    file = written(tmp_path, "rows.csv", "text\nNA\nnull\nNone\n")
    assert list(source(train=file).load("train").table["text"]) == ["NA", "null", "None"]


def test_a_byte_order_mark_and_quoted_newlines_are_fine(tmp_path):
    file = written(tmp_path, "rows.csv", b'\xef\xbb\xbfanchor,positive\n"two\nlines",b\n')
    assert list(source(train=file, dev=file).load("train").table["anchor"]) == ["two\nlines"]


BAD = {
    "empty text": ("r.csv", "anchor,positive\na,b\n,d\n", "row 3: anchor is empty"),
    "ragged row": ("r.csv", "anchor,positive\na,b,c\nd,e\n", "row 2: 3 cells, the header has 2"),
    "row after a quoted newline": ("r.csv", 'anchor,positive\n"x\ny",b\n,d\n', "row 4: anchor is empty"),
    "duplicate header": ("r.csv", "anchor,anchor\na,b\n", "the header has anchor more than once"),
    "empty file": ("r.csv", "", "the file is empty"),
    "header only": ("r.csv", "anchor,positive\n", "a header and no rows"),
    "wrong encoding": (
        "r.csv",
        "anchor,positive\ncafé,b\n".encode("latin-1"),
        "row 2: byte 0xe9 is no utf-8; data.encoding=cp1252",
    ),
    "unknown columns": ("r.csv", "foo,bar\na,b\n", "its columns are foo, bar; known are"),
    "parquet named csv": ("r.csv", b"PAR1xxxx", "its content is parquet"),
    "csv named parquet": ("r.parquet", "anchor,positive\n", "its content is no parquet"),
    "json array": ("r.jsonl", '[{"text": "a"}]', "one JSON object a line"),
    "broken json": ("r.jsonl", '{"text": "a"}\n{"text": \n', "row 2: broken JSON"),
    "missing value": ("r.jsonl", '{"anchor": "a", "positive": "b"}\n{"anchor": "a"}\n', "row 2: positive is missing"),
    "number for a text": ("r.jsonl", '{"text": 7}\n', "row 1: text is 7, not a text"),
    "unknown label": ("r.csv", "premise,hypothesis,label\na,b,maybe\n", "row 2: label 'maybe' is none of"),
    "score outside the scale": ("r.csv", "sentence1,sentence2,score\na,b,0.5\nc,d,7\n", "score_scale=[lowest,highest]"),
    "score no number": (
        "r.csv",
        "sentence1,sentence2,score\na,b,0.5\nc,d,high\n",
        "row 3: score 'high' is not a number",
    ),
    "unknown suffix": ("r.txt", "text\na\n", "the suffix '.txt' is none of"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_in_a_file_is_named(tmp_path, case):
    name, content, said = BAD[case]
    told = problems_of(written(tmp_path, name, content))
    assert said in told
    assert name in told


def test_a_missing_file_is_told(tmp_path):
    assert "there is no such file" in problems_of(tmp_path / "nowhere.csv")


def test_many_bad_rows_are_told_ten_at_a_time_and_counted(tmp_path):
    told = problems_of(written(tmp_path, "r.csv", "anchor,positive\n" + "a,\n" * 27))
    assert told.count("positive is empty") == 10
    assert "and 17 more" in told
    assert "data.on_bad_rows=drop" in told


def test_bad_rows_can_be_dropped_and_are_counted(tmp_path, caplog):
    file = written(tmp_path, "r.csv", "anchor,positive\na,b\nc,\n")
    with caplog.at_level(logging.WARNING):
        rows = source(train=file, dev=file, on_bad_rows="drop").load("train")
    assert len(rows.table) == 1
    assert rows.counts["dropped_bad_rows"] == 1
    assert "row 3" in caplog.text


def test_a_dev_set_is_split_off_that_shares_no_text_with_train(tmp_path):
    chained = "".join(f"shared {n // 3},answer {n}\n" for n in range(60))
    file = written(tmp_path, "r.csv", "anchor,positive\n" + chained)
    train, dev = source(train=file).load("train"), source(train=file).load("dev")
    assert not set(train.texts()) & set(dev.texts())
    assert len(train.table) + len(dev.table) == 60
    assert 4 <= len(dev.table) <= 12


def test_the_split_is_the_same_every_time_and_another_with_another_seed(tmp_path):
    file = written(tmp_path, "r.csv", PAIRS)
    assert source(train=file).load("dev").fingerprint == source(train=file).load("dev").fingerprint
    assert source(train=file).load("dev").fingerprint != source(train=file, seed=2).load("dev").fingerprint


def test_rows_that_all_share_a_text_cannot_be_split(tmp_path):
    file = written(tmp_path, "r.csv", "anchor,positive\n" + "".join(f"same,answer {n}\n" for n in range(40)))
    with pytest.raises(ConfigError, match=r"give data\.dev=FILE"):
        source(train=file).load("dev")


def test_a_dev_file_that_shares_texts_with_train_is_told(tmp_path, caplog):
    file = written(tmp_path, "r.csv", PAIRS)
    with caplog.at_level(logging.WARNING):
        source(train=file, dev=file).load("dev")
    assert "shares 80 texts" in caplog.text


@pytest.mark.parametrize(("scores", "expected"), [("0.2,1", [0.2, 1.0]), ("0,5", [0.0, 1.0])])
def test_the_scale_of_scores_is_detected(tmp_path, scores, expected):
    content = "sentence1,sentence2,score\n" + "".join(f"a{s},b{s},{s}\n" for s in scores.split(","))
    file = written(tmp_path, "r.csv", content)
    assert list(source(train=file, dev=file).load("train").table["score"]) == expected


def test_a_stated_scale_wins(tmp_path):
    file = written(tmp_path, "r.csv", "sentence1,sentence2,score\na,b,1\nc,d,10\n")
    rows = source(train=file, dev=file, score_scale=[0, 10]).load("train")
    assert list(rows.table["score"]) == [0.1, 1.0]


def test_limit_takes_the_first_rows(tmp_path):
    file = written(tmp_path, "r.csv", PAIRS)
    assert list(source(train=file, dev=file, limit=2).load("train").table["anchor"]) == ["question 0", "question 1"]

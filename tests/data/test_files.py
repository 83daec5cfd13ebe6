"""A person's own files: what is recognised, and that what is wrong is named by file and row."""

from __future__ import annotations

import gzip
import json
import logging
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from embexp.config import ConfigError
from embexp.data.files import FileSource
from embexp.data.files.content import UnreadableError, opened
from embexp.data.files.readers import HEAD_ROWS
from embexp.data.rows import COLUMNS

PAIRS = "anchor,positive\n" + "".join(f"question {n},answer {n}\n" for n in range(40))


def source(**given) -> FileSource:
    defaults = {
        "kind": "auto", "limit": None, "train": None, "dev": None, "test": None, "columns": None, "labels": None,
        "score_scale": None, "dev_fraction": None, "on_bad_rows": "refuse", "encoding": "utf-8", "delimiter": None, "quoted": None,
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
        ("query,passage", "a,b", "pairs"),
        ("Query,Positive", "a,b", "pairs"),
        ("query,positive,negative", "a,b,c", "triplets"),
        ("text", "a", "texts"),
        ("text,label", "a,b", "labelled"),
        ("id,Sentence,Intent", "1,a,b", "labelled"),
    ],
)
def test_columns_are_recognised_by_name(tmp_path, header, row, kind):
    file = written(tmp_path, "rows.csv", f"{header}\n{row}\n")
    assert source(train=file).kinds(["train"])["train"] == kind
    rows = source(train=file, dev=file).load("train")
    assert rows.kind == kind
    assert tuple(rows.table.column_names) == COLUMNS[kind]


def test_a_row_may_hold_a_list_of_objects_beside_its_texts(tmp_path):
    file = written(tmp_path, "one.jsonl", '{"anchor": "a", "positive": "b", "spans": [{"from": 0}]}\n')
    assert source(train=file, dev=file).load("train").values("positive") == ["b"]


def test_a_column_that_may_say_which_pairs_are_right_is_not_passed_over_in_silence(tmp_path, caplog):
    file = written(tmp_path, "pairs.csv", "id,query,document,is_duplicate\n1,a,b,1\n2,c,d,0\n")
    with caplog.at_level(logging.INFO):
        source(train=file, dev=file).load("train")
    assert "read as pairs rows (anchor: query, positive: document); not read: id, is_duplicate" in caplog.text
    (warned,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "column is_duplicate is not read: every row is taken for a right pair" in warned
    assert "'data.columns={sentence1: query, sentence2: document, score: is_duplicate}'" in warned


def test_of_a_column_beside_the_pairs_that_are_scored_on_the_cure_is_one_that_train_need_not_follow(tmp_path, caplog):
    train = written(tmp_path, "train.csv", "anchor,positive\na,b\nc,d\n")
    dev = written(tmp_path, "dev.csv", "query,document,label\na,b,1\nc,d,0\n")
    source(train=train, dev=dev).load("dev")
    assert "column label is not read: every row is taken for a right pair" in caplog.text
    assert "call the file's columns sentence1, sentence2, score" in caplog.text


def test_columns_are_taken_as_named_in_the_config(tmp_path):
    file = written(tmp_path, "rows.tsv", "b\ta\nyes\tquestion\n")
    rows = source(train=file, dev=file, columns={"anchor": "a", "positive": "b"}).load("train")
    assert list(rows.table["anchor"]) == ["question"]


@pytest.mark.parametrize(
    ("header", "columns", "row", "told"),
    [
        ("Frage,Antwort", {"anchor": "Frage", "positive": "Antwort"}, ",b", "Frage is empty"),
        ("Query,Document", None, "a,", "Document is empty"),
        (
            "a,b,alike",
            {"sentence1": "a", "sentence2": "b", "score": "alike"},
            "a,b,high\nc,d,1",
            "alike 'high' is not a number",
        ),
        ("sentence1,sentence2,label", None, 'a,b,"3,5"', "label '3,5' has a decimal comma"),
        ("p,h,gold", {"premise": "p", "hypothesis": "h", "label": "gold"}, "a,b,maybe", "gold 'maybe' is none of"),
        ("sentence,intent", None, "a,", "intent is empty (data.kind=texts reads texts alone)"),
    ],
)
def test_a_bad_row_is_told_by_the_file_s_own_name_of_the_column(tmp_path, header, columns, row, told):
    file = written(tmp_path, "r.csv", f"{header}\n{row}\n")
    assert f"row 2: {told}" in problems_of(file, columns=columns)


def test_a_bad_row_of_json_is_told_by_the_file_s_own_name_of_the_column(tmp_path):
    rows = written(tmp_path, "r.jsonl", '{"question": "a", "answer": 7}\n{"question": "b"}\n')
    told = problems_of(rows)
    assert "row 1: answer is 7, not a text" in told
    assert "row 2: answer is missing" in told


def test_a_column_without_a_name_is_told_by_its_place(tmp_path, caplog):
    file = written(tmp_path, "r.csv", ",query,document, ,note\n0,a,b,x,y\n1,c,d,x,y\n")
    with caplog.at_level(logging.INFO):
        source(train=file, dev=file).load("train")
    nameless = "a column without a name (the {})"
    assert f"; not read: {nameless.format('1st')}, {nameless.format('4th')}, note" in caplog.text
    other = written(tmp_path, "other.csv", f"words{11 * ','}\n{'a,' * 11}a\n")
    told = problems_of(other)
    assert all(nameless.format(place) in told for place in ("2nd", "3rd", "4th", "11th", "12th"))


@pytest.mark.parametrize(
    ("columns", "kind", "said"),
    [
        (
            {"premise": "a", "hypothesis": "a", "label": "b"},
            "auto",
            "takes a for premise and for hypothesis; each wants",
        ),
        ({"anchr": "a", "positive": "b"}, "auto", "names anchr (did you mean anchor?), positive; on the left it takes"),
        (
            {"anchor": "a", "positive": "b"},
            "nli",
            "on the left it for data.kind=nli takes our names of the columns: premise,",
        ),
        ({"anchor": "a", "positive": "z"}, "auto", "no column z; it has b, a"),
        (
            {"anchor": "A", "positve": "b"},
            "auto",
            "no column A (did you mean a?); it has b, a; on the left data.columns takes our names, not positve (did you mean positive?)",
        ),
    ],
)
def test_columns_that_make_no_rows_are_told(tmp_path, columns, kind, said):
    file = written(tmp_path, "rows.tsv", "b\ta\nyes\tquestion\n")
    assert said in problems_of(file, columns=columns, kind=kind)


def test_a_column_that_is_meant_is_told_as_a_terminal_can_show_it(tmp_path):
    file = written(tmp_path, "rows.csv", "question\x1b[2J,answer\na,b\n")
    assert r"no column question (did you mean question\x1b[2J?)" in problems_of(
        file, columns={"anchor": "question", "positive": "answer"}
    )


def test_a_text_can_be_its_own_positive(tmp_path):
    file = written(tmp_path, "rows.csv", "text\na\nb\n")
    rows = source(train=file, dev=file, columns={"anchor": "text", "positive": "text"}).load("train")
    assert list(rows.table["anchor"]) == list(rows.table["positive"]) == ["a", "b"]


def test_the_same_rows_in_every_format_have_one_fingerprint(tmp_path):
    rows = [{"anchor": f"a {n}", "positive": f"p {n}"} for n in range(5)]
    files = [
        written(tmp_path, "r.csv", "anchor,positive\n" + "".join(f"{r['anchor']},{r['positive']}\n" for r in rows)),
        written(tmp_path, "r.tsv", "anchor\tpositive\n" + "".join(f"{r['anchor']}\t{r['positive']}\n" for r in rows)),
        written(tmp_path, "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
        written(tmp_path, "r.json", json.dumps(rows)),
        written(tmp_path, "pretty.json", f"\n{json.dumps(rows, indent=2)}"),
        written(tmp_path, "lines.json", "".join(json.dumps(row) + "\n" for row in rows)),
        tmp_path / "r.parquet",
    ]
    pq.write_table(pa.Table.from_pylist(rows), files[-1])
    packed = [written(tmp_path, f"{file.name}.GZ", gzip.compress(file.read_bytes())) for file in files[:-1]]
    files += packed
    assert {source(train=file).kinds(["train"])["train"] for file in files} == {"pairs"}
    assert len({source(train=file, dev=file).load("train").fingerprint for file in files}) == 1


def test_a_txt_holds_a_text_a_line_whatever_is_in_it(tmp_path):
    file = written(tmp_path, "r.txt", '[1] one, "two"\r\n\n  {three}\nnull')
    assert source(train=file).kinds(["train"])["train"] == "texts"
    assert list(source(train=file).load("train").table["text"]) == ['[1] one, "two"', "{three}", "null"]


@pytest.mark.parametrize(
    ("lines", "tabs"),
    [
        (["how do I\tso", "where is\tthere", "", "when\tnow"], "each of the 3 lines that were looked at has a tab"),
        (["a\tb\tc", "d\te\tf"], "each of the 2 lines that were looked at has 2 tabs"),
        (["a\tb", "c", "d\te"], None),
        (["a\tb", "c\td\te"], None),
        (["a\tb"], None),
        (["\ta", "b\t"], None),
    ],
)
def test_a_txt_that_looks_like_a_table_is_told_how_it_would_be_read(tmp_path, lines, tabs):
    file = written(tmp_path, "r.txt", "\n".join(lines))
    if tabs is None:
        assert source(train=file).kinds(["train"])["train"] == "texts"
        assert len(source(train=file).load("train").table) == len(lines)
        return
    with pytest.raises(ConfigError) as refused:
        source(train=file).kinds(["train"])["train"]
    assert f"{tabs}, as the rows of a table have; name it .tsv, with the names of its columns" in str(refused.value)
    assert str(refused.value) == problems_of(file)


def test_of_a_long_txt_the_first_lines_tell_whether_it_looks_like_a_table(tmp_path):
    lines = "".join(f"question {n}\tanswer {n}\n" for n in range(HEAD_ROWS))
    assert "100 lines that were looked at" in problems_of(written(tmp_path, "r.txt", f"{lines}and a sentence\n"))
    peeked = written(tmp_path, "s.txt", f"a sentence\n{lines}")
    assert source(train=peeked).kinds(["train"])["train"] == "texts"


@pytest.mark.parametrize(
    ("key", "value", "typed"), [("delimiter", ";", ";"), ("delimiter", "\t", "\\t"), ("quoted", False, "false")]
)
def test_a_key_of_tables_is_refused_where_no_file_is_one(tmp_path, key, value, typed):
    lines, rows, table = (
        written(tmp_path, "r.txt.gz", gzip.compress(b"a; b\nc\n")),
        written(tmp_path, "r.jsonl", '{"anchor": "a", "positive": "b"}\n'),
        written(tmp_path, "r.csv", "anchor;positive\na;b\n"),
    )
    with pytest.raises(ConfigError) as refused:
        source(train=lines, dev=rows, **{key: value}).kinds(["train", "dev"])
    said = f"data.{key}={typed}: nothing reads it in r.txt.gz, r.jsonl; leave it out, or name what is a table .csv or .tsv."
    assert str(refused.value) == said
    # Beside a table it is that one's.
    assert source(train=rows, dev=table, delimiter=";").kinds(["train", "dev"])["dev"] == "pairs"


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
    "broken json": ("r.jsonl", '{"text": "a"}\n{"text": \n', "row 2: broken JSON: Expecting value at column 11"),
    "json of columns": (
        "r.json",
        '{"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}',
        "it holds columns, not rows: text, label; write an array of objects as .json, in pandas by to_json(FILE, orient='records')",
    ),
    "jsonl of columns": ("r.jsonl", '{"text": ["a", "b"]}\n', "it holds columns, not rows: text; write an array"),
    "long list for a text": ("r.jsonl", '{"text": "a"}\n{"text": ' + str([1] * 500) + "}\n", "…, not a text"),
    "tab in json": ("r.jsonl", '{"text": "a\tb"}\n', "row 1: broken JSON: Invalid control character at column 12"),
    "missing value": ("r.jsonl", '{"anchor": "a", "positive": "b"}\n{"anchor": "a"}\n', "row 2: positive is missing"),
    "number for a text": ("r.jsonl", '{"text": 7}\n', "row 1: text is 7, not a text"),
    "unknown label": ("r.csv", "premise,hypothesis,label\na,b,maybe\n", "row 2: label 'maybe' is none of"),
    "score outside the scale": ("r.csv", "sentence1,sentence2,score\na,b,0.5\nc,d,7\n", "score_scale=[lowest,highest]"),
    "score no number": (
        "r.csv",
        "sentence1,sentence2,score\na,b,0.5\nc,d,high\n",
        "row 3: score 'high' is not a number",
    ),
    "score no number where the scale cannot be told either": (
        "r.csv",
        "sentence1,sentence2,score\na,b,7\nc,d,high\n",
        "scores are from 7 to 7 (and row 3 has 'high'); say what is possible",
    ),
    "excel named csv": ("r.csv", b"PK\x03\x04rest", "Excel file; export it as csv"),
    "gzip named csv": ("r.csv", b"\x1f\x8b\x08rest", "compressed by gzip; name it r.csv.gz"),
    "utf-16": ("r.csv", "anchor,positive\na,b\n".encode("utf-16"), "it is utf-16; data.encoding=utf-16 would read it"),
    "binary": ("r.csv", b"anchor,positive\n\0\1\2,b\n", "binary data"),
    "json named csv": ("r.csv", '{"text": "a"}\n', "name it .jsonl"),
    "blank header": ("r.csv", "\nanchor,positive\na,b\n", "row 1 is blank"),
    "only spaces": ("r.csv", "\ufeff \n\n", "the file is empty"),
    "pretty-printed json": ("r.jsonl", '{\n"text":\n"a"\n}\n', "row 1: broken JSON"),
    "list on a line": ("r.jsonl", '{"text": "a"}\n"b"\n', "row 2: a line must be a JSON object"),
    "array on a line": ("r.jsonl", '{"text": "a"}\n["b"]\n', "row 2: a line must be a JSON object"),
    "null in json": ("r.jsonl", '{"text": "a"}\n{"text": null}\n', "row 2: text is missing"),
    "broken parquet": ("r.parquet", b"PAR1 and no more", "broken parquet"),
    "semicolons": ("r.csv", "anchor;positive\na;b\n", "set 'data.delimiter=\";\"'"),
    "open quote": ("r.csv", 'anchor,positive\n"a,b\nc,d\n', "unexpected end of data"),
    "hidden label": ("r.csv", "premise,hypothesis,label\na,b,-1\nc,d,0\n", "row 2: label '-1' is none of"),
    "empty label": ("r.csv", "premise,hypothesis,label\na,b,\nc,d,0\n", "row 2: label is empty"),
    "labels for scores": ("r.csv", "sentence1,sentence2,label\na,b,0\nc,d,1\ne,f,2\n", "Are they NLI labels?"),
    "words for scores": ("r.csv", "sentence1,sentence2,label\na,b,neutral\n", "Are they NLI labels?"),
    "decimal commas": ("r.csv", 'sentence1,sentence2,score\na,b,"3,5"\n', "row 2: score '3,5' has a decimal comma"),
    "negative scores": ("r.csv", "sentence1,sentence2,score\na,b,-1\nc,d,1\n", "scores are from -1 to 1"),
    "nan for a score": ("r.csv", "sentence1,sentence2,score\na,b,nan\nc,d,1\n", "row 2: score 'nan' is not a number"),
    "unknown suffix": ("r.xlsx", "text\na\n", "the suffix '.xlsx' is none of"),
    "packed otherwise": (
        "r.csv.zip",
        "text\na\n",
        "(text also as .gz); convert it to one of them, a table best to .csv",
    ),
    "packed parquet": ("r.parquet.gz", gzip.compress(b"PAR1"), "the suffix '.gz' is none of"),
    "csv named gz": ("r.csv.gz", "text\na\n", "broken gzip"),
    "half a gzip": ("r.csv.gz", gzip.compress(b"text\na\n" * 99)[:-9], "broken gzip"),
    "broken json array": (
        "r.json",
        '[{"text": "a"},\n{"text": }]',
        "line 2: broken JSON: Expecting value at column 10",
    ),
    "no object in an array": (
        "r.json",
        '[{"text": "a"}, "b"]',
        "row 2: what stands in the array must be a JSON object",
    ),
    "array of texts": ("r.json", '["a", "b"]', "row 1: what stands in the array must be a JSON object"),
    "json of keys": (
        "r.json",
        '{"data":\n[{"text": "a"}]}',
        "one object, whose key 'data' holds 1 row: write that list",
    ),
    "jsonl of keys": (
        "r.jsonl",
        '{"v": 1, "d": [{"text": "a"}]}\n',
        "one object, whose key 'd' holds 1 row: write that",
    ),
    "json of one row": ("r.json", '{"text":\n"a"}', "row 1: broken JSON"),
    "empty array": ("r.json", "[]", "it holds no rows: its array is empty"),
    "no header": (
        "r.csv",
        "Where is it?,Over there.\nc,d\n",
        "its first line looks like a row, not like names of columns: Where is it?, Over there.; write the names in a line above",
    ),
    "no header above numbers": ("r.tsv", "a word\tb\t3.5\n", "its first line looks like a row"),
    "no header and semicolons": ("r.csv", "Where is it?;Over there.\n", "set 'data.delimiter=\";\"'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_in_a_file_is_named(tmp_path, case):
    name, content, said = BAD[case]
    told = problems_of(written(tmp_path, name, content))
    assert said in told
    assert name in told


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("sentence1,sentence2,x", "sentence1, sentence2 want score or label beside them; known are"),
        ("Query,text1", "Query wants answer or document or passage or positive beside it; known are"),
        ("premise,hypothesis", "premise, hypothesis want label beside them; known are"),
        ("label,note", "label wants text or sentence beside it; known are"),
        ("foo,bar", "its columns are foo, bar; known are anchor"),
    ],
)
def test_columns_that_lack_one_are_told_which_before_all_that_are_known(tmp_path, header, said):
    told = problems_of(written(tmp_path, "r.csv", f"{header}\n{header}\n"))
    assert said.replace("known are anchor", "known are ") in told
    assert len(told.partition("known are")[2]) < 250


@pytest.mark.parametrize(
    ("header", "kind", "named"),
    [
        ("frage,antwort,nummer", "auto", {"anchor": "frage", "positive": "antwort"}),
        ("Frage (kurz),Süß", "pairs", {"anchor": "Frage (kurz)", "positive": "Süß"}),
        ("a,b,c", "triplets", {"anchor": "a", "positive": "b", "negative": "c"}),
        ("satz", "auto", {"text": "satz"}),
        ("null,true", "auto", {"anchor": "null", "positive": "true"}),
        ("ID,frage,antwort", "auto", {"anchor": "frage", "positive": "antwort"}),
    ],
)
def test_how_a_file_s_own_columns_would_be_named_is_told_as_a_shell_and_hydra_take_it(tmp_path, header, kind, named):
    told = problems_of(written(tmp_path, "r.csv", f"{header}\n{header}\n"), kind=kind)
    (word,) = shlex.split(told.partition(", as in ")[2].removesuffix("."))
    override = OverridesParser.create().parse_override(word)
    assert override.key_or_group == "data.columns"
    assert override.value() == named


@pytest.mark.parametrize("header", ["a$b,c", "it's,c", "a;b", "sentence1,sentence2,x"])
def test_columns_that_are_hard_to_quote_or_nearly_known_are_named_in_no_example(tmp_path, header):
    told = problems_of(written(tmp_path, "r.csv", f"{header}\n{header}\n"))
    assert "name yours with data.columns" in told
    assert "as in" not in told


def test_a_missing_file_is_told(tmp_path):
    assert "there is no such file" in problems_of(tmp_path / "nowhere.csv")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\x1b[2Jb\x07,caf\xc3\xa9\nc,d\n", "its columns are a\\x1b[2Jb\\x07, café; known are"),
        (b"\x1b,\x1b\nc,d\n", "the header has \\x1b more than once"),
        (b"x" * 9000 + b"\nc\n", f"its columns are {60 * 'x'}…; known are"),
        (b",".join(b"%d" % n for n in range(100)) + b"\n", ", 29 and 70 more; known are"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out_and_what_is_no_header_is_cut(tmp_path, content, said):
    told = problems_of(written(tmp_path, "r.csv", content))
    assert said in told
    assert told.isprintable()


def test_many_bad_rows_are_told_ten_at_a_time_and_counted(tmp_path):
    told = problems_of(written(tmp_path, "r.csv", "anchor,positive\n" + "a,\n" * 27 + "a,b\n"))
    assert told.count("positive is empty") == 10
    assert "and 17 more" in told
    assert "data.on_bad_rows=drop" in told
    # Where it would leave none it is no advice.
    told = problems_of(written(tmp_path, "r.csv", "anchor,positive\n" + "a,\n" * 2))
    assert told.splitlines()[-1].endswith("2 of 2 rows are bad.")


def test_where_much_of_a_file_is_bad_to_leave_it_out_is_not_the_first_advice(tmp_path):
    told = problems_of(written(tmp_path, "r.csv", "anchor,positive\n" + "a,\n" * 20 + "a,b\n" * 20)).splitlines()[-1]
    assert told.endswith(
        "20 of 40 rows are bad; so many are a sign that the file is not what it is read as: mend that first, for "
        "data.on_bad_rows=drop leaves them all out."
    )
    head = "premise,hypothesis,label\n"
    rows = ["a,b,entailment\n"] * 20 + ["a,b,maybe\n"] * 9 + ["a,b,unsure\n"]
    told = problems_of(written(tmp_path, "r.csv", head + "".join(rows))).splitlines()[-1]
    assert told.endswith(
        "10 of 30 rows are bad; say what every label of the file means, maybe, unsure too: 'data.labels={LABEL: entailment, ...}'."
    )
    # Where hardly any row has one, it may be none that anybody gave.
    rows = ["a,b,0\n"] * 20 + ["a,b,-1\n"]
    told = problems_of(written(tmp_path, "r.csv", head + "".join(rows))).splitlines()[-1]
    assert told.endswith("1 of 21 rows is bad; data.on_bad_rows=drop leaves it out.")


def test_an_open_quotation_mark_is_told_by_its_row_whatever_else_was_dropped_before(tmp_path, caplog):
    file = written(tmp_path, "r.csv", 'anchor,positive\na,b\n,d\n"e,f\n' + "g,h\n" * 30)
    with caplog.at_level(logging.WARNING):
        source(train=file, dev=file, on_bad_rows="drop").load("train")
    assert caplog.text.strip().endswith(
        "32 bad rows dropped, the first: row 3: anchor is empty; row 4, where a quotation mark may be opened and not closed, takes "
        "30 more with it"
    )
    assert "row 4, where a quotation mark may be opened" in problems_of(file).splitlines()[-1]


def test_half_of_a_character_is_a_bad_row_and_not_a_crash(tmp_path):
    file = written(
        tmp_path, "r.jsonl", '{"anchor": "a", "positive": "b"}\n{"anchor": "c", "positive": "so \\ud83d sad"}\n'
    )
    assert "row 2: positive has half of a character, '\\ud83d', at letter 4." in problems_of(file)


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
    of_train, of_dev = ({*rows.values("anchor"), *rows.values("positive")} for rows in (train, dev))
    assert not of_train & of_dev
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


@pytest.mark.parametrize("scores", ["1,2,5", "1,3", "2,1.0,4", "0,1,2,3", "0,4", "3,2"])
def test_stars_from_one_up_and_grades_below_five_are_on_a_scale_that_is_to_be_said(tmp_path, scores):
    content = "sentence1,sentence2,score\n" + "".join(f"a{s},b{s},{s}\n" for s in scores.split(","))
    assert "data.score_scale=[lowest,highest]" in problems_of(written(tmp_path, "r.csv", content))
    assert source(train=tmp_path / "r.csv", dev=tmp_path / "r.csv", score_scale=[0, 5]).load("train") is not None


def test_a_tsv_whose_texts_are_quoted_is_told_how_to_read_it(tmp_path, caplog):
    file = written(tmp_path, "r.tsv", 'anchor\tpositive\n"a"\t"b"\n"c ""d"""\t"e"\n')
    source(train=file, dev=file).load("train")
    assert "data.quoted=true takes them away" in caplog.text
    caplog.clear()
    assert source(train=file, dev=file, quoted=True).load("train").table["anchor"][:] == ["a", 'c "d"']
    source(
        train=written(tmp_path, "s.tsv", STRAY_QUOTES.replace("score", "other")),
        columns={"anchor": "sentence1", "positive": "sentence2"},
        dev=file,
    ).load("train")
    assert "quotation marks" not in caplog.text


def test_a_tsv_some_of_whose_texts_are_quoted_as_csv_is_told_how_many_and_how_to_read_it(tmp_path, caplog):
    plain = "".join(f"question {n}\tanswer {n}\n" for n in range(20))
    header = "anchor\tpositive\n"
    file = written(tmp_path, "r.tsv", f'{header}{plain}"""Not thief!"" The boy"\tb\n"so ""he"" said"\t"""a"""\n')
    source(train=file, dev=file).load("train")
    assert "3 of its texts stand in quotation marks with doubled ones inside" in caplog.text
    assert "data.quoted=true takes them away" in caplog.text
    caplog.clear()
    assert source(train=file, dev=file, quoted=True).load("train").values("anchor")[-1] == 'so "he" said'
    as_they_are = written(tmp_path, "s.tsv", f'{header}{plain}"Go," he said, "now"\t"no"\n""\t""x"" "\n')
    source(train=as_they_are, dev=as_they_are).load("train")
    assert "quotation marks" not in caplog.text


@pytest.mark.parametrize("rows", ['"two\nlines"\tb\n', 'b\t"two\nlines"\n', '"a\ttab"\tb\n'])
def test_a_tsv_with_line_breaks_in_quoted_cells_is_refused_with_what_reads_it(tmp_path, rows):
    file = written(tmp_path, "r.tsv", f"anchor\tpositive\n{rows * 20}plain\trow\n")
    assert "data.quoted=true reads them as one" in problems_of(file).splitlines()[-1]
    assert source(train=file, dev=file, quoted=True).load("train") is not None
    other = written(tmp_path, "s.tsv", "anchor\tpositive\n" + "one\n" * 20 + "plain\trow\n")
    assert "quoted" not in problems_of(other)


@pytest.mark.parametrize(("scores", "expected"), [("0.2,1", [0.2, 1.0]), ("0,5", [0.0, 1.0])])
def test_the_scale_of_scores_is_detected(tmp_path, scores, expected):
    content = "sentence1,sentence2,score\n" + "".join(f"a{s},b{s},{s}\n" for s in scores.split(","))
    file = written(tmp_path, "r.csv", content)
    assert list(source(train=file, dev=file).load("train").table["score"]) == expected


def test_the_scale_is_that_of_all_rows_whatever_the_limit(tmp_path):
    scores = (0, 0.5, 1, 2, 5)
    content = "sentence1,sentence2,score\n" + "".join(f"a{score},b{score},{score}\n" for score in scores)
    file = written(tmp_path, "r.csv", content)
    assert list(source(train=file, dev=file, limit=3).load("train").table["score"]) == [0, 0.1, 0.2]


def test_what_may_not_be_opened_is_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    file = written(tmp_path, "r.csv", PAIRS)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UnreadableError, match="cannot be read: Permission denied"), opened(file):
        pass


def test_a_stated_scale_wins(tmp_path):
    file = written(tmp_path, "r.csv", "sentence1,sentence2,score\na,b,1\nc,d,10\n")
    rows = source(train=file, dev=file, score_scale=[0, 10]).load("train")
    assert list(rows.table["score"]) == [0.1, 1.0]


def test_limit_takes_the_first_rows(tmp_path):
    file = written(tmp_path, "r.csv", PAIRS)
    assert list(source(train=file, dev=file, limit=2).load("train").table["anchor"]) == ["question 0", "question 1"]


def test_every_problem_of_every_file_is_told_at_once_from_the_headers(tmp_path):
    foreign = written(tmp_path, "r.csv", "foo,bar\na,b\n")
    with pytest.raises(ConfigError) as refused:
        source(train=foreign, dev=tmp_path / "no.csv", test=tmp_path / "r.txt", score_scale=[5, 0]).kinds(
            ["train", "dev", "test"]
        )
    assert len(refused.value.problems) == 4


def test_where_no_file_is_named_there_is_no_kind():
    assert source().kinds([]) == {}


def test_peeking_reads_no_further_than_the_header(tmp_path):
    file = written(tmp_path, "r.csv", "premise,hypothesis,label\n,,\nragged\n")
    assert source(train=file).kinds(["train"])["train"] == "nli"


def test_peeking_imports_neither_torch_nor_datasets(tmp_path):
    file = written(tmp_path, "r.parquet", b"")
    pq.write_table(pa.table({"text": ["a"]}), file)
    given = {
        "kind": "auto", "limit": None, "train": str(file), "dev": None, "test": None, "columns": None, "labels": None,
        "score_scale": None, "dev_fraction": None, "on_bad_rows": "refuse", "encoding": "utf-8", "delimiter": None, "quoted": None,
        "seed": 1,
    }  # fmt: skip
    code = f"""
import sys
from embexp.data.files import FileSource
assert FileSource(**{given!r}).kinds(["train"]) == {{"train": "texts"}}
print([name for name in ("torch", "datasets") if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(("encoding", "works"), [("cp1252", True), ("no-such", False)])
def test_the_encoding_that_is_named_is_used(tmp_path, encoding, works):
    file = written(tmp_path, "r.csv", "anchor,positive\ncafé,b\n".encode("cp1252"))
    made = source(train=file, dev=file, encoding=encoding)
    if works:
        assert list(made.load("train").table["anchor"]) == ["café"]
    else:
        with pytest.raises(ConfigError, match="no such encoding"):
            made.load("train")


@pytest.mark.parametrize("encoding", ["latin-1", "ISO-8859-1", "iso8859-15"])
def test_a_file_of_cp1252_that_is_said_to_be_latin_1_is_refused_and_gives_no_control_characters(tmp_path, encoding):
    file = written(tmp_path, "r.csv", "anchor,positive\na,b\ncafé,“so”\n".encode("cp1252"))
    for drop in ("refuse", "drop"):
        told = problems_of(file, encoding=encoding, on_bad_rows=drop)
        assert told.endswith(
            f"row 3: byte 0x93 is a control character in {encoding}, which no text has; data.encoding=cp1252 would read it."
        )
    latin = written(tmp_path, "l.csv", "anchor,positive\ncafé,b\n".encode("latin-1"))
    assert list(source(train=latin, dev=latin, encoding=encoding).load("train").table["anchor"]) == ["café"]


def test_utf_16_is_read_where_it_is_named(tmp_path):
    file = written(tmp_path, "r.tsv", "anchor\tpositive\ncafé\tb\n".encode("utf-16"))
    assert list(source(train=file, dev=file, encoding="utf-16").load("train").table["anchor"]) == ["café"]


def test_the_row_of_a_wrong_byte_is_told_however_far_down_it_stands(tmp_path):
    content = b"anchor,positive\n" + b"some words,other words\n" * 20_000 + "naïve,b\n".encode("latin-1")
    assert "row 20002: byte 0xef is no utf-8" in problems_of(written(tmp_path, "r.csv", content))


@pytest.mark.parametrize("delimiter", [";", "|"])
def test_the_delimiter_that_is_named_is_used(tmp_path, delimiter):
    file = written(tmp_path, "r.csv", f"anchor{delimiter}positive\na, b{delimiter}c\n")
    assert list(source(train=file, dev=file, delimiter=delimiter).load("train").table["anchor"]) == ["a, b"]


def test_a_tab_can_be_typed_as_it_is_advised(tmp_path):
    file = written(tmp_path, "r.csv", "anchor\tpositive\na, b\tc\n")
    advice = problems_of(file).rpartition("data.delimiter=")[2]
    delimiter = advice.partition('"')[2].partition('"')[0]
    assert list(source(train=file, dev=file, delimiter=delimiter).load("train").table["anchor"]) == ["a, b"]


STRAY_QUOTES = 'sentence1\tsentence2\tscore\n"A man\trides\t1.0\nrow\ttwo\t2.0\n"x" y\tz"\t3.0\n'


def test_a_quotation_mark_in_a_tsv_is_a_character_like_others(tmp_path):
    file = written(tmp_path, "r.tsv", STRAY_QUOTES)
    table = source(train=file, dev=file, score_scale=(0, 5)).load("train").table
    assert list(table["sentence1"]) == ['"A man', "row", '"x" y']
    assert list(table["sentence2"]) == ["rides", "two", 'z"']
    file = written(tmp_path, "q.tsv", 'anchor\tpositive\n"a\tb"\tc\n')
    assert list(source(train=file, dev=file, quoted=True).load("train").table["anchor"]) == ["a\tb"]
    commas = written(tmp_path, "q.csv", 'anchor,positive\n"a,b",c\n')
    assert list(source(train=commas, dev=commas).load("train").table["anchor"]) == ["a,b"]


def test_a_delimiter_of_two_characters_is_refused(tmp_path):
    assert "must be one character" in problems_of(written(tmp_path, "r.csv", PAIRS), delimiter="||")


def test_capitals_in_a_suffix_and_unnamed_columns_do_not_matter(tmp_path):
    file = written(tmp_path, "R.CSV", ",text,\n0,a,\n")
    assert list(source(train=file).load("train").table["text"]) == ["a"]


def test_texts_lose_the_spaces_around_them(tmp_path):
    file = written(tmp_path, "r.jsonl", '{"text": "  a b\\n"}\n')
    assert list(source(train=file).load("train").table["text"]) == ["a b"]


@pytest.mark.parametrize("words", [["0", "1", "2"], ["entailment", "Neutral", " CONTRADICTION"]])
def test_labels_are_numbers_or_words(tmp_path, words):
    content = "premise,hypothesis,label\n" + "".join(f"p{n},h{n},{word}\n" for n, word in enumerate(words))
    file = written(tmp_path, "r.csv", content)
    assert list(source(train=file, dev=file).load("train").table["label"]) == [0, 1, 2]


def test_labels_of_ones_own_are_mapped_and_no_others_allowed(tmp_path):
    labels = {"yes": "entailment", "no": "contradiction"}
    file = written(tmp_path, "r.csv", "premise,hypothesis,label\na,b,no\nc,d,yes\n")
    assert list(source(train=file, dev=file, labels=labels).load("train").table["label"]) == [2, 0]
    other = written(tmp_path, "other.csv", "premise,hypothesis,label\na,b,0\n")
    assert "row 2: label '0' is none of yes, no" in problems_of(other, labels=labels)


def test_a_score_outside_the_stated_scale_is_told_with_its_row(tmp_path):
    file = written(tmp_path, "r.csv", "sentence1,sentence2,score\na,b,1\nc,d,11\n")
    assert "row 3: score '11' is not a number from 0 to 10" in problems_of(file, score_scale=[0, 10])


def test_the_scale_that_was_detected_is_logged(tmp_path, caplog):
    file = written(tmp_path, "r.csv", "sentence1,sentence2,score\na,b,1.5\nc,d,4\n")
    with caplog.at_level(logging.INFO):
        source(train=file, dev=file).load("train")
    assert "scores taken as 0 to 5" in caplog.text


@pytest.mark.parametrize(
    ("label", "labels", "told"),
    [("1", None, True), ("neutral", None, False), ("1", {"1": "entailment"}, False)],
)
def test_labels_that_are_numbers_are_told_with_what_they_are_taken_for(tmp_path, caplog, label, labels, told):
    file = written(tmp_path, "r.csv", f"premise,hypothesis,label\na,b,{label}\nc,d,{label}\n")
    with caplog.at_level(logging.INFO):
        source(train=file, dev=file, labels=labels).load("train")
    said = "r.csv: labels taken as 0 entailment, 1 neutral, 2 contradiction, as MNLI has them; where yours mean others: 'data.labels="
    assert (said in caplog.text) == told


def test_the_last_line_of_a_refusal_says_how_many_rows_and_what_leaves_them_out(tmp_path):
    told = problems_of(written(tmp_path, "r.csv", "anchor,positive\na,b\nc,\n,d\n"))
    assert told.splitlines()[-1].endswith("2 of 3 rows are bad; data.on_bad_rows=drop leaves them out.")


def test_a_file_of_bad_rows_only_is_refused_even_where_they_are_dropped(tmp_path):
    assert "no usable row" in problems_of(written(tmp_path, "r.csv", "anchor,positive\na,\n"), on_bad_rows="drop")


def test_rows_beyond_the_limit_are_not_looked_at(tmp_path):
    file = written(tmp_path, "r.csv", "anchor,positive\na,b\nc,d\n,\n")
    rows = source(train=file, dev=file, limit=2).load("train")
    assert rows.counts == {"read": 2}


def test_the_limit_holds_before_the_split(tmp_path):
    file = written(tmp_path, "r.csv", PAIRS)
    made = source(train=file, limit=20)
    train, dev = made.load("train"), made.load("dev")
    assert (len(train.table), len(dev.table)) == (18, 2)
    assert train.counts == {"read": 20, "held_out_for_dev": 2}


def test_of_a_fraction_of_nothing_all_rows_are_trained_on_and_there_is_no_dev_part(tmp_path):
    made = source(train=written(tmp_path, "r.csv", PAIRS), dev_fraction=0.0)
    assert len(made.load("train").table) == 40
    assert made.load("dev") is None


def test_bare_texts_are_not_split_for_nothing_could_be_scored_on_them(tmp_path):
    made = source(train=written(tmp_path, "r.jsonl", '{"text": "a"}\n{"text": "b"}\n'))
    assert len(made.load("train").table) == 2
    assert made.load("dev") is None


def test_without_a_test_file_there_is_no_test_split(tmp_path):
    assert source(train=written(tmp_path, "r.csv", PAIRS)).load("test") is None


def test_dev_may_have_columns_and_a_kind_of_its_own(tmp_path):
    train = written(tmp_path, "train.csv", "q,a\nwhat,that\nwho,she\n")
    dev = written(tmp_path, "dev.csv", "sentence1,sentence2,score\na,b,0.5\nc,d,1\n")
    made = source(train=train, dev=dev, columns={"anchor": "q", "positive": "a"})
    assert made.kinds(["train"])["train"] == "pairs"
    assert made.load("dev").kind == "scored"


def test_files_that_are_only_scored_on_are_named_as_the_config_names_them(tmp_path):
    file = written(tmp_path, "r.csv", "anchor,positive\na,\n")
    with pytest.raises(ConfigError, match=r"evaluation\.source\.dev=.*row 2: positive is empty"):
        source(dev=file).load("dev")


def test_a_missing_column_that_the_config_names_is_told_with_those_there_are(tmp_path):
    told = problems_of(written(tmp_path, "r.csv", "q,a\nb,c\n"), columns={"anchor": "question", "positive": "a"})
    assert "no column question; it has q, a" in told

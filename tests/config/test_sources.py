"""What is told of a config's files before anything is loaded."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embexp.config import ConfigError
from embexp.config.composition import check_command, compose
from embexp.data.files.checking import Tally
from embexp.data.files.content import SMALL_ROWS, is_small
from embexp.data.files.file import File

BAD_DEV = "sentence1,sentence2,score\na,b,high\nc,d,1\n"


def problems_of(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        compose(list(overrides))
    return refused.value.problems


@pytest.mark.parametrize(
    "override",
    ["data.train=nowhere.csv", "data.dev=nowhere.csv", "evaluation.source.dev=nowhere.csv"],
)
def test_a_file_that_is_not_there_is_told_before_anything_is_loaded_whatever_is_said_of_it(tmp_path, override):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("anchor,positive\na,b\n")
    given = ["data=files", "evaluation=files", f"data.train={pairs}", f"evaluation.source.dev={pairs}", override]
    for kinds in ([], ["data.kind=pairs", "evaluation.source.kind=pairs"]):
        assert f"{override}: there is no such file." in problems_of(*given, *kinds)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["data=files", 'data.train="~nobody here/x.csv"'], "data.train=~nobody here/x.csv: there is no such file."),
        (
            ['evaluation.sets={x: "~nobody here/x.csv"}'],
            "evaluation.sets.x=~nobody here/x.csv: there is no such file or folder.",
        ),
        (['model.path="~nobody here/m"'], "model.path=~nobody here/m: "),
    ],
)
def test_a_home_that_nobody_has_is_a_folder_that_is_not_there(typed, said):
    (told,) = problems_of(*typed)
    assert told.startswith(said)


def test_a_file_may_be_called_as_a_home_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("~x.csv").write_text("question,answer\n" + "".join(f"question {n},answer {n}\n" for n in range(40)))
    assert compose(["data=files", 'data.train="~x.csv"']).data.train == "~x.csv"


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.train=", "data.train=: name a file: data.train=FILE.csv"),
        ("data.dev=", "data.dev=: is empty; name a file, or leave it out."),
        ("data.test=", "data.test=: is empty; name a file, or leave it out."),
        ("evaluation.source.dev=", "evaluation.source.dev=: name a file of scored pairs"),
        ("evaluation.source.test=", "evaluation.source.test=: is empty; name a file, or leave it out."),
        ("evaluation.sets={x: ''}", "evaluation.sets.x=: there is no such file or folder."),
        ("data.train=.", "data.train=.: is a folder; name a file."),
    ],
)
def test_a_key_of_a_file_that_is_left_empty_is_told_with_what_to_do(tmp_path, override, said):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("question,answer\n" + "".join(f"question {n},answer {n}\n" for n in range(40)))
    given = ["data=files", f"data.train={pairs}"]
    given += ["evaluation=files", f"evaluation.source.dev={pairs}"] if override.startswith("evaluation.source") else []
    (told,) = problems_of(*given, override)
    assert told.startswith(said)


@pytest.mark.parametrize(
    ("train", "dev", "test", "typed", "instead"),
    [
        (",", ";", None, ",", """evaluation=files 'evaluation.source.dev={dev}' 'evaluation.source.delimiter=";"'."""),
        (";", ",", None, ";", "evaluation=files 'evaluation.source.dev={dev}'."),
        (";", ",", None, None, "evaluation=files 'evaluation.source.dev={dev}'."),
        (";", ",", ";", ";", "write them alike."),
        (";", ";", ";", None, None),
        (",", ",", ",", ";", None),
    ],
)
def test_files_that_are_separated_differently_are_not_sent_in_a_circle(tmp_path, train, dev, test, typed, instead):
    files = {}
    for split, sign in {"train": train, "dev": dev, "test": test}.items():
        if sign is not None:
            files[split] = tmp_path / f"{split}.csv"
            head = sign.join(("anchor", "positive"))
            files[split].write_text(head + "".join(f"\nquestion {n}{sign}answer {n}" for n in range(9)) + "\n")
    given = ["data=files", *(f"data.{split}={path}" for split, path in files.items())]
    delimiter = [] if typed is None else [f'data.delimiter="{typed}"']
    told = [problem for problem in problems_of(*given, *delimiter) if "are separated differently; " in problem]
    assert len(told) == (instead is not None)
    if instead is not None:
        assert told[0].endswith(instead.format(**files))
        if "evaluation=files" in instead:
            way_out = [word.strip("'") for word in instead.format(**files).removesuffix(".").split()]
            compose(["data=files", f"data.train={files['train']}", f'data.delimiter="{train}"', *way_out])


def test_where_the_kind_is_stated_a_first_row_that_lacks_a_column_is_a_row_as_any_other(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"premise": "a", "hypothesis": "b"}\n{"premise": "c", "hypothesis": "d", "label": 0}\n')
    compose(["data=files", f"data.train={rows}", "data.kind=nli", "data.on_bad_rows=drop", "evaluation=helpdesk"])


def test_bad_rows_are_told_with_all_else_before_anything_is_loaded_and_read_once_for_all_jobs(tmp_path, monkeypatch):
    whole, tables = [], File.tables

    def watched(file: File, tally: Tally) -> Iterator[pa.Table]:
        whole.append(file.where.rpartition("/")[2])
        return tables(file, tally)

    monkeypatch.setattr(File, "tables", watched)
    rows, dev = tmp_path / "rows.csv", tmp_path / "dev.csv"
    rows.write_text("anchor,positive\na,b\n,d\n")
    dev.write_text("sentence1,sentence2,score\na,b,high\nc,d,1\n")
    given = ["data=files", f"data.train={rows}", f"data.dev={dev}"]
    told = [
        f"data.train={rows}: row 3: anchor is empty.",
        f"data.train={rows}: 1 of 2 rows is bad; data.on_bad_rows=drop leaves it out.",
        f"data.dev={dev}: row 2: score 'high' is not a number from 0 to 1.",
        f"data.dev={dev}: 1 of 2 rows is bad; data.on_bad_rows=drop leaves it out.",
        "batch_size=1: loss=mnr takes its negatives from the batch; it must be at least 2.",
    ]
    with pytest.raises(ConfigError) as refused:
        check_command([*given, "batch_size=1,2"], multirun=True)
    assert refused.value.problems == told
    assert problems_of(*given, "batch_size=1") == told
    assert whole == ["rows.csv", "dev.csv"]
    compose([*given, "data.on_bad_rows=drop"])
    rows.write_text("anchor,positive\na,b\nc,d\n")
    assert problems_of(*given) == told[2:4]


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz", "rows.parquet"])
def test_the_rows_of_large_files_are_not_read_before_the_job(tmp_path, name):
    rows, dev = tmp_path / name, tmp_path / "dev.csv"
    texts = ["a"] * SMALL_ROWS + ["", "a"]
    if not name.endswith(".parquet"):
        content = "anchor,positive\n" + "".join(f"{text},b\n" for text in texts)
        rows.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    else:
        pq.write_table(pa.table({"anchor": texts, "positive": ["b"] * len(texts)}), rows)
    assert not is_small(rows)
    compose(["data=files", f"data.train={rows}"])
    dev.write_text(BAD_DEV)
    # A large file beside it changes nothing for a small one.
    assert len(problems_of("data=files", f"data.train={rows}", f"data.dev={dev}")) == 2


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_file_to_score_on_that_would_not_be_read_is_refused(tmp_path, split):
    rows, dev = tmp_path / "rows.csv", tmp_path / "dev.csv"
    rows.write_text("anchor,positive\na,b\nc,d\n")
    dev.write_text(BAD_DEV)
    given = ["data=files", f"data.train={rows}", f"data.{split}={dev}"]
    for evaluation in (["evaluation=helpdesk"], ["evaluation=files", f"evaluation.source.dev={rows}"]):
        # Its rows, of which one is bad, are none of the problems.
        (told,) = problems_of(*given, *evaluation)
        assert told.startswith(f"data.{split}={dev}: is not read where {evaluation[0]} names other pairs to score on")
        assert f"'evaluation.sets={{{split}: {dev}}}'" in told
    searched = ["evaluation=[helpdesk,retrieval]", "evaluation.retrieval.source=pairs"]
    compose([*given, *searched, f"evaluation.retrieval.split={split}"])


def test_a_test_file_that_would_be_searched_is_asked_for_before_anything_is_loaded(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("anchor,positive\na,b\nc,d\n")
    searched = ["evaluation=[helpdesk,retrieval]", "evaluation.retrieval.source=pairs"]
    (told,) = problems_of("data=files", f"data.train={rows}", *searched)
    assert "are those of data.test, which is not named; name data.test=FILE" in told


def test_what_is_wrong_in_pairs_to_score_on_is_told_by_their_key(tmp_path):
    rows, dev = tmp_path / "rows.csv", tmp_path / "dev.csv"
    rows.write_text("anchor,positive\na,b\nc,d\n")
    dev.write_text(BAD_DEV)
    told = problems_of(
        "data=files",
        f"data.train={rows}",
        "evaluation=files",
        f"evaluation.source.dev={dev}",
        "evaluation.source.labels=null",
    )
    assert told[0] == f"evaluation.source.dev={dev}: row 2: score 'high' is not a number from 0 to 1."


def test_a_file_to_train_on_has_no_place_among_pairs_to_score_on(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("anchor,positive\na,b\nc,d\n")
    (told,) = problems_of("evaluation=files", f"evaluation.source.train={rows}", f"evaluation.source.dev={rows}")
    assert "name data.train=FILE" in told


def test_a_first_line_is_read_whole_however_long_it_is(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f'{{"text": "{(1 << 20) * "a"}"}}\n{{"text": "b"}}')
    for kind in ("auto", "texts"):
        compose(["data=files", f"data.train={rows}", f"data.kind={kind}", "loss=tsdae", "evaluation=helpdesk"])


def test_a_scale_without_an_end_is_refused(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("sentence1,sentence2,score\na,b,1\nc,d,2\n")
    (told,) = problems_of("data=files", f"data.train={rows}", "loss=cosine", "data.score_scale=[0,inf]")
    assert "finite number" in told


def test_a_model_that_is_neither_a_folder_nor_a_hub_id_is_told(tmp_path):
    (told,) = problems_of(f"model.path={tmp_path / 'nowhere'}")
    assert (
        told == f"model.path={tmp_path / 'nowhere'}: there is no such folder, and it is no hub id (owner/name) either."
    )


@pytest.mark.parametrize("kind", ["auto", "scored"])
def test_whatever_the_size_and_the_stated_kind_headers_and_scale_are_looked_at(tmp_path, kind):
    rows = tmp_path / "rows.csv"
    rows.write_text("sentence1,sentence2,score\n" + "a,b,5\n" * (SMALL_ROWS + 1))
    given = ["data=files", f"data.train={rows}", f"data.kind={kind}", "loss=cosine"]
    for scale in ("[5,0]", "[5,5]"):
        (told,) = problems_of(*given, f"data.score_scale={scale}")
        assert "the lowest stands first" in told
    rows.write_text("foo,bar\n" + "a,b\n" * (SMALL_ROWS + 1))
    assert "its columns are foo, bar" in problems_of(*given)[0]


def test_texts_alone_are_no_pairs_to_score_on(tmp_path):
    rows, notes = tmp_path / "rows.csv", tmp_path / "notes.csv"
    rows.write_text("anchor,positive\na,b\nc,d\n")
    notes.write_text("text\na\n")
    given = ["data=files", f"data.train={rows}", f"data.dev={notes}"]
    (told,) = problems_of(*given)
    assert told.startswith(f"data.dev={notes}: it holds texts alone, which cannot be scored; name a file with columns ")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.train=[a.csv,b.csv]", "data.train=['a.csv', 'b.csv']: must be one text, not a list."),
        ("data.columns=[a,b]", "data.columns=['a', 'b']: must be keys and values: 'data.columns={KEY: VALUE, ...}'."),
        ("epochs=null", "epochs=null: must be a number."),
    ],
)
def test_a_value_of_another_type_is_told_as_it_was_typed(override, said):
    assert said in problems_of("data=files", override)


def test_a_file_that_is_not_there_is_told_with_the_one_beside_it_that_was_meant(tmp_path):
    (tmp_path / "faq.csv").write_text("question,answer\na,b\n")
    (told,) = problems_of("data=files", f"data.train={tmp_path / 'fqa.csv'}")
    assert told.endswith(f"there is no such file. Did you mean '{tmp_path / 'faq.csv'}'?")
    (told,) = problems_of("data=files", f"data.train={tmp_path / 'nowhere' / 'faq.csv'}")
    assert told.endswith("there is no such file.")

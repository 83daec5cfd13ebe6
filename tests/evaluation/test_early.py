"""What is wrong with the files of evaluations is told before anything is loaded, and leaves no run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from embexp.config import ConfigError
from embexp.config.composition import check_command, compose
from embexp.evaluation import named

SEARCH = {
    "queries.csv": "_id,text\n1,where is it\n2,how much\n",
    "corpus.csv": "_id,text\na,here\nb,five\n",
    "qrels.csv": "query-id,corpus-id,score\n1,a,1\n2,b,1\n",
}
CLASSES = {"train.csv": "text,label\nwhere,place\nhow much,price\n", "test.csv": "text,label\nwhen,place\n"}
PAIRS = {"test.csv": "sentence1,sentence2,score\na,b,1\nc,d,0\n"}
WAYS = {
    "set": (PAIRS, "evaluation.sets={{mine: {folder}/test.csv}}"),
    "search": (SEARCH, "evaluation=[own,retrieval] evaluation.retrieval.path={folder}"),
    "classes": (CLASSES, "evaluation=[own,classification] evaluation.classification.path={folder}"),
    "own search": (SEARCH, "evaluation=[own,mteb] evaluation.mteb.own={{mine: {folder}}}"),
    "own classes": (CLASSES, "evaluation=[own,mteb] evaluation.mteb.own={{mine: {folder}}}"),
    "own pairs": (PAIRS, "evaluation=[own,mteb] evaluation.mteb.own={{mine: {folder}}}"),
}


def asked(folder: Path, way: str, files: dict[str, str | bytes] | None = None) -> list[str]:
    """The words that score on the files of one way, of which some are others here."""
    good, words = WAYS[way]
    for name, content in {**good, **(files or {})}.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    words = words.format(folder=folder)
    # The set's value has a blank in it.
    return [words] if way == "set" else words.split(" ", 1)


def problems_of(words: list[str]) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        compose(words)
    return refused.value.problems


@pytest.mark.parametrize("way", WAYS)
def test_of_files_that_are_right_nothing_is_told(tmp_path, way, caplog):
    compose(asked(tmp_path, way))
    assert not caplog.records


def test_what_a_run_is_only_warned_of_is_left_to_the_run(tmp_path, caplog):
    unknown = "query-id,corpus-id,score\n1,a,1\n1,z,1\n9,a,1\n"
    compose(asked(tmp_path, "search", {"qrels.csv": unknown}))
    assert not caplog.records


@pytest.mark.parametrize(
    ("way", "name", "content", "told"),
    [
        ("set", "test.csv", "sentence1,sentence2,score\na,b,high\nc,d,1\n", "row 2: score 'high' is not a number"),
        ("set", "test.csv", "words,score\na,1\n", "its columns are words, score"),
        ("set", "test.csv", "text\na\n", "it holds texts alone, which cannot be scored"),
        ("set", "test.csv", "sentence1,sentence2,score\n", "it has a header and no rows"),
        ("set", "test.csv", b"\x1f\x8b\0\0", "compressed by gzip"),
        ("search", "queries.csv", "", "the file is empty"),
        ("search", "queries.csv", "_id,words\n1,one\n", "evaluation.retrieval.queries={file}: no column text or query"),
        ("search", "corpus.csv", "_id,text\na,one\nb,\n", "{file} row 3: text is empty"),
        ("search", "corpus.csv", "_id,text\n", "holds no rows"),
        ("search", "qrels.csv", "query-id,corpus-id,score\n1,a,high\n", "{file} row 2: score 'high' is no number"),
        ("search", "qrels.csv", "query-id,corpus-id\nq1,a\n", "no query that is judged of {file} is in"),
        ("classes", "train.csv", "text,class\na,b\n", "evaluation.classification.train={file}: no column label"),
        ("classes", "test.csv", "text,label\na,new\n", "classes of test that train has not: new"),
        ("classes", "test.csv", "text,label\na,\n", "{file} row 2: label is empty"),
        ("own search", "corpus.csv", "_id,text\na,one\nb,\n", "{file} row 3: text is empty"),
        ("own search", "qrels.csv", "query-id,corpus-id\nq1,a\n", "no query that is judged of {file} is in"),
        ("own classes", "train.csv", "text,label\na,\n", "{file} row 2: label is empty"),
        ("own pairs", "test.csv", "sentence1,sentence2,score\na,b,high\n", "{file} row 2: score 'high' is no number"),
    ],
)
def test_a_file_that_is_broken_is_told_when_the_command_is_checked(tmp_path, way, name, content, told):
    problems = problems_of(asked(tmp_path, way, {name: content}))
    assert told.format(file=tmp_path / name) in problems[0]


def test_what_is_wrong_with_each_of_several_files_is_told_at_once(tmp_path):
    words = asked(tmp_path, "search", {"queries.csv": "_id,text\n1,\n", "qrels.csv": "query,document\n1,a\n"})
    first, second, third = problems_of(words)
    assert first.startswith(f"{tmp_path / 'queries.csv'} row 2: text is empty")
    assert second.startswith(f"evaluation.retrieval.relevance={tmp_path / 'qrels.csv'}: no column query-id or query_id")
    assert "no column corpus-id or corpus_id; it has query, document" in third


def test_a_set_is_told_with_the_cure_that_fits_one(tmp_path):
    words = asked(tmp_path, "set", {"test.csv": "sentence1,sentence2,score\na,b,0\nc,d,10\n"})
    scale, cure = problems_of(words)
    assert "scores are from 0 to 10" in scale
    assert cure.startswith("evaluation.sets.mine: a further set has no such keys")


def test_of_a_large_file_the_head_is_looked_at_and_no_row(tmp_path, monkeypatch):
    monkeypatch.setattr("embexp.data.files.content.SMALL_ROWS", 4)
    rows = "_id,text\n" + "".join(f"{name},text {name}\n" for name in "abcdef")
    compose(asked(tmp_path, "search", {"corpus.csv": f"{rows}g,\n"}))
    (told,) = problems_of(asked(tmp_path, "search", {"corpus.csv": rows.replace("_id", "name")}))
    assert told == f"evaluation.retrieval.corpus={tmp_path / 'corpus.csv'}: no column _id or id; it has name, text."
    # What is small beside it is read.
    bad = {"corpus.csv": rows, "queries.csv": "_id,text\n1,\n"}
    assert problems_of(asked(tmp_path, "search", bad))[0].startswith(f"{tmp_path / 'queries.csv'} row 2: text is empty")


def test_the_jobs_of_a_sweep_read_their_files_once_and_again_when_they_have_changed(tmp_path, monkeypatch):
    read, columns = [], named.read_columns

    def watched(path: Path, *given, **how):
        read.append(path.name)
        return columns(path, *given, **how)

    monkeypatch.setattr(named, "read_columns", watched)
    words = asked(tmp_path, "search")
    check_command([*words, "seed=1,2,3"], multirun=True)
    assert sorted(set(read)) == sorted(SEARCH)
    count = len(read)
    compose(words)
    assert len(read) == count
    (told,) = problems_of(asked(tmp_path, "search", {"corpus.csv": "_id,text\na,one\nb,two\nc,\n"}))
    assert "row 4: text is empty" in told


REFUSED = """
import sys
from embexp import command
sys.argv = ["embexp", *{words}]
try:
    command.main()
except SystemExit as left:
    print(left.code, "torch" in sys.modules, "sentence_transformers" in sys.modules)
"""


@pytest.mark.parametrize("more", [[], ["seed=1,2", "-m"]], ids=["a run", "a sweep"])
def test_a_broken_file_leaves_no_run_and_does_not_wait_for_torch(tmp_path, more):
    folder = tmp_path / "data"
    folder.mkdir()
    words = asked(folder, "classes", {"train.csv": "text,label\na,\n"})
    code = REFUSED.format(words=[*words, "model=tiny", *more])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["1", "False", "False"], done.stderr
    assert "train.csv row 2: label is empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["data"]

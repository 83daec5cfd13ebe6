"""Rows scored on that are trained on, and rows of test that are in dev: told with their number, wherever they are scored."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from embexp import leaks
from embexp.compare.warned import TEST_AND_DEV
from embexp.config.composition import compose
from embexp.data import build_source
from embexp.data.rows import Rows
from embexp.evaluate import evaluate_model
from embexp.evaluation import Extras, Pairs, build_extras, evaluation_pairs
from embexp.experiment import run_experiment
from embexp.leaks import leaks_of_classes, leaks_of_dev, leaks_of_train
from embexp.training import Hardware

HARDWARE = Hardware("cpu", "fp32", 1, ())
SCORED = "sentence1,sentence2,score"
SMALL = ["model=tiny", "max_steps=1", "evaluation.times=1", "tracker=none", "trainer.threads=1"]


def written(folder: Path, name: str, rows: range, change=str, *, head: str = SCORED) -> Path:
    """A file of rows `left 1`, `right 1`, each text as `change` makes it."""
    texts = [f"{change(f'left {n}')},{change(f'right {n}')}" for n in rows]
    scored = [f"{line},{n % 6}" if head == SCORED else line for line, n in zip(texts, rows, strict=True)]
    (folder / name).write_text("\n".join([head, *scored]) + "\n")
    return folder / name


def told(*overrides: str) -> list[str]:
    """What a run would be told of its rows."""
    config = compose(["model=tiny", *overrides])
    source = build_source(config.data)
    rows, pairs = source.load("train"), evaluation_pairs(config, trained_on=source)
    extras = build_extras(config, HARDWARE, pairs)
    return [*leaks_of_train(rows, pairs, extras), *leaks_of_dev(pairs), *leaks_of_classes(extras)]


def other(text: str) -> str:
    return text.replace("left", "top").replace("right", "bottom")


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """Files of the training rows, of rows that are among them, and of others."""
    return {
        "train": written(tmp_path, "train.csv", range(100)),
        "leaked": written(tmp_path, "leaked.csv", range(30)),
        "new": written(tmp_path, "new.csv", range(30), other),
        "newer": written(tmp_path, "newer.csv", range(30, 60), other),
    }


def of_dev(folder: dict[str, Path], way: str) -> list[str]:
    leaked, new = folder["leaked"], folder["new"]
    return {
        "data": [f"data.dev={leaked}"],
        "evaluation": ["evaluation=files", f"evaluation.source.dev={leaked}"],
        "set": [f"data.dev={new}", f"evaluation.sets={{x: {leaked}}}"],
        "retrieval": [
            *("evaluation=[files,retrieval]", f"evaluation.source.dev={new}", "evaluation.retrieval.source=pairs"),
            *(f"data.dev={leaked}", "evaluation.retrieval.split=dev"),
        ],
    }[way]


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("data", "dev and train: 30 of 30 rows of leaked.csv hold only texts that train.csv holds too"),
        ("evaluation", "dev and train: 30 of 30 rows of leaked.csv hold only texts that train.csv holds too"),
        ("set", "sts/x and train: 30 of 30 rows of leaked.csv hold only texts that train.csv holds too"),
        ("retrieval", "retrieval and train: 15 of 15 rows of its queries with their documents hold only texts"),
    ],
)
def test_rows_to_train_on_are_told_wherever_they_are_scored(files, way, said):
    (line,) = told("data=files", f"data.train={files['train']}", *of_dev(files, way))
    assert line.startswith(said)
    assert "its scores are too good; take these rows out of one of the two" in line


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda text: f"{text} .", lambda text: text.replace(" ", "   "), lambda text: f"{text}!"],
    ids=["capitals", "a stop", "blanks", "a mark"],
)
def test_a_row_that_is_written_a_little_differently_is_the_same_row(files, tmp_path, change):
    dev = written(tmp_path, "dev.csv", range(30), change)
    (line,) = told("data=files", f"data.train={files['train']}", f"data.dev={dev}")
    assert line.startswith("dev and train: 30 of 30 rows")


def test_how_many_rows_are_known_is_told_and_few_of_many_are_not(files, tmp_path):
    def dev(known: int) -> list[str]:
        new = written(tmp_path, "n.csv", range(100, 150 - known), other).read_text().splitlines()
        kept = files["train"].read_text().splitlines()[1 : 1 + known]
        (tmp_path / "dev.csv").write_text("\n".join([*new, *kept]))
        return told("data=files", f"data.train={files['train']}", f"data.dev={tmp_path / 'dev.csv'}")

    assert dev(12)[0].startswith("dev and train: 12 of 50 rows of dev.csv hold only texts")
    assert dev(1)[0].startswith("dev and train: 1 of 50 rows")
    assert dev(0) == []


def test_rows_that_are_known_by_one_text_are_told_apart_from_those_that_are_known_wholly(files, tmp_path):
    dev = written(tmp_path, "dev.csv", range(30), lambda text: text.replace("left", "top"))
    (line,) = told("data=files", f"data.train={files['train']}", f"data.dev={dev}")
    assert line.startswith("dev and train: 30 of 30 rows of dev.csv hold a text that train.csv holds too")
    assert "may be too good" in line


def test_test_rows_that_are_in_dev_are_told_and_others_are_not(files):
    new, newer = files["new"], files["newer"]
    of_both = ["data=files", f"data.train={files['train']}", f"data.dev={new}"]
    (line,) = told(*of_both, f"data.test={new}")
    assert line.startswith("test and dev: 30 of 30 rows of new.csv hold only texts that the other holds too")
    assert told(*of_both, f"data.test={newer}") == []
    (line,) = told(*of_both[:2], "evaluation=files", f"evaluation.source.dev={new}", f"evaluation.source.test={new}")
    assert line.startswith("test and dev: 30 of 30 rows")


def classes(folder: Path, name: str, texts: list[str]) -> Path:
    (folder / name).write_text("text,label\n" + "".join(f"{text},{n % 2}\n" for n, text in enumerate(texts)))
    return folder / name


def test_texts_to_classify_are_told_where_they_are_trained_on_or_learnt_from(files, tmp_path):
    def said(learnt: list[str], scored: list[str]) -> list[str]:
        train, test = classes(tmp_path, "learn.csv", learnt), classes(tmp_path, "try.csv", scored)
        chosen = [
            "data=files",
            f"data.train={files['train']}",
            f"data.dev={files['new']}",
            "evaluation=[own,classification]",
        ]
        given = [f"evaluation.classification.{key}={file}" for key, file in (("train", train), ("test", test))]
        return told(*chosen, *given)

    trained_on, new = [f"Left {n}!" for n in range(20)], [f"new {n}" for n in range(80)]
    assert said(new[:40], new[40:]) == []
    (line,) = said(new[:40], [*trained_on, *new[40:]])
    assert line.startswith(
        "classification and train: 20 of 60 rows of try.csv hold only texts that train.csv holds too"
    )
    assert "its scores are too good; take these rows out of one of the two" in line
    (line,) = said(new, new[40:])
    assert line.startswith(
        "classification's test and its train: 40 of 40 rows of try.csv hold only texts that learn.csv"
    )
    # One of many moves no score that can be seen.
    assert said(new, [*(f"newer {n}" for n in range(60)), new[0]]) == []


def test_the_built_in_corpus_holds_none_of_its_training_rows():
    chosen = ["data.rows=3000", "evaluation=[own,retrieval,classification]"]
    assert told(*chosen) == []


def test_the_part_that_is_set_aside_as_dev_holds_no_text_of_the_rest_in_other_letters(tmp_path):
    file = written(tmp_path, "train.csv", range(40))
    loud = written(tmp_path, "loud.csv", range(40), str.upper).read_text().splitlines()[1:]
    file.write_text(file.read_text() + "\n".join(loud))
    assert told("data=files", f"data.train={file}") == []


def test_of_many_rows_to_train_on_few_are_in_memory_at_once(tmp_path):
    texts = [f"a text of some length that is one of very many, number {n}" for n in range(50_000)]
    table = Dataset(pa.table({"anchor": texts, "positive": texts[::-1]}))
    pairs = {"dev": Pairs("dev.csv", texts[:50], texts[50:100], np.zeros(50))}
    del texts
    tracemalloc.start()
    (line,) = leaks_of_train(Rows("pairs", table, "train.csv"), pairs, Extras([]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert line.startswith("dev and train: 50 of 50 rows")
    assert peak < 8 * 2**20


def test_what_was_found_is_kept_for_the_same_rows_and_pairs_and_for_no_others(tmp_path, monkeypatch):
    table = Dataset.from_dict({"anchor": ["a", "b", "c"], "positive": ["d", "e", "f"]})
    leaked = {"dev": Pairs("dev.csv", ["a", "b"], ["d", "e"], np.zeros(2))}
    new = {"dev": Pairs("dev.csv", ["x", "y"], ["d", "z"], np.zeros(2))}
    looked = []
    whole = leaks._keys_among
    monkeypatch.setattr(leaks, "_keys_among", lambda rows, keys: looked.append(rows.name) or whole(rows, keys))

    def found(pairs, name="train.csv"):
        return leaks_of_train(Rows("pairs", table, name), pairs, Extras([]), cache=str(tmp_path))

    assert found(leaked) == found(leaked)
    assert len(looked) == 1
    assert found(leaked)[0].startswith("dev and train: 2 of 2 rows")
    assert found(new) != found(leaked)
    assert "other.csv" in found(leaked, "other.csv")[0]
    assert looked == ["train.csv", "train.csv", "other.csv"]


def test_a_run_is_warned_before_it_trains_and_keeps_it(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "data=files",
        f"data.train={files['train']}",
        f"data.dev={files['leaked']}",
        f"data.test={files['leaked']}",
    ]
    run_experiment(compose([*SMALL, *words, "loss=cosine"]), folder=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "result.json").read_text())["cautions"]
    assert [said.partition(": ")[0] for said in kept][:3] == ["dev and train", "test and train", TEST_AND_DEV]


def test_what_is_only_scored_is_told_of_dev_and_test_and_of_no_training(files, workplace, caplog):
    words = [
        "evaluation=[files,classification]",
        *(f"evaluation.source.{split}={files['new']}" for split in ("dev", "test")),
    ]
    same = classes(workplace, "same.csv", [f"text {n}" for n in range(20)])
    words += [f"evaluation.classification.{split}={same}" for split in ("train", "test")]
    evaluate_model(compose(["model=tiny", "tracker=none", *words]), folder=workplace / "run")
    assert "test and dev: 30 of 30 rows of new.csv" in caplog.text
    assert "classification's test and its train: 20 of 20 rows of same.csv" in caplog.text
    assert "and train" not in caplog.text

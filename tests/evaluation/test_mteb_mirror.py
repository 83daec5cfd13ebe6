"""What MTEB is given of local files: classes by number, as it counts on them."""

from __future__ import annotations

import re
from typing import Any

import mteb
import pandas as pd
import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data.helpdesk import scored
from embexp.evaluation import mteb as of_mteb
from embexp.evaluation.mteb_mirror import load_mirror
from embexp.evaluation.retrieval import retrieval_evaluation
from tests.evaluation.test_mteb import evaluation_of, own_evaluation, scores_of, write_pairs


def classes(folder, labels, *, suffix="csv"):
    """A folder of labelled texts, twelve of each label and split."""
    folder.mkdir(exist_ok=True)
    rows = [{"text": f"{word} {n}", "label": label} for label, word in labels.items() for n in range(12)]
    for split in ("train", "test"):
        if suffix == "csv":
            pd.DataFrame(rows).to_csv(folder / f"{split}.csv", index=False)
        else:
            pd.DataFrame(rows).to_json(folder / f"{split}.jsonl", orient="records", lines=True)
    return folder


def given(folder) -> dict[str, list[Any]]:
    task = mteb.get_task("Banking77Classification")
    load_mirror(task, folder)
    return {split: list(rows["label"]) for split, rows in task.dataset.items()}


@pytest.mark.parametrize("labels", [{"0": "card stolen", "1": "pin"}, {"spam": "card stolen", "ham": "pin"}])
def test_two_classes_are_scored_whatever_they_are_called(tmp_path, labels, model):
    evaluation = own_evaluation(tmp_path, mine=classes(tmp_path / "mine", labels))
    (part,) = evaluation.parts(model)
    assert part.error is None
    assert 0.5 < part.scores["accuracy"] <= 1


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        (["0", "1"], {0, 1}),
        (["7", "-3", "11"], {7, -3, 11}),
        (["3", "4"], {0, 1}),  # neither is the 1 that MTEB looks for
        (["01", "1"], {0, 1}),
        (["b", "a", "7"], {0, 1, 2}),
    ],
)
def test_whole_numbers_stay_and_words_are_numbered_in_their_order(tmp_path, labels, numbers):
    folder = classes(tmp_path / "d", {label: f"word {label}" for label in labels})
    for split, rows in given(folder).items():
        assert set(rows) == numbers, split


def test_a_class_has_one_number_in_all_splits(tmp_path):
    folder = classes(tmp_path / "d", {"b": "bird", "c": "cat", "a": "ape"})
    (folder / "test.csv").write_text("text,label\na cat,c\na bird,b\n")
    assert given(folder)["test"] == [2, 1]
    assert given(folder)["train"] == [1] * 12 + [2] * 12 + [0] * 12


def test_a_label_that_is_several_is_refused(tmp_path):
    folder = classes(tmp_path / "d", {"b": "bird"}, suffix="jsonl")
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text('{"text": "a bird", "label": ["b", "c"]}\n')
    with pytest.raises(ConfigError, match=r"label is .*, not one word or number"):
        given(folder)


def test_what_other_code_read_is_scored_anew(tmp_path, model, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    classes(folder / "banking77", {"a": "card", "b": "pin"})
    names = ("Banking77Classification",)

    def from_cache() -> bool:
        evaluation = evaluation_of(folder, names)
        scores_of(evaluation, model)
        return evaluation.record["tasks"][names[0]]["from_cache"]

    assert not from_cache()
    assert from_cache()
    monkeypatch.setattr(of_mteb, "code_of", lambda *_: "of another embexp")
    assert not from_cache()


def searched(folder, *, corpus="a,one\nb,two\n", judged="1,a,1\n"):
    """A folder of a corpus, a query and what answers it."""
    folder.mkdir(parents=True)
    (folder / "corpus.csv").write_text(f"_id,text\n{corpus}")
    (folder / "queries.csv").write_text("_id,text\n1,one\n")
    (folder / "qrels_test.csv").write_text(f"query-id,corpus-id,score\n{judged}")
    return folder


def test_a_document_without_text_is_told_of_ones_own_and_scored_where_it_was_published(tmp_path, model):
    folder = searched(tmp_path / "data" / "scifact", corpus='a,one\nb," "\n')
    told = f"{folder / 'corpus.csv'} row 3: text is empty; fill it in or leave the row out"
    # Before the training.
    with pytest.raises(ConfigError, match=re.escape(told)):
        own_evaluation(tmp_path, mine=folder)
    (published,) = evaluation_of(folder.parent, ("SciFact",)).parts(model)
    assert published.scores["ndcg_at_10"] == 1


def test_a_part_of_a_gain_is_told_and_not_cut_to_none(tmp_path, model):
    folder = searched(tmp_path / "data" / "scifact", judged="1,b,2.0\n1,a,0.5\n")
    told = f"{folder / 'qrels_test.csv'}: document a of query 1 has score 0.5, and MTEB counts whole"
    (part,) = evaluation_of(folder.parent, ("SciFact",)).parts(model)
    assert told in str(part.error)
    # Before the training.
    with pytest.raises(ConfigError, match=re.escape(told)):
        own_evaluation(tmp_path, mine=folder)
    # embexp's own evaluation counts it.
    settings = compose(["evaluation=[own,retrieval]", f"evaluation.retrieval.path={folder}"])
    assert retrieval_evaluation(settings, settings.evaluation.retrieval).judged.relevant == [{0: 0.5, 1: 2.0}]
    (folder / "qrels_test.csv").write_text("query-id,corpus-id,score\n1,b,4.0\n1,a,1\n")
    (whole,) = own_evaluation(tmp_path, mine=folder).parts(model)
    assert whole.error is None


def test_a_document_that_is_judged_twice_is_told_of_ones_own_and_scored_where_it_was_published(tmp_path, model):
    folder = searched(tmp_path / "data" / "scifact", judged="1,a,0\n1,b,1\n1,a,2\n1,b,0\n")
    told = (
        f"{folder / 'qrels_test.csv'} row 4: query 1 and document a stand in row 2 too, with another score (0, here 2)"
    )
    # Before the training.
    with pytest.raises(ConfigError, match=re.escape(told)):
        own_evaluation(tmp_path, mine=folder)
    # The last counts, as where MTEB reads it from the hub.
    (published,) = evaluation_of(folder.parent, ("SciFact",)).parts(model)
    assert published.scores["ndcg_at_10"] == 1


@pytest.mark.parametrize(
    ("corpus", "judged", "told"),
    [
        ("a,one\nb,two\n", "q1,a,1\nq2,b,1\n", "no query .*qrels_test.csv is in .*queries.csv: .* as 1, .* as q1;"),
        ("a,one\nb,two\n", "1,d1,1\nq2,a,1\n", "no relevant .*qrels_test.csv is in .*corpus.csv: .* as a, .* as d1;"),
        ("a,one\nb,two\n", "1,a,0\n", "qrels_test.csv: no score is above 0"),
    ],
)
def test_judgements_of_which_none_can_count_are_told_before_the_training(tmp_path, corpus, judged, told):
    folder = searched(tmp_path / "mine", corpus=corpus, judged=judged)
    with pytest.raises(ConfigError, match=rf"^evaluation\.mteb\.own\.mine: .*{told}"):
        own_evaluation(tmp_path, mine=folder)


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("corpus.csv", "name,text\na,one\n", "mine={folder}: holds corpus.csv without a column _id; add it"),
        ("corpus.csv", "_id,text\n", "mine={folder}: holds corpus.csv without a document that has an id; add it"),
        ("corpus.csv", "_id,text\n,one\n", "mine={folder}: holds corpus.csv without a document that has an id; add it"),
        ("queries.csv", "_id,text\n1,one\n1,two\n", "queries.csv row 3: the id 1 is that of row 2"),
        ("queries.csv", "name,text\n1,one\n", "evaluation.mteb.own.mine={folder}/queries.csv: no column _id"),
    ],
)
def test_a_corpus_without_ids_and_queries_that_are_broken_are_told_before_the_training(tmp_path, file, text, told):
    folder = searched(tmp_path / "mine")
    (folder / file).write_text(text)
    with pytest.raises(ConfigError, match=re.escape(told.format(folder=folder))):
        own_evaluation(tmp_path, mine=folder)


def in_pairs(folder):
    folder.mkdir(parents=True)
    write_pairs(folder / "test.csv", [*scored("test", count=30, seed=0)])


@pytest.mark.parametrize(("task", "write"), [("SemRel24STS", in_pairs), ("PublicHealthQA", searched)])
def test_of_a_task_in_several_languages_the_one_that_is_asked_for_is_read_and_scored(tmp_path, model, task, write):
    write(tmp_path / "data" / task)
    (part,) = evaluation_of(tmp_path / "data", (task,)).parts(model)
    assert part.error is None
    assert 0 < part.scores["main_score"] <= 1


def test_of_classes_in_several_languages_those_of_the_one_that_is_asked_for_are_numbered(tmp_path):
    task = mteb.get_task("MTOPDomainClassification", languages=["eng"], eval_splits=["test"])
    load_mirror(task, classes(tmp_path / "d", {"b": "bird", "a": "ape"}))
    assert {split: list(rows["label"]) for split, rows in task.dataset["en"].items()} == dict.fromkeys(
        ("test", "train"), [1] * 12 + [0] * 12
    )

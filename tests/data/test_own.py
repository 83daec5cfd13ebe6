"""A source of a person's own: what its load gives is told of by the source, the split and the row."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from datasets import Dataset

from embexp.config import ConfigError
from embexp.config.schema import OwnData
from embexp.data import build_source
from embexp.data import rows as data_rows
from embexp.data.rows import Rows, rows_from

TEXTS = [f"text {number}" for number in range(40)]
NAN = float("nan")


def pairs(**columns):
    return rows_from("pairs", {"anchor": TEXTS, "positive": TEXTS} | columns, name="my train", counts={})


def scored(scores):
    columns = {"sentence1": TEXTS[: len(scores)], "sentence2": TEXTS[: len(scores)], "score": scores}
    return rows_from("scored", columns, name="my train", counts={})


@pytest.fixture
def loaded(monkeypatch):
    """What the source gives, as embexp loads it, where its `load` is this function."""

    def load(own, split="train"):
        module = ModuleType("badmod")
        module.Src = type("Src", (), {"__init__": lambda self, **_: None, "load": lambda self, split: own(split)})
        monkeypatch.setitem(sys.modules, "badmod", module)
        keys = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6}
        return build_source(OwnData(target="badmod.Src", kind="pairs", limit=None, **keys)).load(split)

    return load


def told_of(loaded, own, split="train") -> str:
    with pytest.raises(ConfigError) as raised:
        loaded(own, split)
    (problem,) = raised.value.problems
    said = f"data._target_=badmod.Src: load({split!r})"
    assert problem.startswith(said)
    return problem.removeprefix(said)


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([39.0, 0.5], "row 1: score 39.0 is not within 0 to 1"),
        ([float(number) for number in range(40)], "row 3: score 2.0 is not within 0 to 1"),
        ([0.0, 1.0, NAN], "row 3: score nan is not within 0 to 1"),
        ([1.0, -1e-9], "row 2: score -1e-09 is not within"),
        ([1.0, None, NAN], "row 2: score is missing"),
    ],
)
@pytest.mark.parametrize("at_once", [2, 5000])
def test_a_score_that_is_none_is_told_with_its_row(loaded, monkeypatch, scores, told, at_once):
    monkeypatch.setattr(data_rows, "AT_ONCE", at_once)
    assert f": my train {told}" in told_of(loaded, lambda split: scored(scores))
    # Of dev as well.
    assert f": my train {told}" in told_of(loaded, lambda split: scored(scores), "dev")


def test_the_first_of_several_wrong_rows_is_told_whatever_its_column(loaded):
    columns = {"premise": ["a", "b", None], "hypothesis": ["a", "b", "c"], "label": [0, 3, 1]}
    rows = rows_from("nli", columns, name="mine", counts={})
    assert ": mine row 2: label 3 is not within 0 to 2" in told_of(loaded, lambda split: rows)


@pytest.mark.parametrize("blank", ["", " \t\n", "\u00a0\u3000"])
@pytest.mark.parametrize("at_once", [2, 5000])
def test_a_text_that_is_blank_is_told_with_its_row(loaded, monkeypatch, blank, at_once):
    monkeypatch.setattr(data_rows, "AT_ONCE", at_once)
    told = told_of(loaded, lambda split: pairs(positive=[*TEXTS[:4], blank, *TEXTS[5:]]))
    assert told == ": my train row 5: positive is blank; leave out rows that have no text."


def test_texts_that_are_numbers_are_told(loaded):
    table = Dataset.from_dict({"text": [2024, 2025]})
    assert told_of(loaded, lambda split: Rows("texts", table, "mine")) == ": mine row 1: text is 2024, not a text."


def test_columns_in_another_order_are_told_by_source_and_split(loaded):
    table = Dataset.from_dict({"positive": ["b"], "anchor": ["a"]})
    told = told_of(loaded, lambda split: Rows("pairs", table, "mine"))
    assert told.endswith("have the columns anchor, positive, in this order; given: positive, anchor.")


def test_scores_that_are_words_are_told(loaded):
    table = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "score": ["0.5"]})
    assert ": mine row 1: score is '0.5', not a number." in told_of(loaded, lambda split: Rows("scored", table, "mine"))


def test_what_can_be_used_comes_as_it_was_given(loaded):
    for rows in (scored([0.0, 1.0, 0.5]), scored([0, 1]), pairs()):
        assert loaded(lambda split, rows=rows: rows) is rows


def test_what_is_no_rows_is_told(loaded):
    assert told_of(loaded, lambda split: TEXTS) == " gives a list; it must give Rows, or None where there are none."


@pytest.mark.parametrize("none", [None, pairs(anchor=[], positive=[])], ids=["None", "no row"])
def test_only_train_must_have_rows(loaded, none):
    assert told_of(loaded, lambda split: none).startswith(" gives no rows for train")
    assert loaded(lambda split: none, "dev") is None


def test_what_has_no_load_is_no_source(monkeypatch):
    module = ModuleType("badmod")
    module.rows = lambda **_: []
    monkeypatch.setitem(sys.modules, "badmod", module)
    keys = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6}
    with pytest.raises(ConfigError, match=r"data\._target_=badmod\.rows: gives a list; it must give what has load\("):
        build_source(OwnData(target="badmod.rows", kind="pairs", limit=None, **keys))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"positive": TEXTS[1:]}, ": each row has a value in every column, but anchor has 40, positive has 39."),
        ({"positive": ["a", 7, *TEXTS[2:]]}, " row 2: positive is 7, not a text."),
        ({"anchor": 7}, ": anchor is 7, not a list of values."),
    ],
)
def test_wrong_columns_are_told_by_source_split_and_name(loaded, columns, told):
    assert told_of(loaded, lambda split: pairs(**columns)) == f": my train{told}"


@pytest.mark.parametrize(
    ("kind", "columns", "told"),
    [
        (
            "pairs",
            {"question": [], "positive": []},
            "x: rows of kind pairs have the columns anchor, positive; given: question, positive",
        ),
        ("pair", {}, "x: there are no rows of kind 'pair'; kinds: nli, scored, pairs"),
        ("labelled", {"text": ["a"], "label": ["refund"]}, "x row 1: label is 'refund', not a whole number"),
        ("labelled", {"text": ["a"], "label": [2**70]}, "x row 1: label is 11805"),
        ("scored", {"sentence1": ["a"], "sentence2": ["b"], "score": ["high"]}, "x row 1: score is 'high', not a num"),
    ],
)
def test_what_no_rows_can_be_made_of_is_told(kind, columns, told):
    with pytest.raises(ConfigError) as raised:
        rows_from(kind, columns, name="x", counts={})
    assert str(raised.value).startswith(told)


def test_what_the_source_itself_says_is_told_as_it_was(loaded):
    def gone(split):
        raise FileNotFoundError("tickets.db")

    with pytest.raises(FileNotFoundError, match=r"^tickets\.db$"):
        loaded(gone)

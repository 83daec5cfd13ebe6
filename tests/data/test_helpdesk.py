"""The built-in corpus: deterministic, true to its rules, and not solved by counting words."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest
from scipy.stats import spearmanr

from embexp.data.helpdesk import HelpdeskSource, classes, nli, retrieval, scored
from embexp.data.helpdesk.phrasing import language
from embexp.data.rows import CONTRADICTION, ENTAILMENT, Split

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


def source(rows: int = 3000, seed: int = 0) -> HelpdeskSource:
    return HelpdeskSource(kind="nli", limit=None, rows=rows, evaluation_rows=400, seed=seed)


def words(text: str) -> set[str]:
    return set(text.lower().split())


def overlap(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)


def trigrams(text: str) -> set[str]:
    return {text[start : start + 3].lower() for start in range(len(text) - 2)}


def test_the_same_seed_gives_the_same_rows_whatever_the_hash_seed():
    script = (
        "from embexp.data.helpdesk import HelpdeskSource;"
        "print(HelpdeskSource(kind='nli', limit=None, rows=1000, evaluation_rows=100, seed=0).load('train').fingerprint)"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert found.pop().strip() == source(rows=1000).load("train").fingerprint


def test_another_seed_gives_other_rows():
    assert source(seed=1).load("train").fingerprint != source(seed=2).load("train").fingerprint


def test_labels_are_balanced_and_there_are_as_many_rows_as_asked_for():
    rows = source(rows=3000).load("train")
    assert Counter(rows.table["label"]) == {0: 1000, 1: 1000, 2: 1000}


def test_a_premise_has_one_row_of_each_label():
    rows = list(nli("train", count=300, seed=0))
    for start in range(0, 300, 3):
        assert len({premise for premise, _, _ in rows[start : start + 3]}) == 1
        assert [label for _, _, label in rows[start : start + 3]] == [0, 1, 2]


def spoken(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def details(text: str) -> set[tuple[str, int]]:
    """The slot values, products left out, that a text names in one of their forms."""
    slots = {slot: values for slot, values in language("train").slots.items() if slot != "p"}
    return {
        (slot, number)
        for slot, values in slots.items()
        for number, forms in enumerate(values)
        if any(re.search(rf"(?<!\w){re.escape(form.lower())}(?!\w)", text.lower()) for form in forms)
    }


def test_an_entailed_hypothesis_names_no_detail_that_the_premise_does_not():
    checked = 0
    for premise, hypothesis, label in nli("train", count=3000, seed=5):
        told, known = details(hypothesis), details(premise)
        # A typo may hide the premise's detail: then there is nothing to compare with.
        if label == ENTAILMENT and told and known:
            assert told <= known
            checked += 1
    assert checked > 100


def test_a_contradiction_denies_the_premise_or_names_another_detail():
    denials = [spoken(denial.replace("{p}", "")) for intent in language("train").intents for denial in intent.denied]
    others = 0
    for premise, hypothesis, label in nli("train", count=1500, seed=5):
        if label == CONTRADICTION and not any(len(denial - spoken(hypothesis)) <= 1 for denial in denials):
            told, known = details(hypothesis), details(premise)
            assert not (told and known and told == known)
            others += bool(told)
    assert others > 50


def test_splits_share_no_intent_no_phrasing_and_no_slot_value():
    for one, other in combinations(SPLITS, 2):
        first, second = language(one), language(other)
        assert not {i.name for i in first.intents} & {i.name for i in second.intents}
        assert not {s for i in first.intents for s in i.said} & {s for i in second.intents for s in i.said}
        assert not set(first.before + first.after) & set(second.before + second.after)
        for slot in set(first.slots) & set(second.slots):
            assert not {f for v in first.slots[slot] for f in v} & {f for v in second.slots[slot] for f in v}


def test_splits_share_no_sentence():
    train, dev, test = (
        {text for column in rows.text_columns for text in rows.values(column)}
        for rows in (source(rows=20_000).load("train"), source().load("dev"), source().load("test"))
    )
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_there_are_sixty_intents_and_no_two_read_alike():
    intents = [intent for split in SPLITS for intent in language(split).intents]
    assert len(intents) >= 60
    phrasings = [(intent.name, words(said)) for intent in intents for said in intent.said]
    for (name, one), (other_name, other) in combinations(phrasings, 2):
        if name != other_name:
            assert overlap(one, other) < 0.7


@pytest.mark.parametrize("split", ["dev", "test"])
def test_no_trivial_feature_tells_the_score(split, capsys):
    rows = list(scored(split, count=1200, seed=0))
    scores = [score for _, _, score in rows]
    features = {
        "words in common": [overlap(words(a), words(b)) for a, b, _ in rows],
        "trigrams in common": [overlap(trigrams(a), trigrams(b)) for a, b, _ in rows],
        "like lengths": [-abs(len(a) - len(b)) for a, b, _ in rows],
    }
    found = {name: float(spearmanr(values, scores).statistic) for name, values in features.items()}
    with capsys.disabled():
        print(f"\nhelpdesk {split}, Spearman with the score: " + ", ".join(f"{n} {v:.2f}" for n, v in found.items()))
    assert max(map(abs, found.values())) < 0.6


def test_scores_are_equally_frequent():
    assert Counter(score for _, _, score in scored("dev", count=600, seed=0)) == dict.fromkeys(
        map(float, range(6)), 100
    )


def test_every_product_comes_from_the_same_language():
    assert len({text for text, _ in classes("train", count=200, seed=0)}) > 190
    names = {intent.name for intent in language("dev").intents}
    assert {name for _, name in classes("dev", count=100, seed=0)} == names
    queries, corpus, relevant = retrieval("test", count=50, seed=0)
    assert set(queries) == set(relevant)
    assert set(relevant.values()) <= set(corpus)


def test_no_message_is_left_with_a_gap():
    for split in SPLITS:
        for text, _ in classes(split, count=2000, seed=1):
            assert not set("[]{}") & set(text)
            assert "  " not in text
            assert "??" not in text


@pytest.mark.slow
def test_fifty_thousand_rows_take_seconds():
    import time

    start = time.perf_counter()
    source(rows=50_000).load("train")
    assert time.perf_counter() - start < 20

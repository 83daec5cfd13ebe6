"""Negatives: those that one would draw with sets of texts, and no text in memory for it."""

from __future__ import annotations

import random
import tracemalloc
from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from datasets import Dataset

from embexp.data import negatives, views
from embexp.data import rows as rows_module
from embexp.data.files import splitting
from embexp.data.files.splitting import Texts, set_aside
from embexp.data.negatives import Triplets
from embexp.data.rows import CONTRADICTION, Rows, hashes_of, rows_from
from embexp.data.tables import TABLE, records_of
from embexp.data.views import make_view

Pair = tuple[str, str]
RULES = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6, "seed": 3}


def nli(count: int, texts: int, seed: int) -> Rows:
    draw = random.Random(seed)
    columns = {
        "premise": [f"p {draw.randrange(texts)}" for _ in range(count)],
        "hypothesis": [f"{draw.choice('hp')} {draw.randrange(texts)}" for _ in range(count)],
        "label": [draw.randrange(3) for _ in range(count)],
    }
    return rows_from("nli", columns, name="drawn", counts={})


def pairs_of(rows: Rows) -> list[Pair]:
    """The entailed ones, each once."""
    found = zip(*(rows.values(column) for column in ("premise", "hypothesis", "label")), strict=True)
    return list(dict.fromkeys((p, h) for p, h, label in found if label == 0 and p != h))


def with_sets(rows: Rows, pairs: list[Pair], *, own: bool, seed: int) -> list[tuple[str, str, str]]:
    """The same by texts."""
    positives, contradictions = defaultdict(set), defaultdict(list)
    for anchor, positive in pairs:
        # Of NLI the two could change places.
        positives[anchor].add(positive)
        positives[positive].add(anchor)
    for premise, hypothesis, label in zip(*map(rows.values, ("premise", "hypothesis", "label")), strict=True):
        if (
            own
            and label == CONTRADICTION
            and hypothesis not in {premise, *positives[premise], *contradictions[premise]}
        ):
            contradictions[premise].append(hypothesis)
    draw = random.Random(seed)
    drawn = list(range(len(pairs)))
    draw.shuffle(drawn)
    of_anchor = defaultdict(list)
    for pair, (anchor, _) in enumerate(pairs):
        wanted = not contradictions[anchor]
        if wanted and pairs[drawn[pair]][1] in {anchor, *positives[anchor]}:
            of_anchor[anchor].append(pair)
    # Those of one positive together, in the order in which positives first stand.
    first = {positive: number for number, (_, positive) in reversed(list(enumerate(pairs)))}
    by_text = sorted(range(len(pairs)), key=lambda pair: first[pairs[pair][1]])
    for anchor, wrong in of_anchor.items():
        right = [pair for pair in by_text if pairs[pair][1] not in {anchor, *positives[anchor]}]
        for pair in wrong:
            drawn[pair] = right[draw.randrange(len(right))] if right else -1
    found, used = [], defaultdict(int)
    for pair, (anchor, positive) in enumerate(pairs):
        if of_anchor := contradictions[anchor]:
            found.append((anchor, positive, of_anchor[used[anchor] % len(of_anchor)]))
            used[anchor] += 1
        elif drawn[pair] >= 0:
            found.append((anchor, positive, pairs[drawn[pair]][1]))
    return found


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("count", "texts"), [(0, 1), (3, 1), (60, 2), (200, 4), (300, 40), (400, 5_000)])
@pytest.mark.parametrize("seed", [0, 1])
def test_negatives_are_those_that_sets_of_texts_would_give(monkeypatch, count, texts, own, seed):
    monkeypatch.setattr(negatives, "AT_ONCE", 7)
    rows = nli(count, texts, seed)
    pairs = pairs_of(rows)
    table = pa.table([[a for a, _ in pairs], [p for _, p in pairs]], schema=views.schema_of(("anchor", "positive")))
    triplets = Triplets.of(rows, Dataset(table), own=own, seed=seed)
    made = [record for table in triplets.tables() for record in records_of(table)]
    assert made == with_sets(rows, pairs, own=own, seed=seed)
    assert len(pairs) - len(made) == triplets.counts["dropped_no_negative"]


def triplets_of(pairs: list[Pair], *, seed: int) -> list[tuple[str, str, str]]:
    """By negatives of other pairs alone."""
    columns = {"anchor": [anchor for anchor, _ in pairs], "positive": [positive for _, positive in pairs]}
    triplets = Triplets.of(
        rows_from("pairs", columns, name="skewed", counts={}), Dataset.from_dict(columns), own=False, seed=seed
    )
    return [record for table in triplets.tables() for record in records_of(table)]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_pair_whose_positive_most_others_share_gets_one_of_the_few_that_do_not(seed):
    pairs = [(f"q {n}", "yes") for n in range(2_000)]
    pairs[700], pairs[900] = ("q 700", "no"), ("q 900", "never")
    made = triplets_of(pairs, seed=seed)
    assert [(anchor, positive) for anchor, positive, _ in made] == pairs
    found = Counter(negative for _, positive, negative in made if positive == "yes")
    assert set(found) == {"no", "never"}
    # Each as likely as the other.
    assert abs(found["no"] - found["never"]) < 200


def test_a_pair_is_left_without_a_negative_only_where_there_is_none():
    pairs = [("all", f"a {n}") for n in range(500)] + [("one", "a 1"), ("two", "a 2")]
    made = triplets_of(pairs, seed=0)
    assert [anchor for anchor, _, _ in made] == ["one", "two"]
    with_another = triplets_of([*pairs, ("three", "b")], seed=0)
    assert len(with_another) == 503
    assert {negative for anchor, _, negative in with_another if anchor == "all"} == {"b"}


@pytest.mark.parametrize(("kind", "negative"), [("pairs", "b"), ("scored", None)])
def test_of_rows_that_could_change_places_what_belongs_to_an_anchor_the_other_way_round_is_no_negative(kind, negative):
    first, second = ["b", "a", "c"], ["a", "d", "b"]
    names = {"pairs": ("anchor", "positive"), "scored": ("sentence1", "sentence2")}[kind]
    columns = {names[0]: first, names[1]: second} | ({"score": [1.0] * 3} if kind == "scored" else {})
    rows = rows_from(kind, columns, name=kind, counts={})
    triplets = Triplets.of(rows, Dataset.from_dict({"anchor": first, "positive": second}), own=False, seed=0)
    found = {a: n for table in triplets.tables() for a, _, n in records_of(table)}
    assert found.get("a") == negative


@pytest.mark.parametrize("own", [True, False])
def test_negatives_and_dev_parts_do_not_depend_on_how_a_process_hashes_texts(monkeypatch, own):
    def otherwise(table: pa.Table, key=hash):
        return hashes_of(table, lambda text: hash((str(key(text)), "otherwise")))

    def made() -> tuple[object, ...]:
        rows = nli(300, 400, 0)
        pairs = pa.table(list(zip(*pairs_of(rows), strict=True)), names=["anchor", "positive"])
        texts = Texts.of("pairs", [pairs])
        dev = set_aside("pairs", texts, fraction=0.1, seed=1)
        return Triplets.of(rows, Dataset(pairs), own=own, seed=3).drawn.tolist(), dev

    first = made()
    for module in (negatives, splitting):
        monkeypatch.setattr(module, "hashes_of", otherwise)
    assert made() == first


@pytest.mark.parametrize("view", ["triplets", "scored"])
def test_views_with_negatives_are_written_into_the_folder_and_are_those_in_memory(tmp_path, view):
    pairs = {"anchor": [f"q {n % 20}" for n in range(60)], "positive": [f"a {n}" for n in range(60)]}
    rows = rows_from("pairs", pairs, name="faq", counts={})
    mapped, plain = (make_view(rows, [view], **RULES, scratch=scratch) for scratch in (tmp_path, None))
    assert mapped.dataset.to_dict() == plain.dataset.to_dict()
    assert mapped.counts == plain.counts
    assert [file.name for file in tmp_path.iterdir()] == [TABLE]


def test_texts_are_not_in_memory_while_negatives_are_drawn(tmp_path, monkeypatch):
    for module in (negatives, rows_module):
        monkeypatch.setattr(module, "AT_ONCE", 500)
    words = "of a text that is much longer than the numbers that it is told apart by, " * 4
    pairs = {"anchor": [f"{n} {words}" for n in range(10_000)], "positive": [f"{words} {n}" for n in range(10_000)]}
    rows = rows_from("pairs", pairs, name="long", counts={})
    del pairs
    make_view(rows, ["triplets"], **RULES, scratch=tmp_path)
    tracemalloc.start()
    before = pa.total_allocated_bytes()
    view = make_view(rows, ["triplets"], **RULES, scratch=tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(view.dataset) == 10_000
    assert pa.total_allocated_bytes() - before < 1_000_000
    # Their texts are six million letters.
    assert peak < 2_500_000

"""What losses are fed: each rule of the table in `embexp.data.views`, and what a batch of it may hold."""

from __future__ import annotations

import random

import pytest

from embexp.config import VIEWS_OF_KIND, ConfigError
from embexp.data import rows as data_rows
from embexp.data.cache import cached_view
from embexp.data.rows import COLUMNS, CONTRADICTION, ENTAILMENT, NEUTRAL, Rows, rows_from
from embexp.data.tables import TABLE
from embexp.data.views import VIEW_COLUMNS, View, make_view


def rows(kind: str, records: list[tuple]) -> Rows:
    columns = dict(zip(COLUMNS[kind], map(list, zip(*records, strict=True)), strict=True))
    return rows_from(kind, columns, name="some rows", counts={"read": len(records)})


def view(of: Rows, name: str, **rules) -> View:
    return make_view(
        of, [name], **{"positives": "entailment", "negatives": "contradiction", "threshold": 0.6, "seed": 42, **rules}
    )


def records(made: View) -> list[tuple]:
    return list(zip(*(list(made.dataset[column]) for column in made.dataset.column_names), strict=True))


NLI = rows(
    "nli",
    [
        ("a dog runs", "an animal moves", ENTAILMENT),
        ("a dog runs", "it is brown", NEUTRAL),
        ("a dog runs", "nothing moves", CONTRADICTION),
        ("a man eats", "somebody eats", ENTAILMENT),
        ("a man eats", "he is hungry", NEUTRAL),
        ("rain falls", "it is wet", ENTAILMENT),
    ],
)
PAIRS = rows("pairs", [(f"question {n}", f"answer {n}") for n in range(20)])
TRIPLETS = rows("triplets", [("a", "b", "c"), ("d", "e", "f"), ("g", "h", "h")])
SCORED = rows("scored", [("a", "b", 0.9), ("c", "d", 0.6), ("e", "f", 0.59), ("g", "h", 0.0)])
TEXTS = rows("texts", [("one",), ("two",), ("one",)])
LABELLED = rows("labelled", [(f"message {n}", n % 3) for n in range(12)])
ALL = {"nli": NLI, "pairs": PAIRS, "triplets": TRIPLETS, "scored": SCORED, "labelled": LABELLED, "texts": TEXTS}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in VIEWS_OF_KIND.items() for name in names])
def test_every_view_that_a_kind_promises_can_be_made_and_has_its_columns(kind, name):
    made = view(ALL[kind], name)
    assert made.name == name
    assert tuple(made.dataset.column_names) == VIEW_COLUMNS[name]
    assert made.counts["kept"] == len(made.dataset) >= 2


@pytest.mark.parametrize("positives", ["entailment", "all"])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in VIEWS_OF_KIND.items() for name in names])
def test_a_view_that_is_made_some_rows_at_a_time_is_the_one_made_at_once(tmp_path, monkeypatch, kind, name, positives):
    draw = random.Random(5)
    values = {"label": [ENTAILMENT, NEUTRAL, CONTRADICTION], "score": [0.0, 0.5, 0.6, 1.0]}
    texts = [f"text {n}" for n in range(10)]
    some_rows = [tuple(draw.choice(values.get(c, texts)) for c in COLUMNS[kind]) for _ in range(40)]
    drawn = rows(kind, [*some_rows, *some_rows[:20]])
    at_once = view(drawn, name, positives=positives)
    monkeypatch.setattr(data_rows, "AT_ONCE", 7)
    some = view(drawn, name, positives=positives, scratch=tmp_path)
    assert records(some) == records(at_once)
    assert some.dataset.features == at_once.dataset.features
    assert (some.counts, some.directed) == (at_once.counts, at_once.directed)
    assert [file.name for file in tmp_path.iterdir()] == [TABLE]
    # As often as it stands there, or once: the textbook's way repeats rows, and so do scores as they were published.
    repeats = len(set(records(some))) < len(records(some))
    textbook = positives == "all" and kind == "nli" and name in ("pairs", "triplets")
    assert repeats == (textbook or kind == name == "scored")


def test_a_loss_that_accepts_several_views_gets_the_most_natural_one():
    rules = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6, "seed": 1}
    assert make_view(NLI, ["pairs", "triplets"], **rules).name == "triplets"
    assert make_view(PAIRS, ["triplets", "pairs"], **rules).name == "pairs"


def test_rows_that_cannot_give_what_a_loss_accepts_are_refused_with_what_they_give():
    with pytest.raises(ConfigError, match="some rows: triplets cannot be made from texts rows; they give noisy, twins"):
        view(TEXTS, "triplets")


def test_too_few_rows_are_refused_with_what_became_of_the_others():
    with pytest.raises(ConfigError, match="dropped_below_threshold"):
        view(SCORED, "pairs", threshold=0.8)


def test_nli_pairs_are_the_entailed_ones():
    made = view(NLI, "pairs")
    assert records(made) == [
        ("a dog runs", "an animal moves"),
        ("a man eats", "somebody eats"),
        ("rain falls", "it is wet"),
    ]
    assert made.counts == {"kept": 3, "dropped_not_entailment": 3}


def test_the_textbooks_way_makes_every_nli_row_a_positive_pair_repeated_ones_too():
    doubled = rows("nli", [*[("p", "h", CONTRADICTION)] * 2, ("q", "i", NEUTRAL)])
    made = view(doubled, "pairs", positives="all")
    assert records(made) == [("p", "h"), ("p", "h"), ("q", "i")]
    assert made.counts == {"kept": 3}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (kind, name)
        for kind, names in VIEWS_OF_KIND.items()
        for name in names
        if (kind, name) not in (("nli", "pairs"), ("nli", "triplets"))
    ],
)
def test_the_textbooks_way_changes_nothing_where_it_is_told_that_nothing_reads_it(kind, name):
    doubled = rows(kind, [*zip(*(ALL[kind].values(column) for column in COLUMNS[kind]), strict=True)] * 2)
    default, textbook = (view(doubled, name, positives=positives) for positives in ("entailment", "all"))
    assert records(textbook) == records(default)
    assert textbook.counts == default.counts


def test_the_negative_is_the_premises_own_contradiction_where_it_has_one():
    made = view(NLI, "triplets")
    assert records(made)[0] == ("a dog runs", "an animal moves", "nothing moves")
    assert made.counts["own_contradiction"] == 1


def test_several_contradictions_of_a_premise_are_used_in_turn():
    contradictions = [("p", f"no {n}", CONTRADICTION) for n in range(2)]
    several = rows("nli", [*[("p", f"yes {n}", ENTAILMENT) for n in range(3)], *contradictions])
    assert [negative for _, _, negative in records(view(several, "triplets"))] == ["no 0", "no 1", "no 0"]


def test_a_contradiction_that_is_there_twice_takes_no_turn_of_another():
    contradictions = [("p", text, CONTRADICTION) for text in ("no 0", "no 0", "no 1")]
    several = rows("nli", [*[("p", f"yes {n}", ENTAILMENT) for n in range(3)], *contradictions])
    assert [negative for _, _, negative in records(view(several, "triplets"))] == ["no 0", "no 1", "no 0"]


def test_a_hypothesis_that_is_also_called_entailed_is_no_negative_of_its_premise():
    disputed = rows("nli", [("p", "h", ENTAILMENT), ("p", "h", CONTRADICTION), ("q", "i", ENTAILMENT)])
    made = view(disputed, "triplets")
    assert records(made) == [("p", "h", "i"), ("q", "i", "h")]
    assert "own_contradiction" not in made.counts


def test_shuffled_negatives_are_the_textbooks_own_shuffle():
    entailed = [(f"p {n}", f"h {n}", ENTAILMENT) for n in range(50)]
    expected = [hypothesis for _, hypothesis, _ in entailed]
    random.Random(42).shuffle(expected)
    made = records(view(rows("nli", entailed), "triplets", negatives="shuffled"))
    same = [negative for _, _, negative in made]
    # Where the shuffle left a hypothesis in its place, another is drawn.
    assert [new == old for new, old in zip(same, expected, strict=True)] == [
        old != positive for old, (_, positive, _) in zip(expected, made, strict=True)
    ]


def test_a_shuffled_negative_is_not_the_premises_contradiction_on_purpose():
    assert "own_contradiction" not in view(NLI, "triplets", negatives="shuffled").counts


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("negatives", ["contradiction", "shuffled"])
def test_a_negative_is_never_the_anchor_nor_a_positive_of_it(seed, negatives):
    draw = random.Random(seed)
    texts = [f"text {n}" for n in range(8)]
    drawn = rows("nli", [(draw.choice(texts), draw.choice(texts), draw.randrange(3)) for _ in range(60)])
    positives = {(p, h) for p, h, label in zip(*(drawn.table[c] for c in COLUMNS["nli"]), strict=True) if label == 0}
    for anchor, positive, negative in records(view(drawn, "triplets", negatives=negatives, seed=seed)):
        assert len({anchor, positive, negative}) == 3
        assert (anchor, negative) not in positives


def test_pairs_get_the_positive_of_another_row_as_negative():
    made = view(PAIRS, "triplets")
    answers = set(PAIRS.table["positive"])
    assert len(made.dataset) == 20
    assert all(negative in answers and negative != positive for _, positive, negative in records(made))


def test_rows_without_any_possible_negative_are_dropped_and_counted():
    lonely = rows("pairs", [("same", "a"), ("same", "b"), ("other", "c"), ("third", "d")])
    everything = rows("pairs", [("same", "a"), ("same", "b"), ("same", "c")])
    assert "dropped_no_negative" not in view(lonely, "triplets").counts
    with pytest.raises(ConfigError, match=r"0 rows are left as triplets: .* 3 pairs found none"):
        view(everything, "triplets")


def test_triplets_stay_as_they_are_but_those_with_two_equal_texts():
    made = view(TRIPLETS, "triplets")
    assert records(made) == [("a", "b", "c"), ("d", "e", "f")]
    assert made.counts == {"kept": 2, "dropped_equal_texts": 1}


def test_pairs_of_triplets_leave_the_negative_out():
    assert records(view(TRIPLETS, "pairs")) == [("a", "b"), ("d", "e"), ("g", "h")]


def test_scored_rows_are_pairs_from_the_threshold_up():
    made = view(SCORED, "pairs")
    assert records(made) == [("a", "b"), ("c", "d")]
    assert made.counts == {"kept": 2, "dropped_below_threshold": 2}


def test_a_pair_of_equal_texts_is_no_positive():
    made = view(rows("pairs", [("a", "a"), ("b", "c"), ("d", "e")]), "pairs")
    assert made.counts == {"kept": 2, "dropped_equal_texts": 1}


def test_scored_rows_are_scored_as_they_are():
    assert records(view(SCORED, "scored")) == records(View("scored", SCORED.table, {}, directed=False))


def test_nli_rows_score_one_where_entailed_and_else_nothing():
    assert [score for _, _, score in records(view(NLI, "scored"))] == [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]


def test_triplets_give_a_pair_of_score_one_and_a_pair_of_score_zero():
    made = records(view(TRIPLETS, "scored"))
    assert made[:2] == [("a", "b", 1.0), ("a", "c", 0.0)]


def test_a_triplet_with_two_equal_texts_gives_no_scored_pairs():
    made = view(rows("triplets", [("a", "p", "p"), ("b", "q", "b"), ("c", "c", "n"), ("d", "e", "f")]), "scored")
    assert records(made) == [("d", "e", 1.0), ("d", "f", 0.0)]
    assert made.counts == {"kept": 2, "dropped_equal_texts": 3}


def test_pairs_score_one_and_as_many_mismatched_pairs_zero():
    made = records(view(PAIRS, "scored"))
    known = set(zip(PAIRS.table["anchor"], PAIRS.table["positive"], strict=True))
    assert {(first, second) for first, second, score in made if score == 1.0} == known
    wrong = [(first, second) for first, second, score in made if score == 0.0]
    assert len(wrong) == 20
    assert not known & set(wrong)


def test_classes_are_the_nli_rows_with_their_labels():
    assert [label for _, _, label in records(view(NLI, "classes"))] == [0, 1, 2, 0, 1, 0]


def test_the_noisy_view_holds_every_text_once():
    made = view(TEXTS, "noisy")
    assert records(made) == [("one",), ("two",)]
    assert made.counts == {"kept": 2, "dropped_repeated_text": 1}


def test_the_noisy_view_goes_column_by_column_and_a_text_stands_where_it_first_does(monkeypatch):
    monkeypatch.setattr(data_rows, "AT_ONCE", 2)
    made = view(rows("pairs", [("a", "x"), ("b", "a"), ("c", "y"), ("a", "c")]), "noisy")
    assert records(made) == [("a",), ("b",), ("c",), ("x",), ("y",)]
    assert made.counts == {"kept": 5, "dropped_repeated_text": 3}


def test_the_noisy_view_of_nli_holds_premises_and_hypotheses_and_no_labels():
    assert {text for (text,) in records(view(NLI, "noisy"))} == {*NLI.values("premise"), *NLI.values("hypothesis")}


def test_twins_are_each_text_once_beside_itself_and_neither_asks_for_the_other(tmp_path):
    assert records(view(TEXTS, "twins")) == [("one", "one"), ("two", "two")]
    of_pairs = view(PAIRS, "twins")
    assert len(of_pairs.dataset) == 40
    rules = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6, "seed": 42}
    kept = cached_view(str(tmp_path), PAIRS, ["twins"], **rules)
    assert [made.directed for made in (of_pairs, kept, cached_view(str(tmp_path), PAIRS, ["twins"], **rules))] == [
        False
    ] * 3


@pytest.mark.parametrize("name", ["pairs", "triplets", "scored", "classes"])
def test_a_repeated_row_is_dropped_and_counted(name):
    repeated = rows("nli", [*[("p", "h", ENTAILMENT)] * 3, ("q", "i", ENTAILMENT), ("r", "j", ENTAILMENT)])
    made = view(repeated, name)
    assert made.counts == {"kept": 3, "dropped_repeated": 2}


@pytest.mark.parametrize("kind", ["nli", "pairs"])
def test_the_seed_alone_decides_the_negatives(kind):
    def drawn(seed: int) -> list[tuple]:
        return records(view(ALL[kind], "triplets", seed=seed))

    assert drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(10)}) > 1

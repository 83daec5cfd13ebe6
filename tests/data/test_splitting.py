"""What of a file becomes dev: never a text of the rest, and of pairs enough to be scored."""

from __future__ import annotations

import time

import pyarrow as pa
import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data.files.splitting import CannotSplitError, Texts, set_aside, what_cannot_be_scored
from embexp.data.views import make_view
from tests.data.test_files import source, written


def faq(*sizes: int) -> list[tuple[str, str]]:
    """Answers with so many questions each."""
    return [
        (f"question {n} of {answer}", f"the answer {answer}") for answer, size in enumerate(sizes) for n in range(size)
    ]


def texts(pairs: list[tuple[str, str]]) -> Texts:
    """As they are read: some at a time."""
    table = pa.table({"anchor": [anchor for anchor, _ in pairs], "positive": [positive for _, positive in pairs]})
    return Texts.of("pairs", [table[:5], table[5:]])


def answers_of(pairs: list[tuple[str, str]], rows: list[int]) -> set[str]:
    return {pairs[row][1] for row in rows}


@pytest.mark.parametrize(
    ("sizes", "fraction", "rows"),
    [
        # One answer's questions are exactly what is wanted, twice as many, more than may be taken, and more than asked.
        ([10] * 10, 0.1, 20),
        ([20] * 10, 0.1, 40),
        ([20] * 5, 0.1, 40),
        ([10] * 10, 0.01, 20),
        # The smallest others come first.
        ([10] * 9 + [3], 0.1, 13),
    ],
)
def test_where_one_answer_would_be_all_of_dev_another_is_set_aside_with_it(sizes, fraction, rows):
    pairs = faq(*sizes)
    dev = set_aside("pairs", texts(pairs), fraction=fraction, seed=42)
    assert len(dev) == rows
    assert len(answers_of(pairs, dev)) == 2
    rest = [row for row in range(len(pairs)) if row not in dev]
    assert not answers_of(pairs, dev) & answers_of(pairs, rest)
    assert what_cannot_be_scored("pairs", texts(pairs), dev) is None


def test_what_could_be_scored_is_split_as_it_always_was():
    alone = [(f"question {n}", f"answer {n}") for n in range(40)]
    assert set_aside("pairs", texts(alone), fraction=0.1, seed=1) == [1, 2, 11, 23]
    shared = [(f"question {n // 3}", f"answer {n}") for n in range(60)]
    assert set_aside("pairs", texts(shared), fraction=0.1, seed=1) == [15, 16, 17, 33, 34, 35]
    # One group that gives negatives by itself, and one of rows that want none.
    chain = [(f"question {n // 2}", f"answer {(n + 1) // 2}") for n in range(7)]
    assert set_aside("pairs", texts([*chain, *faq(*[7] * 9)]), fraction=0.1, seed=18) == list(range(7))
    assert len(set_aside("nli", texts(faq(*[10] * 10)), fraction=0.1, seed=42)) == 10


def test_too_few_answers_are_told_with_what_helps():
    with pytest.raises(CannotSplitError, match=r"the 30 rows are 3 groups.* two to train on; give data\.dev=FILE$"):
        set_aside("pairs", texts(faq(10, 10, 10)), fraction=0.1, seed=42)
    with pytest.raises(CannotSplitError, match=r"give data\.dev=FILE or a larger data\.dev_fraction$"):
        set_aside("nli", texts(faq(40, 41, 42, 43)), fraction=0.1, seed=42)
    pairs = faq(10, 10, 10)
    dev = set_aside("pairs", texts(pairs), fraction=0.34, seed=42)
    assert "give no negatives: by the texts that they share the 30 rows are 3 groups" in str(
        what_cannot_be_scored("pairs", texts(pairs), dev)
    )
    alike = [(f"text {n}", f"text {n}") for n in range(40)]
    dev = set_aside("pairs", texts(alike), fraction=0.1, seed=42)
    assert "texts with themselves" in str(what_cannot_be_scored("pairs", texts(alike), dev))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("fraction", "sizes"), [(0.5, [30, 10]), (0.6, [30, 10]), (0.99, [1] * 40), (0.9, [38, 2])])
def test_however_much_is_set_aside_two_rows_are_left_to_train_on(fraction, sizes, seed):
    rows = texts(faq(*sizes))
    for kind in ("pairs", "nli"):
        assert 2 <= len(set_aside(kind, rows, fraction=fraction, seed=seed)) <= 38


def test_where_two_rows_cannot_be_left_no_larger_fraction_is_recommended():
    with pytest.raises(CannotSplitError, match=r"39 of 40 hang together.*give data\.dev=FILE$"):
        set_aside("nli", texts(faq(39, 1)), fraction=0.6, seed=1)


@pytest.mark.parametrize(("rows", "said"), [(1, "1 row is too few"), (3, "3 rows are too few")])
def test_too_few_rows_are_counted_in_good_english(rows, said):
    with pytest.raises(CannotSplitError, match=said):
        set_aside("pairs", texts(faq(*[1] * rows)), fraction=0.1, seed=42)


def test_what_cannot_be_split_is_told_before_anything_is_loaded_and_where_dev_is_not_scored_stops_nothing(tmp_path):
    content = "question,answer\n" + "".join(f"{asked},{answer}\n" for asked, answer in faq(10, 10, 10))
    file = written(tmp_path, "faq.csv", content)
    given = ["data=files", f"data.train={file}"]
    for fraction, said in (("0.1", "3 groups"), ("0.34", "give no negatives")):
        with pytest.raises(ConfigError) as refused:
            compose([*given, f"data.dev_fraction={fraction}"])
        (told,) = refused.value.problems
        assert told.startswith(f"data.train={file}: ")
        assert said in told
        compose([*given, f"data.dev_fraction={fraction}", "evaluation=helpdesk"])


def test_an_ordinary_faq_gives_pairs_to_score_on(tmp_path):
    content = "question,answer\n" + "".join(f"{asked},{answer}\n" for asked, answer in faq(*[10] * 10))
    file = written(tmp_path, "faq.csv", content)
    compose(["data=files", f"data.train={file}"])
    dev = source(train=file, seed=42).load("dev")
    view = make_view(dev, ["scored"], positives="entailment", negatives="contradiction", threshold=0.6, seed=0)
    assert view.counts == {"kept": 40}


def test_texts_with_themselves_are_split_as_fast_as_others():
    began = time.process_time()
    assert len(set_aside("pairs", texts([(f"t{n}", f"t{n}") for n in range(100_000)]), fraction=0.1, seed=1)) == 10_000
    assert time.process_time() - began < 5

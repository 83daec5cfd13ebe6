"""Batches without repeated texts: every row once, and as many as were said."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
import torch
from accelerate.data_loader import SeedableRandomSampler
from datasets import Dataset
from sentence_transformers.base.sampler import DefaultBatchSampler

from embexp.data.batches import NoDuplicates, Shuffled


def premises_often_shared(seed: int) -> Dataset:
    draw = random.Random(seed)
    rows = [(f"premise {int(40 * draw.random() ** 3)}", f"hypothesis {n % 90}", n % 3) for n in range(300)]
    return Dataset.from_dict(dict(zip(("anchor", "positive", "label"), zip(*rows, strict=True), strict=True)))


def sampler(rows: Dataset, size: int, *, seed: int = 0, drop_last: bool = False) -> NoDuplicates:
    return NoDuplicates(rows, batch_size=size, drop_last=drop_last, valid_label_columns=["label"], seed=seed)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size", [7, 32, 300, 500])
def test_shuffled_batches_are_those_of_the_plain_trainer_epoch_after_epoch(size, drop_last):
    rows, seed = premises_often_shared(1), 3
    options = {"batch_size": size, "drop_last": drop_last}
    made = Shuffled(rows, **options, generator=torch.Generator().manual_seed(seed), seed=seed)
    # What accelerate puts in the place of the trainer's RandomSampler.
    order = SeedableRandomSampler(rows, data_seed=seed, generator=torch.Generator().manual_seed(seed))
    plain = DefaultBatchSampler(order, **options)
    assert len(made) == len(plain)
    for epoch in (0, 1, 2, 1):
        made.set_epoch(epoch)
        order.set_epoch(epoch)
        assert list(made) == list(plain)


@pytest.mark.parametrize("size", [4, 16, 64, 500])
@pytest.mark.parametrize("seed", range(3))
def test_no_text_occurs_twice_in_a_batch_no_row_is_lost_and_the_length_is_true(seed, size):
    rows = premises_often_shared(seed)
    made = sampler(rows, size, seed=seed)
    length, batches = len(made), list(made)
    assert length == len(batches)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    for batch in batches:
        assert len(batch) <= size
        texts = [rows[row][column] for row in batch for column in ("anchor", "positive")]
        assert len(texts) == len(set(texts))


@pytest.mark.parametrize("size", [6, 16, 64])
@pytest.mark.parametrize("seed", range(4))
def test_every_epoch_has_as_many_batches_hardly_more_than_it_must_and_all_rows(seed, size):
    # Few questions, few answers: how many batches a greedy filling needs depends on the order of the rows.
    draw = random.Random(seed)
    rows = sorted({(f"question {draw.randrange(20)}", f"answer {draw.randrange(20)}") for _ in range(150)})
    dataset = Dataset.from_dict(dict(zip(("anchor", "positive"), zip(*rows, strict=True), strict=True)))
    made = sampler(dataset, size, seed=seed)
    length, seen = len(made), set()
    commonest = max(Counter(text for row in rows for text in row).values())
    assert length <= 1.3 * max(math.ceil(len(rows) / size), commonest) + 1
    for epoch in range(12):
        made.set_epoch(epoch)
        batches = list(made)
        assert len(batches) == len(made) == length
        assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
        assert max(map(len, batches)) <= size
        for batch in batches:
            texts = [text for row in batch for text in rows[row]]
            assert len(texts) == len(set(texts))
        seen.add(str(batches))
    assert len(seen) == 12
    # As on a resume: who begins with a later epoch finds the same there.
    again = sampler(dataset, size, seed=seed)
    again.set_epoch(11)
    assert (list(again), len(again)) == (batches, length)


def test_rows_that_hardly_ever_find_room_are_in_the_batches_of_the_first_epoch_in_another_order(monkeypatch):
    monkeypatch.setattr("embexp.data.batches.ORDERS", 0)
    rows = premises_often_shared(0)
    made = sampler(rows, 16)
    first = list(made)
    made.set_epoch(1)
    assert list(made) != first
    assert sorted(made) == sorted(first)


def test_rows_without_repeats_fill_the_batches_evenly():
    rows = Dataset.from_dict({"anchor": [str(n) for n in range(100)], "positive": [f"+{n}" for n in range(100)]})
    assert sorted(map(len, sampler(rows, 32))) == [25, 25, 25, 25]
    with pytest.raises(ValueError, match="drop_last"):
        sampler(rows, 50, drop_last=True)


def test_batches_that_are_far_from_full_are_told_once(caplog):
    common = Dataset.from_dict(
        {"anchor": [str(n) for n in range(90)], "positive": ["+" if n % 3 else f"+{n}" for n in range(90)]}
    )
    made = sampler(common, 32)
    for epoch in range(2):
        made.set_epoch(epoch)
        assert len(list(made)) == 60
    (said,) = caplog.messages
    assert "batches: 60 of about 1 rows, not 3 of 32" in said
    caplog.clear()
    list(sampler(Dataset.from_dict({"anchor": [str(n) for n in range(100)]}), 32))
    assert not caplog.messages


def test_every_epoch_has_an_order_of_its_own_that_its_seed_repeats():
    rows = premises_often_shared(0)
    made, again = sampler(rows, 16), sampler(rows, 16)
    first = list(made)
    made.set_epoch(1)
    assert list(made) != first
    assert list(again) == first
    again.set_epoch(1)
    assert list(again) == list(made)


def with_one_hard_negative_for_many(seed: int) -> list[tuple[str, str, str]]:
    """Answers of few texts, a fifth of which rows have as their negative, and questions that are negatives too."""
    draw = random.Random(seed)
    hard = ["answer 3", "answer 7", "question 5", "nobody's", "nobody's"]
    return [(f"question {n}", f"answer {n // 2}", hard[draw.randrange(5)]) for n in range(400)]


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("seed", range(3))
def test_a_negative_of_many_rows_costs_no_batch_and_is_no_other_row_s_anchor_or_positive(seed, size):
    rows = with_one_hard_negative_for_many(seed)
    dataset = Dataset.from_dict(dict(zip(("anchor", "positive", "negative"), zip(*rows, strict=True), strict=True)))
    made = sampler(dataset, size, seed=seed)
    twice = 0
    for epoch in range(3):
        made.set_epoch(epoch)
        batches = list(made)
        assert len(batches) == len(made) <= math.ceil(len(rows) / size) + 1
        assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
        for batch in batches:
            right = Counter(text for row in batch for text in set(rows[row][:2]))
            assert max(right.values()) == 1
            assert not [row for row in batch if right[rows[row][2]] and rows[row][2] not in rows[row][:2]]
            twice += max(Counter(rows[row][2] for row in batch).values()) > 1
    assert twice


def test_small_batches_are_told_with_what_makes_them_small(caplog):
    rows = {"anchor": ["same"] * 30 + [f"{n}" for n in range(30)], "positive": [f"+{n}" for n in range(60)]}
    assert len(sampler(Dataset.from_dict(rows), 30)) == 30
    assert "some text is the anchor or a positive of many rows" in caplog.text

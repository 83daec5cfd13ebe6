"""TSDAE's noise: how much is deleted, and that a resumed run meets the noise it would have met."""

from __future__ import annotations

import pytest

from embexp.data.noise import WordDeletion
from embexp.data.noisy import NoisyTexts
from embexp.data.rows import rows_from

WORDS = " ".join(f"word{number}" for number in range(2_000))


def test_the_same_seed_epoch_and_text_give_the_same_noise():
    assert WordDeletion(0.6, seed=3)(WORDS, epoch=1) == WordDeletion(0.6, seed=3)(WORDS, epoch=1)


def test_noise_does_not_depend_on_what_was_read_before():
    used = WordDeletion(0.6, seed=3)
    used("something else entirely", epoch=1)
    assert used(WORDS, epoch=1) == WordDeletion(0.6, seed=3)(WORDS, epoch=1)


def test_every_epoch_has_other_noise():
    delete = WordDeletion(0.6, seed=3)
    assert len({delete(WORDS, epoch=epoch) for epoch in range(5)}) == 5


def test_another_seed_has_other_noise():
    assert WordDeletion(0.6, seed=3)(WORDS, epoch=0) != WordDeletion(0.6, seed=4)(WORDS, epoch=0)


@pytest.mark.parametrize("ratio", [0.2, 0.6, 0.9])
def test_the_share_of_words_deleted_is_the_ratio(ratio):
    kept = WordDeletion(ratio, seed=0)(WORDS, epoch=0).split()
    assert len(kept) == pytest.approx(2_000 * (1 - ratio), abs=80)


def test_words_that_stay_keep_their_order_and_are_whole():
    kept = WordDeletion(0.6, seed=0)(WORDS, epoch=0).split()
    numbers = [int(word.removeprefix("word")) for word in kept]
    assert numbers == sorted(set(numbers))


def test_at_least_one_word_stays():
    delete = WordDeletion(0.99, seed=0)
    assert {len(delete("three words here", epoch=epoch).split()) for epoch in range(50)} == {1}


def test_the_one_word_that_stays_is_not_always_the_same():
    delete = WordDeletion(0.99, seed=0)
    assert {delete("three words here", epoch=epoch) for epoch in range(100)} == {"three", "words", "here"}


def test_a_text_of_one_word_stays_as_it_is():
    assert WordDeletion(0.9, seed=0)("word", epoch=0) == "word"


def test_without_deletion_only_spaces_change():
    assert WordDeletion(0.0, seed=0)("a  b\n c", epoch=0) == "a b c"


def test_the_noisy_view_is_read_with_the_noise_of_its_epoch_beside_the_text():
    texts = [f"one two three four five six seven {number}" for number in range(3)]
    noise = WordDeletion(0.6, seed=1)
    transform = NoisyTexts(noise)
    read = transform.over(rows_from("texts", {"text": texts}, name="x", counts={}).table)
    for epoch in (0, 1):
        transform.epoch = epoch
        assert list(read[:]) == ["noisy", "text"]
        assert read[:]["noisy"] == [noise(text, epoch=epoch) for text in texts]
        assert read[:]["text"] == texts

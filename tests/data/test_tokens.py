"""Texts' token ids that are kept: made once, found by the text, in place."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset

from embexp.data import tokens
from embexp.data.tokens import Tokens, cached_tokens

ROWS = Dataset.from_dict(
    {"anchor": ["a", "bb", "a"], "positive": ["ccc", "a", "ä b"], "score": [0.1, 0.2, 0.3], "label": [1, 0, 1]}
)
UNIQUE = ["a", "bb", "ccc", "ä b"]


def letters(texts: list[str]) -> list[list[int]]:
    return [[ord(letter) for letter in text] for text in texts]


def made(folder: Path, asked: list[str] | None = None, *, prompts: dict[str, str] | None = None, **of: str) -> Tokens:
    def tokenise(texts: list[str]) -> list[list[int]]:
        if asked is not None:
            asked.extend(texts)
        return letters(texts)

    return cached_tokens(str(folder), ROWS, tokenise, prompts=prompts or {}, made_from={"of": "rows", **of})


@pytest.mark.parametrize(("at_once", "a_bucket"), [(1, 1), (2, 3), (5_000, 2), (5_000, 1_000_000)])
def test_every_text_has_its_own_ids_however_many_are_made_at_once(tmp_path, monkeypatch, at_once, a_bucket):
    monkeypatch.setattr(tokens, "AT_ONCE", at_once)
    monkeypatch.setattr(tokens, "A_BUCKET", a_bucket)
    asked: list[str] = []
    kept = made(tmp_path, asked)
    assert asked == UNIQUE  # each once, and no scores
    for text in UNIQUE:
        ids, chosen = kept.find([text], padding=0)
        assert ids.tolist() == letters([text])
        assert chosen.all()


def test_ids_are_padded_on_the_right_in_the_order_of_the_texts(tmp_path):
    ids, chosen = made(tmp_path).find(["ccc", "a", "ccc", "bb"], padding=7)
    assert ids.tolist() == [[99, 99, 99], [97, 7, 7], [99, 99, 99], [98, 98, 7]]
    assert chosen.tolist() == [[True] * 3, [True, False, False], [True] * 3, [True, True, False]]
    assert ids.dtype == np.int64


@pytest.mark.parametrize("text", ["d", "", "A", "a ", "zzzz"])
def test_one_text_that_is_not_there_is_enough_for_nothing_to_be_found(tmp_path, text):
    assert made(tmp_path).find(["a", text], padding=0) is None


def test_of_two_texts_of_one_half_hash_none_gets_the_other_s_ids(tmp_path, monkeypatch):
    whole = tokens._hashes

    def alike(texts):
        hashes = whole(texts).copy()
        hashes[:, 0] = 1
        return hashes

    monkeypatch.setattr(tokens, "_hashes", alike)
    kept = made(tmp_path)
    found = {text: kept.find([text], padding=0) for text in UNIQUE}
    assert [text for text, ids in found.items() if ids is not None and ids[0].tolist() != letters([text])] == []
    assert sum(ids is not None for ids in found.values()) == 1


def test_the_second_time_they_are_there_mapped_and_nothing_of_them_is_copied(tmp_path):
    made(tmp_path)
    asked: list[str] = []
    again = made(tmp_path, asked)
    assert asked == []
    assert again.table.cache_files
    before = pa.total_allocated_bytes()
    assert again.find(["a"], padding=0) is not None
    assert pa.total_allocated_bytes() == before


def test_a_column_s_prompt_stands_before_its_texts(tmp_path):
    asked: list[str] = []
    kept = made(tmp_path, asked, prompts={"anchor": "q: "})
    assert asked == ["q: a", "q: bb", "ccc", "a", "ä b"]
    assert kept.find(["bb"], padding=0) is None
    made(tmp_path, asked, prompts={"anchor": "Q: "})
    assert len(asked) == 2 * 5


def test_to_another_process_goes_where_they_lie_and_not_what_was_looked_up(tmp_path):
    many = Dataset.from_dict({"text": [f"text {number}" for number in range(20_000)]})
    kept = cached_tokens(str(tmp_path), many, letters, prompts={}, made_from={})
    kept.find(["text 7"], padding=0)
    sent = cloudpickle.dumps(kept)
    assert len(sent) < 10_000
    ids, _ = cloudpickle.loads(sent).find(["text 19999"], padding=0)
    assert ids.tolist() == letters(["text 19999"])
    # More rows than are written at once, in one piece all the same.
    assert kept.table.data.column("ids").num_chunks == 1


def test_another_tokenizer_s_are_not_found(tmp_path):
    made(tmp_path, tokenizer="one")
    asked: list[str] = []
    made(tmp_path, asked, tokenizer="another")
    assert asked == UNIQUE


def test_where_nothing_can_be_kept_texts_are_tokenised_as_they_come(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    assert made(tmp_path / "file") is None
    assert "tokens cannot be kept there" in caplog.text


def test_what_is_made_lies_in_files_and_not_in_memory_and_of_the_files_only_the_table_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "A_BUCKET", 5_000)
    many = Dataset.from_dict({"text": [f"text {number}" for number in range(40_000)]})

    def of_hundred(texts: list[str]) -> list[list[int]]:
        return [[7] * 100 for _ in texts]

    monkeypatch.setattr(tokens, "AT_ONCE", 1_000)
    made(tmp_path / "imports")
    tracemalloc.start()
    kept = cached_tokens(str(tmp_path / "kept"), many, of_hundred, prompts={}, made_from={})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept.table.data.nbytes > 16_000_000
    assert peak < 8_000_000
    assert len([entry for entry in (tmp_path / "kept").iterdir() if entry.is_dir()]) == 1

"""Texts as tensors: to the letter what the library makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embexp.models import tiny
from embexp.training.collation import KeptTokens, kept_tokens, preprocessing

TEXTS = ["a short one", "", "somewhat longer than the first of them", "word " * 100]
OTHERS = [{}, {"prompt": "query: ", "task": None}, {"max_length": 8}, {"prompt": None, "task": None}]


def made(**changed: Any) -> SentenceTransformer:
    settings = {"hidden_size": 16, "layers": 1, "vocabulary_size": 300, "pooling": "mean", "dropout": 0.0, "seed": 1}
    return tiny(**{**settings, "max_length": 32, **changed})[0]


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    assert {"input_ids", "attention_mask", "modality"} <= set(found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0) if torch.is_tensor(value) else None
        assert type(found[name]) is type(value), name


def expected(model: SentenceTransformer, texts: list[str], **others: Any) -> dict[str, Any]:
    """The library's; but the length of a prompt is nothing to a model that pools its tokens too."""
    found = model.preprocess(texts, **others)
    return {name: value for name, value in found.items() if name != "prompt_length"}


def kept_of(model: SentenceTransformer, folder: Path, texts: list[str] = TEXTS) -> KeptTokens:
    tokens = kept_tokens(model, Dataset.from_dict({"text": texts}), str(folder), of={"texts": len(texts)}, prompts={})
    found = preprocessing(model, tokens)
    assert isinstance(found, KeptTokens)
    return found


def tokenising(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the tokenizer is asked for from now on."""
    asked, whole = [], model[0].preprocess

    def watched(texts, **others):
        asked.append(list(texts))
        return whole(texts, **others)

    monkeypatch.setattr(model[0], "preprocess", watched)
    return asked


@pytest.mark.parametrize("others", OTHERS)
def test_tensors_are_the_library_s(others):
    model = made()
    same(preprocessing(model, None)(TEXTS, **others), expected(model, TEXTS, **others))


@pytest.mark.parametrize("others", OTHERS)
def test_with_kept_tokens_they_are_the_library_s_from_the_first_batch_on(tmp_path, others):
    model = made()
    preprocess = kept_of(model, tmp_path)
    for texts in (TEXTS, TEXTS[:2], TEXTS[::-1], TEXTS):
        same(preprocess(texts, **others), expected(model, texts, **others))


def test_after_the_first_batch_nothing_is_tokenised_but_what_is_not_kept(tmp_path, monkeypatch):
    model = made()
    preprocess = kept_of(model, tmp_path)
    asked = tokenising(model, monkeypatch)
    for texts in (TEXTS[:2], TEXTS, ["damaged by noise", *TEXTS], TEXTS):
        preprocess(texts, prompt=None, task=None)
    assert asked == [TEXTS[:2], ["damaged by noise", *TEXTS]]


def test_a_prompt_is_tokenised_with_its_texts(tmp_path, monkeypatch):
    model = made()
    preprocess = kept_of(model, tmp_path)
    preprocess(TEXTS)
    asked = tokenising(model, monkeypatch)
    preprocess(TEXTS, prompt="query: ", task=None)
    assert TEXTS in asked


def test_another_length_is_another_s_tokens(tmp_path):
    for length in (32, 8):
        model = made(max_length=length)
        preprocess = kept_of(model, tmp_path)
        preprocess(TEXTS)
        same(preprocess(TEXTS), model.preprocess(TEXTS))
        assert preprocess.verified
    model.max_seq_length = 5
    preprocess = kept_of(model, tmp_path)
    assert preprocess(TEXTS)["input_ids"].shape == (4, 5)
    assert preprocess.verified


def test_kept_tokens_that_are_not_the_model_s_are_seen_at_the_first_batch_and_left(tmp_path, caplog):
    caplog.set_level("INFO")
    tokens = kept_tokens(made(), Dataset.from_dict({"text": TEXTS}), str(tmp_path), of={}, prompts={})
    other = made(max_length=5)
    preprocess = preprocessing(other, tokens)
    for texts in (TEXTS, TEXTS):
        same(preprocess(texts), other.preprocess(texts))
    assert "not what the model reads" in caplog.text


def changed(model: SentenceTransformer, how: str) -> SentenceTransformer:
    """The model with another tokenizer that gives harmless texts the same ids."""
    tokenizer = model.tokenizer
    if how == "words":
        described = json.loads(tokenizer.backend_tokenizer.to_str())
        vocabulary = described["model"]["vocab"]
        vocabulary["q"], vocabulary["x"] = vocabulary["x"], vocabulary["q"]
        tokenizer.backend_tokenizer.from_str(json.dumps(described))
        tokenizer._tokenizer = tokenizer.backend_tokenizer.from_str(json.dumps(described))
    elif how == "cut":
        tokenizer.truncation_side = "left"
    else:
        tokenizer.split_special_tokens = True
    return model


@pytest.mark.parametrize("how", ["words", "cut", "special"])
def test_a_tokenizer_that_differs_in_one_thing_gets_its_own_tokens(tmp_path, how):
    texts = ["a b", "q x", "where " * 60 + "here", "a [MASK] b"]
    other = changed(made(), how)
    assert not torch.equal(*(one.preprocess(texts)["input_ids"][1:, :5] for one in (made(), other)))
    for model in (made(), other):
        preprocess = kept_of(model, tmp_path, texts)
        for batch in (texts[:1], texts):
            same(preprocess(batch), expected(model, batch))
        assert preprocess.verified


@pytest.mark.parametrize("how", ["slow", "pads_to_a_multiple", "pictures_too"])
def test_of_a_model_whose_texts_alone_do_not_tell_its_tensors_none_are_kept(tmp_path, monkeypatch, how):
    model = made()
    if how == "slow":
        monkeypatch.setattr(type(model.tokenizer), "is_fast", False)
    elif how == "pads_to_a_multiple":
        model[0].processing_kwargs = {"text": {"pad_to_multiple_of": 16}}
    else:
        model[0].modality_config = {**model[0].modality_config, "message": model[0].modality_config["text"]}
    assert kept_tokens(model, Dataset.from_dict({"text": TEXTS}), str(tmp_path), of={}, prompts={}) is None


def test_a_length_that_is_asked_for_later_is_not_answered_by_what_is_kept(tmp_path):
    model = made()
    preprocess = kept_of(model, tmp_path)
    preprocess(TEXTS)
    same(preprocess(TEXTS, max_length=5), expected(model, TEXTS, max_length=5))


def test_what_is_padded_on_the_left_is_not_kept(tmp_path):
    model = made()
    model.tokenizer.padding_side = "left"
    assert kept_tokens(model, Dataset.from_dict({"text": TEXTS}), str(tmp_path), of={}, prompts={}) is None
    assert not list(tmp_path.iterdir())


def test_what_has_no_tokenizer_of_transformers_is_left_to_the_library(tmp_path):
    model = SentenceTransformer(modules=[StaticEmbedding(made().tokenizer.backend_tokenizer, embedding_dim=8)])
    assert preprocessing(model, None) == model.preprocess
    assert kept_tokens(model, Dataset.from_dict({"text": TEXTS}), str(tmp_path), of={}, prompts={}) is None

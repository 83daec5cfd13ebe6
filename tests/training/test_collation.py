"""Texts as tensors: to the letter what the library makes of them."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embexp.models import tiny
from embexp.training.collation import preprocessing

TEXTS = ["a short one", "", "somewhat longer than the first of them", "word " * 100]


def made() -> SentenceTransformer:
    return tiny(hidden_size=16, layers=1, vocabulary_size=300, pooling="mean", max_length=32, dropout=0.0, seed=1)[0]


@pytest.mark.parametrize("others", [{}, {"prompt": "query: ", "task": None}, {"max_length": 8}])
def test_tensors_are_the_library_s(others):
    model = made()
    expected, found = model.preprocess(TEXTS, **others), preprocessing(model)(TEXTS, **others)
    assert list(found) == list(expected)
    assert {"input_ids", "attention_mask", "modality"} <= set(found)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0) if torch.is_tensor(value) else None
        assert type(found[name]) is type(value), name


def test_what_has_no_tokenizer_of_transformers_is_left_to_the_library():
    model = SentenceTransformer(modules=[StaticEmbedding(made().tokenizer.backend_tokenizer, embedding_dim=8)])
    assert preprocessing(model) == model.preprocess

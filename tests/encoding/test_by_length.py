"""Sorted encoding: another order of computing, the same numbers."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embexp.encoding import can_be_sorted, encode_sorted
from embexp.models import tiny

TEXTS = [
    ["a short one", "somewhat longer than the first of them", "x", "the end"],
    ["another", "y z", "a very long text indeed, with many words that all become many pieces", "and so on and on"],
]


@pytest.fixture
def model():
    made, _ = tiny(hidden_size=32, layers=2, vocabulary_size=500, pooling="mean", max_length=64, dropout=0.0, seed=1)
    return made.train()


@pytest.mark.parametrize("chunk_tokens", [1, 40, 100_000])
def test_embeddings_are_those_of_the_plain_way_in_the_same_order(model, chunk_tokens):
    columns = [model.preprocess(texts) for texts in TEXTS]
    plain = [model(dict(column))["sentence_embedding"] for column in columns]
    for one, other in zip(plain, encode_sorted(model, columns, chunk_tokens=chunk_tokens), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_loss_and_gradient_are_those_of_the_plain_way(model):
    loss = MultipleNegativesRankingLoss(model)
    columns = [model.preprocess(texts) for texts in TEXTS]
    gradients = []
    for embeddings in (
        [model(dict(column))["sentence_embedding"] for column in columns],
        encode_sorted(model, columns, chunk_tokens=30),
    ):
        model.zero_grad()
        value = loss.compute_loss_from_embeddings(embeddings, None)
        value.backward()
        gradients.append((value.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], atol=1e-5, rtol=1e-5)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_a_chunk_holds_no_more_than_its_tokens(model):
    widths = []
    model[0].register_forward_pre_hook(lambda module, inputs: widths.append(inputs[0]["input_ids"].numel()))
    encode_sorted(model, [model.preprocess(texts) for texts in TEXTS], chunk_tokens=40)
    longest = max(model.preprocess(TEXTS[1])["attention_mask"].sum(dim=1)).item()
    assert all(width <= max(40, longest) for width in widths)
    assert len(widths) > 1


def test_left_padded_columns_are_left_to_the_plain_way(model):
    column = model.preprocess(TEXTS[0])
    assert can_be_sorted([column])
    flipped = {key: value.flip(1) if isinstance(value, torch.Tensor) else value for key, value in column.items()}
    assert not can_be_sorted([flipped])

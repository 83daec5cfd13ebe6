"""Attention of texts in one row: torch's own, text by text, and its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from embexp.encoding.attention import WIDTH, Layout
from embexp.encoding.dropout import bernoulli_noise

HEADS, SIZE = 3, 4
LENGTHS = {
    "of many lengths": [1, 1, 2, 7, 8, 9, 9, 15, 17, 40],
    "of one length": [5, 5, 5],
    "one text": [3],
    "of one token": [1, 1, 1],
    "at the edges of what is computed together": [WIDTH - 1, WIDTH, WIDTH + 1, 2 * WIDTH, 2 * WIDTH + 1],
}


def drawn(tokens: int) -> Tensor:
    return torch.randn(1, HEADS, tokens, SIZE, requires_grad=True)


def zeros(tokens: int) -> Tensor:
    return torch.zeros(1, HEADS, tokens, SIZE, requires_grad=True)


def text_by_text(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], *, causal: bool) -> Tensor:
    """torch's own attention; keys and values are the tokens', or one for each text."""
    looked_at = lengths if key.shape[2] == query.shape[2] else [1] * len(lengths)
    parts = zip(query.split(lengths, 2), key.split(looked_at, 2), value.split(looked_at, 2), strict=True)
    told = [functional.scaled_dot_product_attention(*part, is_causal=causal, scale=0.3) for part in parts]
    return torch.cat(told, dim=2).transpose(1, 2)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("way", ["encoder", "causal", "one key a text"])
def test_values_and_gradients_are_torchs_text_by_text(lengths, way):
    torch.manual_seed(1)
    tokens = sum(lengths)
    looked_at = len(lengths) if way == "one key a text" else tokens
    parts = [drawn(tokens), drawn(looked_at), drawn(looked_at)]
    expected = text_by_text(*parts, lengths, causal=way == "causal")
    layout = Layout.of(torch.tensor(lengths), bernoulli_noise)
    found = layout.attend(*parts, scale=0.3, dropout=0.0, causal=way == "causal")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    gradient = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, parts, gradient), torch.autograd.grad(expected, parts, gradient), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_dropped_is_dropped_from_the_weights_and_in_the_gradient_too(causal):
    lengths = [2, 5, 6]
    tokens = sum(lengths)
    query, key, value = drawn(tokens), drawn(tokens), drawn(tokens)
    # All are shorter than WIDTH, and so computed together, padded to the longest.
    longest = max(lengths)
    noise = torch.tensor([0.0, 2.0]).repeat(len(lengths) * HEADS * longest**2 // 2)
    noise = noise[torch.randperm(len(noise), generator=torch.Generator().manual_seed(1))]

    def given(like: Tensor, p: float) -> Tensor:
        assert p == 0.5
        return noise.view(like.shape)

    layout = Layout.of(torch.tensor(lengths), given)
    found = layout.attend(query, key, value, scale=0.3, dropout=0.5, causal=causal)
    masks, expected = noise.view(len(lengths), HEADS, longest, longest), []
    cut = (part[0].split(lengths, 1) for part in (query, key, value))
    for mask, length, one, other, third in zip(masks, lengths, *cut, strict=True):
        scores = one @ other.transpose(1, 2) * 0.3
        if causal:
            scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
        expected.append((torch.softmax(scores, -1) * mask[:, :length, :length]) @ third)
    wanted = torch.cat(expected, dim=1).transpose(0, 1)[None]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)
    gradient = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, (query, key, value), gradient),
        torch.autograd.grad(wanted, (query, key, value), gradient),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_all_texts_drop_by_draws_of_their_own_and_the_gradient_by_the_same():
    torch.manual_seed(1)
    lengths = LENGTHS["of many lengths"]
    tokens, drawn = sum(lengths), []

    def noise(like: Tensor, p: float) -> Tensor:
        drawn.append(bernoulli_noise(like, p))
        return drawn[-1]

    # With keys alike all of a text's tokens have equal shares, and values of 1 tell how many of them are left.
    query, key = zeros(tokens), zeros(tokens)
    value = torch.ones(1, HEADS, tokens, SIZE, requires_grad=True)
    layout = Layout.of(torch.tensor(lengths), noise)
    found = layout.attend(query, key, value, scale=0.3, dropout=0.5, causal=False)
    left, start = [], 0
    for group in layout.groups:
        size = (group.texts, HEADS, group.length, group.length)
        own = drawn[0].flatten()[start : start + math.prod(size)].view(size)
        start += math.prod(size)
        for text, length in enumerate((~group.padding).sum(1).tolist()):
            left.append(own[text, :, :length, :length].mean(-1))
    assert len(drawn) == 1
    assert start == drawn[0].numel()
    expected = torch.cat(left, dim=1).t()[None, :, :, None].expand_as(found)
    torch.testing.assert_close(found, expected)
    # What a token's value is worth in all: the draws of its column.
    (of_value,) = torch.autograd.grad(found.sum(), value)
    assert float(of_value.sum()) == pytest.approx(float(expected.sum()), rel=1e-5)


def test_keys_and_values_of_another_precision_are_brought_to_the_query_s():
    torch.manual_seed(1)
    query, key, value = drawn(12).detach().bfloat16().requires_grad_(), drawn(12), drawn(12)
    layout = Layout.of(torch.tensor([5, 7]), bernoulli_noise)
    found = layout.attend(query, key, value, scale=0.3, dropout=0.0, causal=False)
    gradients = torch.autograd.grad(found.sum(), (query, key, value))
    assert found.dtype == torch.bfloat16
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16, torch.float32, torch.float32]


def test_in_bf16_it_is_within_bf16s_own_error():
    torch.manual_seed(1)
    lengths = LENGTHS["of many lengths"]
    exact = [drawn(sum(lengths)) for _ in range(3)]
    halved = [part.detach().bfloat16().requires_grad_() for part in exact]
    layout = Layout.of(torch.tensor(lengths), bernoulli_noise)
    found = layout.attend(*halved, scale=0.3, dropout=0.0, causal=False)
    assert found.dtype == torch.bfloat16
    expected = text_by_text(*exact, lengths, causal=False)
    torch.testing.assert_close(found.float(), expected, atol=0.03, rtol=0.03)
    gradient = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, halved, gradient.bfloat16()),
        torch.autograd.grad(expected, exact, gradient),
        strict=True,
    ):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.float(), other, atol=0.03, rtol=0.03)

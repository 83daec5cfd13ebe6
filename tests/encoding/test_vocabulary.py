"""The cross-entropy over a vocabulary in parts: torch's own loss and gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from embexp.encoding import vocabulary
from embexp.encoding.vocabulary import summed_cross_entropy

TOKENS, WIDTH, WORDS = 37, 16, 101


def case(*, bias: bool = True, spread: float = 1.0) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    head = nn.Linear(WIDTH, WORDS, bias=bias)
    hidden = (spread * torch.randn(TOKENS, WIDTH)).requires_grad_()
    # The first and the last word, one that is told often, and words of every part.
    labels = torch.cat([torch.tensor([0, WORDS - 1, 5, 5, 5]), torch.randint(WORDS, (TOKENS - 5,))])
    return head, hidden, labels


def results(loss, head, hidden) -> list[torch.Tensor]:
    for value in (hidden, *head.parameters()):
        value.grad = None
    (0.25 * loss).backward()
    return [loss.detach(), *(value.grad.clone() for value in (hidden, *head.parameters()))]


@pytest.mark.parametrize("words", [1, 7, 100, 101, 1000])
@pytest.mark.parametrize("bias", [True, False])
def test_loss_and_gradients_are_torch_s_however_many_words_a_part_has(monkeypatch, words, bias):
    monkeypatch.setattr(vocabulary, "A_PART", words * TOKENS)
    head, hidden, labels = case(bias=bias)
    plain = results(functional.cross_entropy(head(hidden), labels, reduction="sum"), head, hidden)
    in_parts = results(summed_cross_entropy(head, hidden, labels), head, hidden)
    for one, other in zip(plain, in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_logits_that_would_overflow_do_not(monkeypatch):
    monkeypatch.setattr(vocabulary, "A_PART", 20 * TOKENS)
    head, hidden, labels = case(spread=1000.0)
    plain = results(functional.cross_entropy(head(hidden), labels, reduction="sum"), head, hidden)
    in_parts = results(summed_cross_entropy(head, hidden, labels), head, hidden)
    for one, other in zip(plain, in_parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_place_it_writes_the_weight_s_gradient_and_adds_to_one_that_is_there(monkeypatch, dtype):
    monkeypatch.setattr(vocabulary, "A_PART", 20 * TOKENS)
    head, hidden, labels = case()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not torch.float32):
        twice = [summed_cross_entropy(head, hidden, labels) for _ in range(2)]
        in_place = [summed_cross_entropy(head, hidden, labels, in_place=True) for _ in range(2)]
    for loss in twice:
        loss.backward()
    expected = [value.grad.clone() for value in (hidden, *head.parameters())]
    for value in (hidden, *head.parameters()):
        value.grad = None
    in_place[0].backward()
    first = head.weight.grad
    in_place[1].backward()
    assert head.weight.grad is first
    for one, value in zip(expected, (hidden, *head.parameters()), strict=True):
        torch.testing.assert_close(value.grad, one, rtol=1e-2 if dtype is torch.bfloat16 else 1e-5, atol=1e-5)


def test_in_autocast_it_is_as_near_to_float32_as_torch_s(monkeypatch):
    monkeypatch.setattr(vocabulary, "A_PART", 20 * TOKENS)
    head, hidden, labels = case()
    exact = results(functional.cross_entropy(head(hidden), labels, reduction="sum"), head, hidden)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = functional.cross_entropy(head(hidden), labels, reduction="sum")
        own = summed_cross_entropy(head, hidden, labels)
    plain, in_parts = results(loss, head, hidden), results(own, head, hidden)
    for truth, one, other in zip(exact, plain, in_parts, strict=True):
        assert other.dtype == torch.float32
        assert (other - truth).norm() <= 1.2 * (one - truth).norm() + 1e-6


def test_a_loss_that_became_infinite_is_seen(monkeypatch):
    monkeypatch.setattr(vocabulary, "A_PART", 20 * TOKENS)
    head, hidden, labels = case()
    with torch.no_grad():
        hidden[3] = float("nan")
    assert not torch.isfinite(summed_cross_entropy(head, hidden, labels))


def test_nothing_of_the_vocabulary_s_size_is_held_but_once(monkeypatch):
    monkeypatch.setattr(vocabulary, "A_PART", 10 * TOKENS)
    head, hidden, labels = case()
    loss = summed_cross_entropy(head, hidden, labels)
    held = loss.grad_fn.exponentials
    assert sum(part.numel() for part in held) == TOKENS * WORDS
    loss.backward()
    assert held == [None] * 11

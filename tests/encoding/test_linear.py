"""Linear layers in bf16 on the CPU: autocast's values, and its gradients to within bf16's own error."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from embexp.encoding import linear
from embexp.encoding.linear import fast_linear
from embexp.models import tiny

needs_bf16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="needs a CPU on which oneDNN computes in bf16"
)


class SelfAttention(nn.Module):
    """As transformers' classes are made: three layers that read one input, or the last two another."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(24, 16), nn.Linear(24, 16), nn.Linear(24, 8)

    def forward(self, given: Tensor, other: Tensor | None = None) -> Tensor:
        other = given if other is None else other
        return torch.cat([self.query(given), self.key(other), self.value(other)], dim=-1)


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = SelfAttention()
        self.dense = nn.Linear(40, 24)
        self.without_bias = nn.Linear(24, 4, bias=False)

    def forward(self, given: Tensor, other: Tensor | None = None) -> Tensor:
        return self.without_bias(torch.tanh(self.dense(self.attention(given, other))))


def layers() -> tuple[Layers, Tensor, Tensor]:
    torch.manual_seed(1)
    return Layers(), torch.randn(2, 9, 24, requires_grad=True), torch.randn(2, 9, 24, requires_grad=True)


def computed(model: nn.Module, *given: Tensor, bf16: bool = True, fast: bool = False) -> tuple[Tensor, list[Tensor]]:
    """What a model tells, and the gradients of its parameters and of what it was given."""
    with fast_linear(model) if fast else nullcontext():
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            told = model(*given)
        weighted = (told.float() * torch.linspace(-1, 1, told.numel()).view_as(told)).sum()
        return told, list(torch.autograd.grad(weighted, [*model.parameters(), *given]))


@needs_bf16
@pytest.mark.parametrize("inputs", [1, 2], ids=["one input", "keys and values of another"])
def test_values_are_autocasts_and_gradients_as_near_to_fp32s(inputs):
    model, *given = layers()
    given = given[:inputs]
    exact = computed(model, *given, bf16=False)[1]
    told, plain = computed(model, *given)
    found, fast = computed(model, *given, fast=True)
    assert torch.equal(found, told)
    for one, other, wanted in zip(fast, plain, exact, strict=True):
        assert one.dtype == other.dtype == torch.float32
        assert one.shape == wanted.shape
        assert (one - wanted).norm() <= 1.2 * (other - wanted).norm() + 1e-6


@needs_bf16
def test_one_input_is_rounded_once_and_its_three_layers_have_one_gradient(monkeypatch):
    model, given, _ = layers()
    calls = []

    def watched(given: Tensor, layers: list[nn.Linear]) -> tuple[Tensor, ...]:
        calls.append(len(layers))
        return multiplied(given, layers)

    multiplied = linear._multiplied
    monkeypatch.setattr(linear, "_multiplied", watched)
    computed(model, given, fast=True)
    # The three, and the one behind them; the layer without a bias is torch's.
    assert calls == [3, 1]


@needs_bf16
def test_what_is_frozen_gets_no_gradient_and_costs_none():
    model, given, _ = layers()
    model.attention.key.requires_grad_(False)
    with fast_linear(model), torch.autocast("cpu", dtype=torch.bfloat16):
        model(given.detach()).sum().backward()
    assert model.attention.key.weight.grad is None
    assert model.attention.query.weight.grad is not None
    assert given.grad is None


@needs_bf16
def test_a_model_s_embeddings_are_autocasts():
    model, _ = tiny(hidden_size=32, layers=2, vocabulary_size=500, pooling="mean", max_length=64, dropout=0.0, seed=1)
    features = model.preprocess(["a short text", "and one that is a little longer than it"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = model(dict(features))["sentence_embedding"]
        with fast_linear(model):
            found = model(dict(features))["sentence_embedding"]
    assert torch.equal(found, expected)


def test_in_fp32_and_afterwards_layers_are_torchs():
    model, given, _ = layers()
    expected, gradients = computed(model, given, bf16=False)
    found, others = computed(model, given, bf16=False, fast=True)
    assert torch.equal(found, expected)
    assert all(torch.equal(one, other) for one, other in zip(gradients, others, strict=True))
    assert not any("forward" in vars(part) for part in model.modules())


def test_a_processor_on_which_onednn_has_no_bf16_keeps_torchs_layers(monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    model, *_ = layers()
    with fast_linear(model):
        assert not any("forward" in vars(part) for part in model.modules())

"""Linear layers in bf16 on the CPU: autocast's values, and its gradients to within bf16's own error."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from embexp.encoding import linear
from embexp.encoding.linear import can_be_fast, fast_linear
from embexp.encoding.unpadded import MODEL_TYPES

needs_bf16 = pytest.mark.skipif(not can_be_fast(), reason="needs a CPU on which oneDNN computes in bf16")


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


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Of how many layers each call was."""
    found, multiplied = [], linear._multiplied

    def watched(given: Tensor, layers: list[nn.Linear]) -> tuple[Tensor, ...]:
        found.append(len(layers))
        return multiplied(given, layers)

    monkeypatch.setattr(linear, "_multiplied", watched)
    return found


@needs_bf16
def test_one_input_is_rounded_once_and_its_three_layers_have_one_gradient(calls):
    model, given, _ = layers()
    computed(model, given, fast=True)
    # The three, and the one behind them; the layer without a bias is torch's.
    assert calls == [3, 1]


def encoder(kind: str) -> nn.Module:
    config = AutoConfig.for_model(
        kind, vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    # What DistilBERT calls them, and what ELECTRA has beside them.
    for name, value in {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "embedding_size": 32}.items():
        setattr(config, name, value)
    torch.manual_seed(1)
    return AutoModel.from_config(config).eval()


class LastHidden(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self) -> Tensor:
        return self.inner(input_ids=torch.arange(2, 42).view(2, 20)).last_hidden_state


@needs_bf16
@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_a_model_of_each_kind_has_autocasts_values_and_gradients_as_near_to_fp32s(kind, calls):
    model = LastHidden(encoder(kind))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layer." in name)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def told(*, bf16: bool, fast: bool = False) -> tuple[Tensor, list[Tensor]]:
        with fast_linear(model) if fast else nullcontext(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            found = model()
        weighted = (found.float() * torch.linspace(-1, 1, found.numel()).view_as(found)).sum()
        return found, list(torch.autograd.grad(weighted, trained))

    _, exact = told(bf16=False)
    expected, plain = told(bf16=True)
    found, fast = told(bf16=True, fast=True)
    # Of each layer the three projections together, and three layers more; then, of some, a pooler that nothing reads.
    assert calls[:8] == 2 * [3, 1, 1, 1]
    assert torch.equal(found, expected)
    largest = max(float(wanted.norm()) for wanted in exact)
    for one, other, wanted in zip(fast, plain, exact, strict=True):
        assert (one - wanted).norm() <= 1.5 * (other - wanted).norm() + 1e-4 * largest


@needs_bf16
def test_what_is_frozen_gets_no_gradient():
    model, given, _ = layers()
    model.attention.key.requires_grad_(False)
    with fast_linear(model), torch.autocast("cpu", dtype=torch.bfloat16):
        model(given.detach()).sum().backward()
    assert model.attention.key.weight.grad is None
    assert model.attention.query.weight.grad is not None
    assert given.grad is None


def test_in_fp32_and_afterwards_layers_are_torchs():
    model, given, _ = layers()
    expected, gradients = computed(model, given, bf16=False)
    found, others = computed(model, given, bf16=False, fast=True)
    assert torch.equal(found, expected)
    assert all(torch.equal(one, other) for one, other in zip(gradients, others, strict=True))
    assert not any("forward" in vars(part) for part in model.modules())


def test_layers_with_hooks_or_a_forward_of_their_own_keep_them():
    model, given, _ = layers()
    own = model.dense.forward = lambda given: nn.functional.linear(given, 2 * model.dense.weight, model.dense.bias)
    seen = []
    model.attention.key.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0].dtype))
    with fast_linear(model) as count, fast_linear(model) as left:
        # Of the five the one without a bias fits as little.
        assert (count, left) == (2 if can_be_fast() else 0, 0)
        assert model.dense.forward is own
        computed(model, given)
    assert model.dense.forward is own
    assert seen == [torch.float32]


@pytest.mark.parametrize("lacking", ["bf16", "onednn"])
def test_where_onednn_has_no_bf16_or_is_not_there_layers_are_torchs(monkeypatch, lacking):
    if lacking == "bf16":
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    else:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    model, *_ = layers()
    with fast_linear(model) as count:
        assert count == 0
        assert not any("forward" in vars(part) for part in model.modules())

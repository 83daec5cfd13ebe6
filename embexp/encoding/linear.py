"""Linear layers in bf16 on the CPU, with as little beside their matrix products as there can be.

torch's `addmm` first writes the bias into every row of what it will return, and then adds the product to it; oneDNN adds it on
the way. A self-attention's query, key and value read one input: it is rounded once, and its gradient and those of the three
weights come out of one product each, where autocast rounds the input three times and adds up three gradients. Values are
those of autocast to the bit; of gradients these three are added up before they are rounded, not after.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PROJECTIONS = ("query", "key", "value")


@contextmanager
def fast_linear(module: nn.Module) -> Iterator[None]:
    """Within it every `nn.Linear` with a bias in the module, which is on the CPU, computes so under autocast to bf16."""
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        yield
        return
    set_up: dict[nn.Module, Any] = {}
    attentions = [part for part in module.modules() if type(part).__name__.endswith("SelfAttention")]
    for attention in attentions:
        layers = [layer for name in PROJECTIONS if _fits(layer := getattr(attention, name, None))]
        together = _OfOneInput(layers)
        set_up |= {layer: partial(together.forward, place) for place, layer in enumerate(layers)}
    set_up |= {part: partial(_forward, part) for part in module.modules() if _fits(part) and part not in set_up}
    for part, forward in set_up.items():
        part.forward = forward
    try:
        yield
    finally:
        for part in set_up:
            del part.forward


def _fits(layer: Any) -> TypeGuard[nn.Linear]:
    return type(layer) is nn.Linear and layer.bias is not None


def _in_bf16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _forward(layer: nn.Linear, given: Tensor) -> Tensor:
    return _multiplied(given, [layer])[0] if _in_bf16() else nn.Linear.forward(layer, given)


class _OfOneInput:
    """Layers that are called one after the other with one input: the first call computes all of them."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.layers = layers
        self.given: Tensor | None = None
        self.told: dict[int, Tensor] = {}

    def forward(self, place: int, given: Tensor) -> Tensor:
        """Of the layer in this place."""
        if not _in_bf16():
            return nn.Linear.forward(self.layers[place], given)
        if given is not self.given or place not in self.told:
            self.given, self.told = given, dict(enumerate(_multiplied(given, self.layers)))
        told = self.told.pop(place)
        if not self.told:
            self.given = None
        return told


def _multiplied(given: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    told: tuple[Tensor, ...] = _Linear.apply(
        given, *(layer.weight for layer in layers), *(layer.bias for layer in layers)
    )
    return told


class _Linear(torch.autograd.Function):
    """What layers make of one input, (..., features): a tensor for each, of its own features, in bf16."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        count = len(parameters) // 2
        rounded = given.to(torch.bfloat16)
        each = [weight.to(torch.bfloat16) for weight in parameters[:count]]
        weights = each[0] if count == 1 else torch.cat(each)
        ctx.sizes, ctx.dtype = [len(bias) for bias in parameters[count:]], given.dtype
        ctx.save_for_backward(rounded, weights)
        return tuple(
            torch.ops.mkldnn._linear_pointwise(rounded, weight, bias.to(torch.bfloat16), "none", [], "")
            for weight, bias in zip(weights.split(ctx.sizes), parameters[count:], strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rounded, weights = ctx.saved_tensors
        count = len(ctx.sizes)
        parts = [part.flatten(0, -2) for part in gradients]
        gradient = parts[0] if count == 1 else torch.cat(parts, dim=1)
        of_given, of_parameters = None, [None] * (2 * count)
        if ctx.needs_input_grad[0]:
            of_given = torch.mm(gradient, weights).view_as(rounded).to(ctx.dtype)
        if any(ctx.needs_input_grad[1 : 1 + count]):
            of_weights = torch.mm(gradient.t(), rounded.flatten(0, -2)).split(ctx.sizes)
            of_parameters[:count] = [part.float() for part in of_weights]
        if any(ctx.needs_input_grad[1 + count :]):
            of_parameters[count:] = [part.float() for part in gradient.sum(0).split(ctx.sizes)]
        return of_given, *of_parameters

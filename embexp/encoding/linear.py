"""Linear layers in bf16 on the CPU, with as little beside their matrix products as there can be.

torch's `addmm` first writes the bias into every row of what it will return, and then adds the product to it; oneDNN adds it on
the way. A self-attention's query, key and value read one input: it is rounded once, and its gradient and those of the three
weights come out of one product each, where autocast rounds the input three times and adds up three gradients. Values of
contiguous inputs are autocast's to the bit; gradients that autocast adds up in bf16, or after it has rounded them, are added up in
fp32 or before. It is for texts in one row: each call rounds its weights anew, where autocast keeps them for the next chunk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Of a self-attention, as BERT's kind calls them and as DistilBERT does.
PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"))


def can_be_fast() -> bool:
    """Whether this torch and this processor have what it takes."""
    of_onednn = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or not hasattr(of_onednn, "_linear_pointwise"):
        return False
    return bool(of_onednn._is_mkldnn_bf16_supported())


@contextmanager
def fast_linear(module: nn.Module) -> Iterator[int]:
    """Within it every `nn.Linear` with a bias in the module, which is on the CPU, computes so under autocast to bf16.

    Without what it takes (`can_be_fast`) none does, nor does a layer that has hooks or a forward of its own. It yields how many do.
    """
    layers = [part for part in module.modules() if _fits(part)] if can_be_fast() else []
    set_up: dict[nn.Module, Any] = {layer: partial(_forward, layer) for layer in layers}
    for attention in _self_attentions(module) if layers else []:
        for names in PROJECTIONS:
            projections = [layer for name in names if (layer := getattr(attention, name, None)) in set_up]
            of_one_input = _OfOneInput(projections)
            set_up |= {layer: partial(of_one_input.forward, place) for place, layer in enumerate(projections)}
    for part, forward in set_up.items():
        part.forward = forward
    try:
        yield len(set_up)
    finally:
        for part in set_up:
            del part.forward


def _self_attentions(module: nn.Module) -> list[nn.Module]:
    # Some models have a class for both, and a cross-attention reads two inputs.
    found = {name: part for name, part in module.named_modules() if type(part).__name__.endswith("SelfAttention")}
    return [part for name, part in found.items() if "crossattention" not in name]


def _fits(layer: nn.Module) -> TypeGuard[nn.Linear]:
    hooked = layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer)
    return type(layer) is nn.Linear and layer.bias is not None and not hooked


def _in_bf16() -> bool:
    return torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def _forward(layer: nn.Linear, given: Tensor) -> Tensor:
    return _multiplied(given, [layer])[0] if _in_bf16() else nn.Linear.forward(layer, given)


class _OfOneInput:
    """Layers that are called one after the other with one input: the first call computes all of them.

    Between the first call and the last neither the input nor a weight may change. Of another input each is computed with the others,
    and what they are not asked for is lost.
    """

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
        ctx.sizes, ctx.shape, ctx.dtype = [len(bias) for bias in parameters[count:]], given.shape, given.dtype
        of_given, of_weights = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1 : 1 + count])
        ctx.save_for_backward(rounded if of_weights else None, weights if of_given else None)
        return tuple(
            torch.ops.mkldnn._linear_pointwise(rounded, weight, bias.to(torch.bfloat16), "none", [], "")
            for weight, bias in zip(weights.split(ctx.sizes), parameters[count:], strict=True)
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rounded, weights = ctx.saved_tensors
        count = len(ctx.sizes)
        parts = [part.reshape(-1, size) for part, size in zip(gradients, ctx.sizes, strict=True)]
        gradient = parts[0] if count == 1 else torch.cat(parts, dim=1)
        of_given, of_parameters = None, [None] * (2 * count)
        if weights is not None:
            of_given = torch.mm(gradient, weights).view(ctx.shape).to(ctx.dtype)
        if rounded is not None:
            of_weights = torch.mm(gradient.t(), rounded.reshape(-1, ctx.shape[-1])).split(ctx.sizes)
            of_parameters[:count] = [part.float() for part in of_weights]
        if any(ctx.needs_input_grad[1 + count :]):
            of_parameters[count:] = [part.float() for part in gradient.sum(0).split(ctx.sizes)]
        return of_given, *of_parameters

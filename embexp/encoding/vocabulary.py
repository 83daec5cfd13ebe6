"""The cross-entropy of tokens foretold out of a whole vocabulary, on the CPU, in parts of the vocabulary.

Logits of 580 tokens over 30,522 words are 71 MB. As torch does it they are written, read for the softmax, which is written and
read for the gradient, which is written and read twice for the products: a step of TSDAE waits for memory. Here a part of
them is computed and at once, while it is in the caches, turned into exponentials; these are kept, and turned into the
gradient, used and dropped, part by part, on the way back. The sums are the same in another order. The idea, on a GPU and in
parts of the tokens: Liger Kernel, https://arxiv.org/abs/2410.10989.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Numbers of a part: as float32 2 MiB; half and twice as many were as fast, an eighth and eight times as many were slower.
A_PART = 2**19


def summed_cross_entropy(head: nn.Linear, hidden: Tensor, labels: Tensor, *, in_place: bool = False) -> Tensor:
    """`cross_entropy(head(hidden), labels, reduction="sum")`, as autocast would compute it too.

    Args:
        head: from hidden states to logits.
        hidden: of each token, (tokens, width), on the CPU.
        labels: the tokens that are to be foretold, (tokens,).
        in_place: the backward pass writes the weight's gradient, or adds it to what is there, itself: what autograd brings by
            other ways, later, it can then add in place too, where it would make a sum of its own.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else hidden.dtype
    bias = hidden.new_zeros(len(head.weight)) if head.bias is None else head.bias
    weight = head.weight.detach() if in_place else head.weight
    written = head.weight if in_place else None
    summed: Tensor = _SummedCrossEntropy.apply(hidden.to(dtype), weight.to(dtype), bias.to(dtype), labels, written)
    return summed


def logits_of(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(tokens, words of a part), in float32, rounded as the layer rounds them."""
    return functional.linear(hidden, weight, bias).float()


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, labels: Tensor, written: nn.Parameter | None
    ) -> Tensor:
        ctx.written = written
        ctx.words = max(1, A_PART // max(1, len(hidden)))
        ctx.exponentials, peaks, sums = [], [], []
        told = torch.zeros(len(hidden))
        with torch.autocast("cpu", enabled=False):
            for first in range(0, len(weight), ctx.words):
                part = slice(first, first + ctx.words)
                logits = logits_of(hidden, weight[part], bias[part])
                rows, columns = _of_part(labels, first, ctx.words)
                told[rows] = logits[rows, columns]
                peaks.append(logits.amax(1))
                sums.append(logits.sub_(peaks[-1][:, None]).exp_().sum(1))
                ctx.exponentials.append(logits.to(hidden.dtype))
            # By the highest of each part, of which it is a sum over all.
            peak = torch.stack(peaks)
            whole = torch.logsumexp(peak + torch.stack(sums).log(), 0)
        ctx.scales = (peak - whole).exp()
        ctx.save_for_backward(hidden, weight, labels)
        return (whole - told).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor | None, Tensor, None, None]:
        hidden, weight, labels = ctx.saved_tensors
        of_hidden, of_bias = torch.zeros_like(hidden, dtype=torch.float32), []
        of_weight, added = _gradient_of(weight, ctx.written)
        for number, scale in enumerate(ctx.scales):
            first = number * ctx.words
            part = slice(first, first + ctx.words)
            # The softmax less what should have been foretold.
            gradient = ctx.exponentials[number].float().mul_(scale[:, None] * given)
            ctx.exponentials[number] = None
            rows, columns = _of_part(labels, first, ctx.words)
            gradient[rows, columns] -= given
            of_bias.append(gradient.sum(0))
            gradient = gradient.to(hidden.dtype)
            _multiply(gradient.t(), hidden, into=of_weight[part], added=added)
            _multiply(gradient, weight[part], into=of_hidden, added=True)
        returned = of_weight if ctx.written is None else None
        return of_hidden.to(hidden.dtype), returned, torch.cat(of_bias).to(hidden.dtype), None, None


def _gradient_of(weight: Tensor, written: nn.Parameter | None) -> tuple[Tensor, bool]:
    """Where the weight's gradient goes, and whether to what is there already."""
    if written is None:
        return torch.empty_like(weight), False
    if written.grad is not None:
        return written.grad, True
    written.grad = torch.empty_like(written)
    return written.grad, False


def _multiply(left: Tensor, right: Tensor, *, into: Tensor, added: bool) -> None:
    """Their product, in their dtype, written or added to what may be of a longer one."""
    if into.dtype == left.dtype:
        into.addmm_(left, right, beta=1 if added else 0)
    elif added:
        into += left @ right
    else:
        into.copy_(left @ right)


def _of_part(labels: Tensor, first: int, words: int) -> tuple[Tensor, Tensor]:
    """The rows whose label is in a part of the vocabulary, and its place there."""
    rows = ((labels >= first) & (labels < first + words)).nonzero()[:, 0]
    return rows, labels[rows] - first

"""Attention of the texts of a step that lie one after the other in one row of tokens, shortest first.

Texts of about one length are computed together, padded to the longest of them: a few large products instead of a small one
for each length. Softmax and dropout are in fp32, the products, and so the scores, in the precision of what is given, as in
transformers' plain attention. On the CPU torch's own attention,
where it has dropout, is a chain of some fifteen operators on copies in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from embexp.encoding.dropout import Noise

# Texts whose lengths round up to the same multiple of it are computed together.
WIDTH = 8


@dataclass(frozen=True)
class Together:
    """Texts that are computed together.

    Attributes:
        texts: how many.
        length: of the longest.
        hidden: (texts, 1, 1, length), added to scores: 0 for a text's own tokens, -inf for padding.
    """

    texts: int
    length: int
    hidden: Tensor


@dataclass(frozen=True)
class Layout:
    """Where each token of a row lies once the texts that are computed together are padded, and back.

    Attributes:
        groups: in the order of the row.
        tokens: (places,), the token in each place; in a place of padding, the first of its text.
        places: (tokens,), the place of each token.
        padding: (places, 1), whether a place is padding.
        noise: of the attention's dropout.
    """

    groups: tuple[Together, ...]
    tokens: Tensor
    places: Tensor
    padding: Tensor
    noise: Noise

    @classmethod
    def of(cls, lengths: Tensor, noise: Noise) -> Layout:
        """Of texts of these lengths, (texts,), ascending, each 1 at least."""
        groups, tokens, padding = [], [], []
        firsts = lengths.cumsum(0) - lengths
        done = 0
        for _, same in groupby(lengths.tolist(), key=lambda length: math.ceil(length / WIDTH)):
            own = slice(done, done := done + len(list(same)))
            longest = int(lengths[own][-1])
            column = torch.arange(longest)
            outside = column >= lengths[own, None]
            tokens.append((firsts[own, None] + column.masked_fill(outside, 0)).flatten())
            padding.append(outside.flatten())
            hidden = torch.zeros(outside.shape).masked_fill_(outside, -math.inf)[:, None, None]
            groups.append(Together(len(outside), longest, hidden))
        outside = torch.cat(padding)
        return cls(tuple(groups), torch.cat(tokens), (~outside).nonzero()[:, 0], outside[:, None], noise)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float, causal: bool
    ) -> Tensor:
        """Every text attends to itself alone: (1, heads, tokens, width) -> (1, tokens, heads, width).

        Keys and values are the tokens', or of a decoder that looks at what is to be decoded, one for each text.
        """
        rows = (part[0].transpose(0, 1) for part in (query, key, value))
        attended: Tensor = _Attention.apply(*rows, self, scale, dropout, causal)
        return attended[None]


class _Attention(torch.autograd.Function):
    """Query, key and value as (tokens, heads, width)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: Layout,
        scale: float,
        dropout: float,
        causal: bool,
    ) -> Tensor:
        ctx.layout, ctx.scale, ctx.one_a_text = layout, scale, len(key) != len(query)
        ctx.sizes = [(group.texts, group.length) for group in layout.groups]
        ctx.looked_at = [(texts, 1 if ctx.one_a_text else length) for texts, length in ctx.sizes]
        queries = _by_text(query.index_select(0, layout.tokens).mul_(scale), ctx.sizes)
        keys, values = (
            _by_text(part if ctx.one_a_text else part.index_select(0, layout.tokens), ctx.looked_at)
            for part in (key, value)
        )
        told, kept = [], []
        for group, one, other, third in zip(layout.groups, queries, keys, values, strict=True):
            scores = torch.bmm(one, other.transpose(1, 2)).float()
            if causal:
                # Padding comes after a text's own tokens: they do not look at it either.
                scores += torch.full((group.length, group.length), -math.inf).triu_(1)
            elif not ctx.one_a_text:
                scores.unflatten(0, (group.texts, -1)).add_(group.hidden)
            shares = torch.softmax(scores, -1)
            noise = layout.noise(shares, dropout) if dropout else None
            weights = (shares if noise is None else shares * noise).to(third.dtype)
            told.append(torch.bmm(weights, third))
            kept += [one, other, third, shares, weights, noise]
        ctx.save_for_backward(*kept)
        return _by_token(told, ctx.sizes).index_select(0, layout.places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        layout: Layout = ctx.layout
        padded = gradients[0].index_select(0, layout.tokens).masked_fill_(layout.padding[..., None], 0)
        queries, keys, values = [], [], []
        # Read once: each reading unpacks all of them, and gradient checkpointing allows one.
        saved = ctx.saved_tensors
        for index, gradient in enumerate(_by_text(padded, ctx.sizes)):
            one, other, third, shares, weights, noise = saved[6 * index : 6 * index + 6]
            values.append(torch.bmm(weights.transpose(1, 2), gradient))
            of_shares = torch.bmm(gradient, third.transpose(1, 2)).float()
            if noise is not None:
                of_shares *= noise
            # In fp32, as the softmax is; padding has a share of 0, and so a gradient of 0.
            of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, torch.float32)
            of_scores = of_scores.to(one.dtype)
            queries.append(torch.bmm(of_scores, other))
            keys.append(torch.bmm(of_scores.transpose(1, 2), one))
        looked_at = [_by_token(parts, ctx.looked_at) for parts in (keys, values)]
        if not ctx.one_a_text:
            looked_at = [part.index_select(0, layout.places) for part in looked_at]
        of_query = _by_token(queries, ctx.sizes).index_select(0, layout.places).mul_(ctx.scale)
        return of_query, *looked_at, None, None, None, None


def _by_text(rows: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """(places, heads, width) -> of each group (texts * heads, length, width)."""
    parts = rows.split([texts * length for texts, length in sizes])
    return [part.unflatten(0, size).transpose(1, 2).flatten(0, 1) for part, size in zip(parts, sizes, strict=True)]


def _by_token(parts: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Tensor:
    """The way back."""
    return torch.cat(
        [
            part.unflatten(0, (texts, -1)).transpose(1, 2).flatten(0, 1)
            for part, (texts, _) in zip(parts, sizes, strict=True)
        ]
    )

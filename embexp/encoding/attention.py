"""Attention of the texts of a step that lie one after the other in one row of tokens, shortest first.

Texts of about one length are computed together, padded to the longest of them: a few large products instead of a small one
for each length. Rows, one for each token and head, are brought into the order of the products by one operator for all texts, and
dropout and the changes of precision between two products are computed at once for all of them. Softmax and dropout are in fp32,
the products, and so the scores, in the precision of what is given, as in transformers' plain attention. On the CPU torch's own
attention, where it has dropout, is a chain of some fifteen operators on copies in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
        tokens: (texts, length), the token in each place; in a place of padding, the first of its text.
        padding: (texts, length), whether a place is padding.
    """

    texts: int
    length: int
    tokens: Tensor
    padding: Tensor

    def mask(self, *, causal: bool) -> Tensor:
        """(texts or 1, 1, length or 1, length), added to scores: -inf for what is not looked at, else 0."""
        if causal:
            # Padding comes after a text's own tokens: they do not look at it either.
            return torch.full((1, 1, self.length, self.length), -math.inf).triu_(1)
        return torch.zeros(self.padding.shape).masked_fill_(self.padding, -math.inf)[:, None, None]


@dataclass(frozen=True)
class Rows:
    """Where each row, one for each token and head, lies in the order of the products: by text, head and place.

    Attributes:
        rows: (places * heads,), the row in each place.
        places: (tokens * heads,), the place of each row.
        padding: the places that are padding.
    """

    rows: Tensor
    places: Tensor
    padding: Tensor

    @classmethod
    def of(cls, groups: Sequence[Together], heads: int) -> Rows:
        """Of the rows of so many heads."""
        each = torch.arange(heads)[:, None]
        rows = torch.cat([(group.tokens[:, None] * heads + each).flatten() for group in groups])
        outside = torch.cat([group.padding[:, None].expand(-1, heads, -1).flatten() for group in groups])
        inside, padding = (~outside).nonzero()[:, 0], outside.nonzero()[:, 0]
        places = torch.empty_like(inside)
        places[rows[inside]] = inside
        return cls(rows, places, padding)


@dataclass(frozen=True, eq=False)
class Layout:
    """The texts of a row.

    Attributes:
        groups: in the order of the row.
        noise: of the attention's dropout.
        known: the rows of so many heads, made for one layer and there for the next.
    """

    groups: tuple[Together, ...]
    noise: Noise
    known: dict[int, Rows] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(cls, lengths: Tensor, noise: Noise) -> Layout:
        """Of texts of these lengths, (texts,), ascending, each 1 at least."""
        groups = []
        firsts = lengths.cumsum(0) - lengths
        done = 0
        for _, same in groupby(lengths.tolist(), key=lambda length: math.ceil(length / WIDTH)):
            own = slice(done, done := done + len(list(same)))
            longest = int(lengths[own][-1])
            column = torch.arange(longest)
            outside = column >= lengths[own, None]
            tokens = firsts[own, None] + column.masked_fill(outside, 0)
            groups.append(Together(len(outside), longest, tokens, outside))
        return cls(tuple(groups), noise)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float, causal: bool
    ) -> Tensor:
        """Every text attends to itself alone: (1, heads, tokens, width) -> (1, tokens, heads, width).

        Keys and values are the tokens', or of a decoder that looks at what is to be decoded, one for each text.
        """
        rows = (part[0].transpose(0, 1).to(query.dtype) for part in (query, key, value))
        attended: Tensor = _Attention.apply(*rows, self, scale, dropout, causal)
        return attended[None]

    def rows(self, heads: int) -> Rows:
        """Of so many heads."""
        if heads not in self.known:
            self.known[heads] = Rows.of(self.groups, heads)
        return self.known[heads]


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
        sizes = _Sizes.of(layout.groups, query, one_a_text=len(key) != len(query))
        ctx.layout, ctx.scale, ctx.sizes = layout, scale, sizes
        rows = layout.rows(sizes.heads)
        queries = _gathered(query, rows.rows).mul_(scale)
        keys, values = (_gathered(part, None if sizes.one_a_text else rows.rows) for part in (key, value))
        scores = query.new_empty(sum(map(math.prod, sizes.scores)))
        for one, other, told in _by_group((queries, sizes.queries), (keys, sizes.keys), (scores, sizes.scores)):
            torch.bmm(one, other.transpose(1, 2), out=told)
        shares = scores.to(torch.float32, copy=True)
        for group, (part,) in zip(layout.groups, _by_group((shares, sizes.scores)), strict=True):
            if not sizes.one_a_text:
                part.unflatten(0, (group.texts, -1)).add_(group.mask(causal=causal))
            torch.ops.aten._softmax.out(part, -1, False, out=part)
        noise = layout.noise(shares, dropout) if dropout else None
        weights = scores.copy_(shares if noise is None else shares * noise)
        attended = torch.empty_like(queries)
        for one, other, told in _by_group((weights, sizes.scores), (values, sizes.keys), (attended, sizes.queries)):
            torch.bmm(one, other, out=told)
        ctx.save_for_backward(queries, keys, values, shares, weights, noise)
        return attended.index_select(0, rows.places).view_as(query)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        sizes: _Sizes = ctx.sizes
        queries, keys, values, shares, weights, noise = ctx.saved_tensors
        rows = ctx.layout.rows(sizes.heads)
        gradient = _gathered(gradients[0], rows.rows).index_fill_(0, rows.padding, 0)
        of_values, of_weights = torch.empty_like(values), torch.empty_like(weights)
        for weight, given, value, of_value, of_weight in _by_group(
            (weights, sizes.scores),
            (gradient, sizes.queries),
            (values, sizes.keys),
            (of_values, sizes.keys),
            (of_weights, sizes.scores),
        ):
            torch.bmm(weight.transpose(1, 2), given, out=of_value)
            torch.bmm(given, value.transpose(1, 2), out=of_weight)
        of_shares = of_weights.to(torch.float32, copy=True) if noise is None else of_weights * noise
        for of_share, share in _by_group((of_shares, sizes.scores), (shares, sizes.scores)):
            # In fp32, as the softmax is; padding has a share of 0, and so a gradient of 0.
            torch.ops.aten._softmax_backward_data.out(of_share, share, -1, torch.float32, grad_input=of_share)
        of_scores = of_weights.copy_(of_shares)
        of_queries, of_keys = torch.empty_like(queries), torch.empty_like(keys)
        for of_score, query, key, of_query, of_key in _by_group(
            (of_scores, sizes.scores),
            (queries, sizes.queries),
            (keys, sizes.keys),
            (of_queries, sizes.queries),
            (of_keys, sizes.keys),
        ):
            torch.bmm(of_score, key, out=of_query)
            torch.bmm(of_score.transpose(1, 2), query, out=of_key)
        back = rows.places
        by_token = (-1, sizes.heads, queries.shape[-1])
        told = [of_queries.index_select(0, back).mul_(ctx.scale)]
        told += [part if sizes.one_a_text else part.index_select(0, back) for part in (of_keys, of_values)]
        return *(part.view(by_token) for part in told), None, None, None, None


@dataclass(frozen=True)
class _Sizes:
    """Of each group's products, (matrices, rows, columns); a matrix for each text and head."""

    heads: int
    one_a_text: bool
    queries: list[tuple[int, int, int]]
    keys: list[tuple[int, int, int]]
    scores: list[tuple[int, int, int]]

    @classmethod
    def of(cls, groups: Sequence[Together], query: Tensor, *, one_a_text: bool) -> _Sizes:
        _, heads, width = query.shape
        each = [(heads * group.texts, group.length, 1 if one_a_text else group.length) for group in groups]
        queries = [(count, length, width) for count, length, _ in each]
        return cls(heads, one_a_text, queries, [(count, seen, width) for count, _, seen in each], each)


def _gathered(part: Tensor, rows: Tensor | None) -> Tensor:
    """(tokens, heads, width) -> (places, width); all as they lie where no rows are given."""
    flat = part.reshape(-1, part.shape[-1])
    return flat.contiguous() if rows is None else flat.index_select(0, rows)


def _by_group(*parts: tuple[Tensor, list[tuple[int, int, int]]]) -> Iterator[tuple[Tensor, ...]]:
    """Of each group what is its own in each of these, in its size."""
    cut = (
        [own.view(size) for own, size in zip(flat.view(-1).split([*map(math.prod, sizes)]), sizes, strict=True)]
        for flat, sizes in parts
    )
    return zip(*cut, strict=True)

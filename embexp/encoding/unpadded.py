"""Encodes all texts of a step as one row of tokens, with no padding at all: every text attends to itself alone.

Products, norms and dropout are computed once over all tokens of the step, and the word embeddings are looked up once, so
that their gradient, as large as they are, is made once. Attention is computed for all texts of one length together. It is
transformers' hook for attention functions that makes this possible, and sentence-transformers' pooling of flattened texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from embexp.encoding.by_length import TOKEN_INPUTS, merge

ATTENTION = "embexp_unpadded"
# Whose positions can be given and whose attention knows nothing but queries, keys and values; each is tested.
MODEL_TYPES = ("bert", "camembert", "distilbert", "electra", "ernie", "roberta", "xlm-roberta")
MODULES = ("Transformer", "Pooling", "Dense", "Normalize")


def can_be_unpadded(model: SentenceTransformer) -> bool:
    """Whether the model is of a kind for which this is known to give the plain way's embeddings."""
    kinds = tuple(type(module).__name__ for module in model)
    config = getattr(model.transformers_model, "config", None)
    return (
        kinds[:2] == MODULES[:2]
        and set(kinds) <= set(MODULES)
        and getattr(config, "model_type", None) in MODEL_TYPES
        and getattr(config, "_attn_implementation", None) == "sdpa"
    )


@contextmanager
def unpadded_attention(model: SentenceTransformer) -> Iterator[None]:
    """Within it the model takes what `encode_unpadded` gives it, and padded texts as ever."""
    config = model.transformers_model.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def encode_unpadded(model: SentenceTransformer, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
    """The embeddings of each column, (rows, dimension), in the order of its rows; within `unpadded_attention`.

    Args:
        model: `can_be_unpadded`.
        columns: of one step: right-padded "input_ids" and "attention_mask", (rows, tokens), and what else is like them.
    """
    merged, others = merge(columns)
    lengths, order = torch.sort(merged["attention_mask"].sum(dim=1), stable=True)
    chosen = merged["attention_mask"][order].bool()
    flat = {name: merged[name][order][chosen][None] for name in TOKEN_INPUTS if name in merged}
    del flat["attention_mask"]
    positions = torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)[chosen][None]
    features = {
        **others,
        **flat,
        "position_ids": positions + _first_position(model),
        "cu_seq_lens_q": functional.pad(lengths.cumsum(0), (1, 0)),
        "texts_of_length": [(len(list(same)), length) for length, same in groupby(lengths.tolist())],
    }
    embeddings = model(features)["sentence_embedding"]
    return list(embeddings[torch.argsort(order)].split([column["input_ids"].shape[0] for column in columns]))


def _first_position(model: SentenceTransformer) -> int:
    # RoBERTa and its kin count positions from the one after the padding's.
    found = (module for name, module in model.named_modules() if name.endswith("position_embeddings"))
    padding = getattr(next(found), "padding_idx", None)
    return 0 if padding is None else padding + 1


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    texts_of_length: Sequence[tuple[int, int]] | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: (1, heads, tokens, width) -> (1, tokens, heads, width)."""
    if texts_of_length is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    sizes = [texts * length for texts, length in texts_of_length]
    told = []
    for (texts, length), *parts in zip(
        texts_of_length, *(part[0].split(sizes, dim=1) for part in (query, key, value)), strict=True
    ):
        # (heads, texts * length, width) -> (texts, heads, length, width)
        one, other, third = (part.unflatten(1, (texts, length)).transpose(0, 1) for part in parts)
        found = functional.scaled_dot_product_attention(one, other, third, dropout_p=dropout, scale=scaling)
        told.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(told)[None], None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)

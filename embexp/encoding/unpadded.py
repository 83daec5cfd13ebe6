"""Encodes, and for TSDAE decodes, all texts of a step as one row of tokens: no padding, every text attends to itself alone.

Products, norms and dropout are computed once over all tokens of the step, and the word embeddings are looked up once, so
that their gradient, as large as they are, is made once. Attention is computed for all texts of one length together. It is
transformers' hook for attention functions that makes this possible, and sentence-transformers' pooling of flattened texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
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


def unpadded_attention(model: SentenceTransformer) -> AbstractContextManager[None]:
    """Within it the model takes what `encode_unpadded` gives it, and padded texts as ever."""
    return _own_attention(model.transformers_model)


@contextmanager
def _own_attention(model: PreTrainedModel) -> Iterator[None]:
    config = model.config
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
    features = {
        **others,
        **flat,
        "position_ids": _positions(chosen, model),
        "cu_seq_lens_q": functional.pad(lengths.cumsum(0), (1, 0)),
        "texts_of_length": _texts_of_length(lengths),
    }
    embeddings = model(features)["sentence_embedding"]
    return list(embeddings[torch.argsort(order)].split([column["input_ids"].shape[0] for column in columns]))


def can_decode_unpadded(decoder: PreTrainedModel) -> bool:
    """Whether the decoder is of a kind for which this is known to give the plain way's logits."""
    return decoder.config.model_type in MODEL_TYPES and decoder.config._attn_implementation == "sdpa"


def decode_unpadded(
    decoder: PreTrainedModel, embeddings: Tensor, ids: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Every token but the first of each text, foretold from the tokens before it and the text's embedding.

    Args:
        decoder: `can_decode_unpadded`; causal, with cross-attention.
        embeddings: of the texts, (texts, dimension).
        ids: of their tokens, right-padded, (texts, tokens).
        lengths: tokens of each text, two at least, (texts,), on the CPU.

    Returns:
        logits, (tokens, vocabulary), and the tokens that they foretell, (tokens,), in one order.
    """
    lengths, order = torch.sort(lengths - 1, stable=True)
    ids = ids[order.to(ids.device)]
    chosen = torch.arange(ids.shape[1] - 1, device=ids.device) < lengths.to(ids.device)[:, None]
    with _own_attention(decoder):
        logits = decoder(
            input_ids=ids[:, :-1][chosen][None],
            position_ids=_positions(chosen, decoder),
            encoder_hidden_states=embeddings[order.to(embeddings.device)][None],
            use_cache=False,
            texts_of_length=_texts_of_length(lengths),
        ).logits
    return logits[0], ids[:, 1:][chosen]


def _positions(chosen: Tensor, model: nn.Module) -> Tensor:
    """Of every token in its own text, (1, tokens)."""
    return torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)[chosen][None] + _first_position(model)


def _texts_of_length(lengths: Tensor) -> list[tuple[int, int]]:
    """(texts, length) for each length, of sorted lengths."""
    return [(len(list(same)), length) for length, same in groupby(lengths.tolist())]


def _first_position(model: nn.Module) -> int:
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
    """transformers' attention function: (1, heads, tokens, width) -> (1, tokens, heads, width).

    Keys and values are the tokens', or of a decoder that looks at what is to be decoded, one for each text.
    """
    if texts_of_length is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    tokens = [texts * length for texts, length in texts_of_length]
    one_a_text = key.shape[2] != query.shape[2]
    looked_at = [texts for texts, _ in texts_of_length] if one_a_text else tokens
    causal = not one_a_text and getattr(module, "is_causal", False)
    told = []
    for (texts, _), *parts in zip(
        texts_of_length,
        *(part[0].split(sizes, dim=1) for part, sizes in ((query, tokens), (key, looked_at), (value, looked_at))),
        strict=True,
    ):
        # (heads, texts * length, width) -> (texts, heads, length, width)
        one, other, third = (part.unflatten(1, (texts, -1)).transpose(0, 1) for part in parts)
        found = functional.scaled_dot_product_attention(
            one, other, third, dropout_p=dropout, scale=scaling, is_causal=causal
        )
        told.append(found.transpose(1, 2).flatten(0, 1))
    return torch.cat(told)[None], None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)

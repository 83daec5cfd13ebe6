"""Encodes, and for TSDAE decodes, all texts of a step as one row of tokens: no padding, every text attends to itself alone.

Products, norms and dropout are computed once over all tokens of the step, and the word embeddings are looked up once, so
that their gradient, as large as they are, is made once. Attention is computed for all texts of about one length together
(`attention.py`). It is transformers' hook for attention functions that makes this possible, and sentence-transformers'
pooling of flattened texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from embexp.encoding.attention import Layout
from embexp.encoding.by_length import TOKEN_INPUTS, merge
from embexp.encoding.dropout import Noise, bernoulli_noise

ATTENTION = "embexp_unpadded"
# Whose positions can be given and whose attention knows nothing but queries, keys and values; each is tested.
MODEL_TYPES = ("bert", "camembert", "distilbert", "electra", "ernie", "roberta", "xlm-roberta")
MODULES = ("Transformer", "Pooling", "Dense", "Normalize")


class AttentionLayout(Protocol):
    """Where the texts of a row lie, and how each attends to itself alone."""

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float, causal: bool
    ) -> Tensor:
        """(1, heads, tokens, width) -> (1, tokens, heads, width)."""


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


def encode_unpadded(
    model: SentenceTransformer, columns: Sequence[dict[str, Any]], noise: Noise = bernoulli_noise
) -> list[Tensor]:
    """The embeddings of each column, (rows, dimension), in the order of its rows; within `unpadded_attention`.

    Args:
        model: `can_be_unpadded`.
        columns: of one step: right-padded "input_ids" and "attention_mask", (rows, tokens), and what else is like them.
        noise: of attention's dropout.
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
        "layout": Layout.of(lengths, noise),
    }
    embeddings = model(features)["sentence_embedding"]
    return list(embeddings[torch.argsort(order)].split([column["input_ids"].shape[0] for column in columns]))


def can_decode_unpadded(decoder: PreTrainedModel) -> bool:
    """Whether the decoder is of a kind for which this is known to give the plain way's logits."""
    return decoder.config.model_type in MODEL_TYPES and decoder.config._attn_implementation == "sdpa"


def decode_unpadded(
    decoder: PreTrainedModel,
    embeddings: Tensor,
    ids: Tensor,
    lengths: Tensor,
    layout: Callable[[Tensor], AttentionLayout],
) -> tuple[Tensor, Tensor]:
    """What foretells every token but the first of each text, from the tokens before it and the text's embedding.

    Args:
        decoder: `can_decode_unpadded`; causal, with cross-attention.
        embeddings: of the texts, (texts, dimension), on the decoder's device.
        ids: of their tokens, right-padded, (texts, tokens); there or on the CPU.
        lengths: tokens of each text, two at least, (texts,), on the CPU.
        layout: of texts of given lengths, (texts,), ascending.

    Returns:
        what the decoder's head would make logits of, (tokens, width), and the tokens that they foretell, (tokens,), in one
        order.
    """
    device = embeddings.device
    lengths, order = torch.sort(lengths - 1, stable=True)
    ids = ids[order.to(ids.device)]
    chosen = torch.arange(ids.shape[1] - 1, device=ids.device) < lengths.to(ids.device)[:, None]
    with _own_attention(decoder), _without_its_head(decoder):
        hidden = decoder(
            input_ids=ids[:, :-1][chosen][None].to(device),
            position_ids=_positions(chosen, decoder).to(device),
            encoder_hidden_states=embeddings[order.to(device)][None],
            use_cache=False,
            layout=layout(lengths),
        ).logits
    return hidden[0], ids[:, 1:][chosen].to(device)


@contextmanager
def _without_its_head(decoder: PreTrainedModel) -> Iterator[None]:
    head = decoder.get_output_embeddings()
    own = vars(head).get("forward")
    head.forward = lambda hidden: hidden
    try:
        yield
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _positions(chosen: Tensor, model: nn.Module) -> Tensor:
    """Of every token in its own text, (1, tokens)."""
    return torch.arange(chosen.shape[1], device=chosen.device).expand_as(chosen)[chosen][None] + first_position(model)


def first_position(model: nn.Module) -> int:
    """What the model calls a text's first place."""
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
    layout: AttentionLayout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: (1, heads, tokens, width) -> (1, tokens, heads, width)."""
    if layout is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    # Of a decoder, what looks at the embeddings is causal to transformers too: it looks at one alone.
    causal = key.shape[2] == query.shape[2] and getattr(module, "is_causal", False)
    return layout.attend(query, key, value, scale=scale, dropout=dropout, causal=causal), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)

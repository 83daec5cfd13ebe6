"""Encodes all texts of a step in one go: the same batch, the same loss, with little padding or none.

Collated column by column and padded to the longest text of each, most of a step on sentence pairs is padding. Sorted
over all columns and cut into chunks, little of a step is (`by_length.py`); as one row of tokens in which every text
attends to itself alone, none is (`unpadded.py`). Equal texts are encoded as often as they occur: each has its own
dropout mask, as in the plain way.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from embexp.encoding.attention import Layout
from embexp.encoding.by_length import can_be_sorted, encode_sorted, rows_by_length
from embexp.encoding.dropout import Noise, bernoulli_noise, fast_dropout, sixteen_bit_noise
from embexp.encoding.linear import fast_linear
from embexp.encoding.packed import OnGpu, can_be_packed, flash_attention_takes
from embexp.encoding.unpadded import (
    AttentionLayout,
    can_be_unpadded,
    can_decode_unpadded,
    decode_unpadded,
    encode_unpadded,
    unpadded_attention,
)
from embexp.encoding.vocabulary import summed_cross_entropy

__all__ = [
    "OnGpu",
    "StepEncoder",
    "can_be_packed",
    "can_be_sorted",
    "can_be_unpadded",
    "can_decode_unpadded",
    "decode_unpadded",
    "encode_sorted",
    "encode_unpadded",
    "fast_dropout",
    "fast_linear",
    "rows_by_length",
]


@dataclass(frozen=True)
class StepEncoder:
    """How the texts of a step are encoded.

    Attributes:
        chunk_tokens: of a chunk, padding included, where texts are encoded or decoded in chunks.
        unpadded: as one row without padding, rather than in chunks; the model `can_be_unpadded`.
        fast_dropout: what is unpadded draws attention's dropout by `sixteen_bit_noise`.
        fused_cross_entropy: of what is foretold on the CPU, by `vocabulary.py`.
        head_in_place: it writes the gradient of the decoder's head itself.
        gpu: computes the row; None: the CPU does, or there is none but chunks.
    """

    chunk_tokens: int
    unpadded: bool = False
    fast_dropout: bool = False
    fused_cross_entropy: bool = False
    head_in_place: bool = False
    gpu: OnGpu | None = None

    @property
    def noise(self) -> Noise:
        """Of attention's dropout."""
        return sixteen_bit_noise if self.fast_dropout else bernoulli_noise

    def can_decode(self, decoder: PreTrainedModel) -> bool:
        """Whether what it encodes in one row is decoded in one row too."""
        takes = self.gpu is None or flash_attention_takes(decoder.config)
        return self.unpadded and takes and can_decode_unpadded(decoder)

    def layout(self, lengths: Tensor) -> AttentionLayout:
        """Of texts of these lengths, (texts,), ascending, on the CPU, in one row."""
        return Layout.of(lengths, self.noise) if self.gpu is None else self.gpu.layout(lengths)

    def summed_cross_entropy(self, head: nn.Module, hidden: Tensor, labels: Tensor) -> Tensor:
        """Of tokens, (tokens,), foretold by a decoder's head from its hidden states, (tokens, width)."""
        if self.fused_cross_entropy and type(head) is nn.Linear:
            return summed_cross_entropy(head, hidden, labels, in_place=self.head_in_place)
        return functional.cross_entropy(head(hidden), labels, reduction="sum")

    def within(self, model: SentenceTransformer) -> AbstractContextManager[None]:
        """What the model must be in, from the first step to the last."""
        return unpadded_attention(model) if self.unpadded else nullcontext()

    def encode(self, model: SentenceTransformer, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
        """The embeddings of each column, (rows, dimension), in the order of its rows; the columns `can_be_sorted`."""
        if self.gpu is not None:
            return self.gpu.encode(model, columns)
        if self.unpadded:
            return encode_unpadded(model, columns, self.noise)
        return encode_sorted(model, columns, chunk_tokens=self.chunk_tokens)

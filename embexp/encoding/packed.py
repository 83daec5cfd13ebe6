"""Encodes all texts of a step on a GPU as one row of tokens: no padding, and FlashAttention over texts of any length.

What `unpadded.py` does on the CPU, as a GPU does it best: the row is put together on the CPU, where the tokenizer leaves the
texts, and moved in one piece, so that the CPU never waits to be told of lengths; attention is one kernel a layer for all texts,
in which dropout is drawn too. A step of short texts is then a matter of launching kernels: `embexp/training/graphs.py` does that
once for many steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedConfig

from embexp.encoding.by_length import TOKEN_INPUTS
from embexp.encoding.unpadded import can_be_unpadded, first_position

# What torch's FlashAttention computes, and on what: compute capability, and the width of a head.
AMPERE, WIDEST_HEAD = (8, 0), 256
# torch.nn.attention.varlen.varlen_attn is the same kernel without dropout.
flash_attention = torch.ops.aten._flash_attention_forward


@dataclass(frozen=True)
class Varlen:
    """Where the texts of a row end, as FlashAttention is told it.

    Attributes:
        ends: (texts + 1,), int32, on the GPU: 0, and the place after each text's last token.
        longest: at least the tokens of the longest text.
    """

    ends: Tensor
    longest: int

    @classmethod
    def of(cls, lengths: Tensor, device: torch.device) -> Varlen:
        """Of texts of these lengths, (texts,), on the CPU."""
        ends = functional.pad(lengths.cumsum(0), (1, 0)).to(torch.int32)
        return cls(sent(ends, device), int(lengths.max()))

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float, causal: bool
    ) -> Tensor:
        """Every text attends to itself alone: (1, heads, tokens, width) -> (1, tokens, heads, width).

        Keys and values are the tokens', or of a decoder that looks at what is to be decoded, one for each text.
        """
        rows = [part[0].transpose(0, 1).contiguous() for part in (query, key, value)]
        ends, longest = self.ends, self.longest
        if key.shape[2] != query.shape[2]:
            ends, longest = torch.arange(len(ends), dtype=torch.int32, device=ends.device), 1
        told = flash_attention(*rows, self.ends, ends, self.longest, longest, dropout, causal, False, scale=scale)
        attended: Tensor = told[0]
        return attended[None]


@dataclass(frozen=True)
class Row:
    """The texts of a step one after the other, on the CPU.

    Attributes:
        tokens: by name what the model is told of each token, (tokens,): its id, its type where the model knows types, its place in
            its text, its text's number.
        lengths: (texts,), tokens of each.
        first_position: what a text's first place is called.
    """

    tokens: dict[str, Tensor]
    lengths: Tensor
    first_position: int

    @classmethod
    def of(cls, columns: Sequence[dict[str, Any]], *, first_position: int) -> Row:
        """Of right-padded columns, in their order."""
        masks = [column["attention_mask"].cpu().bool() for column in columns]
        names: list[str] = [name for name in ("input_ids", "token_type_ids") if name in columns[0]]
        told: dict[str, Tensor] = {
            name: torch.cat([column[name].cpu()[mask] for column, mask in zip(columns, masks, strict=True)])
            for name in names
        }
        lengths = torch.cat([mask.sum(1) for mask in masks])
        return cls({**told, **_places(lengths, first_position)}, lengths, first_position)

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.tokens["input_ids"])

    def filled(self, size: int, texts: int) -> Row:
        """With texts of no meaning behind it, so that it has so many tokens and texts; one token in each at least."""
        more, added = size - self.size, texts - len(self.lengths)
        filling = torch.full((added,), more // added)
        filling[: more % added] += 1
        lengths = torch.cat([self.lengths, filling])
        told = {name: functional.pad(values, (0, more)) for name, values in self.tokens.items()}
        return Row({**told, **_places(lengths, self.first_position)}, lengths, self.first_position)

    def in_one_piece(self) -> Tensor:
        """All of it, int32; `features_of` reads it."""
        ends = functional.pad(self.lengths.cumsum(0), (1, 0))
        return torch.cat([*self.tokens.values(), ends]).to(torch.int32)


def _places(lengths: Tensor, first_position: int) -> dict[str, Tensor]:
    """Of every token its place in its text, and its text's number."""
    texts = torch.arange(len(lengths)).repeat_interleave(lengths)
    positions = torch.arange(len(texts)) - (lengths.cumsum(0) - lengths)[texts] + first_position
    return {"position_ids": positions, "seq_idx": texts}


def features_of(piece: Tensor, row: Row, *, longest: int, others: dict[str, Any]) -> dict[str, Any]:
    """What the model is given, made of `Row.in_one_piece` on the GPU.

    Args:
        piece: on the GPU.
        row: its names and size are read.
        longest: at least the tokens of the longest text.
        others: of a column, what is no token input.
    """
    # Half as much to be sent; but a model may look up what it was not told by positions, which takes 64 bits.
    parts = piece[: len(row.tokens) * row.size].long().view(len(row.tokens), 1, row.size)
    ends = piece[len(row.tokens) * row.size :]
    told = dict(zip(row.tokens, parts, strict=True))
    return {**others, **told, "cu_seq_lens_q": ends, "layout": Varlen(ends, longest)}


def can_be_packed(model: SentenceTransformer, *, precision: str) -> bool:
    """Whether a GPU can compute this model's texts as one row: it `can_be_unpadded`, and FlashAttention takes it."""
    there = torch.backends.cuda.is_flash_attention_available() and torch.cuda.get_device_capability() >= AMPERE
    return (
        precision != "fp32"
        and there
        and can_be_unpadded(model)
        and flash_attention_takes(model.transformers_model.config)
    )


def flash_attention_takes(config: PreTrainedConfig) -> bool:
    """Whether the heads of this encoder or decoder are of a width that it computes."""
    width = config.hidden_size // config.num_attention_heads
    return width <= WIDEST_HEAD and width % 8 == 0


class OnGpu:
    """Encodes the texts of a step on a GPU; within `unpadded_attention`.

    Args:
        model: `can_be_packed`, and is on the GPU.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        self.device = model.device
        self.first_position = first_position(model)

    def layout(self, lengths: Tensor) -> Varlen:
        """Of texts of these lengths, (texts,), on the CPU."""
        return Varlen.of(lengths, self.device)

    def encode(self, model: SentenceTransformer, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
        """The embeddings of each column, (rows, dimension), in the order of its rows.

        Args:
            model: the same, or what stands for it.
            columns: of one step, best on the CPU: right-padded "input_ids" and "attention_mask", (rows, tokens), and what else
                is like them.
        """
        return self.encode_row(model, Row.of(columns, first_position=self.first_position), columns)

    def encode_row(self, model: SentenceTransformer, row: Row, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
        """The same, of columns whose row has been made."""
        return self.computed(model, row, columns, longest=int(row.lengths.max()))

    def computed(
        self, model: SentenceTransformer, row: Row, columns: Sequence[dict[str, Any]], *, longest: int
    ) -> list[Tensor]:
        """The same, as it comes, for texts of at most `longest` tokens; behind the columns' own texts the row may have others."""
        piece = sent(row.in_one_piece(), self.device)
        features = features_of(piece, row, longest=longest, others=others_of(columns[0]))
        embeddings: Tensor = model(features)["sentence_embedding"]
        return by_column(embeddings, columns)


def sent(values: Tensor, device: torch.device) -> Tensor:
    """On the device, from memory that a GPU reads while the CPU goes on."""
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def by_column(embeddings: Tensor, columns: Sequence[dict[str, Any]]) -> list[Tensor]:
    """The embeddings of a row's texts, and of none behind them, as the columns that they came from."""
    sizes = [len(column["input_ids"]) for column in columns]
    return list(embeddings[: sum(sizes)].split(sizes))


def others_of(column: dict[str, Any]) -> dict[str, Any]:
    """What a column has beside its tokens."""
    return {name: value for name, value in column.items() if name not in TOKEN_INPUTS}

"""Encodes the texts of a step sorted by length, in chunks of a token budget: a chunk's texts are of about one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

TOKEN_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def can_be_sorted(columns: Sequence[dict[str, Any]]) -> bool:
    """Whether the columns are plain right-padded token ids, which can be cut and put together again."""
    for column in columns:
        # Of the first column alone the rest is kept when they are merged, and pooling would leave out too much or too little.
        if "prompt_length" in column:
            return False
        tensors = {key for key, value in column.items() if isinstance(value, Tensor)}
        if not {"input_ids", "attention_mask"} <= tensors or not tensors <= set(TOKEN_INPUTS):
            return False
        if not bool(column["attention_mask"][:, 0].all()):
            return False
    # Merged, all would go the way of the first column's: a Router's queries and documents go different ones.
    return len({(frozenset(column), column.get("task")) for column in columns}) == 1


def encode_sorted(model: nn.Module, columns: Sequence[dict[str, Any]], *, chunk_tokens: int) -> list[Tensor]:
    """The embeddings of each column, (rows, dimension), in the order of its rows.

    Args:
        model: gives "sentence_embedding" for token ids.
        columns: of one step: right-padded "input_ids" and "attention_mask", (rows, tokens), and what else is like them.
        chunk_tokens: tokens of a chunk, padding included; a text longer than that is a chunk of its own.
    """
    merged, others = merge(columns)
    lengths = merged["attention_mask"].sum(dim=1).cpu()
    embeddings, chunks = [], rows_by_length(lengths, chunk_tokens=chunk_tokens)
    for rows in chunks:
        longest = int(lengths[rows[-1]])
        chosen = rows.to(merged["input_ids"].device)
        chunk = {key: value[chosen, :longest] for key, value in merged.items()}
        embeddings.append(model({**chunk, **others})["sentence_embedding"])
    back = torch.argsort(torch.cat(chunks)).to(embeddings[0].device)
    sizes = [column["input_ids"].shape[0] for column in columns]
    return list(torch.cat(embeddings)[back].split(sizes))


def merge(columns: Sequence[dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The token inputs of all columns below each other, padded to one width; and what else the first column has."""
    width = max(column["input_ids"].shape[1] for column in columns)
    merged = {
        key: torch.cat([functional.pad(column[key], (0, width - column[key].shape[1])) for column in columns])
        for key in TOKEN_INPUTS
        if key in columns[0]
    }
    return merged, {key: value for key, value in columns[0].items() if key not in merged}


def rows_by_length(lengths: Tensor, *, chunk_tokens: int) -> list[Tensor]:
    """The rows, shortest first, cut into chunks that padded to their longest hold at most `chunk_tokens` (or one row).

    Args:
        lengths: tokens of each row, (rows,), on the CPU.
        chunk_tokens: of a chunk, padding included.
    """
    order = torch.argsort(lengths, stable=True)
    chunks, start = [], 0
    for end in range(1, len(order) + 1):
        if end == len(order) or int(lengths[order[end]]) * (end + 1 - start) > chunk_tokens:
            chunks.append(order[start:end])
            start = end
    return chunks

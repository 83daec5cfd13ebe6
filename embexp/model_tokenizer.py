"""A model's tokenizer: what decides the ids of a text."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sentence_transformers import SentenceTransformer


def tokenizer_identity(model: SentenceTransformer) -> str:
    """sha256 hex of all that decides the ids of a text: tokenizer, length, and how the first module asks for them."""
    tokenizer = model.tokenizer
    parts = (
        repr(model[0]),
        words_of(tokenizer),
        repr(tokenizer.special_tokens_map),
        f"{tokenizer.padding_side} {tokenizer.truncation_side}",
        str(model.max_seq_length),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def words_of(tokenizer: Any) -> str:
    """All that decides which ids a tokenizer makes of a text, as one string."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        # Of Python alone: its repr has where it lay and how many words it knows, not which.
        vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
        given = sorted(getattr(tokenizer, "init_kwargs", {}).items())
        switches = [(name, value) for name, value in given if isinstance(value, bool | int)]
        return f"{type(tokenizer).__name__} {sorted(vocabulary.items())} {switches}"
    # Padding and truncation are left there by the last call, whatever it was: they are no part of the model.
    described = json.loads(backend.to_str()) | {"split_special": getattr(tokenizer, "split_special_tokens", False)}
    return json.dumps({key: value for key, value in described.items() if key not in ("padding", "truncation")})

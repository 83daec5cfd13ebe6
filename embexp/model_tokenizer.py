"""A model's tokenizers: what decides the ids of a text, and a padding token for those that came without one."""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from transformers import PreTrainedTokenizerBase

from embexp.config import ConfigError

log = logging.getLogger(__name__)


def tokenizers_of(model: SentenceTransformer) -> list[Any]:
    """Each once, in the order of the modules that have them; a Router has several."""
    found = [getattr(module, "tokenizer", None) for module in model.modules()]
    return list({id(tokenizer): tokenizer for tokenizer in found if tokenizer is not None}.values())


def use_padding(model: SentenceTransformer) -> None:
    """Lets a tokenizer without a padding token, as GPT-2's, pad with the one that ends a text; it is saved with the model.

    What pads is masked: it is in no embedding.

    Raises:
        ConfigError: it has no token that ends a text either.
    """
    for tokenizer in tokenizers_of(model):
        # Others, as a static model's, pad nothing.
        if not isinstance(tokenizer, PreTrainedTokenizerBase) or tokenizer.pad_token is not None:
            continue
        if tokenizer.eos_token is None:
            raise ConfigError(
                [
                    f"model: its tokenizer ({type(tokenizer).__name__}) has neither a padding token nor one that ends a text, and "
                    "texts of different lengths cannot be encoded together; name one of its words as pad_token in the "
                    "tokenizer_config.json beside the model."
                ]
            )
        tokenizer.pad_token = tokenizer.eos_token
        for module in model.modules():
            # As transformers' trainer would, and say so in words of its own.
            if isinstance(module, Transformer) and module.tokenizer is tokenizer:
                module.config.get_text_config().pad_token_id = tokenizer.pad_token_id
        log.info("model: its tokenizer has no padding token; %r, which ends a text, pads", tokenizer.eos_token)


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

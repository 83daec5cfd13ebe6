"""Texts of a batch as tensors: the library's own tokenisation, without its way from lists to tensors, which takes longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from transformers import PreTrainedTokenizerBase

from embexp.encoding.by_length import TOKEN_INPUTS

LISTS = {"common": {"return_tensors": None}}


def preprocessing(model: SentenceTransformer) -> Callable[..., Any]:
    """What the model's `preprocess` gives for texts: for those of a tokenizer quicker, for others as it is."""
    if not isinstance(model[0], Transformer) or not isinstance(model.tokenizer, PreTrainedTokenizerBase):
        return model.preprocess

    def preprocess(texts: list[str], **others: Any) -> dict[str, Any]:
        told = model[0].preprocess(texts, processing_kwargs=LISTS, **others)
        if any(isinstance(value, list) and name not in TOKEN_INPUTS for name, value in told.items()):
            return dict(model.preprocess(texts, **others))
        # Of one length, as they are padded: numpy reads such lists at once, transformers and torch look at each number.
        return {
            name: torch.from_numpy(np.array(value, dtype=np.int64)) if name in TOKEN_INPUTS else value
            for name, value in told.items()
        }

    return preprocess

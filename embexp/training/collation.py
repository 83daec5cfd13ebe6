"""Texts of a batch as tensors: the library's own tokenisation, done once for all runs, or quicker than the library's way to tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Transformer
from transformers import PreTrainedTokenizerBase

from embexp.data.tokens import Tokens, cached_tokens
from embexp.data.views import View
from embexp.encoding.by_length import TOKEN_INPUTS
from embexp.identity import code_of, versions
from embexp.model_tokenizer import tokenizer_identity
from embexp.prompts import Prompts, Role

log = logging.getLogger(__name__)

LISTS: dict[str, dict[str, Any]] = {"common": {"return_tensors": None}}
UNPADDED_LISTS = {**LISTS, "text": {"padding": False}}
# Whose versions decide a text's ids.
LIBRARIES = ("tokenizers", "transformers", "sentence-transformers")
Preprocess = Callable[..., Any]


def preprocessing(model: SentenceTransformer, tokens: Tokens | None) -> Preprocess:
    """What the model's `preprocess` gives for texts: for those of a tokenizer quicker, for others as it is.

    Args:
        model: any.
        tokens: of its tokenizer, from `kept_tokens`; None: texts are tokenised as they come.
    """
    if not _has_a_tokenizer(model):
        return model.preprocess

    pools_prompts = _pools_prompts(model)

    def preprocess(texts: list[str], **others: Any) -> dict[str, Any]:
        told = model[0].preprocess(texts, processing_kwargs=LISTS, **others)
        if pools_prompts:
            # Nothing to the model then, and tokens that are found by prompt and text as one do not say it.
            told.pop("prompt_length", None)
        if any(isinstance(value, list) and name not in TOKEN_INPUTS for name, value in told.items()):
            return dict(model.preprocess(texts, **others))
        # Of one length, as they are padded: numpy reads such lists at once, transformers and torch look at each number.
        return {
            name: torch.from_numpy(np.array(value, dtype=np.int64)) if name in TOKEN_INPUTS else value
            for name, value in told.items()
        }

    return preprocess if tokens is None else KeptTokens(tokens, preprocess, padding=model.tokenizer.pad_token_id)


def kept_tokens(
    model: SentenceTransformer,
    dataset: Dataset,
    folder: str,
    *,
    of: Mapping[str, Any],
    prompts: Mapping[str, str],
) -> Tokens | None:
    """The tokens of all texts of a data set by the model's tokenizer, kept in `folder`; None: they cannot be kept.

    Args:
        model: any.
        dataset: whose columns of strings are trained on.
        folder: where rows and views are kept.
        of: which texts these are.
        prompts: of columns.
    """
    if not _can_be_kept(model) or (prompts and not _pools_prompts(model)):
        return None

    def tokenise(texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = model[0].preprocess(texts, processing_kwargs=UNPADDED_LISTS)["input_ids"]
        return found

    code = code_of("training/collation.py")
    by = {"tokenizer": tokenizer_identity(model), "libraries of tokens": versions(LIBRARIES), "code of tokens": code}
    return cached_tokens(folder, dataset, tokenise, prompts=prompts, made_from={**of, **by})


def column_prompts(view: View, prompts: Prompts) -> dict[str, str]:
    """The prompt of each column of a view that has one; the texts of the noisy view are to be made from themselves alone."""
    if view.name == "noisy":
        return {}
    return {name: prompts[role] for name, role in column_roles(view).items() if prompts.get(role)}


def column_roles(view: View) -> dict[str, Role]:
    """What the texts of each column of a view are: of directed rows the first asks, and the others are asked for."""
    texts = [name for name, feature in view.dataset.features.items() if feature.dtype == "string"]
    others: Role = "document" if view.directed else "default"
    return {name: "query" if view.directed and name == texts[0] else others for name in texts}


class KeptTokens:
    """Gives texts the tokens that are kept; where one of them is not known, tokenises them all.

    The first texts are tokenised too: only if their tensors are the same are the kept ones used.
    """

    def __init__(self, tokens: Tokens, tokenise: Preprocess, *, padding: int) -> None:
        self.tokens = tokens
        self.tokenise = tokenise
        self.padding = padding
        # What the model's own gave for the first texts: what else there is beside tokens, and in which order.
        self.template: dict[str, Any] | None = None
        self.verified = True

    def __call__(self, texts: list[str], *, prompt: str | None = None, **others: Any) -> dict[str, Any]:
        """As `preprocess`: input_ids, attention_mask, (texts, tokens), and what else there is."""
        as_usual = all(value is None for value in others.values())
        whole = [f"{prompt}{text}" for text in texts] if prompt else texts
        found = self.tokens.find(whole, padding=self.padding) if self.verified and as_usual else None
        if found is None:
            return dict(self.tokenise(texts, prompt=prompt, **others))
        ids, mask = torch.from_numpy(found[0]), torch.from_numpy(found[1].astype(np.int64))
        made = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        if self.template is None:
            self.template = dict(self.tokenise(texts, prompt=prompt, **others))
            tensors = {name: value for name, value in self.template.items() if torch.is_tensor(value)}
            self.verified = all(name in made and torch.equal(value, made[name]) for name, value in tensors.items())
            if not self.verified:
                log.info("tokens: those that are kept are not what the model reads; texts are tokenised as they come")
            return self.template
        return {name: made.get(name, value) for name, value in self.template.items()}


def _has_a_tokenizer(model: SentenceTransformer) -> bool:
    return isinstance(model[0], Transformer) and isinstance(model.tokenizer, PreTrainedTokenizerBase)


def _can_be_kept(model: SentenceTransformer) -> bool:
    """Whether a text's tensors follow from the text and what `tokenizer_identity` hashes, with zeros for types."""
    if not _has_a_tokenizer(model) or not model.tokenizer.is_fast:
        return False
    tokenizer, module = model.tokenizer, model[0]
    padded_as_usual = tokenizer.padding_side == "right" and tokenizer.pad_token_id is not None
    if not padded_as_usual or tokenizer.pad_token_type_id != 0 or getattr(module, "processing_kwargs", None):
        return False
    # What reads pictures too, or texts as messages of a conversation, and what is flattened for FlashAttention 2.
    if set(module.modality_config) != {"text"}:
        return False
    told = module.preprocess(["a", "b c"], processing_kwargs=LISTS)
    return {name for name, value in told.items() if isinstance(value, list)} <= set(TOKEN_INPUTS)


def _pools_prompts(model: SentenceTransformer) -> bool:
    """Whether a prompt's tokens are pooled with the text's, as nearly always: then its length is nothing to the model."""
    return all(getattr(module, "include_prompt", True) for module in model)

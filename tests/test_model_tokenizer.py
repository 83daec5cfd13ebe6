"""A model's tokenizers: those that came without a padding token pad all the same, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.model_tokenizer import tokenizer_identity
from embexp.models import Encoder, load_encoder
from tests.test_models import small

TEXTS = ["a short one", "somewhat longer than the first of them, by a few words"]


def gpt2(folder: Path, **special: str) -> Path:
    """A random GPT-2 whose tokenizer has these special tokens and no others."""
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64, "vocab_size": 500}
    ends = {"bos_token_id": 3, "eos_token_id": 3}
    AutoModel.from_config(AutoConfig.for_model("gpt2", **sizes, **ends)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=small().tokenizer.backend_tokenizer, **special).save_pretrained(folder)
    return folder


def loaded(folder: Path) -> Encoder:
    return load_encoder(compose([f"model.path={folder}", "model.max_length=null"]).model)


def test_a_tokenizer_without_a_padding_token_pads_with_the_end_of_a_text_and_is_saved_so(tmp_path, caplog):
    folder = gpt2(tmp_path / "gpt2", eos_token="[SEP]", unk_token="[UNK]")
    with caplog.at_level("INFO", logger="embexp"):
        encoder = loaded(folder)
    told = "model: its tokenizer has no padding token; '[SEP]', which ends a text, pads"
    assert [record.getMessage() for record in caplog.records] == [told]
    alone = np.concatenate([encoder.model.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.model.encode(TEXTS), alone, atol=1e-6)
    encoder.model.save_pretrained(str(tmp_path / "saved"))
    np.testing.assert_allclose(
        SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(TEXTS), alone, atol=1e-6
    )


def test_a_padding_token_that_was_given_is_no_other_model(tmp_path):
    first = loaded(gpt2(tmp_path / "gpt2", eos_token="[SEP]", unk_token="[UNK]"))
    assert loaded(tmp_path / "gpt2").identity == first.identity
    first.model.save_pretrained(str(tmp_path / "saved"))
    saved = loaded(tmp_path / "saved")
    assert saved.model.config.pad_token_id == first.model.config.pad_token_id == first.model.tokenizer.pad_token_id
    assert saved.identity == first.identity
    assert tokenizer_identity(saved.model) == tokenizer_identity(first.model)


def test_a_tokenizer_that_has_no_token_to_pad_with_is_refused(tmp_path):
    folder = gpt2(tmp_path / "gpt2", unk_token="[UNK]")
    with pytest.raises(ConfigError, match="has neither a padding token nor one that ends a text"):
        loaded(folder)

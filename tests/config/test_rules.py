"""What goes together in a config, and what is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from embexp import model_paths
from embexp.config.composition import compose
from embexp.config.rules import OF_THIS_MACHINE, model_is_not_nowhere
from embexp.data import build_source
from tests.config.test_composition import problems_of


@pytest.mark.parametrize(
    ("given", "fed"),
    [
        (["loss=tsdae"], "noisy, for which no negatives are looked for in nli rows"),
        (["loss=cosine"], "scored, for which no negatives are looked for in nli rows"),
        (["loss=mnr", "data=allnli"], "triplets bring their negatives"),
        (["loss=mnr", "data.hard_margin=0.1", "data.negatives=shuffled"], "data.hard_margin=0.1: nothing reads it"),
        (["loss=mnr"], None),
        (["loss=mnr", "data=stsb"], None),
    ],
)
def test_hard_negatives_are_refused_where_none_are_looked_for(given, fed):
    given = ["evaluation=helpdesk", *given]
    given += [] if any(word.startswith("data.negatives") for word in given) else ["data.negatives=hard"]
    if fed is None:
        assert compose(given).data.negatives == "hard"
        return
    (problem,) = problems_of(*given)
    assert fed in problem


def test_where_a_model_is_scored_alone_pairs_are_asked_for_and_no_rows_that_its_loss_is_fed(tmp_path):
    (tmp_path / "intents.csv").write_text("text,label\n" + "".join(f"how {n},{n % 3}\n" for n in range(60)))
    (tmp_path / "notes.txt").write_text("".join(f"how {n}\n" for n in range(60)))
    labelled, texts = (["data=files", f"data.train={tmp_path / name}"] for name in ("intents.csv", "notes.txt"))
    assert compose(labelled, trains=False).data.train == str(tmp_path / "intents.csv")
    (trained,) = problems_of(*texts)
    assert trained.startswith("loss=mnr data=files: this loss is fed")
    (scored,) = problems_of(*texts, trains=False)
    assert scored.startswith("evaluation=own: data=files brings no scored pairs of its own; use evaluation=stsb")
    (nothing_aside,) = problems_of(*labelled, "data.dev_fraction=0", trains=False)
    assert "there is nothing to score on" in nothing_aside


@pytest.mark.parametrize(("loss", "key"), [("triplet", "triplet_margin"), ("angle", "scale"), ("cosent", "scale")])
def test_numbers_of_the_library_s_losses_are_told_before_the_first_step(loss, key):
    for wrong in ("x", "-1", "0", "true", "[1]"):
        (problem,) = problems_of(f"loss={loss}", f"loss.{key}={wrong}")
        assert problem.endswith("must be a number greater than 0.")
    assert compose([f"loss={loss}", f"loss.{key}=0.4"]).loss.arguments()[key] == 0.4
    assert compose(["loss=triplet", "loss.triplet_margin=null"]).loss.arguments()["triplet_margin"] is None


def test_labels_that_are_numbers_can_be_named(tmp_path):
    file = tmp_path / "nli.csv"
    file.write_text("premise,hypothesis,label\n" + "".join(f"p{n},h{n},{n % 3 + 1}\n" for n in range(30)))
    labels = "data.labels={1: entailment, 2: neutral, 3: contradiction}"
    config = compose(["data=files", f"data.train={file}", labels, "evaluation=helpdesk"])
    assert config.data.labels == {"1": "entailment", "2": "neutral", "3": "contradiction"}
    rows = build_source(config.data).load("train")
    assert rows.table["label"][:3] == [0, 1, 2]


@pytest.mark.parametrize("key", ["path={}", "own={{mine: {}}}"])
def test_where_mteb_wants_a_folder_a_file_is_refused(tmp_path, key):
    file = tmp_path / "test.csv"
    file.write_text("text,label\na,b\n")
    (problem,) = problems_of("evaluation=[own,mteb]", f"evaluation.mteb.{key.format(file)}")
    assert f"={file}: is a file; name the folder" in problem


@pytest.mark.parametrize("typed", ["model.path=", "model.path=''", "model.path='  '"])
def test_a_model_of_no_name_is_not_the_folder_that_one_stands_in(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (told,) = problems_of(typed)
    assert told.endswith(": is empty; name a folder, or a hub id (owner/name).")


def test_a_folder_without_a_model_is_told_with_the_folder_in_it_that_has_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    lacks = "model.path=run: holds no model (no modules.json, config.json or adapter_config.json)"
    assert problems_of("model.path=run") == [f"{lacks}; name the folder that its files are in."]
    for name in ("1_Pooling", "onnx"):
        (run / name).mkdir()
        (run / name / "config.json").write_text("{}")
    assert problems_of("model.path=run") == [f"{lacks}; name the folder that its files are in."]
    for name in ("checkpoint-100", "checkpoint-20", "model"):
        (run / name).mkdir()
        (run / name / "config.json").write_text("{}")
        (run / name / "model.safetensors").touch()
        assert compose([f"model.path=run/{name}"]).model.path == f"run/{name}"
    assert problems_of("model.path=run") == [
        f"{lacks}, but the folder run/model in it does; or run/checkpoint-20, run/checkpoint-100."
    ]
    for name in model_paths.OF_A_FOLDER:
        (run / name).write_text("{}")
        assert compose(["model.path=run"]).model.path == "run"
        (run / name).unlink()


def test_a_folder_that_may_not_be_read_is_told_and_one_in_it_hides_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("closed", "model"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "model" / "modules.json").write_text("[]")
    listed = Path.iterdir

    def denied(folder: Path):
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert problems_of("model.path=run/closed") == ["model.path=run/closed: cannot be read: Permission denied."]
    (told,) = problems_of("model.path=run")
    assert "the folder run/model in it does." in told


def test_a_model_of_one_word_that_nobody_knows_is_told_at_once_where_the_hub_cannot_be_asked(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_paths, "hub_is_reachable", lambda: False)
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text("{}")
    (told,) = problems_of("model.path=my-modl")
    assert told.startswith("model.path=my-modl: there is no such folder here; if it is a name on the hub")
    assert "Did you mean 'my-model'?" in told
    # What the cache has a part of, and what a queue's other machine may reach, is left to whoever loads it.
    (tmp_path / "cache" / "models--bert-base-uncased").mkdir(parents=True)
    for known in (["model.path=my-model"], ["model.path=bert-base-uncased"], ["model.path=own/name"]):
        assert compose(known).model.path == known[0].partition("=")[2]
    assert model_is_not_nowhere in OF_THIS_MACHINE
    monkeypatch.setattr(model_paths, "hub_is_reachable", lambda: True)
    assert compose(["model.path=my-modl"]).model.path == "my-modl"

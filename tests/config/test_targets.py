"""What a `_target_` names is looked for in the files: told before torch is imported where it is not there, else left to the import."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.config.schema import OwnLoss
from embexp.config.targets import MADE_ON_IMPORT, arguments_of, what_is_missing_of
from embexp.loss_plan import build_loss
from embexp.shipped import conf_folder

LOSSES = "sentence_transformers.sentence_transformer.losses"


def test_where_sentence_transformers_has_its_losses_is_as_it_says():
    from sentence_transformers.util.deprecated_import import DEPRECATED_MODULE_PATHS

    assert all(DEPRECATED_MODULE_PATHS[old] == new for old, new in MADE_ON_IMPORT.items())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"{LOSSES}.ContrastveLoss", f"{LOSSES} has no 'ContrastveLoss'. Did you mean 'ContrastiveLoss'?"),
        ("sentence_transformers.losses.TripletLos", "sentence_transformers.losses has no 'TripletLos'. Did you mean"),
        ("embexp.losses.mmr", "embexp.losses has no 'mmr'. Did you mean 'mnr'?"),
        ("mylosses.Own", "there is no module 'mylosses' here"),
        ("one.Own", "one has no 'Own'. Did you mean 'Owns'?"),
    ],
)
def test_what_is_not_there_is_said_with_the_nearest(target, said, workplace, monkeypatch):
    (workplace / "one.py").write_text("class Owns: ...\n")
    monkeypatch.syspath_prepend(workplace)
    assert said in what_is_missing_of(target)


@pytest.mark.parametrize(
    "target",
    [
        f"{LOSSES}.ContrastiveLoss",
        "sentence_transformers.losses.ContrastiveLoss",  # made by sentence_transformers as it is imported
        "sentence_transformers.SentenceTransformer.encode",
        "torch.nn.Linear",  # star imports
        "torch._C.Anything",  # no text to read
        "os.system",
        "hidden.Own",
        "broken.Own",
        "one.json",
        "one.Registered",  # by another module, perhaps
        "made.Owned",
    ],
)
def test_what_is_there_or_may_be_is_left_to_the_import(target, workplace, monkeypatch):
    (workplace / "hidden.py").write_text("globals()['Own'] = object\n")
    (workplace / "broken.py").write_text("class Own(:\n")
    (workplace / "one.py").write_text("import json\n")
    (workplace / "made.py").write_text(
        "class Owner: ...\ndef make():\n    global Owned\n    class Owned: ...\nmake()\n"
    )
    monkeypatch.syspath_prepend(workplace)
    assert what_is_missing_of(target) is None


def test_a_name_that_was_given_to_an_imported_module_is_there(workplace, monkeypatch):
    (workplace / "two.py").write_text("class Owns: ...\n")
    monkeypatch.syspath_prepend(workplace)
    assert "Did you mean 'Owns'?" in what_is_missing_of("two.Own")
    two = importlib.import_module("two")
    two.Own = two.Owns
    assert what_is_missing_of("two.Own") is None


OWN = """
from functools import partial, wraps
from dataclasses import dataclass
from lying_elsewhere import Elsewhere as Named
import three as Module

class Own:
    def __init__(self, model, margin, *, scale=1.0): ...

class Inherits(Own): ...

class Any:
    def __init__(self, model, **others): ...

@dataclass
class Written:
    margin: float

def function(encoder, /, weight): ...

def both(first, model, *, margin): ...

def by_place(encoder, weight, /, margin): ...

def several(*encoders, margin): ...

class Several:
    def __init__(*encoders, margin): ...

@wraps(function)
def wrapped(model, margin): ...

class Changed:
    def __init__(self, model, margin): ...

Changed = partial(Changed, margin=1)
if Own:
    class Sometimes:
        def __init__(self, model): ...
"""


@pytest.mark.parametrize(
    ("target", "taken"),
    [
        (f"{LOSSES}.TripletLoss", ["distance_metric", "triplet_margin"]),
        (f"{LOSSES}.AnglELoss", ["scale"]),
        ("sentence_transformers.losses.AnglELoss", ["scale"]),
        ("one.Own", ["margin", "scale"]),
        ("one.Named", ["weight"]),
        ("one.function", ["weight"]),
        ("one.both", ["model", "margin"]),
        ("one.by_place", ["margin"]),
        ("one.several", ["margin"]),
        ("one.Several", ["margin"]),
        *[
            (target, None)
            for target in (
                "torch.nn.Linear",  # star imports
                "os.system",
                "nowhere.Own",
                "Own",
                "one.Nothing",
                "one.Module",
                "one.Inherits",
                "one.Any",
                "one.Written",
                "one.wrapped",
                "one.Changed",
                "one.Sometimes",
                "lying_elsewhere.Round",
            )
        ],
    ],
)
def test_what_a_target_takes_beside_the_model_is_read_off_its_text_where_that_tells(
    target, taken, workplace, monkeypatch
):
    (workplace / "one.py").write_text(OWN)
    (workplace / "lying_elsewhere.py").write_text(
        "from lying_elsewhere import Round\nclass Elsewhere:\n    def __init__(self, model, weight): ...\n"
    )
    monkeypatch.syspath_prepend(workplace)
    found = arguments_of(target)
    assert (found if found is None else [each.name for each in found]) == taken


def test_which_arguments_a_target_needs_is_read_off_its_text(workplace, monkeypatch):
    (workplace / "needy.py").write_text(
        "def own(model, a, b=1, *, c, d=None): ...\ndef by_place(model, a=2, /, b=3): ...\n"
        "class Own:\n    def __init__(self, model, a, b=()): ...\n"
    )
    monkeypatch.syspath_prepend(workplace)
    needed = {
        name: [each.name for each in arguments_of(f"needy.{name}") if each.is_needed]
        for name in ("own", "by_place", "Own")
    }
    assert needed == {"own": ["a", "c"], "by_place": [], "Own": ["a"]}


def test_what_a_loss_takes_is_said_alike_off_its_text_and_when_it_is_built(tmp_path, monkeypatch):
    (tmp_path / "alike.py").write_text(
        "def own(encoder, margin): ...\ndef by_place(encoder, weight, /, margin): ...\n"
        "class Own:\n    def __init__(this, encoder, margin): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loss").mkdir()
    model = SentenceTransformer(modules=[Normalize()])
    for name in ("own", "by_place", "Own"):
        (tmp_path / "loss" / "mine.yaml").write_text(f"_target_: alike.{name}\nview: pairs\nmargn: 1\n")
        with pytest.raises(ConfigError) as early:
            compose(["loss=mine"], config_dir=tmp_path)
        with pytest.raises(ConfigError) as built:
            build_loss(OwnLoss(_target_=f"alike.{name}", view="pairs", margn=1), model, seed=1)
        said = f"loss.margn: alike.{name} takes no such argument; it takes margin. Did you mean 'margin'?"
        assert early.value.problems == built.value.problems
        assert early.value.problems[0] == said
        lacking = f"loss.margin: alike.{name} needs it, and it is not given; write margin: VALUE in the loss's file"
        assert early.value.problems[1].startswith(lacking)
        assert compose(["loss=mine", "+loss.margin=1", "~loss.margn"], config_dir=tmp_path).loss.arguments() == {
            "margin": 1
        }


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (f"{LOSSES}.GISTEmbedLoss", "loss.guide: .* or, where it is no number or text, a function that makes it"),
        (
            "sentence_transformers.losses.MatryoshkaLoss",
            r"loss\.loss: .* is a loss of another loss, .* matryoshka_dims=",
        ),
        ("needing.kept", "loss.view: .* but the key is embexp's own; write a function that calls it"),
    ],
)
def test_what_no_loss_s_file_can_give_is_told_where_it_can_be_given(target, said, workplace, monkeypatch):
    (workplace / "needing.py").write_text("def kept(model, view): ...\n")
    monkeypatch.syspath_prepend(workplace)
    (workplace / "loss").mkdir()
    (workplace / "loss" / "mine.yaml").write_text(f"_target_: {target}\nview: pairs\n")
    with pytest.raises(ConfigError, match=said):
        compose(["loss=mine"], config_dir=workplace)


def test_a_key_that_the_loss_does_not_take_is_refused_with_all_that_is_wrong(tmp_path):
    taken = "takes no such argument; it takes distance_metric, triplet_margin."
    for typed in ("+loss.margn=0.3", "+loss.temperature=0.1"):
        with pytest.raises(ConfigError) as refused:
            compose(["loss=triplet", typed, "batch_size=0"])
        first, second = refused.value.problems
        assert first == "batch_size=0: must be at least 1."
        near = " Did you mean 'triplet_margin'?" if "margn" in typed else ""
        assert second == f"{typed[1:].partition('=')[0]}: {LOSSES}.TripletLoss {taken}{near}"
    (tmp_path / "loss").mkdir()
    own = f"_target_: {LOSSES}.MSELoss\nview: noisy\ndeletion_ratio: 0.5\n"
    (tmp_path / "loss" / "own.yaml").write_text(own)
    assert compose(["loss=own"], config_dir=tmp_path).loss.arguments() == {"deletion_ratio": 0.5}


def test_every_shipped_target_is_found():
    options = [yaml.safe_load(file.read_text()) for file in conf_folder().rglob("*.yaml")]
    targets = [option["_target_"] for option in options if "_target_" in option]
    assert len(targets) > 20
    assert [missing for target in targets if (missing := what_is_missing_of(target))] == []


def test_a_misspelt_loss_is_refused_by_a_sweep_before_its_first_job_and_without_torch(tmp_path):
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "mine.yaml").write_text(f"_target_: {LOSSES}.TriplettLoss\nview: triplets\n")
    with pytest.raises(ConfigError, match=r"^loss\._target_=.*Did you mean 'TripletLoss'\?$"):
        compose(["loss=mine"], config_dir=tmp_path / "own")
    typed = ["--config-dir", "own", "loss=mine", "batch_size=8,16", "-m"]
    command = [sys.executable, "-X", "importtime", "-m", "embexp", *typed]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("Did you mean 'TripletLoss'?") == 1
    assert re.search(r"\|\s+embexp\.config$", done.stderr, re.MULTILINE)
    assert not re.search(r"\|\s+torch$", done.stderr, re.MULTILINE)
    assert not (tmp_path / "multirun").exists()


@pytest.mark.parametrize("command", [[sys.executable, "-m", "embexp"], [str(Path(sys.executable).with_name("embexp"))]])
def test_a_module_in_the_current_folder_is_found_however_the_command_is_started(tmp_path, command):
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "mine.yaml").write_text("_target_: one.Own\nview: triplets\n")
    # The command ends here, at its check.
    typed = [*command, "--config-dir", "own", "loss=mine", "trainer.device=cpu", "trainer.precision=fp16"]
    said = []
    for text in ("class Owns: ...", "class Own: ..."):
        (tmp_path / "one.py").write_text(text)
        said.append(subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, check=False).stderr)
    assert "one has no 'Own'. Did you mean 'Owns'?" in said[0]
    assert "loss._target_" not in said[1]
    assert "trainer.precision=fp16" in said[1]

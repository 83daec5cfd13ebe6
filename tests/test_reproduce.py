"""Running a recorded run again: the scores compared, and what differs named."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from embexp.compare.runs import OF_A_SWEEP
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.experiment import run_experiment
from embexp.reproduce import main, read_record, told
from embexp.tracking.store import client_of, open_store
from embexp.training import CheckpointFailed, MemberLost, TrainingDiverged

SMALL = [
    "model=tiny",
    "data.rows=1000",
    "data.evaluation_rows=100",
    "max_steps=2",
    "evaluation.times=1",
    "trainer.threads=1",
]


def trained(*overrides: str, folder: str = "run") -> Path:
    return run_experiment(compose([*SMALL, *overrides]), folder=folder).folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """The folder of a run that no store knows."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path_factory.mktemp("recorded"))
        return trained("tracker=none").absolute()


@pytest.fixture
def folder(workplace, recorded) -> Path:
    """A copy of it in the current folder."""
    return shutil.copytree(recorded, workplace / "run")


def reproduce(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reproduce", *arguments])
    # The tests' own process keeps its way with the signal.
    monkeypatch.setattr("embexp.reproduce.raise_on_sigterm", lambda: None)
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_run_of_the_store_is_made_again_to_the_last_digit(with_store, monkeypatch, capsys):
    folder = trained("loss=tsdae")
    run_id = json.loads((folder / "result.json").read_text())["run_id"]
    assert reproduce(monkeypatch, run_id[:8]) == 0
    printed = capsys.readouterr().out
    assert "Every score is the same, to the last digit." in printed
    assert "best/dev/spearman_cosine" in printed
    for part in ("code", "data", "weights", "libraries", "hardware"):
        assert f"{part}: the same" in printed
    assert (with_store / "multirun" / "reproduced" / run_id[:8] / "result.json").is_file()


@pytest.fixture
def left_behind(workplace, empty_store, monkeypatch) -> tuple[Path, str]:
    """A working folder with a run in its store, and the run's id; it is the current one."""
    old = workplace / "g süß"
    old.mkdir()
    shutil.copy(empty_store, old)
    monkeypatch.chdir(old)
    return old, json.loads((trained() / "result.json").read_text())["run_id"]


@pytest.mark.parametrize("way", [shutil.move, shutil.copytree])
def test_a_run_is_made_again_from_its_id_in_a_folder_that_was_moved_or_copied(left_behind, way, monkeypatch, capsys):
    old, run_id = left_behind
    new = old.with_name("g moved")
    way(old, new)
    if old.exists():
        # Which of the two is read is seen by this one.
        (old / "mlruns" / run_id / "artifacts" / "result.json").write_text("damaged")
    monkeypatch.chdir(new)
    for typed in (run_id, run_id[:8]):
        assert reproduce(monkeypatch, typed) == 0
        assert "Every score is the same, to the last digit." in capsys.readouterr().out


def test_a_run_whose_files_are_gone_is_told_with_where_they_were(left_behind, monkeypatch):
    old, run_id = left_behind
    (old / "mlruns").rename(old / "elsewhere")
    said = str(reproduce(monkeypatch, run_id))
    assert said.startswith(
        f"{run_id}: its files are not at {old}/mlruns/{run_id}/artifacts; was the folder moved? Put mlruns/"
    )
    assert said.endswith("or give the run's own folder, under multirun/, in place of its id.")


def test_a_sweep_that_has_no_files_is_told_to_be_no_training(with_store, monkeypatch):
    client = client_of(None)
    experiment = open_store(None, experiment="embexp")
    sweep = client.create_run(experiment, tags={OF_A_SWEEP: "multirun/1"}).info.run_id
    shutil.rmtree(with_store / "mlruns", ignore_errors=True)
    assert "of a run that was trained, not of a sweep" in str(reproduce(monkeypatch, sweep))


def test_a_score_that_does_not_come_again_is_told_with_exit_1(folder, monkeypatch, capsys):
    result = json.loads((folder / "result.json").read_text())
    result["metrics"]["test/spearman_cosine"] += 0.25
    (folder / "result.json").write_text(json.dumps(result))
    assert reproduce(monkeypatch, str(folder)) == 1
    assert "NOT reproduced: the largest difference is 2.5e-01, over 0.001." in capsys.readouterr().out


def test_what_differs_is_named(folder):
    before = read_record(folder)
    again = trained("tracker=none", "data.seed=3", folder="again")
    environment = json.loads((again / "environment.json").read_text())
    environment["libraries"]["torch"] = "1.0"
    environment["git"] = {"commit": "c" * 40, "dirty": "true"}
    (again / "environment.json").write_text(json.dumps(environment))
    lines = {line.partition(":")[0]: line for line in told(before, read_record(again), tolerance=1e-3)}
    assert "torch" in lines["libraries"]
    assert "-> 1.0" in lines["libraries"]
    assert "commit" in lines["code"]
    assert "train" in lines["data"]
    assert lines["weights"] == "weights: the same"


def test_a_config_that_was_altered_is_told_by_key_and_params(folder, monkeypatch, capsys):
    config, key = folder / "config.yaml", json.loads((folder / "result.json").read_text())["key"]
    config.write_text(re.sub("^seed: 42$", "seed: 9", config.read_text(), flags=re.MULTILINE))
    reproduce(monkeypatch, str(folder))
    lines = capsys.readouterr().out.splitlines()
    (told_of_it,) = [line for line in lines if line.startswith("config: ")]
    assert told_of_it.startswith(
        "config: seed 42 -> 9 (as recorded with the run -> in its config.yaml, which was altered since; key "
    )
    assert f"key {key} -> " in told_of_it
    assert "code: the same" in lines


def test_what_no_param_tells_of_a_config_that_was_altered_its_key_does(folder):
    before = read_record(folder)
    assert "config: the same" in told(before, before, tolerance=1e-3)
    lines = told(before, replace(before, key="other"), tolerance=1e-3)
    assert [line for line in lines if line.startswith("config: ")] == [
        f"config: key {before.key} -> other, and what follows is the same: a setting in its config.yaml was altered since, or "
        "embexp's own code"
    ]


@pytest.mark.parametrize(
    ("typed", "value", "differ"),
    [("1e-5", 1e-05, False), ("2", 2, False), ("true", True, False), ("hard", "random", True), ("0.5", 0.25, True)],
)
def test_a_setting_of_a_section_is_held_against_what_was_typed(folder, typed, value, differ):
    before = replace(read_record(folder), params={"data.x": typed}, settings={"data": {"x": value}})
    lines = told(before, replace(before, params={}), tolerance=1e-3)
    assert any(line.startswith(f"config: data.x {typed} -> ") for line in lines) == differ


@pytest.mark.parametrize(
    ("section", "named", "said"),
    [
        (
            "model",
            {"_target_": "subprocess.getoutput", "cmd": "touch broken_into"},
            "model._target_=subprocess.getoutput",
        ),
        ("loss", {"_target_": "subprocess.getoutput", "view": ["scored"]}, "loss._target_=subprocess.getoutput"),
        (
            "evaluation",
            {"source": {**compose(["evaluation=helpdesk"]).evaluation.source, "_target_": "os.system"}},
            "evaluation.source._target_=os.system",
        ),
    ],
)
def test_code_that_only_the_record_names_is_not_run(workplace, folder, monkeypatch, section, named, said):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config[section] = {**(config[section] if section == "evaluation" else {}), **named}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert said in str(reproduce(monkeypatch, str(folder)))
    assert not (workplace / "broken_into").exists()
    assert not (workplace / "multirun" / "reproduced").exists()


def test_a_run_with_a_loss_of_ones_own_is_made_again_where_it_is_trusted(workplace, monkeypatch, capsys):
    (workplace / "mine" / "loss").mkdir(parents=True)
    own = "_target_: sentence_transformers.sentence_transformer.losses.ContrastiveLoss\nview: scored\n"
    (workplace / "mine" / "loss" / "contrastive.yaml").write_text(own)
    config = compose([*SMALL, "tracker=none", "loss=contrastive"], config_dir=workplace / "mine")
    folder = run_experiment(config, folder="run").folder
    assert "ContrastiveLoss: is none of embexp's" in str(reproduce(monkeypatch, str(folder)))
    for name in ("run", "run-2"):
        assert reproduce(monkeypatch, str(folder), "--trust-code") == 0
        assert (workplace / "multirun" / "reproduced" / name / "result.json").is_file()


def test_what_is_no_run_is_told(workplace):
    (workplace / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: has no config\.yaml.*give the id or the folder"):
        read_record(workplace / "empty")


def test_a_run_that_is_not_in_the_store_is_told(workplace, monkeypatch):
    assert "there is no store yet" in str(reproduce(monkeypatch, "zzz"))
    assert reproduce(monkeypatch, "multirun/zzz") == "multirun/zzz: there is no such folder."
    for word in ("0" * 32, "0" * 6):
        assert "holds no experiment 'embexp'; name it with --experiment" in str(reproduce(monkeypatch, word))
    made = run_experiment(compose(SMALL))
    for word in ("zzz", "0" * 6, "0" * 32):
        told = f"{word}: no run of the store begins so. The last that finished: {made.run_id} ({made.name})."
        assert reproduce(monkeypatch, word) == told


@pytest.mark.parametrize("typed", [".", "../run", "{}/."])
def test_however_a_folder_is_written_the_run_is_made_again_in_one_of_its_name(folder, monkeypatch, typed):
    monkeypatch.chdir(folder)
    made = []
    monkeypatch.setattr("embexp.reproduce.run_again", lambda _, name: made.append(name) or read_record(folder))
    assert reproduce(monkeypatch, typed.format(folder)) == 0
    assert made == ["run"]


def test_a_record_that_lacks_a_part_or_is_damaged_is_told_by_what_it_lacks(folder, monkeypatch):
    (folder / "inputs.json").write_text("{")
    assert reproduce(monkeypatch, "run") == (
        "run: its inputs.json is damaged: it is no JSON of names and values; the run cannot be made again from it; "
        "if the run is in a store, its copy may be whole: give the run's id."
    )
    (folder / "config.yaml").unlink()
    said = reproduce(monkeypatch, "run")
    assert said.startswith("run: has no config.yaml; it cannot be made again without; ")
    assert "sweep" not in said


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (lambda text: "", "it is empty"),
        (lambda text: "a: [b", "it is no YAML"),
        (lambda text: "- a", "it is a list, not settings by their names"),
        (lambda text: text[: text.index("names:")], "it lacks names.model, names.loss, "),
        (lambda text: text[: text.index("loss:", text.index("names:"))], "it lacks names.model, names.loss;"),
        (lambda text: text.replace("model:", "mdoel:"), "it lacks model, names.model;"),
    ],
    ids=["emptied", "no YAML", "a list", "cut off", "cut off among its names", "a key of another name"],
)
def test_a_damaged_config_is_told_by_the_run_as_it_was_called(folder, how, why):
    path = folder / "config.yaml"
    path.write_text(how(yaml.safe_dump(yaml.safe_load(path.read_text()), sort_keys=False)))
    with pytest.raises(ConfigError) as refused:
        read_record(folder, name="4f1c2a")
    said = str(refused.value)
    assert said.startswith(f"4f1c2a: its config.yaml is damaged: {why}")
    assert said.endswith("the copy in the run's folder, under multirun/, may be whole: give that folder.")
    assert str(folder) not in said


def test_a_record_without_a_key_is_told_by_file_and_key(folder, monkeypatch):
    path = folder / "inputs.json"
    content = json.loads(path.read_text())
    del content["weights"]["sha256"]
    path.write_text(json.dumps(content))
    assert reproduce(monkeypatch, "run").startswith("run: its inputs.json is damaged: it lacks weights.sha256; ")


def test_a_score_that_was_no_number_is_not_compared(folder):
    path = folder / "result.json"
    content = json.loads(path.read_text())
    content["metrics"]["dev/spearman_max"] = None
    path.write_text(json.dumps(content))
    assert "dev/spearman_max" not in read_record(folder).scores


def test_a_run_that_failed_before_it_was_trained_is_told_to_have_failed(folder, monkeypatch):
    (folder / "inputs.json").unlink()
    (folder / "result.json").write_text(json.dumps({"status": "FAILED"}))
    assert reproduce(monkeypatch, "run").startswith("run: this run is FAILED; only a finished one has scores")


def test_an_evaluation_is_told_to_be_no_training(folder, monkeypatch):
    # It loads no rows to train on, and so leaves all but these.
    (folder / "inputs.json").unlink()
    assert reproduce(monkeypatch, "run").startswith(
        "run: has no inputs.json; give the id or the folder of a run that was trained"
    )


@pytest.mark.parametrize("kind", [TrainingDiverged, CheckpointFailed, MemberLost])
def test_what_breaks_the_training_in_words_is_told_in_them(folder, monkeypatch, kind):
    def broken(*_, **__):
        raise kind("train/loss is nan at step 7")

    monkeypatch.setattr("embexp.experiment.run_experiment", broken)
    assert reproduce(monkeypatch, "run") == "train/loss is nan at step 7"


def test_a_run_that_is_interrupted_ends_with_a_line_and_130(folder, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("embexp.experiment.run_experiment", interrupted)
    assert reproduce(monkeypatch, "run") == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted (Ctrl-C)"


def test_a_store_that_is_none_is_told_of_a_whole_id_too(workplace, monkeypatch):
    said = reproduce(monkeypatch, "0" * 32, "--uri", "mlruns")
    assert said == "mlruns: MLflow keeps no runs in a plain folder any more; name a database, as sqlite:///mlflow.db."
    said = reproduce(monkeypatch, "0" * 32, "--uri", "mlflow.db")
    assert str(said).endswith("for the database write sqlite:///mlflow.db")

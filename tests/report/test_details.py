"""What is read of a run beyond the table: from its folder, and from a store without importing MLflow's client."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from embexp.compare.runs import read_result, read_runs
from embexp.config import ConfigError
from embexp.report import report, slide_of
from embexp.report.details import Details, details_of
from embexp.tracking import MLflowTracker, Status
from embexp.tracking.store import client_of
from tests.report.artifacts import served_instead
from tests.report.conftest import LEFT, SCORES, predictions


def test_a_run_is_repeated_by_its_own_overrides_not_by_those_of_its_sweep(runs):
    assert details_of(runs[1]).command == "python -m embexp loss=mnr batch_size=32 'model.path=my model'"


@pytest.mark.parametrize("typed", ["--config-dir mine", "--config-dir=mine", "-cd mine"])
def test_a_run_with_options_of_ones_own_is_repeated_with_their_folder(runs, typed):
    command = {"command": f"python -m embexp {typed} loss=own,mnr -m"}
    (Path(runs[0].where).parent / "environment.json").write_text(json.dumps(command))
    flag = "--config-dir=mine" if "=" in typed.split()[0] else "--config-dir mine"
    assert details_of(runs[0]).command.startswith(f"python -m embexp {flag} loss=mnr")


def test_a_model_that_was_only_scored_is_repeated_by_the_program_that_scored_it(runs):
    scored = replace(runs[1], params={**runs[1].params, "loss": "none"})
    assert details_of(scored).command.startswith("python -m embexp.evaluate ")


def test_of_a_step_that_was_logged_again_the_last_value_counts(workplace):
    tracker = MLflowTracker(None, "embexp", False)
    tracker.start(
        "a run", folder=workplace, params={"loss": "mnr"}, tags={"embexp.command": "python -m embexp"}, parent=None
    )
    for step, value in ((10, 0.6), (0, 0.5)):
        tracker.log_metrics({"dev/spearman_cosine": value}, step)
    (workplace / "predictions.parquet").write_bytes(b"rows")
    tracker.log_artifact(workplace / "predictions.parquet")
    tracker.end(Status.FINISHED)
    client_of(None).log_metric(tracker.run_id, "dev/spearman_cosine", 0.7, step=10)
    (run,) = read_runs(None, experiment="embexp")
    details = details_of(run)
    assert details.history("dev/spearman_cosine") == [(0, 0.5), (10, 0.7)]
    assert details.file("predictions.parquet").read_bytes() == b"rows"
    assert details.file("nothing") is None
    assert details.command == "python -m embexp"


def test_files_that_are_elsewhere_are_fetched_once_without_a_bar_and_gone_with_the_report(
    with_store, monkeypatch, capsys
):
    tracker = MLflowTracker(None, "embexp", False)
    tracker.start(
        "a run",
        folder=with_store,
        params={"loss": "mnr", "batch_size": 16},
        tags={"embexp.evaluation": "e"},
        parent=None,
    )
    tracker.log_metrics({"dev/spearman_cosine": SCORES["mnr", 16]}, 0)
    predictions(with_store / "predictions.parquet", LEFT["mnr", 16])
    (with_store / "overrides.yaml").write_text("[loss=mnr, seed=7]")
    for name in ("predictions.parquet", "overrides.yaml"):
        tracker.log_artifact(with_store / name)
    tracker.end(Status.FINISHED)
    (temporary := with_store / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.delenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", raising=False)
    with served_instead(with_store / "mlflow.db", with_store / "mlruns") as asked:
        runs = read_runs(None, experiment="embexp")
        text = report(runs, title="t")
        assert "Improved most" in text
        assert "python -m embexp loss=mnr seed=7" in text
        assert f"{tracker.run_id}/artifacts/predictions.parquet" in asked
        # What is not there is not looked for again either.
        assert f"{tracker.run_id}/artifacts/result.json" in asked
        assert len(asked) == len(set(asked))
        assert not list(temporary.iterdir())
        assert slide_of(runs, "svg", title="t")
        details = details_of(runs[0])
        assert details.file("overrides.yaml").read_text() == "[loss=mnr, seed=7]"
        assert list(temporary.iterdir())
        del details
    assert not list(temporary.iterdir())
    assert "Downloading" not in capsys.readouterr().err


def test_a_job_that_left_nothing_has_empty_details(tmp_path):
    from embexp.compare.runs import Run

    details = details_of(Run.lost("mnr", tmp_path))
    assert (details.run_id, details.command, details.history("dev/spearman_cosine")) == (None, None, [])


@pytest.mark.parametrize("metric", ["dev/spearman_cosine", "nothing"])
def test_a_folder_tells_its_curve(runs, metric):
    points = details_of(runs[0]).history(metric)
    assert [step for step, _ in points] == ([0, 10, 20] if metric.startswith("dev") else [])


def test_a_damaged_file_of_a_run_is_named_and_what_the_tracker_knows_stands_for_it(tmp_path, caplog):
    details = Details("4f1c", tmp_path, {"embexp.cautions": "dev: 3 pairs", "embexp.command": "python -m embexp"})
    for name in ("result.json", "environment.json", "overrides.yaml"):
        (tmp_path / name).write_text("[{")
    assert details.cautions == ["dev: 3 pairs"]
    assert details.command == "python -m embexp"
    said = "run 4f1c: {} cannot be read ({}): what it tells is left out"
    assert caplog.messages == [
        said.format(tmp_path / "result.json", "JSONDecodeError"),
        said.format(tmp_path / "overrides.yaml", "ParserError"),
    ]
    assert details.json("environment.json") == {}
    assert details.json("nothing.json") == {}
    assert len(caplog.messages) == 3


def test_a_report_is_written_of_runs_one_of_which_has_a_damaged_result(runs, caplog):
    path = Path(runs[1].where).parent / "result.json"
    path.write_bytes(path.read_bytes()[:50])
    assert "mnr · bs 32" in report(runs, title="t")
    assert f"{path} cannot be read" in caplog.text


def test_a_result_that_is_damaged_is_refused_by_name(runs):
    path = Path(runs[1].where).parent / "result.json"
    for content in ("", "[]", "{}"):
        path.write_text(content)
        with pytest.raises(ConfigError, match=rf"^{path}: cannot be read as the result of a run"):
            read_result(path)

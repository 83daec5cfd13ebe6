"""What a run that is no job of a sweep ends with."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from embexp import job
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.experiment import HAD_FINISHED
from embexp.interrupts import Terminated
from embexp.record import Result
from embexp.tracking import Status
from tests.report.conftest import SCORES, leave_run

KEPT = "the same command with trainer.save_model=true"


METRIC = "dev/spearman_cosine"


def left(folder: Path, *, skipped: bool = False) -> Result:
    """A finished run's result, and its folder as it leaves it."""
    leave_run(folder, "mnr", 32)
    metrics = {"best/dev/spearman_cosine": SCORES["mnr", 32]}
    return Result(Status.FINISHED, None, skipped, "mnr · bs 32", None, None, {}, metrics, {}, folder)


@pytest.fixture
def folder(workplace) -> Path:
    return workplace / "multirun" / "day" / "time"


def test_a_run_ends_with_its_scores_where_its_files_are_and_what_shows_more(folder, capsys):
    job.tell_run(left(folder), compose().tracker, metric=METRIC)
    table, _, rest = capsys.readouterr().out.partition("Folder: ")
    assert "1 run · scored on helpdesk" in table
    assert f"{SCORES['mnr', 32]:.4f}   [0." in table
    assert "before training" in table
    assert "this run: better than before training by " in table
    assert rest.splitlines() == [
        "multirun/day/time",
        f"Model:  not kept; {KEPT} rerun=true keeps it",
        "More:   python -m embexp.compare ranks it among all runs; make ui (or mlflow ui) shows its curves",
    ]


def test_a_run_ends_with_the_score_by_which_its_best_step_was_chosen(folder, capsys):
    job.tell_run(left(folder), compose().tracker, metric="dev/pearson_dot")
    assert "no dev/pearson_dot was logged" in capsys.readouterr().out


def test_a_model_that_was_kept_is_told_of_and_without_a_tracker_nothing_shows_more(folder, capsys):
    result, tracker = left(folder), compose(["tracker=none"]).tracker
    job.tell_run(result, tracker, metric=METRIC)
    assert capsys.readouterr().out.splitlines()[-1] == f"Model:  not kept; {KEPT} keeps it"
    job.tell_run(replace(result, model=folder / "model"), tracker, metric=METRIC)
    assert capsys.readouterr().out.splitlines()[-2:] == ["Folder: multirun/day/time", "Model:  multirun/day/time/model"]


def test_of_a_run_that_had_finished_before_it_is_told_where_its_model_is_or_that_there_may_be_none(folder, capsys):
    result, before = left(folder, skipped=True), folder.with_name("before") / "model"
    job.tell_run(replace(result, model=before), compose().tracker, metric=METRIC)
    told = capsys.readouterr().out
    assert f"{SCORES['mnr', 32]:.4f}" in told
    assert "\nModel:  multirun/day/before/model\n" in told
    job.tell_run(result, compose().tracker, metric=METRIC)
    assert f"Model:  not kept then, or not on this machine; {KEPT} rerun=true keeps it\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["tracker.uri=sqlite:///x.db"],
            "compare --uri sqlite:///x.db ranks it among all runs; mlflow ui --backend-store-uri",
        ),
        (
            ["tracker.uri=http://me:secret@host:1"],
            "compare --uri http://host:1 ranks it among all runs; http://host:1 shows",
        ),
        (["tracker.experiment=my own"], "compare --experiment 'my own' ranks it among all runs; make ui"),
    ],
)
def test_what_shows_more_looks_into_the_run_s_own_store(workplace, typed, said):
    shown = job.what_shows_more(compose(typed).tracker)
    assert said in shown
    assert "secret" not in shown


@pytest.mark.parametrize("mode", [RunMode.RUN, RunMode.MULTIRUN])
@pytest.mark.parametrize("breaks", [False, True])
def test_only_a_run_that_is_no_job_of_a_sweep_tells_all_at_its_end(folder, monkeypatch, capsys, caplog, mode, breaks):
    def run(*_, **__) -> Result:
        if breaks:
            folder.mkdir(parents=True)
            raise ConfigError(["it cannot be"])
        return left(folder)

    hydra = {"sweep": {"dir": str(folder)}, "runtime": {"output_dir": str(folder)}, "overrides": {"task": []}}
    monkeypatch.setattr(job.HydraConfig, "get", lambda: OmegaConf.create({**hydra, "mode": mode}))
    monkeypatch.setattr(job, "checked", lambda *_, **__: compose(["tracker=none"]))
    monkeypatch.setattr(job, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(job, "run_experiment", run)
    ended = []
    monkeypatch.setattr(job, "end_at_once_from_now_on", lambda: ended.append((capsys.readouterr().out, caplog.text)))
    with caplog.at_level(logging.INFO):
        job.run_job(OmegaConf.create())
    by_log = [record.getMessage() for record in caplog.records if record.name == "embexp.job"]
    alone = mode is RunMode.RUN
    if breaks:
        assert by_log == ["it cannot be", *(["Folder: multirun/day/time, with its run.log"] if alone else [])]
    else:
        # A sweep's table comes at its end; until then there is but this line of each job.
        assert [line.startswith("mnr · bs 32: dev spearman_cosine 0.") for line in by_log] == [True] * (not alone)
        assert "mnr · bs 32: dev spearman_cosine 0." in caplog.text
    # And then a signal has nothing to tell: there is nothing to go on with.
    assert [("Folder: " in out, "Folder: " in log) for out, log in ended] == [(not breaks, breaks)] * alone
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["tracker.uri=sqlite:///x.db"], "its table: python -m embexp.compare --uri sqlite:///x.db"),
        (["tracker=none"], "its scores: multirun/day/time"),
    ],
)
def test_who_interrupts_the_table_at_the_end_is_told_that_the_run_had_finished(folder, monkeypatch, kind, typed, said):
    def interrupted(*_, **__):
        raise kind

    hydra = {"sweep": {"dir": str(folder)}, "runtime": {"output_dir": str(folder)}, "overrides": {"task": []}}
    monkeypatch.setattr(job.HydraConfig, "get", lambda: OmegaConf.create({**hydra, "mode": RunMode.RUN}))
    monkeypatch.setattr(job, "checked", lambda *_, **__: compose(typed))
    monkeypatch.setattr(job, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(job, "run_experiment", lambda *_, **__: left(folder))
    monkeypatch.setattr(job, "draw", interrupted)
    with pytest.raises(kind) as ended:
        job.run_job(OmegaConf.create())
    assert str(ended.value) == f"the run had finished; {said}"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize(
    ("mode", "raised", "said"),
    [
        (RunMode.RUN, [HAD_FINISHED], "the run had finished; its scores: multirun/day/time"),
        (RunMode.RUN, [], ""),
        # The sweep goes on with the same command, whatever has become of this job.
        (RunMode.MULTIRUN, [HAD_FINISHED], ""),
    ],
)
def test_who_interrupts_the_end_of_a_run_is_told_that_it_had_finished_unless_there_are_others(
    folder, monkeypatch, kind, mode, raised, said
):
    def interrupted(*_, **__):
        raise kind(*raised)

    hydra = {"sweep": {"dir": str(folder)}, "runtime": {"output_dir": str(folder)}, "overrides": {"task": []}}
    monkeypatch.setattr(job.HydraConfig, "get", lambda: OmegaConf.create({**hydra, "mode": mode}))
    monkeypatch.setattr(job, "checked", lambda *_, **__: compose(["tracker=none"]))
    monkeypatch.setattr(job, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(job, "run_experiment", interrupted)
    with pytest.raises(kind) as ended:
        job.run_job(OmegaConf.create())
    assert str(ended.value) == said

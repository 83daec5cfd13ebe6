"""The end of a sweep: its files, and that no fault of a picture changes how it ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from embexp import command
from embexp.compare.table import draw, to_markdown
from embexp.config.composition import compose
from embexp.interrupts import Terminated
from embexp.sweep import Sweep, open_sweep
from embexp.tracking import SWEPT, NullTracker, Status
from embexp.tracking.mlflow import MOST_PARAMS
from tests.report.conftest import leave_run


class Kept(NullTracker):
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.artifacts: list[str] = []
        self.ended: list[str] = []
        self.hurried = False
        self.name = ""
        self.params: dict[str, str] = {}

    def start(self, name, **given):
        self.name, self.params = name, given["params"]

    def log_artifact(self, path, folder=None):
        self.artifacts.append(Path(path).name)

    def end(self, status, reason=None, *, hurried=False):
        self.ended.append(str(status))
        self.hurried = hurried


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    for number, size in enumerate((16, 32)):
        leave_run(tmp_path / str(number), "mnr", size)
    return Sweep(Kept(), tmp_path, [["batch_size=16"], ["batch_size=32"]])


def test_a_sweep_leaves_table_and_report_in_its_folder_and_at_its_run(sweep, capsys):
    assert sweep.close(None) == 0
    assert (sweep.tracker.ended, sweep.tracker.hurried) == (["FINISHED"], False)
    assert sweep.tracker.artifacts == ["table.md", "table.csv", "report.html"]
    assert "Sweep of 2 runs" in (sweep.folder / "report.html").read_text()
    assert f"Report: {sweep.folder / 'report.html'}" in capsys.readouterr().out


def test_runs_are_ranked_by_what_their_best_step_is_chosen_by(tmp_path, capsys):
    by_dot = {"metrics": {"best/dev/spearman_dot": 0.5, "gain/dev/spearman_dot": 0.1, "test/spearman_dot": 0.4}}
    for number, size in enumerate((16, 32)):
        folder = tmp_path / str(number)
        leave_run(folder, "mnr", size, **by_dot)
        kept = pq.read_table(folder / "predictions.parquet")
        names = [name.replace("cosine", "dot") for name in kept.column_names]
        pq.write_table(kept.rename_columns(names), folder / "predictions.parquet")
    sweep = Sweep(Kept(), tmp_path, [["batch_size=16"], ["batch_size=32"]], metric="dev/spearman_dot")
    assert sweep.close(None) == 0
    told = capsys.readouterr().out
    assert all(title in told for title in ("dev Spearman", "test Spearman", "gain"))
    assert "dev, test: dot similarity against" in told
    text = (tmp_path / "report.html").read_text()
    assert "Dot similarity by gold score" in text
    assert "Improved most" in text


def test_the_gain_in_the_table_is_that_of_what_it_is_ranked_by(tmp_path, capsys):
    both = {f"best/dev/spearman_{name}": 0.5 for name in ("cosine", "dot")}
    both |= {"gain/dev/spearman_cosine": 0.1, "gain/dev/spearman_dot": 0.2}
    runs = [leave_run(tmp_path / str(size), "mnr", size, metrics=both) for size in (16, 32)]
    draw(runs, console=Console(), title="t", metric="dev/spearman_dot")
    assert capsys.readouterr().out.count("+0.2000") == 2
    draw(runs, console=Console(), title="t")
    assert capsys.readouterr().out.count("+0.1000") == 2
    assert "0.2000" in to_markdown(runs, "dev/spearman_dot")


def test_a_report_that_breaks_is_told_in_one_line_and_costs_nothing(sweep, capsys, monkeypatch):
    def broken(*_, **__):
        raise ValueError("no ink")

    monkeypatch.setattr("embexp.report.write_report", broken)
    assert sweep.close(None) == 0
    assert capsys.readouterr().err == f"{sweep.folder / 'report.html'}: not written: ValueError: no ink\n"
    assert sweep.tracker.ended == ["FINISHED"]
    assert not (sweep.folder / "report.html").exists()


def test_a_job_that_a_search_drew_and_that_was_lost_is_told_by_what_was_drawn(sweep, capsys):
    sweep.jobs = [["learning_rate=interval(0, 1)"]] * 4
    (sweep.folder / "2" / ".hydra").mkdir(parents=True)
    (sweep.folder / "2" / ".hydra" / "overrides.yaml").write_text("- learning_rate=0.25\n")
    assert [run.name for run in sweep.runs()[2:]] == ["learning_rate=0.25", "learning_rate=interval(0, 1)"]
    assert sweep.close(None) == 1


@pytest.mark.parametrize("left", [b"", b"- learning_rate=0.25\n- 'seed=", b"learning_rate: 0.25\n", b"- \xff\n"])
def test_a_job_whose_drawn_values_were_half_written_is_told_as_typed(sweep, capsys, left):
    sweep.jobs = [["learning_rate=interval(0, 1)"]] * 3
    (sweep.folder / "2" / ".hydra").mkdir(parents=True)
    (sweep.folder / "2" / ".hydra" / "overrides.yaml").write_bytes(left)
    assert sweep.close(None) == 1
    assert "learning_rate=interval(0, 1): left no result" in (sweep.folder / "table.md").read_text()
    assert sweep.tracker.ended == ["FAILED"]


@pytest.mark.parametrize(("interrupted", "status"), [(None, "FAILED"), ("interrupted (Ctrl-C)", "KILLED")])
def test_a_sweep_ends_at_the_tracker_though_what_its_jobs_left_cannot_be_read(sweep, monkeypatch, interrupted, status):
    def broken(*_):
        raise OSError(5, "Input/output error")

    tagged = []
    monkeypatch.setattr("embexp.sweep.read_result", broken)
    monkeypatch.setattr(sweep.tracker, "set_tags", tagged.append, raising=False)
    with pytest.raises(OSError, match="Input/output error"):
        sweep.close(interrupted)
    assert sweep.tracker.ended == [status]
    assert len(tagged) == 1


@pytest.mark.parametrize("at", ["start", "settle"])
@pytest.mark.parametrize(
    ("error", "how"),
    [(KeyboardInterrupt, ("KILLED", True)), (Terminated, ("KILLED", True)), (OSError, ("FAILED", False))],
)
def test_a_sweep_that_is_kept_from_opening_has_ended(workplace, monkeypatch, at, error, how):
    def breaks(*_, **__):
        raise error

    tracker = Kept()
    monkeypatch.setattr(tracker, at, breaks)
    monkeypatch.setattr("embexp.sweep.build_tracker", lambda _: tracker)
    with pytest.raises(error), open_sweep(compose(["tracker=none"]), jobs=[["seed=1"], ["seed=2"]]):
        pytest.fail("it opened")
    assert [(status, tracker.hurried) for status in tracker.ended] == [how]


def test_a_job_without_a_result_was_stopped_or_never_began(sweep):
    sweep.jobs = [["batch_size=8"]] * 4
    (sweep.folder / "2").mkdir()
    stopped, waiting = sweep.runs()[2:]
    assert stopped.reason == "left no result: stopped before its run began, or its process was killed"
    assert stopped.status is Status.KILLED
    assert waiting.reason == "left no result"
    assert waiting.status is Status.NOT_BEGUN


def test_a_job_that_left_no_result_is_called_by_what_tells_it_from_the_others(sweep, capsys):
    shared = ["+experiment=mine", "data.train=/data/shop/train.csv"]
    sweep.jobs = [[*shared, "+loss.scale=20", f"batch_size={size}"] for size in (16, 32, 64)]
    sweep.close("interrupted (Ctrl-C)")
    assert "NOT BEGUN batch_size=64: left no result\n" in capsys.readouterr().out
    assert "- NOT BEGUN: batch_size=64: left no result" in (sweep.folder / "table.md").read_text()


def test_a_job_that_failed_is_called_as_one_that_never_began(sweep, capsys):
    leave_run(sweep.folder / "2", "mnr", 16, status="FAILED", reason="train/loss is nan at step 7", metrics={})
    sweep.jobs = [["loss=mnr", f"batch_size={size}"] for size in (16, 32, 64, 128)]
    assert sweep.close(None) == 1
    told = capsys.readouterr().out
    assert "FAILED batch_size=64: train/loss is nan at step 7\n" in told
    assert "NOT BEGUN batch_size=128: left no result" in told


@pytest.mark.parametrize(
    ("jobs", "name", "keys"),
    [
        ([["evaluation=[own,latency]", f"loss={loss}"] for loss in ("mnr", "cosine")], "loss=mnr,cosine", "loss"),
        ([["batch_size=8", "seed=1"], ["batch_size=16", "seed=1"]], "batch_size=8,16", "batch_size"),
        ([["learning_rate=interval(0,1)", "seed=1"]] * 2, "learning_rate=interval(0,1)", "learning_rate"),
        ([["loss=mnr", "+loss.scale=2"], ["loss=cosine", "+loss.scale=3"]], "loss=mnr,cosine", "loss loss.scale"),
        ([["seed=1", "data.columns={text: a, score: b}"]], "1 jobs", ""),
    ],
)
def test_a_sweep_is_called_what_differs_between_its_jobs_and_these_know_it(workplace, monkeypatch, jobs, name, keys):
    tracker = Kept()
    monkeypatch.setattr("embexp.sweep.build_tracker", lambda _: tracker)
    with open_sweep(compose(["tracker=none"]), jobs=jobs):
        assert os.environ[SWEPT] == keys
    assert SWEPT not in os.environ
    assert tracker.name.startswith(f"sweep {name}")


@pytest.mark.parametrize(
    ("jobs", "keys"),
    [
        ([["++seed=1"], ["++seed=2"]], {"seed": '["1", "2"]'}),
        ([["++seed=interval(1,2)", "+loss.scale=2"]] * 2, {"seed": "interval(1,2)", "loss.scale": "2"}),
    ],
)
def test_a_key_that_was_typed_with_a_plus_is_a_setting_by_its_own_name(workplace, monkeypatch, jobs, keys):
    tracker = Kept()
    monkeypatch.setattr("embexp.sweep.build_tracker", lambda _: tracker)
    with open_sweep(compose(["tracker=none"]), jobs=jobs):
        assert os.environ[SWEPT] == "seed"
    assert tracker.params == keys
    assert tracker.name.startswith("sweep seed=")


def test_of_more_settings_than_a_tracker_takes_those_that_differ_are_kept(workplace, monkeypatch):
    tracker = Kept()
    monkeypatch.setattr("embexp.sweep.build_tracker", lambda _: tracker)
    typed = [f"data.key{number}=1" for number in range(50)]
    with open_sweep(compose(["tracker=none"]), jobs=[[*typed, f"seed={seed}"] for seed in (1, 2)]):
        pass
    assert len(tracker.params) == MOST_PARAMS
    assert list(tracker.params)[:2] == ["seed", "data.key0"]


def test_a_result_that_is_damaged_is_named_and_costs_the_other_jobs_neither_table_nor_report(sweep, capsys):
    path = sweep.folder / "1" / "result.json"
    path.write_bytes(path.read_bytes()[:100])
    assert sweep.close(None) == 1
    told = capsys.readouterr().out
    assert "FAILED batch_size=32: " in told
    said = f"{path}: cannot be read as the result of a run (JSONDecodeError)."
    assert said in (sweep.folder / "table.md").read_text()
    assert said in (sweep.folder / "report.html").read_text()
    assert sweep.tracker.ended == ["FAILED"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize("broken", ["draw", "Sweep._tags"])
def test_a_sweep_whose_end_is_interrupted_has_ended_as_it_had_and_is_not_waited_for(sweep, monkeypatch, kind, broken):
    def interrupted(*_, **__):
        raise kind

    monkeypatch.setattr(f"embexp.sweep.{broken}", interrupted)
    with pytest.raises(kind):
        sweep.close(None)
    assert (sweep.tracker.ended, sweep.tracker.hurried) == (["FINISHED"], True)


def test_what_breaks_while_a_sweep_s_jobs_are_told_keeps_it_from_no_end_and_hides_no_interruption(sweep, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("embexp.sweep.draw", interrupted)
    monkeypatch.setattr(sweep.tracker, "set_tags", full, raising=False)
    with pytest.raises(KeyboardInterrupt):
        sweep.close(None)
    assert sweep.tracker.ended == ["FINISHED"]


def test_who_interrupts_a_sweep_s_table_is_told_that_its_jobs_had_ended(workplace, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("embexp.sweep.build_tracker", lambda _: Kept())
    monkeypatch.setattr("embexp.sweep.draw", interrupted)
    monkeypatch.setattr(command, "run_hydra", lambda: None)
    monkeypatch.setattr(command, "run_command", lambda: command.run_sweep([["seed=1"], ["seed=2"]], None))
    monkeypatch.setattr(sys, "argv", ["embexp"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "interrupted (Ctrl-C); all jobs of the sweep had ended; its table: python -m embexp.compare sweep=last"
    )

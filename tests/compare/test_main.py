"""`python -m embexp.compare` as a person meets it."""

from __future__ import annotations

import errno
import os
import resource
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embexp.compare.__main__ import _arguments, _check_metric, main
from embexp.compare.runs import Run
from embexp.config import ConfigError
from embexp.tracking import Status
from embexp.tracking.journal import Journal, Sent

RUNS = 2_000


def store(folder: Path, runs: int) -> None:
    """A store of so many runs, each with its settings, metrics and predictions: the tables of MLflow's that are read."""
    generator = np.random.default_rng(0)
    gold = generator.normal(size=1500)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.executescript(
            """
            CREATE TABLE experiments (experiment_id INTEGER, name TEXT);
            CREATE TABLE runs (run_uuid TEXT, name TEXT, status TEXT, start_time INTEGER, artifact_uri TEXT,
                               experiment_id INTEGER, lifecycle_stage TEXT);
            CREATE TABLE params (run_uuid TEXT, key TEXT, value TEXT);
            CREATE TABLE tags (run_uuid TEXT, key TEXT, value TEXT);
            CREATE TABLE latest_metrics (run_uuid TEXT, key TEXT, value REAL, is_nan BOOLEAN);
            CREATE TABLE metrics (run_uuid TEXT, key TEXT, value REAL, is_nan BOOLEAN, step INTEGER, timestamp INTEGER);
            INSERT INTO experiments VALUES (1, 'embexp');
            """
        )
        for number in range(runs):
            run, score = f"run{number}", float(generator.uniform(0.2, 0.8))
            artifacts = folder / run
            database.execute(
                "INSERT INTO runs VALUES (?, ?, 'FINISHED', ?, ?, 1, 'active')", (run, run, number, artifacts.as_uri())
            )
            settings = {
                "loss": "mnr",
                "batch_size": str(1 + number % 7),
                "learning_rate": str(number),
                "seed": str(number),
            }
            database.executemany("INSERT INTO params VALUES (?, ?, ?)", [(run, *pair) for pair in settings.items()])
            database.execute("INSERT INTO tags VALUES (?, 'embexp.evaluation', 'e')", (run,))
            metrics = {
                f"best/dev/{kind}_{name}": score for kind in ("spearman", "pearson") for name in ("cosine", "dot")
            }
            metrics |= {f"time/{number}": 1.0 for number in range(20)}
            if score > 0.75:
                artifacts.mkdir()
                similarities = gold + generator.normal(size=1500)
                metrics["best/dev/pearson_cosine"] = float(np.corrcoef(gold, similarities)[0, 1])
                columns = {"cosine_before": gold, "cosine_after": similarities}
                table = pa.table({"split": ["dev"] * 1500, "score": gold, **columns})
                pq.write_table(table, artifacts / "predictions.parquet")
            rows = [(run, key, value) for key, value in metrics.items()]
            database.executemany("INSERT INTO latest_metrics VALUES (?, ?, ?, 0)", rows)
        database.commit()


def compared(folder: Path, runs: int) -> tuple[str, float]:
    """What is told of a store of so many runs, one of which failed, and the processor seconds that it took."""
    folder.mkdir()
    store(folder, runs)
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        database.execute("UPDATE runs SET status = 'FAILED' WHERE run_uuid = 'run7'")
        database.commit()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "embexp.compare"], cwd=folder, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_two_thousand_runs_are_ranked_and_judged_in_a_few_times_what_sixty_take(tmp_path):
    _, of_few = compared(tmp_path / "few", 60)
    told, of_many = compared(tmp_path / "many", RUNS)
    assert "2000 runs, 1 of them not finished" in told
    assert "of the best 20" in told
    assert "and 1949 more" in told
    # Most of which is the start of Python: of so many more runs hardly any is looked at but to be ranked.
    assert of_many < 5 * of_few


def test_a_metric_may_be_called_as_the_store_and_the_csv_call_it(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare", "--metric", "best/dev/spearman_cosine"])
    assert _arguments().metric == "dev/spearman_cosine"


def test_a_file_that_cannot_be_written_is_told_before_anything_is_read(tmp_path):
    typed = ["--html", "nowhere/report.html", "--csv", str(tmp_path), "--png", "slide.txt"]
    command = [sys.executable, "-m", "embexp.compare", *typed]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "--png slide.txt: name a file that ends in .png or .svg or .pdf.",
        f"--csv {tmp_path}: is a folder; name a file.",
        "--html nowhere/report.html: there is no folder nowhere.",
    ]


def test_runs_that_ended_before_the_store_knew_of_them_are_told_of(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store(tmp_path, 2)
    tags = {"embexp.host": socket.gethostname(), "embexp.pid": "1", "embexp.pid_started": "before:1"}
    for folder, experiment in (("dead", "embexp"), ("sent", "embexp"), ("other", "another")):
        journal = Journal.create(tmp_path / "multirun" / folder)
        where = f"sqlite:///{tmp_path}/mlflow.db"
        journal.append("start", uri=where, experiment=experiment, name="a run", params={}, tags=tags)
    Journal(tmp_path / "multirun" / "sent" / "journal.jsonl").mark(Sent(bytes=1, run_id="run1"))
    monkeypatch.setattr(sys, "argv", ["compare"])
    main()
    assert capsys.readouterr().err.splitlines() == [
        "1 run of this folder that has ended is in no store yet: python -m embexp.tracking sync"
    ]


def test_a_store_that_was_removed_can_be_filled_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare"])
    with pytest.raises(
        SystemExit, match=r"mlflow\.db: there is no store yet; train something first: python -m embexp$"
    ):
        main()
    journal = Journal.create(tmp_path / "multirun" / "sent")
    where = f"sqlite:///{tmp_path}/mlflow.db"
    journal.append("start", uri=where, experiment="embexp", name="a run", params={}, tags={})
    with pytest.raises(SystemExit, match=r"fill one with the runs of this folder: .* sync --anew$"):
        main()
    monkeypatch.setattr(sys, "argv", ["compare", "--uri", "sqlite:///other.db"])
    with pytest.raises(SystemExit, match="train something first"):
        main()


@pytest.mark.parametrize("kind", ["csv", "json", "html", "png"])
def test_a_disk_that_is_full_or_read_only_is_told_in_a_sentence_and_costs_no_file_of_before(
    tmp_path, monkeypatch, kind
):
    monkeypatch.chdir(tmp_path)
    store(tmp_path, 2)
    name = f"x.{kind}"
    Path(name).write_text("of before")

    def refused(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device") if path.suffix == ".partial" else AssertionError(path)

    monkeypatch.setattr(Path, "write_text", refused)
    monkeypatch.setattr(Path, "write_bytes", refused)
    monkeypatch.setattr(sys, "argv", ["compare", f"--{kind}", name])
    with pytest.raises(SystemExit, match=rf"^x\.{kind}: cannot be written: No space left on device\.$"):
        main()
    assert Path(name).read_text() == "of before"


def test_a_folder_into_which_nothing_can_be_written_is_told_in_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    store(tmp_path, 2)
    # Root may write anywhere, but no file where a folder is.
    for kind in ("html", "png"):
        (tmp_path / f".x.{kind}.partial").mkdir()
        monkeypatch.setattr(sys, "argv", ["compare", f"--{kind}", f"x.{kind}"])
        with pytest.raises(SystemExit, match=rf"^x\.{kind}: cannot be written: Is a directory\.$"):
            main()
        (tmp_path / f".x.{kind}.partial").rmdir()
        main()
        assert f"x.{kind} is written\n" in capsys.readouterr().err
        assert (tmp_path / f"x.{kind}").stat().st_size > 1000


def test_a_pipe_is_written_to_and_a_link_leads_to_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store(tmp_path, 1)
    os.mkfifo("pipe")
    Path("link.csv").symlink_to("file.csv")
    reader = os.open("pipe", os.O_RDWR)
    try:
        monkeypatch.setattr(sys, "argv", ["compare", "--json", "pipe", "--csv", "link.csv"])
        main()
        assert os.read(reader, 1) == b"["
    finally:
        os.close(reader)
    assert Path("pipe").is_fifo()
    assert Path("link.csv").is_symlink()
    assert Path("file.csv").read_text().startswith("rank,")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--group_by", "seed"], "--group_by: there is no such flag. Did you mean '--group-by'? All: --help."),
        (["--metrc=x"], "--metrc=x: there is no such flag. Did you mean '--metric'? All: --help."),
        (["loss=mnr", "-z"], "-z: there is no such flag. All: --help."),
        *[
            (
                ["seed=1,2", flag],
                f"{flag}: compare takes no {flag}, for it runs nothing: it shows the runs that there are; "
                "seed=1,2 are those of either seed.",
            )
            for flag in ("-m", "--multirun")
        ],
        (["--group-by", "sed"], "--group-by sed: runs are grouped by seed alone. Did you mean 'seed'?"),
        (["--group-by", "loss"], "--group-by loss: runs are grouped by seed alone."),
        (["--csv"], "--csv: expected one argument. All: --help."),
    ],
)
def test_a_wrong_usage_is_answered_in_one_sentence(typed, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare", *typed])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"{said}\n"


MANY = ["best/step", "time/training_seconds", "retrieval/ndcg_at_10", "latency/p50_ms"]
MANY += [f"best/dev/{kind}_{name}" for kind in ("pearson", "spearman") for name in ("cosine", "dot", "max")]
MANY += [f"latency/cpu_1/batch_{size}/short/p{p}_ms" for size in range(20) for p in (50, 95, 99)]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("dev/spearman", "dev/spearman_cosine"),
        ("dev/spaermann_dot", "dev/spearman_dot"),
        ("ndcg", "retrieval/ndcg_at_10"),
        ("p50", "latency/p50_ms"),
        ("latency", "latency/p50_ms"),
        ("step1", "step"),
        ("zzz", None),
    ],
)
def test_a_metric_that_no_run_has_is_answered_with_the_nearest_and_a_line_a_group(typed, meant):
    one = Run("a run", Status.FINISHED, None, {}, dict.fromkeys(MANY, 1.0), "e")
    with pytest.raises(ConfigError) as refused:
        _check_metric([one], typed)
    first, *groups = str(refused.value).splitlines()
    said = "" if meant is None else f" Did you mean {meant!r}?"
    assert first == f"--metric {typed}: no run has it.{said} Metrics:"
    assert groups[0] == "  dev/ spearman_cosine, pearson_cosine, pearson_dot, pearson_max, spearman_dot, spearman_max"
    assert groups[1].startswith("  latency/ p50_ms, cpu_1/")
    assert groups[1].endswith(" and 55 more")
    assert groups[2:] == ["  retrieval/ ndcg_at_10", "  step", "  time/ training_seconds"]


def test_of_metrics_that_begin_as_what_was_typed_the_one_that_runs_are_ranked_by_is_meant():
    of_dims = [f"dims/8/{split}/{name}_cosine" for split in ("dev", "test") for name in ("pearson", "spearman")]
    there = dict.fromkeys([*of_dims, "gain/dims/8/dev/spearman_cosine", "time/dims/8_seconds"], 1.0)
    with pytest.raises(ConfigError, match=r"no run has it\. Did you mean 'dims/8/dev/spearman_cosine'\?"):
        _check_metric([Run("a run", Status.FINISHED, None, {}, there, "e")], "dims/8")


def test_who_interrupts_the_table_gets_one_line_and_130(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("embexp.compare.__main__.read_rows", interrupted)
    monkeypatch.setattr(sys, "argv", ["compare"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (130, "interrupted (Ctrl-C)\n")


def test_training_s_key_of_the_store_is_told_to_be_a_flag_here_before_any_store_is_looked_for(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["compare", "tracker.uri=http://me:secret@127.0.0.1:5999", "loss=mnr"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "is no filter of runs; did you mean --uri http://" in said
    assert "secret" not in said

"""A sweep's jobs side by side, and what one that is killed costs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from embexp import command, launch
from embexp.compare.runs import Run
from embexp.config import ConfigError
from embexp.config.composition import _loader, checked, compose
from embexp.tracking import Status
from hydra_plugins.embexp_launcher import ProcessLauncher
from tests.test_main import SMALL, embexp, results, statuses, wait_for

SIDE_BY_SIDE = ["hydra/launcher=joblib", *[word for word in SMALL if word != "tracker=none"], "-m"]


def processes_of(sweep: subprocess.Popen) -> list[psutil.Process]:
    """Those of the jobs."""
    return [child for child in psutil.Process(sweep.pid).children() if "embexp.launch" in child.cmdline()]


def folder_of_checkpoints(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("multirun/checkpoints/*/checkpoint-*")}


def test_no_jobs_at_a_time_are_refused_before_anything_starts(tmp_path):
    done = embexp("hydra/launcher=joblib", "hydra.launcher.n_jobs=0", "batch_size=8,16", "-m", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "hydra.launcher.n_jobs=0: must be at least 1.\n")
    assert not list(tmp_path.iterdir())


def test_more_gpus_a_job_than_there_are_are_refused_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    done = embexp("devices=4", "hydra/launcher=joblib", "batch_size=32,64", "-m", cwd=tmp_path)
    said = "devices=4: this machine has 2 GPUs for a job; use devices=2 or trainer.device=cpu.\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "composes", [["devices=4", "trainer.device=cpu"], ["devices=2"]], ids=["on the CPU", "as many as there are"]
)
def test_a_job_that_finds_its_devices_is_not_refused(monkeypatch, composes):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert compose([*composes, "hydra/launcher=joblib"]).devices


def test_a_job_on_the_cpu_takes_no_gpus_of_those_beside_it(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(launch, "launch", lambda jobs, shares: shares)
    jobs = [compose(["devices=4", "trainer.device=cpu"]), compose([])]
    shares = ProcessLauncher(n_jobs=None, cores_per_job=1, jobs_per_gpu=1).run(jobs)
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares] == ["0", "1"]


def job_of(folder: Path, *overrides: str, config_dir: Path | None = None) -> DictConfig:
    """A job as a launcher is given it by Hydra."""
    where = [f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=0", "hydra.job.num=0", "hydra.job.id=0"]
    with _loader(config_dir) as loader:
        return loader.load_configuration("config", [*overrides, *where], RunMode.MULTIRUN)


def test_a_job_s_process_which_has_no_hydra_knows_the_options_of_a_list(tmp_path):
    (tmp_path / "mine" / "loss").mkdir(parents=True)
    (tmp_path / "mine" / "loss" / "own.yaml").write_text(
        "_target_: sentence_transformers.sentence_transformer.losses.ContrastiveLoss\nview: scored\n"
    )
    job = job_of(tmp_path, "loss=own", "evaluation=[stsb,classification]", config_dir=tmp_path / "mine")
    GlobalHydra.instance().clear()
    assert checked(job, job.hydra).names["evaluation"] == "stsb+classification"


def test_what_became_of_a_job_s_files_since_the_command_was_checked_is_the_run_s_to_tell(tmp_path):
    (tmp_path / "mine.csv").write_text("text\nno pairs\n")
    files = [f"data.train={tmp_path}/gone.csv", f"evaluation.sets={{mine: {tmp_path}/mine.csv}}"]
    job = job_of(tmp_path, "data=files", *files)
    with pytest.raises(ConfigError, match=r"gone\.csv: there is no such file") as refused:
        checked(job, job.hydra)
    assert "evaluation.sets.mine" in str(refused.value)
    assert checked(job, job.hydra, looked_at=True).data.train == f"{tmp_path}/gone.csv"


def test_what_keeps_a_run_from_its_beginning_is_not_kept_back(tmp_path, monkeypatch):
    def broken(composed: DictConfig) -> float:
        raise RuntimeError("before the run")

    monkeypatch.setattr(command, "job", broken)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match="before the run"):
        launch.perform(job_of(tmp_path))
    lost = Run.lost("a job", tmp_path / "0")
    assert (lost.status, lost.reason) == (Status.FAILED, "before the run")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_eight_processes_on_a_machine_without_a_store_all_finish_under_one_parent(tmp_path):
    done = embexp(
        "batch_size=8,9,10,11,12,13,14,15", "hydra.launcher.n_jobs=8", *SIDE_BY_SIDE, cwd=tmp_path, seconds=600
    )
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        children = database.execute(
            "SELECT r.status, t.value FROM runs r JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'mlflow.parentRunId'"
        ).fetchall()
    assert [status for status, _ in children] == ["FINISHED"] * 8
    assert len({parent for _, parent in children}) == 1
    assert len(statuses(tmp_path)) == 9


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_killed_costs_its_own_run_and_the_same_command_picks_it_up(tmp_path):
    # Long enough to be killed while it trains.
    command = [
        "batch_size=8,9,10",
        "hydra.launcher.n_jobs=3",
        *SIDE_BY_SIDE,
        "max_steps=60",
        "epochs=100",
        "evaluation.times=6",
    ]
    with subprocess.Popen(
        [sys.executable, "-m", "embexp", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as sweep:
        # All three train, and are known to MLflow: which process is which run's is not.
        wait_for(lambda: len(folder_of_checkpoints(tmp_path)) == 3, seconds=300)
        os.kill(processes_of(sweep)[0].pid, signal.SIGKILL)
        out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 1, err
    assert sorted(run["status"] for run in results(tmp_path)) == ["FINISHED"] * 2
    assert err.count("its process was killed (SIGKILL)") == 1
    assert "left no result" in out
    assert sorted(statuses(tmp_path).values()) == ["FAILED", "FINISHED", "FINISHED", "KILLED"]  # FAILED: the sweep's

    again = embexp(*command, cwd=tmp_path, seconds=600)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("trained before, not again") == 2
    assert sorted(statuses(tmp_path).values()) == ["FAILED", *["FINISHED"] * 4]  # the second sweep's, no second run


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_however_the_sweep_ends_its_jobs_end_with_it(tmp_path, number, code):
    endless = ["max_steps=100000", "epochs=100000", "evaluation.times=10000"]
    with subprocess.Popen(
        [sys.executable, "-m", "embexp", "batch_size=8,9,10", "hydra.launcher.n_jobs=2", *SIDE_BY_SIDE, *endless],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # What starts the tests in the background ignores SIGINT, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as sweep:
        wait_for(lambda: len(folder_of_checkpoints(tmp_path)) == 2, seconds=300)
        jobs = processes_of(sweep)
        assert len(jobs) == 2
        os.kill(sweep.pid, number)
        sweep.wait(300)
    gone, alive = psutil.wait_procs(jobs, timeout=120)
    assert (sweep.returncode, len(gone), alive) == (code, 2, [])
    assert [run["status"] for run in results(tmp_path)] == ["KILLED"] * 2


def test_a_job_s_process_is_told_where_its_threads_come_from(monkeypatch):
    started = []
    monkeypatch.setattr(launch.subprocess, "Popen", lambda command, **options: started.append(options["env"]))
    launch.Fleet([])._start({"OMP_NUM_THREADS": "1"})
    assert started[0]["EMBEXP_THREADS_FROM"] == "hydra.launcher.cores_per_job"
    assert "EMBEXP_THREADS_FROM" not in os.environ

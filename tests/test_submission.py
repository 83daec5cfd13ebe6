"""A sweep's jobs through submitit, on this machine: what one that is killed costs, and that one that is pre-empted goes on."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from base64 import b64decode
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest
from omegaconf import OmegaConf

from embexp.config import launching
from embexp.config.composition import compose
from embexp.interrupts import Terminated, raise_on_sigterm
from embexp.shares import THREADS_FROM
from hydra_plugins.embexp_launcher import LocalLauncher, SlurmLauncher
from tests import slurm_stand_in
from tests.config.test_composition import problems_of
from tests.test_launch import folder_of_checkpoints
from tests.test_main import SMALL, embexp, results, statuses, wait_for, warm_embexp

# Skipped by name where the extra is not installed.
wants_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="the extra slurm is not installed")
SUBMITTED = ["hydra/launcher=submitit_local", *[word for word in SMALL if word != "tracker=none"], "-m"]
# Long enough to be disturbed while it trains; checkpoints on the way.
LONG = ["max_steps=60", "epochs=100", "evaluation.times=6"]
ENDLESS = ["max_steps=100000", "epochs=100000", "evaluation.times=10000"]


@contextmanager
def sweep_of(*arguments: str, cwd: Path):
    with subprocess.Popen(
        [sys.executable, "-m", "embexp", *SUBMITTED, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # What starts the tests in the background ignores SIGINT, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        yield process


def jobs_of(sweep: subprocess.Popen) -> list[psutil.Process]:
    """The processes that train, not those which mind them."""
    children = psutil.Process(sweep.pid).children(recursive=True)
    return [child for child in children if "submitit.core._submit" in child.cmdline()]


@contextmanager
def server_that_is_down():
    """Its port, and what it is sent as name and password."""
    asked = []

    class Down(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode())
            self.send_error(503)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Down) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


@wants_submitit
def test_a_sweep_through_submitit_ends_as_any_other_and_its_password_is_in_none_of_its_files(tmp_path):
    with server_that_is_down() as (port, asked):
        sweep = [*SUBMITTED, f"tracker.uri=http://me:pa55word@127.0.0.1:{port}", "batch_size=8,16"]
        done = warm_embexp(*sweep, "hydra.launcher.n_jobs=2", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert set(asked) == {"me:pa55word"}
    assert [run["status"] for run in results(tmp_path)] == ["FINISHED"] * 2
    assert "Sweep of 2 runs" in done.stdout
    assert done.stderr.count("what it says: ") == 2
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in files if b"pa55word" in path.read_bytes()] == []
    assert [path for path in files if path.name.endswith("_submitted.pkl")]
    (kept,) = tmp_path.glob("multirun/*/*/.submitit")
    assert kept.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("typed", "module", "extra"),
    [("launcher=submitit_local", "submitit", "slurm"), ("sweeper=optuna", "optuna", "optuna")],
)
def test_without_its_extra_an_option_is_refused_in_a_sentence_that_says_what_to_install(
    monkeypatch, typed, module, extra
):
    monkeypatch.setattr(launching, "find_spec", lambda name: None)
    (problem,) = problems_of(f"hydra/{typed}")
    assert f"needs {module}, which is not installed; " in problem
    assert f"'.[{extra}]'" in problem


def test_slurm_is_refused_where_there_is_none(monkeypatch):
    monkeypatch.setattr(launching, "find_spec", lambda name: "installed")
    monkeypatch.setattr(launching.shutil, "which", lambda name: None)
    (problem,) = problems_of("hydra/launcher=submitit_slurm")
    assert "there is no srun here" in problem


@wants_submitit
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_killed_costs_its_own_run_and_the_same_command_picks_it_up(tmp_path):
    typed = ["batch_size=8,9", *LONG, "max_steps=600"]
    with sweep_of(*typed, "hydra.launcher.n_jobs=2", cwd=tmp_path) as sweep:
        wait_for(lambda: len(folder_of_checkpoints(tmp_path)) == 2, seconds=300)
        os.kill(jobs_of(sweep)[0].pid, signal.SIGKILL)
        out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 1, err
    assert sorted(run["status"] for run in results(tmp_path)) == ["FINISHED"]
    assert err.count("its process was killed; the same command again picks it up") == 1
    assert "left no result" in out
    assert sorted(statuses(tmp_path).values()) == ["FAILED", "FINISHED", "KILLED"]  # FAILED: the sweep's

    again = embexp(*SUBMITTED, *typed, cwd=tmp_path, seconds=600)
    assert again.returncode == 0, again.stderr
    assert sorted(statuses(tmp_path).values()) == ["FAILED", *["FINISHED"] * 3]  # the second sweep's, no second run


@wants_submitit
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("notices", [[signal.SIGUSR2], [signal.SIGTERM, signal.SIGUSR2]], ids=["notice", "both"])
def test_a_job_that_is_preempted_goes_on_from_its_checkpoint_and_ends_as_an_undisturbed_one(tmp_path, notices):
    run = ["batch_size=8", "trainer.save_model=true", "trainer.precision=fp32", *LONG]
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    for folder in (straight, disturbed):
        folder.mkdir()
    assert embexp(*SUBMITTED, *run, cwd=straight).returncode == 0
    with sweep_of(*run, cwd=disturbed) as sweep:
        wait_for(lambda: folder_of_checkpoints(disturbed), seconds=300)
        (job,) = jobs_of(sweep)
        for notice in notices:
            os.kill(job.pid, notice)
        wait_for(lambda: results(disturbed), seconds=60)
        # While it waits for its turn: what can be taken up again, and why it is.
        (waiting,) = results(disturbed)
        assert (waiting["status"], waiting["reason"]) == ("KILLED", "pre-empted: its queue told it to go")
        out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 0, out + err
    assert sorted(statuses(disturbed).values()) == ["FINISHED"] * 2  # the sweep's and the job's: one run, not two
    before, after = steps_trained(disturbed, "journal.jsonl"), steps_trained(disturbed, "journal-2.jsonl")
    assert before
    assert max(before) < min(after)
    assert outcome_of(disturbed) == outcome_of(straight)


@wants_submitit
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_whose_time_is_over_too_often_is_told_and_costs_its_own_run(tmp_path):
    little = ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=60", "hydra.launcher.max_num_timeout=0"]
    done = embexp(*SUBMITTED, "batch_size=8", *ENDLESS, *little, cwd=tmp_path, seconds=600)
    assert done.returncode == 1
    assert "did not come to its end: " in done.stderr
    assert "timed-out too many times" in done.stderr
    assert [run["status"] for run in results(tmp_path)] == ["KILLED"]


@wants_submitit
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_however_the_sweep_ends_its_jobs_end_with_it(tmp_path, number, code):
    with sweep_of("batch_size=8,9", "hydra.launcher.n_jobs=2", *ENDLESS, cwd=tmp_path) as sweep:
        wait_for(lambda: len(folder_of_checkpoints(tmp_path)) == 2, seconds=300)
        jobs = jobs_of(sweep)
        assert len(jobs) == 2
        # Ctrl-C in a terminal reaches all of them.
        (os.killpg if number == signal.SIGINT else os.kill)(sweep.pid, number)
        sweep.communicate(timeout=300)
    gone, alive = psutil.wait_procs(jobs, timeout=120)
    assert (sweep.returncode, len(gone), alive) == (code, 2, [])
    assert [run["status"] for run in results(tmp_path)] == ["KILLED"] * 2


@pytest.fixture
def _ending_as_the_command_line_does():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    raise_on_sigterm()
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_ending_as_the_command_line_does")
@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_a_signal_while_the_jobs_are_handed_over_cancels_them_and_no_child_is_deaf_to_sigterm(number, raised):
    submission = pytest.importorskip("embexp.submission", reason="the extra slurm is not installed")
    cancelled, deaf = set(), []

    class Sent:
        def __init__(self, number: int) -> None:
            self.number = number

        def done(self, force_check: bool = False) -> bool:
            return self.number in cancelled

        def cancel(self, check: bool = True) -> None:
            cancelled.add(self.number)

    class Queue:
        def submit_array(self, works):
            os.kill(os.getpid(), number)
            said = [sys.executable, "-c", "import signal; print(signal.SIGTERM in signal.pthread_sigmask(0, []))"]
            deaf.append(subprocess.run(said, capture_output=True, text=True, check=True).stdout.strip())
            return [Sent(number) for number, _ in enumerate(works)]

    jobs = [OmegaConf.create({"hydra": {"job": {"num": number}}}) for number in range(2)]
    # As the tracker's thread does: a signal that the main thread blocks is given to another one.
    over = Event()
    Thread(target=over.wait, daemon=True).start()
    with pytest.raises(raised):
        submission.submit(jobs, Queue(), at_a_time=None)
    over.set()
    assert (cancelled, deaf) == ({0, 1}, ["False"])


@pytest.mark.parametrize(
    ("said", "on_notice", "on_sigterm"),
    [("RUNNING", True, True), ("COMPLETING", False, False), ("CANCELLED", False, False), (None, True, False)],
)
def test_a_job_comes_back_if_slurm_still_calls_it_running(tmp_path, monkeypatch, said, on_notice, on_sigterm):
    submission = pytest.importorskip("embexp.submission", reason="the extra slurm is not installed")
    (tmp_path / "squeue").write_text(f"#!/bin/sh\n{f'echo {said}' if said else 'exit 1'}\n")
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert submission.comes_back(noticed=True) is on_notice
    assert submission.comes_back(noticed=False) is on_sigterm


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """The folder of the stand-in's tasks."""
    slurm_stand_in.install(tmp_path / "bin")
    (tmp_path / "tasks").mkdir()
    monkeypatch.setenv("STAND_IN", str(tmp_path / "tasks"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "tasks"


ON_SLURM = ["hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.gpus_per_node=0"]


@pytest.fixture
def sent(monkeypatch) -> dict:
    """With what a launcher submits its jobs."""
    submission = pytest.importorskip("embexp.submission", reason="the extra slurm is not installed")
    given = {}
    monkeypatch.setattr(submission, "submit", lambda jobs, executor, at_a_time: given.update(locals()))
    # Set here, they are afterwards as they were.
    for name in ("OMP_NUM_THREADS", THREADS_FROM):
        monkeypatch.setenv(name, "9")
    return given


def launch(launcher, folder: Path, *, devices: list[int]) -> None:
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    launcher.run([OmegaConf.create({"devices": number}) for number in devices])


@pytest.mark.parametrize(
    ("cpus", "devices", "threads", "at_a_time"),
    [(4, [1, 4], "1", 2), (4, [2], "2", 2), (2, [1], "2", 4), (1, [4], "1", 2)],
)
def test_the_devices_of_a_local_job_share_its_cores_and_are_told_whose_they_are(
    tmp_path, monkeypatch, sent, cpus, devices, threads, at_a_time
):
    monkeypatch.setattr("embexp.cores.usable_cores", lambda: 8)
    launch(LocalLauncher(n_jobs=None, cpus_per_task=cpus, max_num_timeout=1), tmp_path, devices=devices)
    assert (os.environ["OMP_NUM_THREADS"], sent["at_a_time"]) == (threads, at_a_time)
    assert os.environ[THREADS_FROM] == "hydra.launcher.cpus_per_task"


@pytest.mark.usefixtures("slurm")
def test_the_devices_of_a_job_on_slurm_share_its_cores_and_are_told_whose_they_are(tmp_path, sent):
    launch(SlurmLauncher(cpus_per_task=8, setup=["module load cuda"], max_num_timeout=1), tmp_path, devices=[4, 2])
    threads = "export OMP_NUM_THREADS=2 EMBEXP_THREADS_FROM=hydra.launcher.cpus_per_task"
    assert sent["executor"].parameters["setup"][:2] == [threads, "module load cuda"]
    assert sent["executor"].parameters["cpus_per_task"] == 8


@pytest.mark.usefixtures("slurm")
@pytest.mark.parametrize(
    ("own", "told"),
    [
        (":", "2 hydra.launcher.cpus_per_task"),
        ("export OMP_NUM_THREADS=16", "16"),
        ("unset OMP_NUM_THREADS", ""),
    ],
)
def test_threads_that_a_person_s_own_lines_set_are_not_told_as_a_share(tmp_path, sent, own, told):
    launch(SlurmLauncher(cpus_per_task=2, setup=[own], max_num_timeout=1), tmp_path, devices=[1])
    script = "\n".join([*sent["executor"].parameters["setup"], f"set +u; echo $OMP_NUM_THREADS ${THREADS_FROM}"])
    said = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == told


@wants_submitit
@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["timeout_min=2"], "timeout_min=2: a job is told to go hydra.launcher.signal_delay_s=120 seconds before"),
        (["timeout_min=2"], "use hydra.launcher.timeout_min=3, or lower signal_delay_s."),
        (["timeout_min=1", "signal_delay_s=30"], "use hydra.launcher.timeout_min=2, or lower signal_delay_s."),
        (["max_num_timeout=6"], "hydra.launcher.max_num_timeout=6: must be at most 5."),
    ],
)
def test_a_time_in_which_no_job_could_train_and_more_restarts_than_submitit_gives_are_refused(typed, said):
    (problem,) = problems_of("hydra/launcher=submitit_local", *(f"hydra.launcher.{word}" for word in typed))
    assert said in problem
    compose(["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=3", "hydra.launcher.max_num_timeout=5"])


@wants_submitit
@pytest.mark.usefixtures("slurm")
def test_fewer_gpus_than_devices_are_refused_but_for_a_run_on_the_cpu():
    typed = ["hydra/launcher=submitit_slurm", "devices=4", "hydra.launcher.gpus_per_node=2"]
    (problem,) = problems_of(*typed)
    assert problem.startswith("hydra.launcher.gpus_per_node=2: devices=4 want as many")
    for enough in ("hydra.launcher.gpus_per_node=4", "hydra.launcher.gpus_per_node=0", "trainer.device=cpu"):
        compose([*typed, enough])


@wants_submitit
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_slurm_wants_to_end_is_queued_again_and_a_job_that_a_person_cancels_is_not(tmp_path, slurm):
    typed = [*ON_SLURM, "batch_size=8,9", "max_steps=600", "evaluation.times=6"]
    with sweep_of(*typed, cwd=tmp_path) as sweep:
        wait_for(lambda: len(folder_of_checkpoints(tmp_path)) == 2, seconds=300)
        # With a period of grace Slurm sends SIGTERM to a job that it still calls running.
        os.kill(int((slurm / "1_0" / "pid").read_text()), signal.SIGTERM)
        subprocess.run(["scancel", "1_1"], check=True)
        out, err = sweep.communicate(timeout=600)
    assert sweep.returncode == 1, out + err
    assert [(slurm / name / "starts").read_text() for name in ("1_0", "1_1")] == ["xx", "x"]
    assert [run["status"] for run in results(tmp_path)] == ["FINISHED", "KILLED"]
    script = (slurm / "1_0" / "script").read_text()
    for word in ("--signal=USR2@120", "--cpus-per-task=1", "--time=240", "--mem=16GB", "export OMP_NUM_THREADS=1"):
        assert word in script


@wants_submitit
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_sweep_that_ends_while_sbatch_is_slow_leaves_no_job_running(tmp_path, slurm, number, code):
    (slurm / "slow").touch()
    with sweep_of(*ON_SLURM, "batch_size=8,9", *ENDLESS, "tracker=none", cwd=tmp_path) as sweep:
        wait_for(lambda: len(list(slurm.glob("1_*/pid"))) == 2, seconds=120)
        os.kill(sweep.pid, number)
        with pytest.raises(subprocess.TimeoutExpired):
            sweep.wait(timeout=2)  # It waits for sbatch to say what the jobs are called.
        (slurm / "slow").unlink()
        out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == code, out + err
    assert [(slurm / name / "state").read_text() for name in ("1_0", "1_1")] == ["CANCELLED by 0"] * 2


def steps_trained(folder: Path, journal: str) -> list[int]:
    """The steps whose loss one start of the job has logged."""
    (path,) = folder.glob(f"multirun/*/*/0/{journal}")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["step"] for line in lines if "train/loss" in line.get("values", {})]


def outcome_of(folder: Path) -> tuple[list[tuple[str, int, float]], str]:
    """What the job's run has in the store, but for what a clock or the machine decides; and its weights."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        values = database.execute(
            "SELECT m.key, m.step, m.value FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
            "WHERE t.key = 'embexp.key' ORDER BY m.key, m.step"
        ).fetchall()
    (weights,) = folder.glob("multirun/*/*/0/model/model.safetensors")
    varying = ("time/", "throughput/", "memory/", "system/")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return [value for value in values if not value[0].startswith(varying)], digest

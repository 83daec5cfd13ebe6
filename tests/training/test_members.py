"""However one of a run's processes ends, the others end with it, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread, Timer

import psutil
import pytest
import torch

from embexp.training import MemberLost, group, members
from embexp.training.group import Group, GroupBroken, meeting_place
from tests.test_main import SMALL, embexp, results, wait_for

# Many checkpoints, so that one is there soon; long enough to be killed while it trains.
COMMAND = [
    *SMALL, "devices=2", "trainer.device=cpu", "trainer.threads=1", "trainer.precision=fp32", "max_steps=400", "epochs=100",
    "evaluation.times=100", "trainer.save_model=true",
]  # fmt: skip


def followers(process: subprocess.Popen) -> list[psutil.Process]:
    return [child for child in psutil.Process(process.pid).children() if "embexp.training.follower" in child.cmdline()]


def last_step(folder: Path) -> int:
    paths = folder.glob("multirun/checkpoints/*/checkpoint-*")
    return max((int(path.name.rpartition("-")[2]) for path in paths), default=0)


@contextmanager
def training(folder: Path, *more: str):
    """A run of two processes that has saved a checkpoint of its own, and its follower."""
    before = last_step(folder)
    with subprocess.Popen(
        [sys.executable, "-m", "embexp", *COMMAND, *more],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # What starts the tests in the background ignores it, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            wait_for(lambda: last_step(folder) > before, seconds=240)
            yield process, followers(process)
        finally:
            process.kill()


def weights(folder: Path) -> bytes:
    (result,) = [run for run in results(folder) if run["status"] == "FINISHED"]
    return (Path(folder) / result["folder"] / "model" / "model.safetensors").read_bytes()


class Heard(Exception):
    """A signal, by its handler."""


@contextmanager
def signalled(after: float) -> Iterator[None]:
    """SIGUSR1 comes so many seconds from now, and raises `Heard`."""

    def hear(number, frame):
        raise Heard

    before = signal.signal(signal.SIGUSR1, hear)
    timer = Timer(after, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def one_that_is_ready_and_never_joins(monkeypatch):
    """A leader's view of a follower, and where they would meet."""
    # The thread that is left behind is not to outlast the tests.
    monkeypatch.setattr(group, "MEETING", timedelta(seconds=20))
    place = meeting_place()
    place.set(members.ready(1), "")
    found = members.Followers.__new__(members.Followers)
    found.size, found.ending, found.said = 2, Event(), {1: deque()}
    found.processes = {1: subprocess.Popen(["sleep", "60"], stdin=subprocess.PIPE)}
    yield found, place
    found.processes[1].kill()
    found.end()


def test_a_follower_that_is_killed_before_it_has_joined_ends_the_wait_for_it(one_that_is_ready_and_never_joins):
    found, place = one_that_is_ready_and_never_joins
    began = time.monotonic()
    Timer(0.5, found.processes[1].kill).start()
    with pytest.raises(MemberLost, match=r"device 1's process was killed \(SIGKILL\)"):
        found.meet(place, device="cpu")
    assert time.monotonic() - began < 5


def test_a_signal_is_heard_while_a_follower_does_not_join(one_that_is_ready_and_never_joins):
    found, place = one_that_is_ready_and_never_joins
    began = time.monotonic()
    with pytest.raises(Heard), signalled(after=0.5):
        found.meet(place, device="cpu")
    assert time.monotonic() - began < 5


def test_a_member_that_does_not_join_in_time_is_told(monkeypatch):
    monkeypatch.setattr(group, "MEETING", timedelta(seconds=1))
    with pytest.raises(GroupBroken, match="device 0 of 2 waited for another in vain"):
        Group(meeting_place(), rank=0, size=2, device="cpu")


def test_a_signal_is_heard_while_another_member_computes(monkeypatch):
    monkeypatch.setattr(group, "PATIENCE", timedelta(seconds=20))
    place, others = meeting_place(), []
    joins = Thread(
        target=lambda: others.append(Group(meeting_place(place.port), rank=1, size=2, device="cpu")), daemon=True
    )
    joins.start()
    own = Group(place, rank=0, size=2, device="cpu")
    joins.join()
    began = time.monotonic()
    with pytest.raises(Heard), signalled(after=0.5):
        own.gather(torch.zeros(3))
    assert time.monotonic() - began < 5
    # What was begun comes to its end.
    others[0].gather(torch.zeros(3))


def test_what_an_abort_ends_is_not_taken_for_a_sum():
    class LikeNccl:
        """Whose work is over when it is aborted, without an error."""

        gone = False

        def abort(self):
            self.gone = True

        def allreduce(self, tensors):
            return self

        def is_completed(self):
            return self.gone

        def wait(self):
            pass

    own = Group.__new__(Group)
    own.rank, own.size, own.device, own._aborted, own._members = 0, 2, torch.device("cpu"), False, LikeNccl()
    Timer(0.2, own.abort).start()
    with pytest.raises(GroupBroken, match="device 0 of 2 waited for another in vain: it is gone"):
        own.add_up(torch.ones(3))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_however_a_run_of_two_processes_is_broken_off_it_ends_like_an_undisturbed_one(tmp_path):
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    straight.mkdir()
    disturbed.mkdir()
    done = embexp(*COMMAND, cwd=straight, seconds=400)
    assert done.returncode == 0, done.stderr
    assert "devices: 2 CPU processes, 16 of 32 rows each, 1 thread each" in done.stderr
    for number, code, reason in (
        (signal.SIGTERM, 143, "terminated (SIGTERM)"),
        (signal.SIGINT, 130, "interrupted (Ctrl-C)"),
    ):
        with training(disturbed) as (process, others):
            assert len(others) == 1
            os.kill(process.pid, number)
            assert process.wait(60) == code
            gone, alive = psutil.wait_procs(others, timeout=20)
            assert (len(gone), alive) == (1, [])
        last = results(disturbed)[-1]
        assert (last["status"], last["reason"]) == ("KILLED", reason)
    with training(disturbed) as (process, others):
        began = time.monotonic()
        others[0].kill()
        assert process.wait(60) == 1
        assert time.monotonic() - began < 30
        assert "device 1's process was killed (SIGKILL)" in process.stderr.read()
    last = results(disturbed)[-1]
    assert last["status"] == "FAILED"
    assert last["reason"].startswith("device 1's process was killed (SIGKILL)")
    with training(disturbed) as (process, others):
        process.kill()
        gone, alive = psutil.wait_procs(others, timeout=20)
        assert (len(gone), alive) == (1, [])
    assert embexp(*COMMAND, cwd=disturbed, seconds=400).returncode == 0
    assert weights(disturbed) == weights(straight)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_follower_that_cannot_begin_ends_the_run_with_what_it_said(tmp_path):
    # A loss of a person's own whose module breaks wherever it is not the run's own process.
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "mine.yaml").write_text("_target_: mine.Mine\nview: scored\n")
    (tmp_path / "mine.py").write_text(
        "import sys\n"
        "from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss\n"
        "if 'follower' in str(sys.modules['__main__'].__spec__.name):\n"
        "    raise ImportError('no such licence')\n"
        "class Mine(CosineSimilarityLoss):\n"
        "    pass\n"
    )
    done = embexp("--config-dir", "own", "loss=mine", *COMMAND, cwd=tmp_path, seconds=200)
    assert done.returncode == 1
    assert "device 1's process failed (exit 1): ImportError: no such licence" in done.stderr
    (run,) = results(tmp_path)
    assert run["status"] == "FAILED"
    assert "Traceback" in Path(run["log"]).read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_jobs_side_by_side_have_several_devices_each(tmp_path):
    done = embexp(
        "loss=mnr,cosine", *SMALL, "devices=2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "-m", cwd=tmp_path,
        seconds=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [run["params"]["devices"] for run in results(tmp_path)] == [2, 2]

"""A sweep's jobs handed to submitit: what hydra/launcher=submitit_slurm and hydra/launcher=submitit_local run.

A job that is pre-empted, or reaches its time limit, saves a checkpoint at the end of its step, ends KILLED and has
itself queued again; there it goes on. One that is lost costs its own run and no other. Hydra's own plugin for submitit
raises at the first lost job and interrupts a step wherever it stands, which is why this one talks to submitit itself.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import submitit
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from omegaconf import DictConfig

from embexp.interrupts import Preempted, Terminated, raise_on_notice, raise_on_sigterm
from embexp.launch import LOOK_EVERY, objective, perform, returned
from embexp.parcel import pack, unpack
from embexp.run_folder import RESULT
from embexp.shares import CPUS_PER_TASK, THREADS_FROM
from embexp.tracking.processes import is_there, started_at

log = logging.getLogger(__name__)

# In the sweep's folder: what submitit sends and gets back, and what the jobs say, a folder each.
FOLDER = ".submitit"
THREADS = "OMP_NUM_THREADS"
# In seconds; to look is to touch files that a cluster shares.
LOOK_AT_SLURM_EVERY = 2.0
# The line of a traceback, as submitit hands it on, that says what it was.
BROKE = re.compile(r"[\w.]+: ")
# What submitit calls otherwise when Slurm is asked directly.
WORDS_OF_SLURM = {"timeout_min": "time", "mem_gb": "mem"}


@dataclass(frozen=True)
class Work:
    """One job as submitit carries it, to another machine or to another start of the same job; passwords apart.

    Attributes:
        job: as Hydra composed it.
        command: of the sweep: sys.argv.
        sweep: the process of the sweep and when it was started, if the job is to end with it; None: it outlives it.
    """

    job: DictConfig
    command: list[str]
    sweep: tuple[int, str] | None

    def __reduce__(self) -> tuple[Callable[[bytes], Work], tuple[bytes]]:
        return _unpacked, (pack((self.job, self.command, self.sweep)),)

    def __call__(self) -> None:
        """Runs the job in this process, which submitit started."""
        sys.argv = self.command
        notice = signal.Signals[f"SIG{submitit.JobEnvironment.USR_SIG}"]
        queue_again = signal.getsignal(notice)
        assert callable(queue_again)
        raise_on_sigterm()
        raise_on_notice(notice)
        if self.sweep is not None:
            Thread(target=_end_with, args=self.sweep, daemon=True, name="embexp-sweep-watch").start()
        try:
            perform(self.job)
        except Terminated as error:
            if not comes_back(noticed=isinstance(error, Preempted)):
                sys.exit(128 + signal.SIGTERM)
            # submitit's own: it keeps what is to be called, queues the job again, and ends this process.
            queue_again(notice, None)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What submitit is to call when the job is started again: the same; the run's checkpoints say the rest."""
        return submitit.helpers.DelayedSubmission(self)


def _unpacked(parcel: bytes) -> Work:
    return Work(*unpack(parcel))


def comes_back(*, noticed: bool) -> bool:
    """Whether this job, which is told to go, is to be queued again.

    Slurm says so by calling it running still. One that a person cancelled it calls otherwise by then, and to queue that
    again would bring it back from the dead; of one that it is about to queue again itself it need not be told.

    Args:
        noticed: it was told by the queue's notice, not by SIGTERM; decides where Slurm cannot be asked.
    """
    environment = submitit.JobEnvironment()
    if environment.cluster != "slurm":
        return noticed
    asked = ["squeue", "--noheader", "--format=%T", "--jobs", environment.raw_job_id]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return noticed
    return said == ["RUNNING"]


def threads_of_each(cpus_per_task: int, *, devices: int) -> int:
    """The threads of each of a job's devices, which share its cores."""
    return max(1, cpus_per_task // devices)


def slurm_executor(
    folder: Path, *, devices: int, max_num_timeout: int, cpus_per_task: int, setup: Sequence[str], **asked: Any
) -> submitit.SlurmExecutor:
    """What sends jobs of so many devices to Slurm; `asked` as in conf/hydra/launcher/submitit_slurm.yaml."""
    executor = submitit.SlurmExecutor(_private(folder), max_num_timeout=max_num_timeout)
    words = {WORDS_OF_SLURM.get(key, key): value for key, value in asked.items() if value not in (None, 0)}
    if "mem" in words:
        words["mem"] = f"{words['mem']}GB"
    threads = threads_of_each(cpus_per_task, devices=devices)
    executor.update_parameters(
        job_name="embexp",
        cpus_per_task=cpus_per_task,
        # How many threads a job has changes a result's last digits: as many on every machine.
        setup=[
            f"export {THREADS}={threads} {THREADS_FROM}={CPUS_PER_TASK}",
            *setup,
            # What a person's own lines set is no share.
            f'[ "${{{THREADS}-}}" = {threads} ] || unset {THREADS_FROM}',
        ],
        **words,
    )
    return executor


def local_executor(folder: Path, *, max_num_timeout: int, **asked: Any) -> submitit.LocalExecutor:
    """What starts jobs as processes of this machine; `asked` as in conf/hydra/launcher/submitit_local.yaml."""
    executor = submitit.LocalExecutor(_private(folder), max_num_timeout=max_num_timeout)
    executor.update_parameters(**asked)
    return executor


def _private(folder: Path) -> Path:
    """Where submitit keeps a job's files; only their owner may: what is unpickled from there can run anything."""
    kept = folder / FOLDER
    kept.mkdir(parents=True, exist_ok=True)
    kept.chmod(0o700)
    return kept / "%j"


def submit(jobs: Sequence[DictConfig], executor: submitit.Executor, *, at_a_time: int | None) -> list[JobReturn]:
    """Hands the jobs over and waits for them all; a lost one returns nan.

    On KeyboardInterrupt and Terminated the jobs under way are ended, which save their checkpoints; a second one leaves
    them to their queue.

    Args:
        jobs: as Hydra composed them.
        executor: from `slurm_executor` or `local_executor`.
        at_a_time: how many are handed over while others are under way; None: all at once.

    Raises:
        HydraException: the queue refused them.
    """
    local = isinstance(executor, submitit.LocalExecutor)
    look_every = LOOK_EVERY if local else LOOK_AT_SLURM_EVERY
    sweep = (os.getpid(), started_at(os.getpid())) if local else None
    waiting = list(jobs)
    under_way: list[submitit.Job[None]] = []
    sent: list[submitit.Job[None]] = []
    try:
        while waiting or under_way:
            room = len(waiting) if at_a_time is None else at_a_time - len(under_way)
            batch, waiting = waiting[:room], waiting[room:]
            if batch:
                _hand_over([Work(job, sys.argv, sweep) for job in batch], executor, into=(sent, under_way))
            time.sleep(look_every)
            under_way = [job for job in under_way if not job.done()]
    except (KeyboardInterrupt, Terminated):
        _end(under_way, look_every)
        raise
    return [returned(job, outcome(job, handed)) for job, handed in zip(jobs, sent, strict=True)]


def _hand_over(works: Sequence[Work], executor: submitit.Executor, *, into: Sequence[list[submitit.Job[None]]]) -> None:
    """Sends the jobs and adds them to the caller's lists: by the time a signal can end the sweep, they are in there."""
    try:
        with _out_of_reach_of_signals():
            handed = executor.submit_array(works)
            for jobs in into:
                jobs += handed
    except (submitit.core.utils.FailedJobError, subprocess.SubprocessError) as error:
        raise HydraException(f"the queue did not take the jobs: {str(error).strip().splitlines()[-1]}") from error
    for work, job in zip(works, handed, strict=True):
        print(f"[{work.job.hydra.job.num}] job {job.job_id}; what it says: {job.paths.stderr}", file=sys.stderr)


def outcome(job: DictConfig, handed: submitit.Job[None]) -> float:
    """What a job that is over is ranked by; nan where it failed or was lost, which is told."""
    folder = Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir)
    if not handed.paths.result_pickle.exists() and not (folder / RESULT).is_file():
        log.warning(
            "[%d] its process was killed; the same command again picks it up (see %s)",
            job.hydra.job.num,
            handed.paths.stderr,
        )
    elif handed.paths.result_pickle.exists() and (broke := handed.exception()) is not None:
        why = [line for line in str(broke).splitlines() if BROKE.match(line)]
        log.warning(
            "[%d] did not come to its end: %s (see %s)", job.hydra.job.num, (why or [broke])[-1], handed.paths.stderr
        )
    return objective(job, 0)


def _end(jobs: Sequence[submitit.Job[None]], look_every: float) -> None:
    for job in jobs:
        if isinstance(job, submitit.LocalJob):
            # Its own `cancel` leaves a job one second. A local job's number is that of the process which minds it.
            with suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)
        else:
            job.cancel(check=False)
    while not all(job.done(force_check=True) for job in jobs):
        time.sleep(look_every)


@contextmanager
def _out_of_reach_of_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM are obeyed at the end of the block."""
    noted: list[int] = []
    # Noted, and SIGTERM not blocked: what is started in here would have it blocked too, and a job must hear it.
    obeyed = {
        number: signal.signal(number, lambda number, frame: noted.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
        # What a shell starts in the background ignores Ctrl-C, and so do its children.
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    # In a terminal Ctrl-C reaches a whole group of processes, and those which mind local jobs would kill them. What is
    # started in here never gets it: the sweep tells them. (Blocked in this thread; another one may still be given it.)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        # First, so that one that waited is noted too.
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in obeyed.items():
            signal.signal(number, handler)
        if noted:
            signal.raise_signal(noted[0])


def _end_with(pid: int, started: str) -> None:
    # Were the sweep's process killed and this one not, the same command again would wait for it.
    parent = os.getppid()
    while os.getppid() == parent and _is_there(pid, started):
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_there(pid: int, started: str) -> bool:
    try:
        # One that nobody has asked how it ended is still listed.
        return is_there(pid, started) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

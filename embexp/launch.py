"""A sweep's jobs side by side, each in a process of its own: what hydra/launcher=joblib runs.

Every process gets its share of the machine (threads, and a GPU where there is one) in its environment, before torch
is imported in it. One that is killed costs its own run and no other. `python -m embexp.launch` is such a process; it
is started by `launch` and reads its job from there.
"""

from __future__ import annotations

import json
import logging
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from embexp.interrupts import (
    LOADED,
    Terminated,
    leave_on_interrupt,
    leave_on_sigterm,
    waiting_for_a_good_moment,
)

if __name__ == "__main__":
    # Until its libraries are loaded no run has begun.
    leave_on_interrupt()
    leave_on_sigterm()

from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from embexp.compare.runs import NEVER_BEGAN
from embexp.config.errors import ConfigError
from embexp.run_folder import RESULT
from embexp.shares import CORES_PER_JOB, THREADS_FROM, Share

log = logging.getLogger(__name__)

LOOK_EVERY = 0.2  # seconds
# Those that have a name.
SIGNALS = {each.value: each.name for each in signal.Signals}


def launch(jobs: Sequence[DictConfig], shares: Sequence[Share]) -> list[JobReturn]:
    """Runs the jobs, as many at a time as there are shares; the others wait for one.

    A job whose process was killed returns nan, as one that failed does. KeyboardInterrupt and Terminated are handed on
    to the jobs under way, which then save their checkpoints; a second one ends them at once.
    """
    fleet = Fleet(shares)
    with ThreadPoolExecutor(len(shares)) as threads:
        futures = [threads.submit(fleet.run, job) for job in jobs]
        try:
            _await(futures)
        except BaseException as error:
            threads.shutdown(wait=False, cancel_futures=True)
            try:
                fleet.stop(signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM)
                _await(futures)
            except (KeyboardInterrupt, Terminated):
                fleet.stop(signal.SIGKILL)
            raise
    return [returned(job, future.result()) for job, future in zip(jobs, futures, strict=True)]


class Fleet:
    """The processes under way, and the shares that are free."""

    def __init__(self, shares: Sequence[Share]) -> None:
        self.free: SimpleQueue[Share] = SimpleQueue()
        for share in shares:
            self.free.put(share)
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.stopped = False
        self.lock = Lock()

    def run(self, job: DictConfig) -> float:
        """Runs one job to its end, in whatever way it ends, and returns its objective."""
        share = self.free.get()
        try:
            process = self._start(share)
            if process is None:
                return math.nan
            with process:
                self._attend(process, job)
            with self.lock:
                self.processes.discard(process)
        finally:
            self.free.put(share)
        return objective(job, process.returncode)

    def stop(self, number: signal.Signals) -> None:
        """Sends a signal to every process under way; no other will be started."""
        with self.lock:
            self.stopped = True
            for process in list(self.processes):
                process.send_signal(number)

    def _start(self, share: Share) -> subprocess.Popen[bytes] | None:
        with self.lock:
            if self.stopped:
                return None
            process = subprocess.Popen(
                [sys.executable, "-m", "embexp.launch"],
                env={**os.environ, **share, THREADS_FROM: CORES_PER_JOB},
                stdin=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C in a terminal reaches a whole group of processes: these are told once, by `stop`.
                start_new_session=True,
            )
            self.processes.add(process)
            return process

    def _attend(self, process: subprocess.Popen[bytes], job: DictConfig) -> None:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            # Left open: its end tells the process that the sweep is gone.
            process.stdin.write(pickle.dumps((job, sys.argv)))
            process.stdin.flush()
        except BrokenPipeError:
            pass
        for line in process.stderr:
            text = line.decode(errors="replace").rstrip()
            if text:
                print(f"[{job.hydra.job.num}] {text}", file=sys.stderr, flush=True)
        process.wait()


def objective(job: DictConfig, returncode: int) -> float:
    """What a job is ranked by, from the result that its process left; nan where it left none, or failed."""
    path = Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir) / RESULT
    if not path.is_file():
        if returncode < 0:
            by = SIGNALS.get(-returncode, f"signal {-returncode}")
            log.warning("[%d] its process was killed (%s); the same command again picks it up", job.hydra.job.num, by)
        return math.nan
    result = json.loads(path.read_text(encoding="utf-8"))
    value = result["metrics"].get(f"best/dev/{job.evaluation.select_by}")
    return float(value) if result["status"] == "FINISHED" and value is not None else math.nan


def _await(futures: Sequence[Future[float]]) -> None:
    # By looking, not by waiting for a lock: a signal that another thread was given would not wake this one.
    while not all(future.done() for future in futures):
        time.sleep(LOOK_EVERY)


def returned(job: DictConfig, value: float) -> JobReturn:
    """What Hydra's sweeper is told of a job that another process ran."""
    overrides = OmegaConf.to_container(job.hydra.overrides.task)
    told = JobReturn(overrides=overrides, cfg=job, status=JobStatus.COMPLETED)
    told.return_value = value
    return told


def _end_with_the_sweep() -> None:
    # Were the sweep's process killed and this one not, the same command again would train the same run beside it.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def perform(job: DictConfig) -> None:
    """Runs a composed job in this process, as Hydra would.

    Raises:
        Exception: whatever kept the run from its beginning; what breaks in it is in its result.
    """
    # What a queue says meanwhile is not to be lost.
    with waiting_for_a_good_moment(LOADED):
        from embexp.command import job as task

    setup_globals()
    done = run_job(
        task_function=task,
        config=job,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
        # Only its callbacks are asked for: the config is composed.
        hydra_context=HydraContext(config_loader=None, callbacks=Callbacks(job)),
    )
    # Hydra keeps what was raised, and would print it before it gives it.
    if done.status is JobStatus.FAILED:
        (Path(job.hydra.sweep.dir) / str(job.hydra.sweep.subdir) / NEVER_BEGAN).write_text(
            str(done._return_value), encoding="utf-8"
        )
        raise done._return_value


def main() -> None:
    """The process of one job, as `launch` starts it."""
    try:
        job, sys.argv = pickle.load(sys.stdin.buffer)
        Thread(target=_end_with_the_sweep, daemon=True, name="embexp-sweep-watch").start()
        perform(job)
    except ConfigError as error:
        sys.exit("\n".join(error.problems))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Terminated:
        sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()

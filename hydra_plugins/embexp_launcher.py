"""What hydra/launcher= names: Hydra takes launchers only from modules of this package.

joblib is embexp.launch; submitit_local and submitit_slurm are embexp.submission.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

# Hydra imports this module at every start, for --help too: what a launcher needs it imports when it launches.


class ComposingLauncher(Launcher):
    """Composes the jobs here, each with its folder, and leaves it to others to run them."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from embexp.tracking.secrets import scrub_file

        setup_globals()
        # Hydra's record of the command, which it has just written: the jobs may wait long.
        scrub_file(Path(self.config.hydra.sweep.dir) / "multirun.yaml")
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        return self.run([self._composed(overrides, initial_job_idx + n) for n, overrides in enumerate(job_overrides)])

    @abstractmethod
    def run(self, jobs: Sequence[DictConfig]) -> list[JobReturn]:
        """Runs the composed jobs, and returns when all are over."""

    def _composed(self, overrides: Sequence[str], number: int) -> DictConfig:
        job = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = number
            job.hydra.job.num = number
        return job


class ProcessLauncher(ComposingLauncher):
    """Runs a sweep's jobs side by side, each in a process of its own; conf/hydra/launcher/joblib.yaml says how."""

    def __init__(self, n_jobs: int | None, cores_per_job: int, jobs_per_gpu: int) -> None:
        self.n_jobs = n_jobs
        self.cores_per_job = cores_per_job
        self.jobs_per_gpu = jobs_per_gpu

    def run(self, jobs: Sequence[DictConfig]) -> list[JobReturn]:
        from embexp.launch import launch
        from embexp.shares import deal, visible_gpus

        gpus = visible_gpus() if any(job.trainer.device in ("auto", "cuda") for job in jobs) else []
        shares = deal(
            self.n_jobs,
            cores_per_job=self.cores_per_job,
            jobs_per_gpu=self.jobs_per_gpu,
            gpus=gpus,
            # Of GPUs a job on the CPU takes none.
            devices=_most_devices([job for job in jobs if not gpus or job.trainer.device != "cpu"]),
        )
        return launch(jobs, shares)


class LocalLauncher(ComposingLauncher):
    """Runs the jobs as submitit's, on this machine; conf/hydra/launcher/submitit_local.yaml says how."""

    def __init__(self, n_jobs: int | None, cpus_per_task: int, **asked: Any) -> None:
        self.n_jobs = n_jobs
        self.cpus_per_task = cpus_per_task
        self.asked = asked

    def run(self, jobs: Sequence[DictConfig]) -> list[JobReturn]:
        from embexp.cores import usable_cores
        from embexp.shares import CPUS_PER_TASK, THREADS_FROM
        from embexp.submission import THREADS, local_executor, submit, threads_of_each

        devices = _most_devices(jobs)
        # Its jobs have this process's environment.
        os.environ[THREADS] = str(threads_of_each(self.cpus_per_task, devices=devices))
        os.environ[THREADS_FROM] = CPUS_PER_TASK
        at_a_time = self.n_jobs or max(1, usable_cores() // max(self.cpus_per_task, devices))
        return submit(jobs, local_executor(Path(self.config.hydra.sweep.dir), **self.asked), at_a_time=at_a_time)


class SlurmLauncher(ComposingLauncher):
    """Runs the jobs on a Slurm cluster; conf/hydra/launcher/submitit_slurm.yaml says how."""

    def __init__(self, **asked: Any) -> None:
        self.asked: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value for key, value in asked.items()
        }

    def run(self, jobs: Sequence[DictConfig]) -> list[JobReturn]:
        from embexp.submission import slurm_executor, submit

        executor = slurm_executor(Path(self.config.hydra.sweep.dir), devices=_most_devices(jobs), **self.asked)
        return submit(jobs, executor, at_a_time=None)


def _most_devices(jobs: Sequence[DictConfig]) -> int:
    # A share serves any job: it is that of the job that takes most.
    return max(int(job.devices) for job in jobs)

"""What `hydra/launcher=joblib` names: Hydra takes launchers only from modules of this package. See embexp.launch."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.utils import JobReturn, configure_log, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict


class ProcessLauncher(Launcher):
    """Runs a sweep's jobs side by side, each in a process of its own; conf/hydra/launcher/joblib.yaml says how."""

    def __init__(self, n_jobs: int | None, cores_per_job: int, jobs_per_gpu: int) -> None:
        self.n_jobs = n_jobs
        self.cores_per_job = cores_per_job
        self.jobs_per_gpu = jobs_per_gpu

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        # Hydra imports this module at every start, for --help too.
        from embexp.launch import deal, launch, visible_gpus

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        jobs = [self._composed(overrides, initial_job_idx + n) for n, overrides in enumerate(job_overrides)]
        on_gpu = any(job.trainer.device in ("auto", "cuda") for job in jobs)
        shares = deal(
            self.n_jobs,
            cores_per_job=self.cores_per_job,
            jobs_per_gpu=self.jobs_per_gpu,
            gpus=visible_gpus() if on_gpu else [],
            # A share serves any job: it is that of the job that takes most.
            devices=max(job.devices for job in jobs),
        )
        return launch(jobs, shares)

    def _composed(self, overrides: Sequence[str], number: int) -> DictConfig:
        job = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(job):
            job.hydra.job.id = number
            job.hydra.job.num = number
        return job

"""What hydra/sweeper=optuna names: Hydra takes sweepers only from modules of this package. See embexp.search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


class OptunaSweeper(Sweeper):
    """Draws a sweep's jobs from ranges; conf/hydra/sweeper/optuna.yaml says how."""

    def __init__(
        self,
        sampler: str,
        n_trials: int,
        n_jobs: int,
        n_startup_trials: int,
        seed: int,
        params: Mapping[str, str] | None,
    ) -> None:
        self.sampler = sampler
        self.n_trials = n_trials
        self.n_jobs = n_jobs
        self.n_startup_trials = n_startup_trials
        self.seed = seed
        self.params = params or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        # Hydra imports this module at every start, for --help too.
        from embexp.search import build_sampler, search

        folder = Path(self.config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        search(
            [*(f"{key}={value}" for key, value in self.params.items()), *arguments],
            lambda jobs, first: self.launcher.launch(jobs, initial_job_idx=first),
            n_trials=self.n_trials,
            n_jobs=self.n_jobs,
            sampler=build_sampler(self.sampler, seed=self.seed, n_startup_trials=self.n_startup_trials),
        )

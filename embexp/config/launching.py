"""The types and ranges of conf/hydra/: how a sweep's jobs are started, and how they are drawn."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field

from embexp.config.schema import Component, Config

# A job is not told to go before; to start takes some of it.
SECONDS_TO_TRAIN = 60


class Launcher(Component):
    """How a sweep's jobs share the machine, where they run side by side."""

    n_jobs: int | None = Field(ge=1)
    cores_per_job: int = Field(ge=1)
    jobs_per_gpu: int = Field(ge=1)


class Submission(Component):
    """What submitit is told of a job."""

    timeout_min: int = Field(ge=1)
    signal_delay_s: int = Field(ge=1)
    max_num_timeout: int = Field(ge=0)
    cpus_per_task: int = Field(ge=1)
    gpus_per_node: int = Field(ge=0)


class LocalSubmission(Submission):
    """Processes of this machine, as Slurm would run them."""

    n_jobs: int | None = Field(ge=1)
    # On one machine submitit starts a job again no oftener.
    max_num_timeout: int = Field(ge=0, le=5)


class SlurmSubmission(Submission):
    """Jobs of a Slurm cluster; the words are sbatch's."""

    array_parallelism: int = Field(ge=1)
    mem_gb: int | None = Field(ge=1)
    partition: str | None
    qos: str | None
    account: str | None
    constraint: str | None
    exclude: str | None
    setup: list[str]
    additional_parameters: dict[str, Any]


class OptunaSearch(Component):
    """How the jobs of a search are drawn."""

    sampler: Literal["tpe", "random"]
    n_trials: int = Field(ge=1)
    n_jobs: int = Field(ge=1)
    n_startup_trials: int = Field(ge=1)
    seed: int = Field(ge=0, lt=2**32)
    params: dict[str, Any] | None


LAUNCHERS: dict[str, type[Component]] = {
    "hydra_plugins.embexp_launcher.ProcessLauncher": Launcher,
    "hydra_plugins.embexp_launcher.LocalLauncher": LocalSubmission,
    "hydra_plugins.embexp_launcher.SlurmLauncher": SlurmSubmission,
}
OPTUNA = "hydra_plugins.embexp_sweeper.OptunaSweeper"
SWEEPERS: dict[str, type[Component]] = {OPTUNA: OptunaSearch}


def what_is_missing(schema: type[Component]) -> Iterator[str]:
    """What a launcher or a sweeper needs and this machine has not; says what to do."""
    if issubclass(schema, Submission) and find_spec("submitit") is None:
        yield _not_installed("hydra/launcher=submitit_local and submitit_slurm", "submitit", extra="slurm")
    elif schema is SlurmSubmission and shutil.which("srun") is None:
        yield (
            "hydra/launcher=submitit_slurm: there is no srun here; give the command where Slurm is, or use "
            "hydra/launcher=submitit_local."
        )
    if schema is OptunaSearch and find_spec("optuna") is None:
        yield _not_installed("hydra/sweeper=optuna", "optuna", extra="optuna")


def what_does_not_go_together(launcher: Component, config: Config) -> Iterator[str]:
    """What a launcher of this schema asks for that a job of this config cannot run with; says what to do."""
    if not isinstance(launcher, Submission):
        return
    least = -(-(launcher.signal_delay_s + SECONDS_TO_TRAIN) // 60)
    if launcher.timeout_min < least:
        yield (
            f"hydra.launcher.timeout_min={launcher.timeout_min}: a job is told to go hydra.launcher.signal_delay_s="
            f"{launcher.signal_delay_s} seconds before, and needs a minute at least until then; use "
            f"hydra.launcher.timeout_min={least}, or lower signal_delay_s."
        )
    devices, gpus = config.devices, launcher.gpus_per_node
    if 0 < gpus < devices and config.trainer.device != "cpu":
        yield (
            f"hydra.launcher.gpus_per_node={gpus}: devices={devices} want as many GPUs in one machine; use "
            f"hydra.launcher.gpus_per_node={devices} or trainer.device=cpu."
        )


def _not_installed(choice: str, package: str, *, extra: str) -> str:
    return (
        f"{choice}: needs {package}, which is not installed; python -m pip install -c constraints.txt -e '.[{extra}]'."
    )

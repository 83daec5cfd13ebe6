"""The machine's shares: what each of a sweep's jobs side by side gets of its cores and GPUs. torch is not imported."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from itertools import takewhile

from embexp.config.errors import ConfigError
from embexp.cores import usable_cores

# Environment variables of a job's process.
Share = Mapping[str, str]
# One more of them, by which a job knows that its threads are its share, and says so: the setting that they came from.
THREADS_FROM = "EMBEXP_THREADS_FROM"
CORES_PER_JOB, CPUS_PER_TASK = "hydra.launcher.cores_per_job", "hydra.launcher.cpus_per_task"


def deal(
    n_jobs: int | None, *, cores_per_job: int, jobs_per_gpu: int, gpus: Sequence[str], devices: int = 1
) -> list[Share]:
    """The shares of the machine, one for each job that runs at a time.

    How many threads a job has depends on `cores_per_job` alone, not on how many jobs or cores there are: a sweep that is
    made longer, or moved, has runs of the same last digits.

    Args:
        n_jobs: jobs at a time, whether there are cores for them or not, but no more than the GPUs take; None: as many
            as there are cores or GPUs for.
        cores_per_job: threads of each; of each of its devices, where a job has several.
        jobs_per_gpu: jobs that share a GPU.
        gpus: as CUDA_VISIBLE_DEVICES names them; none: the jobs run on the CPU. What is left when every job has its GPUs
            is not used.
        devices: GPUs of a job, or processes that it starts on the CPU.

    Raises:
        ConfigError: there are fewer GPUs than one job needs.
    """
    threads: Share = {"OMP_NUM_THREADS": str(cores_per_job)}
    if gpus:
        if problem := too_few(gpus, devices):
            raise ConfigError([problem])
        together = [",".join(gpus[first : first + devices]) for first in range(0, len(gpus) - devices + 1, devices)]
        on_gpus: list[Share] = [
            {**threads, "CUDA_VISIBLE_DEVICES": some} for _ in range(jobs_per_gpu) for some in together
        ]
        return on_gpus[:n_jobs]
    return [threads] * (n_jobs or max(1, usable_cores() // (cores_per_job * devices)))


def too_few(gpus: Sequence[str], devices: int) -> str | None:
    """What is wrong where one job wants more GPUs than there are; without any it has processes on the CPU."""
    if not gpus or len(gpus) >= devices:
        return None
    return (
        f"devices={devices}: this machine has {len(gpus)} GPU{'s' if len(gpus) > 1 else ''} for a job; use "
        f"devices={len(gpus)} or trainer.device=cpu."
    )


def visible_gpus() -> list[str]:
    """NVIDIA's GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; torch is not imported."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # Of what follows one that is none CUDA shows nothing.
        return list(takewhile(lambda gpu: gpu not in ("", "-1"), (gpu.strip() for gpu in named.split(","))))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]

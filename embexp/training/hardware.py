"""What the run is trained on: device, precision and threads, each decision with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from embexp.config import ConfigError, Trainer
from embexp.cores import usable_cores

CPUINFO = Path("/proc/cpuinfo")
# Instruction sets that multiply bf16 matrices faster than fp32 ones.
FAST_BF16 = ("amx_bf16", "avx512_bf16")
AMPERE = (8, 0)


@dataclass(frozen=True)
class Hardware:
    """What was decided.

    Attributes:
        device: "cuda", "mps" or "cpu".
        precision: "fp32", "bf16" or "fp16": of the matrix products; weights and optimiser are always fp32.
        threads: of the CPU.
        reasons: a sentence for each decision.
    """

    device: str
    precision: str
    threads: int
    reasons: tuple[str, ...]


def choose_hardware(trainer: Trainer) -> Hardware:
    """A GPU if there is one (CUDA, then MPS), else the CPU; precision and threads as the machine does them best.

    Raises:
        ConfigError: a device was asked for that torch does not see, or a precision that it cannot do.
    """
    device, device_reason = _device(trainer.device)
    precision, precision_reason = _precision(trainer.precision, device)
    threads, threads_reason = _threads(trainer.threads)
    return Hardware(
        device,
        precision,
        threads,
        (
            f"device: {device}, {device_reason}",
            f"precision: {precision}, {precision_reason}",
            f"threads: {threads}, {threads_reason}",
        ),
    )


def _threads(asked: int | None) -> tuple[int, str]:
    if asked is not None:
        return asked, "as configured"
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return int(os.environ["OMP_NUM_THREADS"]), "as OMP_NUM_THREADS says"
    return usable_cores(), "the cores that this process may use"


def _device(asked: str) -> tuple[str, str]:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked != "auto":
        if not available[asked]:
            raise ConfigError(
                [f"trainer.device={asked}: torch {torch.__version__} sees none here; use device=auto or cpu."]
            )
        return asked, "as configured"
    if available["cuda"]:
        others = torch.cuda.device_count() - 1
        more = f"; {others} more are left alone, a run uses one" if others else ""
        return "cuda", f"found {torch.cuda.get_device_name(0)}{more}"
    if available["mps"]:
        return "mps", "found Apple's GPU, no CUDA"
    return "cpu", "no CUDA or MPS device was found"


def _precision(asked: str, device: str) -> tuple[str, str]:
    if asked == "fp16" and device != "cuda":
        raise ConfigError([f"trainer.precision=fp16: needs CUDA, this run is on {device}; use auto, bf16 or fp32."])
    if asked != "auto":
        return asked, "as configured"
    if device == "cuda":
        capability = torch.cuda.get_device_capability(0)
        if capability >= AMPERE:
            return "bf16", f"compute capability {capability[0]}.{capability[1]} does it at full speed"
        return "fp16", f"compute capability {capability[0]}.{capability[1]} has no fast bf16"
    if device == "mps":
        return "fp32", "the safe choice on MPS"
    found = next((name for name in FAST_BF16 if name in _cpu_flags()), None)
    if found is not None:
        return "bf16", f"this CPU has {found}"
    return "fp32", f"this CPU has neither {' nor '.join(FAST_BF16)}"


def _cpu_flags() -> set[str]:
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())

"""What the run is trained on: device, precision and threads, each decision with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from embexp.config import ConfigError, Trainer
from embexp.cores import usable_cores
from embexp.encoding.packed import AMPERE
from embexp.shares import THREADS_FROM

CPUINFO = Path("/proc/cpuinfo")
# Instruction sets that multiply bf16 matrices faster than fp32 ones.
FAST_BF16 = ("amx_bf16", "avx512_bf16")


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

    def set_up(self) -> None:
        """Has torch compute as was decided, in this process."""
        torch.set_num_threads(self.threads)
        # Which torch prefers on Hopper: it prepares a plan for every shape that comes, milliseconds for a kernel of microseconds.
        torch.backends.cuda.enable_cudnn_sdp(False)


def choose_hardware(trainer: Trainer, *, devices: int = 1) -> Hardware:
    """A GPU if there is one (CUDA, then MPS), else the CPU; precision and threads as the machine does them best.

    Args:
        trainer: what was asked for.
        devices: that one run is trained on; on the CPU, processes. Each gets its share of the cores as threads.

    Raises:
        ConfigError: a device was asked for that torch does not see, more of them than there are, or a precision that it
            cannot do.
    """
    device, device_reason = _device(trainer.device, devices)
    precision, precision_reason = _precision(trainer.precision, device)
    threads, threads_reason = _threads(trainer.threads, devices)
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


def shares_in_words(hardware: Hardware, *, devices: int, rows: int) -> str:
    """What each device of a run gets of a batch of so many rows: "devices: 2 GPUs, 16 of 32 rows each, 4 threads each"."""
    least, most = rows // devices, -(-rows // devices)
    each = f"{least}" if least == most else f"{least} or {most}"
    what = "GPUs" if hardware.device == "cuda" else "CPU processes"
    threads = f"{hardware.threads} thread{'s' if hardware.threads > 1 else ''}"
    cores = usable_cores()
    waiting = hardware.device == "cpu" and devices > cores
    more = f"; more than the {cores} cores that this process may use, so that they wait for each other: devices={cores} is faster"
    return f"devices: {devices} {what}, {each} of {rows} rows each, {threads} each{more if waiting else ''}"


def _threads(asked: int | None, devices: int) -> tuple[int, str]:
    if asked is not None:
        return asked, "as configured"
    # Of a list, one number for each level of threads within threads, the first.
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if said.isdigit() and int(said) > 0:
        dealt = os.environ.get(THREADS_FROM)
        return int(said), f"its share ({dealt})" if dealt else "as OMP_NUM_THREADS says"
    if devices > 1:
        return max(1, usable_cores() // devices), f"the cores that this process may use, shared by {devices} devices"
    return usable_cores(), "the cores that this process may use"


def _device(asked: str, devices: int) -> tuple[str, str]:
    device, reason = _found(asked, devices)
    count = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device, devices) if devices > 1 else 1
    if count < devices:
        there = f"{count} GPU{'s' if count > 1 else ''} here"
        raise ConfigError(
            [f"devices={devices}: torch {torch.__version__} sees {there}; use devices={count} or trainer.device=cpu."]
        )
    return device, reason


def _found(asked: str, devices: int) -> tuple[str, str]:
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if asked != "auto":
        if not available[asked]:
            raise ConfigError(
                [f"trainer.device={asked}: torch {torch.__version__} sees none here; use device=auto or cpu."]
            )
        return asked, "as configured"
    if available["cuda"]:
        others = torch.cuda.device_count() - devices
        more = f"; {others} more are left alone, for devices={devices}" if others > 0 else ""
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
    found = fast_bf16()
    if found is not None:
        return "bf16", f"this CPU has {found}"
    return "fp32", f"this CPU has neither {' nor '.join(FAST_BF16)}"


def fast_bf16() -> str | None:
    """The CPU's instruction set that multiplies bf16 matrices faster than fp32 ones; None: it has none."""
    return next((name for name in FAST_BF16 if name in _cpu_flags()), None)


def _cpu_flags() -> set[str]:
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())

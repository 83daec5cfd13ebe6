"""What a benchmark ran on: processor, versions, load; and the peak of its matrix products, measured in the same run.

python -m benchmarks.bench.machine      # the peak alone, as JSON: TFLOP/s by precision and shape
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from embexp import identity
from embexp.cores import usable_cores

# (rows, in, out). MiniLM's products over 512 tokens and over 4,096; and a square, which is bound by nothing else.
SHAPES = {
    "512 x 384 x 384": (512, 384, 384),
    "512 x 384 x 1536": (512, 384, 1536),
    "4096 x 384 x 1536": (4096, 384, 1536),
}
SQUARE = {"cpu": 2048, "cuda": 8192}
SECONDS = 0.5


def describe() -> str:
    """Processor, cores, Python and versions in a paragraph."""
    where = identity.environment()
    versions = ", ".join(f"{name} {number}" for name, number in identity.versions().items())
    threads = os.environ.get("OMP_NUM_THREADS")
    limit = f", OMP_NUM_THREADS={threads}" if threads else ""
    commit = identity.git_state(Path(__file__).parent).get("commit", "unknown")[:12]
    cores = f"{usable_cores()} of its {where['cpus']} cores usable{limit}"
    return f"{where['cpu']}, {cores}. Python {where['python']}, {versions}. Commit {commit}."


def load() -> tuple[float, str]:
    """The load average of the last minute, and in words whether this machine is quiet beside the benchmark."""
    average = os.getloadavg()[0]
    return average, f"{average:.1f}"


def warning(at_start: float, at_end: float) -> str | None:
    """What must be said where others computed too: at the start nothing runs yet, at the end only the benchmark."""
    if at_start < 0.5 and at_end < usable_cores() + 0.5:
        return None
    return (
        "**The machine was not quiet**: others computed at the same time. Ratios of pairs that ran side after side still "
        "say something; seconds, and shares of the peak, say little."
    )


def measure_peaks() -> dict[str, Any]:
    """{"device": ..., "threads": ..., "fp32": {shape: TFLOP/s}, "bf16": {...}}; those that the machine does."""
    import torch

    from embexp.training.hardware import fast_bf16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    side = SQUARE[device]
    shapes = {**SHAPES, f"{side} x {side} x {side}": (side, side, side)}
    name = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
    found: dict[str, Any] = {"device": device, "name": name, "threads": torch.get_num_threads()}
    precisions = {"fp32": torch.float32}
    # A CPU that must feign it takes minutes for what else takes a second, and no side computes in it there.
    if device == "cuda" or fast_bf16() is not None:
        precisions["bf16"] = torch.bfloat16
    if device == "cuda":
        precisions["fp16"] = torch.float16
    for precision, dtype in precisions.items():
        found[precision] = {shape: _teraflops(torch, size, dtype, device) for shape, size in shapes.items()}
    return found


def _teraflops(torch: Any, size: tuple[int, int, int], dtype: Any, device: str) -> float:
    rows, width, out = size
    one = torch.randn(rows, width, device=device, dtype=dtype)
    other = torch.randn(width, out, device=device, dtype=dtype)

    def multiply(times: int) -> None:
        for _ in range(times):
            one @ other
        if device == "cuda":
            torch.cuda.synchronize()

    multiply(3)
    begun, times = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        multiply(5)
        times += 5
    return float(2 * rows * width * out * times / (time.perf_counter() - begun) / 1e12)


if __name__ == "__main__":
    print(json.dumps(measure_peaks()))

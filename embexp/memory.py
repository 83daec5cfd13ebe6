"""The most memory that was in use while something ran."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CLEAR_PEAK = Path("/proc/self/clear_refs")
STATUS = Path("/proc/self/status")


@contextmanager
def peak_memory(device: str) -> Iterator[list[int]]:
    """Holds, afterwards, the most bytes in use meanwhile: of the GPU, or of the whole process where Linux tells it."""
    peak: list[int] = []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        # Not what was allocated: that does not count what a recorded graph holds.
        peak.append(torch.cuda.max_memory_reserved())
        return
    try:
        CLEAR_PEAK.write_text("5")  # sets the process's peak back to what it uses now
        resettable = True
    except OSError:
        resettable = False
    yield peak
    if resettable:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        peak.append(int(line.split()[1]) * 1024)

"""The processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# Read when embexp is imported: torch's import may bind the main thread to one of them.
AFFINITY = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_cores() -> int:
    """Cores that this process may use: its affinity, cut to a container's quota."""
    try:
        quota, period = CPU_QUOTA.read_text().split()
    except (OSError, ValueError):
        return AFFINITY
    return AFFINITY if quota == "max" else max(1, min(AFFINITY, int(quota) // int(period)))

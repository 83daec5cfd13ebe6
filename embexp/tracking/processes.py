"""Whether the process that made a run is still there: its number may be another's by now."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

# Of a process of somebody else's, on a machine that shows only one's own.
HIDDEN = "hidden"
GONE = "gone"
# Zombies: they have ended, and whoever started them has not asked how.
ENDED = ("Z", "X")
BOOT = Path("/proc/sys/kernel/random/boot_id")


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that made a run of this machine is gone."""
    if tags.get("embexp.host") != socket.gethostname() or "embexp.pid" not in tags:
        return False
    return not is_there(int(tags["embexp.pid"]), tags.get("embexp.pid_started", ""))


def is_there(pid: int, started: str) -> bool:
    """Whether a process of this machine has this number and was started then; true where it is not to be seen.

    Args:
        pid: its number.
        started: from `started_at`; runs of earlier versions have the time of day.
    """
    now = started_at(pid) if ":" in started else _time_of_day(pid)
    return now in (started, HIDDEN)


def started_at(pid: int) -> str:
    """When a process of this machine was started; GONE where there is none of this number, HIDDEN where it is not to be seen.

    On Linux since which boot and at which of its ticks: a time of day would be another after the clock is set.
    """
    try:
        # A name may be cut within a letter.
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = status.rpartition(")")[2].split()
        return GONE if state in ENDED else f"{BOOT.read_text(encoding='utf-8').strip()}:{fields[18]}"
    except (OSError, ValueError, IndexError):
        return _time_of_day(pid)


def _time_of_day(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return GONE if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else str(process.create_time())
    except psutil.AccessDenied:
        return HIDDEN
    except psutil.Error:
        return HIDDEN if _is_another_users(pid) else GONE


def _is_another_users(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False

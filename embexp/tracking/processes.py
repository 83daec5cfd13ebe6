"""Whether the process that made a run is still there: its number may be another's by now, or be counted in another container."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path

# Of a process of somebody else's, on a machine that shows only one's own.
HIDDEN = "hidden"
ABSENT = "absent"
# Zombies: they have ended, and whoever started them has not asked how.
ENDED = ("Z", "X")
BOOT = Path("/proc/sys/kernel/random/boot_id")
# In which this process has its number.
NAMESPACE = Path("/proc/self/ns/pid")


def owner_tags() -> dict[str, str]:
    """A run's tags by which this process is known again as the one that makes it."""
    return {
        "embexp.host": socket.gethostname(),
        "embexp.pid": str(os.getpid()),
        "embexp.pid_started": started_at(os.getpid()),
        "embexp.pid_namespace": _namespace(),
    }


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that made a run is gone; false where that cannot be seen from here."""
    return is_in_sight(tags) and not is_there(int(tags["embexp.pid"]), tags.get("embexp.pid_started", ""))


def is_in_sight(tags: Mapping[str, str]) -> bool:
    """Whether it can be seen from here if the process that made a run lives: it is of this machine, and of no other container.

    Containers may share a name (docker run --network host, apptainer -C), each with process numbers of its own.
    """
    if tags.get("embexp.host") != socket.gethostname() or "embexp.pid" not in tags:
        return False
    # Runs of earlier versions do not tell it.
    if tags.get("embexp.pid_namespace", _namespace()) == _namespace():
        return True
    # Whatever container it was in, it has not outlived its machine's last start.
    return _boot_of(tags.get("embexp.pid_started", "")) != _boot_of(started_at(os.getpid()))


def is_there(pid: int, started: str) -> bool:
    """Whether a process of this machine has this number and was started then; true where it is not to be seen.

    Args:
        pid: its number.
        started: from `started_at`; runs of earlier versions have the time of day.
    """
    now = started_at(pid) if ":" in started else _time_of_day(pid)
    return now in (started, HIDDEN)


def started_at(pid: int) -> str:
    """When a process of this machine was started; ABSENT where there is none of this number, HIDDEN where it is not to be seen.

    On Linux since which boot and at which of its ticks: a time of day would be another after the clock is set.
    """
    try:
        # A name may be cut within a letter.
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = status.rpartition(")")[2].split()
        return ABSENT if state in ENDED else f"{BOOT.read_text(encoding='utf-8').strip()}:{fields[18]}"
    except (OSError, ValueError, IndexError):
        return _time_of_day(pid)


def _boot_of(started: str) -> str:
    return started.rpartition(":")[0]


def _namespace() -> str:
    """That of this process's number; "none" where numbers are not told apart so."""
    try:
        return os.readlink(NAMESPACE)
    except OSError:
        return "none"


def _time_of_day(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return ABSENT if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD) else str(process.create_time())
    except psutil.AccessDenied:
        return HIDDEN
    except psutil.Error:
        return HIDDEN if _is_another_users(pid) else ABSENT


def _is_another_users(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False

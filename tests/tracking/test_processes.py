"""Whether the process that made a run is still there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import psutil
import pytest

from embexp.tracking.processes import BOOT, HIDDEN, NAMESPACE, is_dead, owner_tags, started_at


@pytest.mark.skipif(not BOOT.is_file(), reason="no /proc: a process is known by the time of day")
def test_a_clock_that_was_set_does_not_end_a_process(monkeypatch):
    tags = {"embexp.host": socket.gethostname(), "embexp.pid": str(os.getpid())}
    tags["embexp.pid_started"] = started_at(os.getpid())
    monkeypatch.setattr("psutil.Process.create_time", lambda _: 0.0)
    assert not is_dead(tags)
    assert is_dead({**tags, "embexp.pid_started": "another boot:1"})
    assert is_dead({**tags, "embexp.pid": str(2**22 + 1)})


def test_a_process_that_has_ended_is_dead_though_nobody_has_asked_how():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        tags = {"embexp.host": socket.gethostname(), "embexp.pid": str(process.pid)}
        tags["embexp.pid_started"] = started_at(process.pid)
        by_time_of_day = {**tags, "embexp.pid_started": str(psutil.Process(process.pid).create_time())}
        assert not is_dead(tags)
        assert not is_dead(by_time_of_day)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(tags)
        assert is_dead(by_time_of_day)


@pytest.mark.skipif(not NAMESPACE.exists(), reason="no /proc: a number is one process's on the whole machine")
def test_a_process_of_another_container_is_held_for_dead_only_since_the_machine_was_started_anew():
    # Its number is nobody's here.
    tags = {**owner_tags(), "embexp.pid": str(2**22 + 1)}
    elsewhere = {**tags, "embexp.pid_namespace": "pid:[1]"}
    assert is_dead(tags)
    assert not is_dead(elsewhere)
    assert is_dead({**elsewhere, "embexp.pid_started": "another boot:1"})


def test_a_process_of_an_earlier_version_is_known_by_the_time_of_day():
    tags = {"embexp.host": socket.gethostname(), "embexp.pid": str(os.getpid())}
    assert not is_dead({**tags, "embexp.pid_started": str(psutil.Process().create_time())})
    assert is_dead({**tags, "embexp.pid_started": "1.0"})


def test_a_process_that_is_not_to_be_seen_is_not_dead(monkeypatch):
    monkeypatch.setattr("embexp.tracking.processes._time_of_day", lambda _: HIDDEN)
    tags = {"embexp.host": socket.gethostname(), "embexp.pid": "7", "embexp.pid_started": "x"}
    assert not is_dead(tags)

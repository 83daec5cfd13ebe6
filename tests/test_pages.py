"""Memory that is kept from step to step: no new pages within it, given back after it."""

from __future__ import annotations

import platform
import resource
from pathlib import Path

import pytest
import torch

from embexp.pages import freed_memory_kept

PAGES = 25_000  # of 4 KiB, which 100 MB are
NUMBERS = PAGES * 4096 // 4


def faults_of_a_large_tensor() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(NUMBERS)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def in_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")
def test_what_is_freed_is_there_for_what_comes_next_and_given_back_at_the_end():
    faults_of_a_large_tensor()
    assert faults_of_a_large_tensor() > PAGES // 2
    before = in_memory()
    with freed_memory_kept():
        # The first ones of a size find room of a few bytes less than they ask for, with which they were aligned.
        for _ in range(20):
            faults_of_a_large_tensor()
        assert max(faults_of_a_large_tensor() for _ in range(3)) < PAGES // 100
        assert in_memory() > before + 90_000_000
    assert in_memory() < before + 20_000_000
    assert faults_of_a_large_tensor() > PAGES // 2


def test_on_another_libc_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    with freed_memory_kept():
        pass

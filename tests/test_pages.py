"""Memory that is kept from step to step: no new pages within it, given back after it."""

from __future__ import annotations

import ctypes
import platform
import resource
from pathlib import Path

import pytest

from embexp.pages import OF_A_PERSON, freed_memory_kept

LARGE, MIDDLING = 100_000_000, 8_000_000
of_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep memory")


@pytest.fixture(autouse=True)
def nobody_told_it(monkeypatch):
    for name in OF_A_PERSON:
        monkeypatch.delenv(name, raising=False)


def faults_of(size: int) -> int:
    """Of memory that is allocated, written to and freed."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    place = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
    ctypes.memset(place, 1, size)
    libc.free(place)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def in_memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@of_glibc
def test_what_is_freed_is_there_for_what_comes_next_and_given_back_at_the_end():
    outside = min(faults_of(LARGE) for _ in range(3))
    before = in_memory()
    with freed_memory_kept():
        faults_of(LARGE)
        assert 20 * max(faults_of(LARGE) for _ in range(3)) <= outside
        assert in_memory() > before + 90_000_000
    assert in_memory() < before + 20_000_000
    assert min(faults_of(LARGE) for _ in range(3)) > outside // 2


@of_glibc
def test_what_is_not_so_large_stays_afterwards_too_as_in_a_process_that_was_never_told():
    with freed_memory_kept():
        pass
    first = faults_of(MIDDLING)
    assert 20 * max(faults_of(MIDDLING) for _ in range(3)) <= first + 20


@of_glibc
def test_who_told_glibc_otherwise_is_heeded(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    outside = min(faults_of(LARGE) for _ in range(3))
    with freed_memory_kept():
        faults_of(LARGE)
        assert faults_of(LARGE) > outside // 2


def test_on_another_libc_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr("ctypes.CDLL", None)
    with freed_memory_kept():
        pass

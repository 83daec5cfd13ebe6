"""Memory for what torch allocates on the CPU: in large pages, and kept from step to step.

A step's large buffers are new in every step. In pages of 2 MiB instead of 4 KiB, where Linux gives them on demand (transparent
huge pages), they cost far fewer page faults. And what is freed glibc gives back to the system at once, if it is large: the
next step's is new memory, which Linux fills with zeros first. Kept, it is there already.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# torch's own variable, which it reads at its first allocation.
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
# glibc's mallopt(3): what is freed at the heap's end goes back from so many bytes on; from how many bytes on, and how often,
# something may lie outside of the heap, which goes back in any case.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEEPING = {M_TRIM_THRESHOLD: -1, M_MMAP_MAX: 0}
# What glibc comes to by itself when something large has been freed; once it was told anything, it learns no more.
AFTERWARDS = {M_TRIM_THRESHOLD: 64 * 2**20, M_MMAP_THRESHOLD: 32 * 2**20, M_MMAP_MAX: 65_536}
# By these a person has told it.
OF_A_PERSON = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def ask_for_large_pages() -> None:
    """Of torch, in this process and those that it starts, unless the environment says otherwise; before torch is used."""
    os.environ.setdefault(LARGE_PAGES, "1")


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within it what is freed stays with the process, for what is allocated next; afterwards it is given back.

    Of glibc alone, and not where the environment has told it how to do.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in OF_A_PERSON):
        yield
        return
    libc = ctypes.CDLL(None)
    for option, value in KEEPING.items():
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in AFTERWARDS.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)

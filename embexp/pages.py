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
# glibc's mallopt(3): what is freed at the heap's end goes back from so many bytes on; how much may lie outside of the heap, which
# goes back in any case. Its own values, and those by which all is kept.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
ITS_OWN = {M_TRIM_THRESHOLD: 128 * 1024, M_MMAP_MAX: 65_536}
KEEPING = {M_TRIM_THRESHOLD: -1, M_MMAP_MAX: 0}


def ask_for_large_pages() -> None:
    """Of torch, in this process and those that it starts, unless the environment says otherwise; before torch is used."""
    os.environ.setdefault(LARGE_PAGES, "1")


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within it what is freed stays with the process, for what is allocated next; afterwards it is given back. Of glibc alone."""
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    for option, value in KEEPING.items():
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in ITS_OWN.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)

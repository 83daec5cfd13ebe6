"""Large pages for what torch allocates on the CPU, where Linux gives them on demand (transparent huge pages).

A step's large buffers are new in every step; in pages of 2 MiB instead of 4 KiB they cost far fewer page faults.
"""

from __future__ import annotations

import os

# torch's own variable, which it reads at its first allocation.
LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"


def ask_for_large_pages() -> None:
    """Of torch, in this process and those that it starts, unless the environment says otherwise; before torch is used."""
    os.environ.setdefault(LARGE_PAGES, "1")

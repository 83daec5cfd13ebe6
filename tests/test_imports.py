"""The imports of a process of embexp's own: made without the garbage collector, and out of its way for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Imports with torch already there, or not, and tells what the collector does and looks through afterwards.
TELL = """
import gc, sys, types
from embexp.imports import uncollected
sys.modules.update({known})
frozen = gc.get_freeze_count()
with uncollected():
    inside = gc.isenabled()
    made = [[] for _ in range(5000)]
print(inside, gc.isenabled(), gc.get_freeze_count() - frozen >= 5000)
"""


@pytest.mark.parametrize(
    ("known", "told"),
    [("{}", "False True True"), ("torch=types.ModuleType('torch')", "True True False")],
    ids=["first", "torch-is-there"],
)
def test_what_is_imported_is_not_looked_through_unless_torch_was_there(known, told):
    code = TELL.format(known=known)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == told.split()


FAIL = """
import gc
from embexp.imports import uncollected
try:
    with uncollected():
        import no_such_module
except ImportError:
    print(gc.isenabled())
"""


def test_a_failed_import_leaves_the_collector_on():
    done = subprocess.run([sys.executable, "-c", FAIL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"

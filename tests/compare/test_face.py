"""What the package shows of its modules, each loaded when it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from embexp import compare


@pytest.mark.parametrize("name", compare.__all__)
def test_all_that_it_names_is_there(name):
    assert getattr(compare, name) is not None


def test_what_it_does_not_name_is_told():
    with pytest.raises(AttributeError, match=r"module 'embexp\.compare' has no attribute 'ranked'"):
        compare.ranked  # noqa: B018


def test_runs_are_read_without_what_tables_need():
    code = "import sys, embexp.compare; embexp.compare.read_runs; print('embexp.compare.table' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

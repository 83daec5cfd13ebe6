"""Temporary folders: they go with what needs them, and with the next one's where nobody could take them away."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from embexp.temporary import TemporaryFolder

# Says where its folder is, and waits to be killed.
ANOTHER = (
    "from embexp.temporary import TemporaryFolder; folder = TemporaryFolder('embexp-test-');"
    "(folder.path / 'file').touch(); print(folder.path, flush=True); input()"
)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder for temporary ones, of this process and of those that it starts."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


@pytest.fixture
def another(temporary):
    """Another process that has one."""
    with subprocess.Popen([sys.executable, "-c", ANOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_it_goes_with_the_object_and_is_removed_once(temporary):
    folder = TemporaryFolder("embexp-test-")
    assert folder.path.parent == temporary
    assert folder.path.is_dir()
    folder.remove()
    folder.remove()
    assert not list(temporary.iterdir())
    folder = TemporaryFolder("embexp-test-")
    del folder
    gc.collect()
    assert not list(temporary.iterdir())


def test_what_a_killed_process_has_left_goes_with_the_next(another, temporary):
    another.kill()
    another.wait()
    assert len(list(temporary.glob("embexp-test-*/file"))) == 1
    folder = TemporaryFolder("embexp-test-")
    assert set(temporary.iterdir()) == {folder.path, folder.path.with_name(f"{folder.path.name}.lock")}


def test_that_of_a_process_that_lives_stays_and_goes_when_it_ends(another, temporary):
    TemporaryFolder("embexp-test-").remove()
    assert len(list(temporary.glob("embexp-test-*/file"))) == 1
    another.communicate(b"\n")
    assert not list(temporary.iterdir())


def test_it_outlives_a_process_that_was_forked_meanwhile(temporary):
    folder = TemporaryFolder("embexp-test-")
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    TemporaryFolder("embexp-test-").remove()
    assert folder.path.is_dir()


def test_what_somebody_else_has_under_such_a_name_stays(temporary):
    (temporary / "embexp-test-own").mkdir()
    (temporary / "embexp-test-x.lock").mkdir()
    TemporaryFolder("embexp-test-").remove()
    assert len(list(temporary.iterdir())) == 2

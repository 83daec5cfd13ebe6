"""Checkpoints: whole or not there, and a full disk harms nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from embexp.training.checkpoints import CheckpointFailed, Checkpoints, write_progress

WEIGHTS = {"w": torch.arange(1000, dtype=torch.float32)}


def write(checkpoints: Checkpoints, step: int, *, best_step: int = 1, floats: int = 1000) -> None:
    with checkpoints.writing(step, best_step=best_step, best_weights=WEIGHTS) as partial:
        folder = partial / f"checkpoint-{step}"
        folder.mkdir()
        torch.save(torch.rand(floats), folder / "weights.pt")
        write_progress(folder, {"best": {"step": best_step}})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_and_the_best_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step, best in ((1, 1), (2, 1), (3, 3), (4, 3)):
        write(checkpoints, step, best_step=best)
    assert names(tmp_path) == ["best-3.pt", "checkpoint-3", "checkpoint-4"]
    assert checkpoints.last() == tmp_path / "checkpoint-4"
    assert torch.equal(checkpoints.best_weights(3)["w"], WEIGHTS["w"])


def test_the_best_weights_stay_as_long_as_a_checkpoint_needs_them(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, best_step=1)
    write(checkpoints, 2, best_step=2)
    assert names(tmp_path) == ["best-1.pt", "best-2.pt", "checkpoint-1", "checkpoint-2"]


@pytest.mark.parametrize("harm", ["cut", "lost", "changed", "no manifest", "best cut"])
def test_a_checkpoint_that_is_not_whole_is_told_and_the_one_before_is_used(tmp_path, harm, caplog):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1, best_step=1)
    write(checkpoints, 2, best_step=2)
    weights = tmp_path / "checkpoint-2" / "weights.pt"
    if harm == "cut":
        os.truncate(weights, 100)
    elif harm == "lost":
        weights.unlink()
    elif harm == "changed":
        content = bytearray(weights.read_bytes())
        content[-1000] ^= 1
        weights.write_bytes(content)
    elif harm == "no manifest":
        (tmp_path / "checkpoint-2" / "manifest.json").unlink()
    else:
        os.truncate(tmp_path / "best-2.pt", 100)
    assert checkpoints.last() == tmp_path / "checkpoint-1"
    assert "checkpoint of step 2" in caplog.text
    assert names(tmp_path) == ["best-1.pt", "checkpoint-1"]


def test_what_was_left_half_written_is_cleared_away(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1)
    (tmp_path / ".partial" / "checkpoint-2").mkdir(parents=True)
    (tmp_path / "best-2.pt").write_bytes(b"of a step whose checkpoint never came")
    assert checkpoints.last() == tmp_path / "checkpoint-1"
    assert names(tmp_path) == ["best-1.pt", "checkpoint-1"]


def test_a_failure_to_write_leaves_what_was_there(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    write(checkpoints, 1)
    before = names(tmp_path)
    monkeypatch.setattr(torch, "save", Mock(side_effect=OSError("no room")))
    with pytest.raises(CheckpointFailed, match=r"step 2 .*MiB free.*no room; that of step 1 is whole\. Make room"):
        write(checkpoints, 2)
    assert names(tmp_path) == before
    assert checkpoints.last() == tmp_path / "checkpoint-1"


def test_too_little_room_is_told_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 2**20))
    with pytest.raises(CheckpointFailed, match=r"take up to 42 MiB, 1\.0 MiB are free; .*trainer\.checkpoints=false"):
        Checkpoints(tmp_path).refuse_a_full_disk(torch.nn.Linear(1000, 1000))


def test_what_a_run_holds_already_is_no_room_that_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 20 * 2**20))
    module = torch.nn.Linear(1000, 1000)
    with pytest.raises(CheckpointFailed, match="take up to 42 MiB, 20 MiB are free"):
        Checkpoints(tmp_path).refuse_a_full_disk(module)
    (tmp_path / "checkpoint-5").mkdir()
    (tmp_path / "checkpoint-5" / "weights.pt").write_bytes(bytes(25 * 2**20))
    Checkpoints(tmp_path).refuse_a_full_disk(module)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here: it needs root")
    yield folder
    # Lazily: what a test still holds open there keeps it busy.
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_earlier_checkpoint_loads(small_disk):
    checkpoints = Checkpoints(small_disk)
    write(checkpoints, 1, floats=2_000_000)
    with pytest.raises(CheckpointFailed, match=r"could not be written to .* MiB free.*that of step 1 is whole"):
        write(checkpoints, 2, floats=3_000_000)
    assert checkpoints.last() == small_disk / "checkpoint-1"
    assert torch.load(small_disk / "checkpoint-1" / "weights.pt", weights_only=True).shape == (2_000_000,)
    assert names(small_disk) == ["best-1.pt", "checkpoint-1"]

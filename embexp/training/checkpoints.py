"""Checkpoints: written whole or not at all, and looked at before they are trusted.

A checkpoint is a folder `checkpoint-<step>`: what the Trainer writes, all that is trained, and how far the run had come.
It is written under another name; its manifest, the sha256 of every file, comes last; then it is renamed. The weights of
the best step lie beside it, written when they change. The last two checkpoints are kept, so that a broken one costs the
steps between them and not the run.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from embexp.identity import sha256_of
from embexp.units import readable

log = logging.getLogger(__name__)

MANIFEST, PROGRESS, BEST = "manifest.json", "progress.json", "best"
PARTIAL = ".partial"
KEPT = 2
# In weights: two checkpoints and one being written, each of the weights and their two moments, and two best ones.
COPIES_OF_WEIGHTS = 3 * 3 + 2


class CheckpointFailed(Exception):
    """A checkpoint could not be written; the message says where, why, and what is still whole."""


class Checkpoints:
    """The checkpoints of one run, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Of the checkpoints that are there, oldest first."""
        return sorted(int(path.name.rpartition("-")[2]) for path in self.folder.glob("checkpoint-*"))

    def at(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"checkpoint-{step}"

    def last(self) -> Path | None:
        """The newest checkpoint that is whole; what is not is told and removed."""
        shutil.rmtree(self.folder / PARTIAL, ignore_errors=True)
        for step in reversed(self.steps()):
            broken = self._broken(self.at(step))
            if broken is None:
                self._rotate()
                return self.at(step)
            log.warning("checkpoint of step %d: %s; it is left out, the one before is used", step, broken)
            shutil.rmtree(self.at(step))
        self._rotate()
        return None

    def _broken(self, checkpoint: Path) -> str | None:
        try:
            files = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return f"its {MANIFEST} is missing or cannot be read"
        for name, digest in files.items():
            path = checkpoint / name
            if not path.is_file():
                return f"{name} is missing"
            if sha256_of(path) != digest:
                return f"{name} has changed since it was written"
        return None

    @contextmanager
    def writing(self, step: int, *, best_step: int, best_weights: dict[str, torch.Tensor]) -> Iterator[Path]:
        """Gives the folder to write to; when its files are there, seals and renames them, and removes what is older.

        Raises:
            CheckpointFailed: the disk is full, or cannot be written; what was there is as it was.
        """
        partial = self.folder / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            best = self._best(best_step)
            if not best.is_file():
                torch.save(best_weights, partial / best.name)
                os.replace(partial / best.name, best)
            yield partial
            self._seal(self.at(step), best)
        except (OSError, RuntimeError) as error:
            # torch tells of a full disk as a RuntimeError.
            raise CheckpointFailed(self._why(step, error)) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._rotate()

    def _seal(self, checkpoint: Path, best: Path) -> None:
        written = self.folder / PARTIAL / checkpoint.name
        files = {path.relative_to(written).as_posix(): path for path in written.rglob("*") if path.is_file()}
        digests = {name: sha256_of(path) for name, path in sorted(files.items())}
        digests[f"../{best.name}"] = sha256_of(best)
        (written / MANIFEST).write_text(json.dumps(digests, indent=1), encoding="utf-8")
        if checkpoint.is_dir():
            shutil.rmtree(checkpoint)
        written.rename(checkpoint)

    def _rotate(self) -> None:
        kept = self.steps()[-KEPT:]
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self.at(step))
        needed = {self._best(_best_step(self.at(step))) for step in kept}
        for path in self.folder.glob(f"{BEST}-*.pt"):
            if path not in needed:
                path.unlink()

    def best_weights(self, step: int) -> dict[str, torch.Tensor]:
        """The weights that were best, from beside the checkpoints."""
        weights: dict[str, torch.Tensor] = torch.load(self._best(step), map_location="cpu", weights_only=True)
        return weights

    def _best(self, step: int | None) -> Path:
        return self.folder / f"{BEST}-{step}.pt"

    def _why(self, step: int, error: Exception) -> str:
        whole = self.steps()
        before = f"that of step {whole[-1]} is whole" if whole else "there is none before it"
        free = shutil.disk_usage(self.folder).free / 2**20
        return (
            f"the checkpoint of step {step} could not be written to {self.folder} ({free:.0f} MiB free): {error}; "
            f"{before}. Make room, or set trainer.checkpoint_folder, and give the same command again."
        )

    def refuse_a_full_disk(self, module: torch.nn.Module) -> None:
        """Asks for the room that the run's checkpoints will take, less what is taken already, before it is trained.

        Raises:
            CheckpointFailed: there is less.
        """
        weights = sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
        self.folder.mkdir(parents=True, exist_ok=True)
        held = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        needed = max(0, weights * COPIES_OF_WEIGHTS - held)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise CheckpointFailed(
                f"{self.folder}: this run's checkpoints will take up to {readable('bytes', needed)}, {readable('bytes', free)} "
                "are free; make room, set trainer.checkpoint_folder, or train without them: trainer.checkpoints=false."
            )


def write_progress(folder: Path, progress: dict[str, Any]) -> None:
    """How far the run had come, as JSON: floats come back as they were."""
    (folder / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """The counterpart of `write_progress`."""
    progress: dict[str, Any] = json.loads((checkpoint / PROGRESS).read_text(encoding="utf-8"))
    return progress


def _best_step(checkpoint: Path) -> int | None:
    # An older checkpoint may be broken: it keeps nothing.
    try:
        return int(read_progress(checkpoint)["best"]["step"])
    except (OSError, ValueError, KeyError):
        return None

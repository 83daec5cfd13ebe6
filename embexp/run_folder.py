"""A run's folder: what the files in it are called, and whose they are.

A folder that a person has named may hold another run's files, or the person's own. A run makes a `Claim` to it before it
writes anything there: what another run left would be taken for its own, and what no run has left would be lost.
"""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.output import from_here
from embexp.tracking import Status
from embexp.tracking.journal import Journal, journals_in
from embexp.tracking.kept import send_at_last
from embexp.units import counted

log = logging.getLogger(__name__)

RESULT = "result.json"
# The folder of the weights, where they are kept.
MODEL = "model"
CONFIG, ENVIRONMENT, INPUTS, DIFF = "config.yaml", "environment.json", "inputs.json", "uncommitted.diff"
OVERRIDES = "overrides.yaml"
PREDICTIONS = "predictions.parquet"
# What is scored beside the pairs.
EVALUATIONS = "evaluations.json"
ARTIFACTS = (CONFIG, OVERRIDES, ENVIRONMENT, INPUTS, DIFF, RESULT, "run.log", PREDICTIONS)
# What a run has that came to be known by its key, and no other.
OF_A_KEY = (INPUTS, PREDICTIONS, EVALUATIONS)
# What every attempt leaves, whatever comes of it.
OF_AN_ATTEMPT = (CONFIG, OVERRIDES, ENVIRONMENT, DIFF, RESULT)
# What is said to who may not have this one.
ANOTHER_FOLDER = "Name another folder (hydra.run.dir=..., from Python folder=...)"


@dataclass
class Claim:
    """A run's claim to its folder; see the module's docstring.

    Attributes:
        folder: the run's.
        made: whether the folder is this run's.
        spares: whether it is another's, whose files stay as they are, the result among them.
        owns_model: whether the folder's model/ was put there by this run, now or in an attempt before.
    """

    folder: Path
    made: bool = False
    spares: bool = False
    owns_model: bool = False

    def make(self, key: str | None, *, keeps_model: bool) -> None:
        """Makes the folder that of the run of this key: what another run left there goes, what the same run left stays.

        What a store is yet to have of it is sent before. A folder that is refused stays as it is.

        Args:
            key: the run's.
            keeps_model: whether this run is to keep its model.

        Raises:
            ConfigError: another run's model is there, or files of it that are in no store and cannot be sent, or what no run has left
                where this one's files or model are to be.
        """
        before, model = self._before(), self.folder / MODEL
        held_by = before.get("key")
        is_same = held_by is not None and held_by == key
        self.owns_model = is_same and before.get("owns_model") is True
        in_the_way = self._in_the_way()
        # A person's own stays where it is, and a run that keeps no model goes beside it; another run's would be taken for this one's.
        is_another_s = held_by is not None and not is_same and before.get("owns_model", True)
        if model.exists() and not self.owns_model and (keeps_model or is_another_s):
            in_the_way.insert(0, model)
        if in_the_way:
            self.spares = True
            raise ConfigError(
                [
                    f"{from_here(path)}: is there already, and not from this run: {'its weights' if path == model else 'it'} would be "
                    f"lost, or taken for this run's. {ANOTHER_FOLDER}, or move it elsewhere."
                    for path in in_the_way
                ]
            )
        if held_by is not None and not is_same:
            whose = read_object(self.folder / RESULT).get("name", "its name is not known")
            if lost := self._in_no_store():
                self.spares = True
                here = from_here(self.folder)
                raise ConfigError(
                    [
                        f"{here}: holds another run ({whose}, key {held_by}); {counted(lost, 'file')} of it would be lost, being in no "
                        f"store yet. python -m embexp.tracking sync {here}  sends what is missing. {ANOTHER_FOLDER}."
                    ]
                )
            log.warning(
                "%s: held another run (%s, key %s); its files are replaced", from_here(self.folder), whose, held_by
            )
            for name in (*OF_A_KEY, RESULT):
                (self.folder / name).unlink(missing_ok=True)
        self.made = True

    def spare_another_s(self, key: str | None) -> None:
        """At the end of an attempt: one that has not come to claim the folder leaves what another run, or a person, has there."""
        if not self.made:
            self.spares = self.spares or self._is_of_another(key)

    def _in_no_store(self) -> int:
        """How many files this run's would be written over that are nowhere else, though it was tried to send them."""
        waiting = [journal for journal in journals_in(self.folder) if _to_be_replaced(journal)]
        for journal in waiting:
            send_at_last(journal)
        return len({path for journal in waiting for path in _to_be_replaced(journal)})

    def _before(self) -> dict[str, Any]:
        """What the folder tells of the run that it was last; empty where it was none's."""
        told = (read_object(self.folder / name) for name in (INPUTS, RESULT))
        return next((found for found in told if "key" in found), {})

    def _in_the_way(self) -> list[Path]:
        """The files that no run has left, where a run's are to be."""
        before = self._before()
        if before.get("key") is not None:
            return []
        # Of an attempt that came to no key the result is there.
        names = OF_A_KEY if before else (*OF_A_KEY, *OF_AN_ATTEMPT)
        return [path for name in names if (path := self.folder / name).exists()]

    def _is_of_another(self, key: str | None) -> bool:
        has_finished = read_object(self.folder / RESULT).get("status") == Status.FINISHED
        return bool(self._in_the_way()) or (has_finished and self._before().get("key") != key)


def _to_be_replaced(journal: Journal) -> list[Path]:
    """The files of a run that no store has, and that the next run in its folder writes over."""
    return [path for path in journal.files_to_send() if path.name in (*OF_A_KEY, *OF_AN_ATTEMPT)]


def read_object(path: Path) -> dict[str, Any]:
    """The content of a JSON file of a run; empty where there is none, or anything but an object in it."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_whole(path: Path, content: str | bytes) -> None:
    """Or not at all: of a run's result and inputs, the next attempt in its folder is known by them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if isinstance(content, str):
        partial.write_text(content, encoding="utf-8")
    else:
        partial.write_bytes(content)
    os.replace(partial, path)


def model_in(folder: Path) -> Path | None:
    """The model that a run left in its folder or among its artifacts; None where it left none: a folder called so may be a person's."""
    model = folder / MODEL
    return model if model.is_dir() and read_object(folder / RESULT).get("owns_model", True) else None

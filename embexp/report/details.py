"""What the report needs of a run beyond the table's row: its curve, its command, its files. Read when asked for."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from embexp.compare.runs import OF_STORE, Run
from embexp.report.fetched import Fetched
from embexp.run_folder import ENVIRONMENT, OVERRIDES, RESULT
from embexp.tracking import cautions_of, store_uri
from embexp.tracking.local import artifacts_and_tags_in, database_of, history_in
from embexp.tracking.store import client_of

log = logging.getLogger(__name__)

# How a command names the folder of options of one's own.
CONFIG_DIR = ("--config-dir", "-cd")


@dataclass
class Details:
    """One run's record.

    Attributes:
        run_id: the tracker's; None where there was none.
        tags: the tracker's; empty where there was none.
        uri: of the store, where it has the run's files elsewhere than in a folder of this machine.
        program: what made the run.
        fetched: what was brought here of these.
    """

    run_id: str | None
    folder: Path | None
    tags: dict[str, str] = field(default_factory=dict)
    uri: str | None = None
    program: str = "python -m embexp"
    fetched: Fetched = field(default_factory=Fetched)
    _history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    _database: Path | None = None

    def history(self, metric: str) -> list[tuple[int, float]]:
        """Every value of a metric as (step, value), in order of steps; of a repeated step the last."""
        found = self._history.get(metric, [])
        if self._database is not None and self.run_id is not None:
            found = history_in(self._database, self.run_id, metric)
        elif self.uri is not None and self.run_id is not None:
            entries = client_of(self.uri).get_metric_history(self.run_id, metric)
            found = [(entry.step, entry.value) for entry in entries]
        return sorted({step: value for step, value in found if value is not None}.items())

    def file(self, name: str) -> Path | None:
        """A file or folder that the run left; None where there is none. What was fetched goes with `fetched`."""
        if self.folder is not None:
            return path if (path := self.folder / name).exists() else None
        if self.uri is None or self.run_id is None:
            return None
        return self.fetched.file(self.run_id, name, uri=self.uri)

    def yaml(self, name: str) -> Any:
        """The content of one of its YAML files; None where there is none, or none that can be read, which is told."""
        return self._read(name, yaml.safe_load)

    def json(self, name: str) -> dict[str, Any]:
        """The content of one of its JSON files; empty where there is none, or none that can be read, which is told."""
        found = self._read(name, json.loads)
        return found if isinstance(found, dict) else {}

    def _read(self, name: str, parse: Callable[[str], Any]) -> Any:
        path = self.file(name)
        try:
            return None if path is None else parse(path.read_text(encoding="utf-8"))
        # One damaged file of one run is not to cost the others their report.
        except (OSError, ValueError, yaml.YAMLError) as error:
            log.warning(
                "run %s: %s cannot be read (%s): what it tells is left out", self.run_id, path, type(error).__name__
            )
            return None

    @cached_property
    def cautions(self) -> list[str]:
        """What was warned of its data and model when it was made: by its result, or where that cannot be read by the tracker."""
        return list(self.json(RESULT).get("cautions", cautions_of(self.tags)))

    @cached_property
    def command(self) -> str | None:
        """What trains this very run again: its own overrides, not those of its sweep; else the command that made it."""
        overrides = self.yaml(OVERRIDES)
        if overrides is None:
            return self.tags.get("embexp.command")
        return " ".join(filter(None, (self.program, self._config_dir(), shlex.join(overrides))))

    def _config_dir(self) -> str:
        """The flag that names the folder of options of one's own, as it was typed; empty where none was."""
        words = shlex.split(self.json(ENVIRONMENT).get("command") or self.tags.get("embexp.command", ""))
        for word, following in pairwise([*words, ""]):
            if word in CONFIG_DIR and following:
                return shlex.join(["--config-dir", following])
            if word.startswith(f"{CONFIG_DIR[0]}="):
                return shlex.quote(word)
        return ""


def details_of(run: Run, *, uri: str | None = None, fetched: Fetched | None = None) -> Details:
    """The record of a run that was read from a store or from its result.json.

    Args:
        run: whose record it is.
        uri: of the store; None: as for training.
        fetched: has the files that are brought here, of all runs of a report; None: these go with the record.
    """
    found = _record_of(run, uri)
    if fetched is not None:
        found.fetched = fetched
    if not run.is_trained:
        found.program = "python -m embexp.evaluate"
    return found


def _record_of(run: Run, uri: str | None) -> Details:
    if run.where.startswith(OF_STORE):
        return _of_store(run.where.removeprefix(OF_STORE), store_uri(uri))
    folder = Path(run.where) if Path(run.where).is_dir() else Path(run.where).parent
    if not (content := Details(None, folder).json(RESULT)):
        return Details(None, folder)
    # Of a run that had been trained before, this folder holds no more than its scores.
    if content["skipped"] and content["run_id"] is not None:
        return _of_store(content["run_id"], store_uri(uri))
    history = {name: [(step, value) for step, value in values] for name, values in content["history"].items()}
    return Details(content["run_id"], folder, _history=history)


def _of_store(run_id: str, where: str) -> Details:
    path = database_of(where)
    if path is None:
        return Details(run_id, None, dict(client_of(where).get_run(run_id).data.tags), uri=where)
    artifacts, tags = artifacts_and_tags_in(path, run_id)
    parts = urlsplit(artifacts)
    if parts.scheme in ("", "file"):
        return Details(run_id, Path(unquote(parts.path)) if parts.path else None, tags, _database=path)
    return Details(run_id, None, tags, uri=where, _database=path)

"""A store that is a file of this machine, read without MLflow, whose import takes seconds.

MLflow writes it. What it would not open as it is, or what is no such file, is left to MLflow: None is the answer then.
"""

from __future__ import annotations

import math
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from embexp.tracking.moved import artifacts_beside
from embexp.tracking.store import database_file, is_local, store_uri

# The scripts with which MLflow changes its tables, one after the other.
MIGRATIONS = Path("store", "db_migrations", "versions")
REVISION = re.compile(r"^(down_)?revision\s*(?::[^=\n]+)?=\s*(.+)$", re.MULTILINE)
NAME = re.compile(r"['\"](\w+)['\"]")


class StoredRun(NamedTuple):
    """A run as a store has it.

    Attributes:
        started: in milliseconds since 1970.
        artifacts: a path or URI.
        metrics: the last value of each that is a number.
    """

    run_id: str
    name: str
    status: str
    started: int
    artifacts: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


def stored(run: Any) -> StoredRun:
    """A run as MLflow's client gives it."""
    info, data = run.info, run.data
    return StoredRun(
        info.run_id,
        info.run_name,
        info.status,
        info.start_time,
        info.artifact_uri,
        data.params,
        {name: value for name, value in data.metrics.items() if not math.isnan(value)},
        data.tags,
    )


def database_of(uri: str | None) -> Path | None:
    """The file that a store is; None where it is none, or is opened in a way of its own."""
    where = store_uri(uri)
    return database_file(where) if is_local(where) and "?" not in where else None


def is_ready(uri: str | None, *, experiment: str) -> bool:
    """Whether the store is a file in which MLflow, as it is installed, can log to the experiment at once."""
    path = database_of(uri)
    if path is None or not path.is_file() or not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return False
    try:
        with closing(opened(path)) as database:
            active = database.execute(
                "SELECT 1 FROM experiments WHERE name = ? AND lifecycle_stage = 'active'", (experiment,)
            ).fetchone()
            revisions = database.execute("SELECT version_num FROM alembic_version").fetchall()
            return active is not None and revisions == [(_installed_revision(),)]
    except sqlite3.Error:
        return False


def ready_runs(
    uri: str | None, *, experiment: str, tag: tuple[str, str] | None = None, status: str | None = None
) -> list[StoredRun] | None:
    """What `runs_in` tells, the last begun first; None where the store has to be asked by MLflow."""
    path = database_of(uri)
    if path is None or not is_ready(uri, experiment=experiment):
        return None
    try:
        found = runs_in(path, experiment=experiment, tag=tag, status=status)
    except sqlite3.Error:
        return None
    return None if found is None else sorted(found, key=lambda run: run.started, reverse=True)


def holds(uri: str | None, run_id: str) -> bool | None:
    """Whether the store has a run, deleted or not; None where it has to be asked by MLflow."""
    path = database_of(uri)
    if path is None:
        return None
    if not path.is_file():
        return False
    try:
        with closing(opened(path)) as database:
            return database.execute("SELECT 1 FROM runs WHERE run_uuid = ?", (run_id,)).fetchone() is not None
    except sqlite3.Error:
        return None


def runs_in(
    path: Path, *, experiment: str, tag: tuple[str, str] | None = None, status: str | None = None
) -> list[StoredRun] | None:
    """The runs of an experiment that were not deleted, in no order; None where there is no such experiment.

    Args:
        path: of the store.
        experiment: its name.
        tag: a name and a value that they have; None: whatever they have.
        status: likewise.

    Raises:
        sqlite3.Error: it is no store, or locked by somebody who writes.
    """
    chosen, values = "SELECT run_uuid FROM runs WHERE experiment_id = ? AND lifecycle_stage = 'active'", []
    if status is not None:
        chosen, values = f"{chosen} AND status = ?", [status]
    if tag is not None:
        chosen = f"{chosen} AND run_uuid IN (SELECT run_uuid FROM tags WHERE key = ? AND value = ?)"
        values += tag
    with closing(opened(path)) as database:
        if database.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            raise sqlite3.DatabaseError("it is empty: python -m embexp.tracking sync --anew  fills it")
        found = database.execute("SELECT experiment_id FROM experiments WHERE name = ?", (experiment,)).fetchone()
        if found is None:
            return None

        def of_chosen(columns: str, *, more: str = "") -> Iterable[Any]:
            return database.execute(f"SELECT {columns} WHERE run_uuid IN ({chosen}){more}", (*found, *values))

        rows: list[tuple[str, str, str, int, str]] = list(
            of_chosen("run_uuid, name, status, start_time, artifact_uri FROM runs")
        )
        params = _by_run(of_chosen("run_uuid, key, value FROM params"))
        tags = _by_run(of_chosen("run_uuid, key, value FROM tags"))
        metrics = _by_run(of_chosen("run_uuid, key, value FROM latest_metrics", more=" AND NOT is_nan"))
    found = artifacts_beside(path, (uri for *_, uri in rows))
    return [
        StoredRun(*row[:4], artifacts, params[row[0]], metrics[row[0]], tags[row[0]])
        for row, artifacts in zip(rows, found, strict=True)
    ]


def history_in(path: Path, run_id: str, metric: str) -> list[tuple[int, float]]:
    """Every value of a metric as (step, value), in the order in which they were logged."""
    with closing(opened(path)) as database:
        return database.execute(
            "SELECT step, value FROM metrics WHERE run_uuid = ? AND key = ? AND NOT is_nan ORDER BY timestamp",
            (run_id, metric),
        ).fetchall()


def artifacts_and_tags_in(path: Path, run_id: str) -> tuple[str, dict[str, str]]:
    """Where a run's files are, "" where the store has no such run, and its tags."""
    with closing(opened(path)) as database:
        row = database.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
        tags = dict(database.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)).fetchall())
    return "".join(artifacts_beside(path, row or ())), tags


def opened(path: Path) -> sqlite3.Connection:
    """A database, to be read from alone."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def _by_run(rows: Iterable[Any]) -> Mapping[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for run_id, key, value in rows:
        found[run_id][key] = value
    return found


def _installed_revision() -> str | None:
    """The last change of the tables that the installed MLflow knows; None where that is not to be told."""
    package = find_spec("mlflow")
    if package is None or package.origin is None:
        return None
    made: set[str] = set()
    changed: set[str] = set()
    for script in (Path(package.origin).parent / MIGRATIONS).glob("*.py"):
        for before, names in REVISION.findall(script.read_text(encoding="utf-8")):
            (changed if before else made).update(NAME.findall(names))
    last = made - changed
    return last.pop() if len(last) == 1 else None

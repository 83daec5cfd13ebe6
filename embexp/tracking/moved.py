"""A working folder that was moved, or copied, with its store and its runs: these name each other by their full paths of before.

What the store names is looked for beside its database, what a journal names where it went along with the journal.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Where runs' files are, in the folder in which a store was made.
ARTIFACTS = "mlruns"


def moved_along(recorded: Path, *, was: Path, now: Path) -> Path:
    """Where a path is, if what was at `was` was moved to `now` and took it along.

    Both end alike below the folder that was moved; what was not in that stays where it is.
    """
    same = 0
    for before, after in zip(reversed(was.parts), reversed(now.parts), strict=False):
        if before != after:
            break
        same += 1
    left, reached = (Path(*path.parts[: len(path.parts) - same]) for path in (was, now))
    return reached / recorded.relative_to(left) if recorded.is_relative_to(left) else recorded


def local_path(uri: str) -> Path | None:
    """The path that a URI or a path names; None where that is of no file of this machine."""
    where = urlsplit(uri)
    return Path(unquote(where.path)) if where.scheme in ("", "file") and where.path else None


def artifacts_beside(database: Path, uris: Iterable[str | None]) -> list[str]:
    """Where runs' files are: beside the database, of those that are there and that the store has elsewhere; else as it says."""
    root = database.resolve().parent / ARTIFACTS
    here = f"{root.as_uri()}/"
    return [uri if uri.startswith(here) else _beside(root, uri) for uri in (uri or "" for uri in uris)]


def take_artifacts_along(database: Path) -> Path | None:
    """Has a store name its runs' files, and those to come, where they are since its folder was moved.

    MLflow would go on writing to the folder of before.

    Returns:
        Where they were; None where nothing was moved.

    Raises:
        sqlite3.Error: it is no store, or cannot be written to.
    """
    with closing(sqlite3.connect(database)) as opened, opened:
        runs = opened.execute("SELECT run_uuid, artifact_uri FROM runs").fetchall()
        found = artifacts_beside(database, (uri for _, uri in runs))
        moved = [(now, uri, run_id) for (run_id, uri), now in zip(runs, found, strict=True) if now != (uri or "")]
        if not moved:
            return None
        opened.executemany("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", [(now, id) for now, _, id in moved])
        left = {root for _, uri, _ in moved if (root := _root_of(uri))}
        reached = database.resolve().parent / ARTIFACTS
        for experiment, uri in opened.execute("SELECT experiment_id, artifact_location FROM experiments").fetchall():
            recorded = local_path(uri or "")
            if recorded is not None and (root := _root_of(uri)) in left:
                now = (reached / recorded.relative_to(root)).as_uri()
                opened.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, experiment)
                )
        return min(left)


def _beside(root: Path, uri: str) -> str:
    recorded, left = local_path(uri), _root_of(uri)
    if recorded is None or left is None:
        return uri
    beside = root / recorded.relative_to(left)
    # Where one folder has two names, the files are where the store says, too.
    if not beside.is_dir() or (recorded.is_dir() and recorded.samefile(beside)):
        return uri
    return beside.as_uri()


def _root_of(uri: str) -> Path | None:
    """The last folder of its path that is called as those are in which runs' files are."""
    path = local_path(uri)
    return None if path is None else next((each for each in (path, *path.parents) if each.name == ARTIFACTS), None)

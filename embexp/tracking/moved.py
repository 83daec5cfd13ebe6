"""A working folder that was moved, or copied, with its store and its runs: these name each other by their full paths of before.

What the store names is looked for beside its database, what a journal names where it went along with the journal.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Where runs' files are, in the folder in which a store was made.
ARTIFACTS = "mlruns"


def moved_along(recorded: Path, *, home: Path, folder: Path, now: Path) -> Path:
    """Where a path is, if it was in the working folder `home`, and this was moved with a folder in it, which is at `now`."""
    if not folder.is_relative_to(home) or not recorded.is_relative_to(home):
        return recorded
    below = folder.relative_to(home).parts
    if now.parts[len(now.parts) - len(below) :] != below:
        return recorded
    return Path(*now.parts[: len(now.parts) - len(below)]) / recorded.relative_to(home)


def local_path(uri: str) -> Path | None:
    """The path that a URI or a path names; None where that is of no file of this machine."""
    where = urlsplit(uri)
    return Path(unquote(where.path)) if where.scheme in ("", "file") and where.path else None


def artifacts_beside(database: Path, uris: Iterable[str | None]) -> list[str]:
    """Where runs' files are: beside the database, if it was moved or copied with them, of those that are there; else as it says."""
    found = [uri or "" for uri in uris]
    reached = database.resolve().parent / ARTIFACTS
    here = f"{reached.as_uri()}/"
    of_root: dict[Path, list[str]] = defaultdict(list)
    for uri in found:
        if uri and not uri.startswith(here) and (root := _root_of(uri)):
            of_root[root].append(uri)
    moved: dict[str, str] = {}
    for root, those in of_root.items() if of_root and reached.is_dir() else ():
        now = {uri: beside for uri in those if (beside := reached / _below(root, uri)).is_dir()}
        if now and _was_left(root, those, database):
            moved |= {uri: beside.as_uri() for uri, beside in now.items()}
    return [moved.get(uri, uri) for uri in found]


def told_to_be_gone(files: Path) -> str:
    """What is said of a run's files that are neither where its store says nor beside the database, with what to do."""
    return (
        f"its files are not at {files}; was the folder moved? Put {ARTIFACTS}/, in which they are, beside the store's database: "
        "they are found there"
    )


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
            if uri and (root := _root_of(uri)) in left:
                now = (reached / _below(root, uri)).as_uri()
                opened.execute(
                    "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?", (now, experiment)
                )
        return min(left)


def _was_left(root: Path, uris: Sequence[str], database: Path) -> bool:
    """Whether these runs' files are not there any more, or are those of another store, of which the database is a copy.

    A store may be elsewhere than its runs' files, and a copy of these beside it.
    """
    if not root.is_dir() or not any((root / _below(root, uri)).is_dir() for uri in uris):
        return True
    original = root.parent / database.name
    if not original.is_file() or original.samefile(database):
        return False
    try:
        with closing(sqlite3.connect(f"{original.as_uri()}?mode=ro", uri=True)) as opened:
            return opened.execute("SELECT 1 FROM runs WHERE artifact_uri = ?", (uris[0],)).fetchone() is not None
    except sqlite3.Error:
        return False


def _root_of(uri: str) -> Path | None:
    """The last folder of its path that is called as those are in which runs' files are."""
    path = local_path(uri)
    return None if path is None else next((each for each in (path, *path.parents) if each.name == ARTIFACTS), None)


def _below(root: Path, uri: str) -> Path:
    path = local_path(uri)
    assert path is not None
    return path.relative_to(root)

"""What the journals of this folder tell of runs made before, and that it is sent at last."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from embexp.tracking.journal import Entry, Journal, journals_under
from embexp.tracking.processes import is_dead
from embexp.tracking.protocol import FoundRun, Status, cautions_of, scored_on_of
from embexp.tracking.secrets import without_secrets
from embexp.tracking.sender import Sender, close_if_dead
from embexp.tracking.store import absolute, patience, store_uri, told, within

log = logging.getLogger(__name__)

# Where runs leave their folders, below the current one.
RUNS = Path("multirun")


def never_sent(folder: Path, *, uri: str | None, experiment: str) -> list[Journal]:
    """The journals below a folder of runs that have ended, or whose process is gone, and of which the store knows nothing."""
    store = without_secrets(absolute(store_uri(uri)))
    return [
        journal
        for journal in journals_under(folder, never_sent=True)
        if (start := journal.start)
        and (journal.uri, start["experiment"]) == (store, experiment)
        and (journal.end() or is_dead(start["tags"]))
    ]


def has_runs_of(uri: str | None, folder: Path) -> bool:
    """Whether runs below the folder were logged to the store."""
    store = without_secrets(absolute(store_uri(uri)))
    return any(journal.uri == store for journal in journals_under(folder))


def last_of(journals: Iterable[Journal], *, finished: bool) -> FoundRun | None:
    """The run that `Tracker.find_run` would tell of, known by its journal.

    Args:
        journals: of runs of one key, the oldest first.
        finished: whether a finished one may be told.
    """
    found = []
    for journal in journals:
        if close_if_dead(journal) and (end := journal.end()):
            status, folder = Status(end["status"]), str(journal.path.parent)
            if status is Status.FINISHED and not finished:
                continue
            first = _first_of(journal)
            tags = {**first.get("tags", {}), **_last_tags(journal)}
            found.append(
                FoundRun(
                    str(journal.path),
                    status,
                    _last_values(journal),
                    folder,
                    tags.get("embexp.missed"),
                    cautions_of(tags),
                    scored_on_of(tags),
                    first.get("time", 0.0) / 1000,
                )
            )
    found.sort(key=lambda run: run.status is Status.FINISHED)
    return found[-1] if found else None


def send_at_last(journal: Journal) -> None:
    """Sends what its store lacks, where that answers within a bounded time; why it was not sent is told."""
    uri = store_for(journal, None)

    def send() -> None:
        close_if_dead(journal)
        Sender(journal, uri).deliver()

    try:
        within(patience(uri), send)
    except Exception as error:  # whatever MLflow makes of a store that is away: its files are still there
        log.warning("tracker: %s was not sent (%s)", journal.path, told(error))


def store_for(journal: Journal, uri: str | None) -> str:
    """The store a journal belongs to, as it is named, or with the secrets of the environment's."""
    own = journal.store()
    named = os.environ.get("MLFLOW_TRACKING_URI", "")
    return uri or (named if named and without_secrets(named) == own else own)


def is_to_go_on(journal: Journal) -> bool:
    """Whether it ended before its run had finished."""
    end = journal.end()
    return end is not None and end["status"] != Status.FINISHED


def _before(journal: Journal) -> Journal | None:
    """The journal of the attempt that this one goes on with, where it is here."""
    reference = (journal.start or {}).get("continues") or {}
    path = journal.today(reference.get("journal", ""))
    return Journal(path) if path.is_file() else None


def _first_of(journal: Journal) -> Entry:
    before = _before(journal)
    return journal.start or {} if before is None else _first_of(before)


def _last_values(journal: Journal) -> dict[str, float]:
    before = _before(journal)
    values = {} if before is None else _last_values(before)
    for entry in journal.entries():
        if entry["kind"] == "metrics":
            values |= entry["values"]
    return values


def _last_tags(journal: Journal) -> dict[str, str]:
    tags: dict[str, str] = {}
    for entry in journal.entries():
        if entry["kind"] == "tags":
            tags |= entry["tags"]
    return tags

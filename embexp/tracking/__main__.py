"""Sends what a tracking server has missed.

    python -m embexp.tracking sync                    every journal under multirun/
    python -m embexp.tracking sync multirun/2026-11-23
    python -m embexp.tracking sync --uri http://me:secret@host:5000
    python -m embexp.tracking sync --anew             what a store had and has no more, too: it was removed, or purged

User name and password are not kept in a journal: name them with --uri, MLFLOW_TRACKING_URI, or MLflow's own
MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD. Exit 0: all that was logged has been sent; 1: something has not.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from filelock import Timeout

from embexp.config.errors import nearest
from embexp.run_folder import RESULT
from embexp.tracking.journal import Journal, in_order, journals_under
from embexp.tracking.kept import store_for
from embexp.tracking.local import database_of
from embexp.tracking.named import what_is_wrong_with
from embexp.tracking.secrets import without_secrets
from embexp.tracking.sender import RunIsGone, Sender, close_if_dead
from embexp.tracking.store import ExperimentIsDeleted, absolute, is_away, is_local, told
from embexp.units import counted

COMMAND, FLAGS = "sync", ("--uri", "--anew")
# MLflow's words for who may not do what was asked.
REFUSED = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED")


def sync(folders: Sequence[Path], *, uri: str | None, anew: bool = False) -> int:
    """Sends every journal under the folders, the oldest first, and says what became of it.

    Args:
        folders: in which runs are, at any depth.
        uri: of the store; None: the one that each run was logged to.
        anew: whether runs are sent again that the store had and has no more.

    Returns:
        How many are still not whole at the server.
    """
    everywhere = with_parents(journal for folder in folders for journal in journals_under(folder))
    found, missing = usable(everywhere, uri)
    # The end of a run whose process is gone is among what is to be sent.
    waiting = [journal for journal in found if not is_closed(journal) or is_missing(journal)]
    arrived = [journal for journal in found if journal not in waiting]
    gone, unknown = gone_from_their_stores(arrived, uri, ask=anew)
    missing += unknown
    renamed: Mapping[str, str] = {}
    if anew:
        waiting = [journal for journal in found if journal in waiting or journal in gone]
        renamed = made_anew(found, waiting, uri)
    else:
        tell_of_gone(gone, uri)
    for journal in waiting:
        missing += not sent_whole(journal, uri, sent_before=journal not in gone, renamed=renamed)
    if not everywhere:
        print(
            f"no run has logged anything in {', '.join(map(str, folders))}; if runs have folders of their own (hydra.run.dir=...), name "
            "these: python -m embexp.tracking sync FOLDER"
        )
    elif not waiting and not missing and not gone:
        print(f"nothing is missing: {counted(len(found), 'journal')} in {', '.join(map(str, folders))}")
    return missing


def usable(journals: Sequence[Journal], uri: str | None) -> tuple[list[Journal], int]:
    """Those that can be sent to the store, and how many of the others are not whole at theirs; why these are left alone is told."""
    found = [journal for journal in journals if uri is None or may_be_sent_to(uri, journal)]
    left = [journal for journal in journals if journal not in found]
    for other, count in Counter(journal.store() for journal in left).items():
        print(f"left alone, for they are of {other}: {counted(count, 'journal')}")
    unusable = told_unusable(found, uri)
    return [journal for journal in found if journal not in unusable], len(unusable) + sum(map(is_missing, left))


def tell_of_gone(journals: Sequence[Journal], uri: str | None) -> None:
    """Says how many a store had and has no more, and how they are sent again."""
    for where, count in Counter(without_secrets(store_for(journal, uri)) for journal in journals).items():
        print(f"sent before, and not in {where}: {counted(count, 'journal')}; with --anew they are sent again")


def sent_whole(journal: Journal, uri: str | None, *, sent_before: bool, renamed: Mapping[str, str]) -> bool:
    """Sends what the store lacks of a journal and says what became of it; whether all that there is of it has arrived.

    Args:
        journal: of the run.
        uri: of the store; None: the one that the run was logged to.
        sent_before: whether the store still has what was sent; else all lines count as sent now.
        renamed: see `Sender`.
    """
    before = journal.sent().bytes if sent_before else 0
    where = store_for(journal, uri)
    sender = Sender(journal, where, renamed=renamed)
    is_whole = True
    try:
        state = "all there" if sender.deliver() else "its run goes on"
        if sender.lost:
            state = f"{state} but {counted(len(sender.lost), 'file')} that a later run has replaced"
        if owed := journal.sent().owed:
            state = f"all but {counted(len(owed), 'file')}, which {without_secrets(where)} does not take; the same command tries again"
            is_whole = False
        state += f" · run {sender.run_id}" if sender.run_id else ""
    except Exception as error:
        state = f"not all sent ({told(error)}): {told_unsent(journal, where, error)}"
        is_whole = False
    lines = sum(1 for _ in journal.entries(before)) - sum(1 for _ in journal.entries(journal.sent().bytes))
    print(f"{journal.path.parent}: {counted(lines, 'line')} sent, {state}")
    return is_whole


def told_unsent(journal: Journal, where: str, error: Exception) -> str:
    """Of which run the store lacks something, in which file that is, and what to do."""
    name, run_id = (journal.start or {}).get("name", "its run"), journal.sent().run_id
    made = "no run there yet" if run_id is None else f"run {run_id} there"
    return f"{without_secrets(where)} has not all that {journal.path.name} has of {name} ({made}); {what_helps(journal, where, error)}"


def what_helps(journal: Journal, where: str, error: Exception) -> str:
    """What to do where a store did not take a run, or gave no answer about it: its journal keeps the rest."""
    again = "give the same command again"
    restore = f"restore it, and {again}: MLFLOW_TRACKING_URI={without_secrets(where)} mlflow"
    if isinstance(error, Timeout):
        return f"another process is sending it: {again} when that has ended"
    if isinstance(error, RunIsGone):
        return f"{restore} runs restore --run-id {journal.sent().run_id}"
    if isinstance(error, ExperimentIsDeleted):
        return f"{restore} experiments restore --experiment-id {error.id}"
    if getattr(error, "error_code", None) in REFUSED:
        return f"{again} with user and password: --uri, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    if is_away(error) and not isinstance(error, FileNotFoundError | PermissionError):
        return f"{again} when it answers, or, if it has moved, with its address: --uri"
    return f"mend that, and {again}"


def with_parents(journals: Iterable[Journal]) -> list[Journal]:
    """The journals, the oldest first, each once, and those of the sweeps that their runs belong to: a run is made with its parent."""
    found = {journal.path.resolve(): journal for journal in journals}
    left = list(found.values())
    while left:
        journal = left.pop()
        path = journal.today(((journal.start or {}).get("parent") or {}).get("journal", ""))
        if path.is_file() and path.resolve() not in found and Journal(path).start:
            found[path.resolve()] = Journal(path)
            left.append(found[path.resolve()])
    return in_order(found.values())


def told_unusable(journals: Sequence[Journal], uri: str | None) -> list[Journal]:
    """The journals whose store is a file of this machine that can be none: it is told once what is wrong, and what to do."""
    unusable: set[str] = set()
    for store in dict.fromkeys(store_for(journal, uri) for journal in journals):
        database = database_of(store)
        # Of one that can only be read, it can be told whether anything is missing in it.
        if database is None or not (database.is_file() and os.access(database, os.W_OK)):
            continue
        for problem in what_is_wrong_with(store):
            unusable.add(store)
            print(f"{without_secrets(store)}: {problem}")
    return [journal for journal in journals if store_for(journal, uri) in unusable]


def is_closed(journal: Journal) -> bool:
    """Whether it has an end; one whose process was killed gets it now, unless it cannot be written to, which is told."""
    try:
        return close_if_dead(journal)
    except OSError as error:
        print(f"{journal.path}: its end could not be written ({told(error)})")
        return False


def is_missing(journal: Journal) -> bool:
    """Whether a line of it, or a file, has not arrived."""
    return journal.unsent() > 0 or bool(journal.sent().owed)


def gone_from_their_stores(journals: Sequence[Journal], uri: str | None, *, ask: bool) -> tuple[list[Journal], int]:
    """Those that a store had and has no more, and how many could not be looked up.

    Args:
        journals: that were sent whole.
        uri: of the store; None: the one that each was sent to.
        ask: whether servers are asked too, of which each journal takes an answer.
    """
    gone, unknown = [], 0
    for journal in journals:
        where = store_for(journal, uri)
        sender, database = Sender(journal, where), database_of(where)
        if database is not None and not database.parent.is_dir():
            # These runs were copied or moved here: their store may have been, too.
            continue
        try:
            if (ask or database is not None) and sender.is_lost():
                gone.append(journal)
        except Exception as error:
            unknown += 1
            print(
                f"{journal.path.parent}: could not be looked up ({told(error)}): whether {without_secrets(where)} still has run "
                f"{journal.sent().run_id} of {journal.path.name}; {what_helps(journal, where, error)}"
            )
    return gone, unknown


def made_anew(found: Sequence[Journal], waiting: Sequence[Journal], uri: str | None) -> dict[str, str]:
    """Makes the runs of what waits to be sent; the ids of all that were found, by those that they had before: tags may name these."""
    for journal in waiting:
        # Whoever sends it comes upon the same, and tells of it.
        with suppress(Exception):
            Sender(journal, store_for(journal, uri)).make_run()
    every = [journal.sent() for journal in found]
    renamed = {before: str(sent.run_id) for sent in every for before in sent.formerly}
    for journal in found:
        rename_in(journal.path.with_name(RESULT), renamed)
    return renamed


def rename_in(result: Path, renamed: Mapping[str, str]) -> None:
    """Has a run's result name the run by the id that it has now."""
    with suppress(OSError, ValueError):
        content = json.loads(result.read_text(encoding="utf-8"))
        if content["run_id"] in renamed:
            partial = result.with_name(f".{result.name}.partial")
            partial.write_text(
                json.dumps({**content, "run_id": renamed[content["run_id"]]}, indent=1), encoding="utf-8"
            )
            os.replace(partial, result)


def may_be_sent_to(uri: str, journal: Journal) -> bool:
    """Whether a run is of this store, or of a server, which may have moved: one that is not there is made anew."""
    own = journal.store()
    return own.rstrip("/") == without_secrets(absolute(uri)).rstrip("/") or not is_local(own)


def told_absent(folder: Path) -> str:
    """What is wrong with what is named as a folder and is none."""
    if folder.is_file():
        return f"{folder}: is a file; name the folder that it is in: {folder.parent}"
    return f"{folder}: there is no such folder; name the folder that runs are in"


def what_is_no_word(command: str, flags: Sequence[str]) -> list[str]:
    """What is to be said of a command that there is not, and of flags of which there is none."""
    # Without what stands behind it, or beside: of a store that may be a password.
    typed = [word.partition("=")[0] for word in flags if word.startswith("-")]
    problems = [f"{flag}: there is no such flag.{nearest(flag, FLAGS)} All: --help." for flag in typed]
    if command != COMMAND:
        meant = f"{nearest(command, [COMMAND])} There is one: python -m embexp.tracking {COMMAND}."
        problems.insert(0, f"{command}: there is no such command.{meant}")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m embexp.tracking",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar=COMMAND, help="send what is missing")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("multirun")], help="default: multirun")
    parser.add_argument(
        "--uri", help="the store to send to, with its password; default: the one that each run was logged to"
    )
    parser.add_argument("--anew", action="store_true", help="send again what a store had and has no more")
    given, unknown = parser.parse_known_intermixed_args(arguments)
    if problems := what_is_no_word(given.command, unknown):
        print("\n".join(problems), file=sys.stderr)
        return 2
    if absent := [told_absent(folder) for folder in given.folders if not folder.is_dir()]:
        print("\n".join(absent), file=sys.stderr)
        return 1
    # Whether or not there is something to send to it; None is the store of each run.
    wrong = [] if given.uri is None else list(what_is_wrong_with(given.uri))
    if wrong:
        print("\n".join(f"--uri {without_secrets(given.uri)}: {problem}" for problem in wrong), file=sys.stderr)
        return 1
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    return 1 if sync(given.folders, uri=given.uri, anew=given.anew) else 0


if __name__ == "__main__":
    sys.exit(main())

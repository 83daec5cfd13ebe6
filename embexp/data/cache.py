"""Rows, views, their tokens, leaks that were found and scores before training, made once for every later run: Arrow files, mapped
into memory, not copied there.

An entry is a folder: the table, and the facts that go with it. It is found by a hash of all that it was made from (settings,
the content of the files, the code and libraries that made it), written under another name and then renamed: whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from embexp.config import VIEWS_OF_KIND, Data, ViewName
from embexp.data.negatives import Miner
from embexp.data.rows import KeptSource, Rows, Split, WritingSource
from embexp.data.tables import AT_ONCE, TABLE, UnwritableError
from embexp.data.views import View, is_directed, make_view
from embexp.home import expanded
from embexp.identity import code_of, sha256_of, versions
from embexp.locks import alone_with

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

FACTS = "facts.json"
PARTIAL = ".partial-"
ENTRY = re.compile(rf"({re.escape(PARTIAL)})?[0-9a-f]{{32}}")
# Whose versions decide how files are read and tables are written.
LIBRARIES = ("datasets", "pyarrow")
UNUSED_FOR = 30 * 24 * 3600  # seconds after which an entry is removed


class DamagedError(Exception):
    """An entry is not what was written."""


class Made(NamedTuple):
    """What is kept.

    Attributes:
        table: None where there is none.
        facts: what is to be known of it.
        lasting: whether it may be kept.
        in_one_piece: whether a column is read as one array, and not some rows at a time.
    """

    table: Dataset | None
    facts: dict[str, Any]
    lasting: bool = True
    in_one_piece: bool = False


class CachedSource:
    """A source of embexp's own, whose splits are kept."""

    def __init__(self, source: KeptSource, config: Data, folder: Path) -> None:
        self.source = source
        self.config = config
        self.folder = folder

    def load(self, split: Split) -> Rows | None:
        """As the source's own, with what it logged."""
        files = self.source.files()
        if files is None:
            return self.source.load(split)
        contents = _contents(files)
        made_from = {"rows": split, "settings": [self.config.target, self.config.arguments()], "files": contents}

        def make(scratch: Path | None) -> Made:
            with _noting() as said:
                rows = self._load(split, scratch)
            # What somebody wrote meanwhile is not the content that it would be found by.
            lasting = _contents(files) == contents
            if rows is None:
                return Made(None, {"said": said}, lasting)
            facts = {"kind": rows.kind, "name": rows.name, "counts": rows.counts, "fingerprint": rows.fingerprint}
            return Made(rows.table, {**facts, "said": said}, lasting)

        (table, facts, *_), found = found_or_made(self.folder, made_from, make)
        if found:
            _say_again(facts)
        if table is None:
            return None
        return Rows(facts["kind"], table, facts["name"], facts["counts"], facts["fingerprint"])

    def _load(self, split: Split, scratch: Path | None) -> Rows | None:
        source = self.source
        return source.load_into(split, scratch) if isinstance(source, WritingSource) else source.load(split)


def cached_view(
    folder: str | None, rows: Rows, accepted: Sequence[ViewName], *, miner: Miner | None = None, **rules: Any
) -> View:
    """`make_view`, kept in `folder`; None: made anew. Its errors are `make_view`'s."""
    if folder is None:
        return make_view(rows, accepted, **rules, miner=miner)

    def make(scratch: Path | None) -> Made:
        with _noting() as said:
            view = make_view(rows, accepted, **rules, miner=miner, scratch=scratch)
        return Made(view.dataset, {"name": view.name, "counts": view.counts, "said": said})

    # Which views a kind of rows has, and in which order, decides which of the accepted ones is made.
    made_from = {"view": list(accepted), "of": rows.fingerprint, "rules": rules, "views": VIEWS_OF_KIND[rows.kind]}
    # What is said of it, and said again, names the rows: two files may hold the same.
    made_from |= {"called": rows.name}
    made_from |= {} if miner is None else {"miner": miner.made_from}
    (table, facts, *_), found = found_or_made(expanded(folder), made_from, make)
    assert table is not None
    if found:
        _say_again(facts)
    return View(facts["name"], table, facts["counts"], is_directed(rows, facts["name"]))


def found_or_made(folder: Path, made_from: Mapping[str, Any], make: Callable[[Path | None], Made]) -> tuple[Made, bool]:
    """What is kept of this, and whether it had been there before; where it cannot be kept, what was made.

    Args:
        folder: of all entries.
        made_from: all that decides what is made but the code and the libraries of `embexp.data`; as JSON.
        make: makes it, and may write its table as `TABLE` in the folder that it is given; None: nothing can be written.
    """
    content = json.dumps(
        {**made_from, "code": code_of("data", "config/kinds.py"), "libraries": versions(LIBRARIES)}, sort_keys=True
    )
    entry = folder / hashlib.sha256(content.encode()).hexdigest()[:32]
    if (found := _read_if_whole(entry)) is not None:
        return found, True
    with ExitStack() as stack:
        try:
            waiting = f"another process is just making what is wanted here too (in {folder}); waiting for it to end"
            stack.enter_context(alone_with(entry, waiting=waiting))
        except (OSError, NotImplementedError) as error:
            return _unkept(folder, error, make(None)), False
        try:
            # It may have been made meanwhile.
            if (found := _read(entry)) is not None:
                return found, True
        except DamagedError:
            # Nobody else writes or removes it now.
            log.warning("%s: is damaged; it is made anew", entry)
            shutil.rmtree(entry, ignore_errors=True)
        except OSError as error:
            # What cannot be read at this moment may be good.
            return _unkept(folder, f"what is kept cannot be read: {error}", make(None)), False
        try:
            scratch = stack.enter_context(_scratch_of(entry))
            made = make(scratch)
        except UnwritableError as error:
            return _unkept(folder, error, make(None)), False
        if not made.lasting:
            return _unkept(folder, "its files changed while they were read", made), False
        try:
            _write(scratch, entry, made)
        except OSError as error:
            return _unkept(folder, error, made), False
    # Mapped, so that what has just been made need not stay in memory.
    return _read_if_whole(entry) or made, False


def scratch_name() -> str:
    """Of a folder beside the entries for what is being made: whoever tidies up removes what a killed process left."""
    return f"{PARTIAL}{secrets.token_hex(16)}"


def _unkept(folder: Path, why: object, made: Made) -> Made:
    log.warning("%s: the data is not kept there (%s); the next run makes it anew", folder, why)
    return made


def _read_if_whole(entry: Path) -> Made | None:
    """What is kept; None where there is nothing that can be read: nothing is done about it, another may be writing it."""
    with suppress(DamagedError, OSError):
        return _read(entry)
    return None


def _read(entry: Path) -> Made | None:
    """What is kept; None where nothing is.

    Raises:
        DamagedError: it is not what was written.
        OSError: it cannot be read now.
    """
    from datasets import Dataset

    if not entry.is_dir():
        return None
    try:
        written = json.loads((entry / FACTS).read_text(encoding="utf-8"))
        facts, there = written["facts"], written["table"]
        if written["sha256"] != _checksum(facts, entry / TABLE if there else None):
            raise ValueError
        table = Dataset.from_file(str(entry / TABLE)) if there else None
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(str(entry)) from error
    with suppress(OSError):
        # Whoever tidies up sees by this when it was last used.
        os.utime(entry)
    return Made(table, facts)


@contextmanager
def _scratch_of(entry: Path) -> Iterator[Path]:
    """An empty folder that becomes the entry where it is renamed, and else is removed.

    Raises:
        UnwritableError: there can be none.
    """
    scratch = entry.with_name(f"{PARTIAL}{entry.name}")
    # Of a process that was killed while it wrote.
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(parents=True)
    except OSError as error:
        raise UnwritableError(*error.args) from error
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(scratch: Path, entry: Path, made: Made) -> None:
    """Makes the entry of the scratch folder, in which the table may have been written as it was made."""
    table = scratch / TABLE
    if made.table is None:
        table.unlink(missing_ok=True)
    elif not table.exists():
        content = made.table.with_format("arrow")[:]
        with pa.OSFile(str(table), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
            writer.write_table(content, max_chunksize=None if made.in_one_piece else AT_ONCE)
    checksum = _checksum(made.facts, None if made.table is None else table)
    told = {"facts": made.facts, "table": made.table is not None, "sha256": checksum}
    (scratch / FACTS).write_text(json.dumps(told), encoding="utf-8")
    for file in scratch.iterdir():
        # On the disk before it can be found: after a power cut a name without its content would be trusted.
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
    scratch.rename(entry)
    _tidy(entry.parent)


def _checksum(facts: dict[str, Any], table: Path | None) -> str:
    """Of all that an entry says: on a disk that errs a table may be as long as it was, and readable."""
    told = json.dumps(facts, sort_keys=True) + ("" if table is None else sha256_of(table))
    return hashlib.sha256(told.encode()).hexdigest()


def _tidy(folder: Path) -> None:
    """Removes entries that have not been used for long, and nothing else that may lie there."""
    for entry in folder.iterdir():
        # Another process may tidy up too.
        with suppress(FileNotFoundError):
            if ENTRY.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > UNUSED_FOR:
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _noting() -> Iterator[list[tuple[str, int, str]]]:
    """Gathers what embexp's data package logs: (logger, level, message); notes too, where nobody wants to see them now.

    A later process may want to, and would find nothing of them in what was kept.
    """
    said: list[tuple[str, int, str]] = []
    logger = logging.getLogger(__package__)
    own, shown_from, passed_on = logger.level, logger.getEffectiveLevel(), logger.propagate
    hushed = shown_from > logging.INFO

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append((record.name, record.levelno, record.getMessage()))
            if hushed and passed_on and logger.parent is not None and record.levelno >= shown_from:
                logger.parent.callHandlers(record)

    handler = Gather()
    logger.addHandler(handler)
    if hushed:
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        if hushed:
            logger.setLevel(own)
            logger.propagate = passed_on


def _say_again(facts: Mapping[str, Any]) -> None:
    """What was logged when it was made, to whoever finds it."""
    for name, level, message in facts["said"]:
        logging.getLogger(name).log(level, "%s", message)


def _contents(files: Sequence[Path]) -> list[list[str]]:
    return [[str(file), sha256_of(file)] for file in files]

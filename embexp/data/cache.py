"""Rows and views, made once and read in place by every later run: Arrow files, mapped into memory, not copied there.

An entry is a folder: the table, and the facts that go with it. It is found by a hash of all that it was made from (settings,
the content of the files, this package's own code), written under another name and then renamed: whole or not there.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from filelock import FileLock

from embexp.config import Data, ViewName
from embexp.data.rows import Rows, Source, Split
from embexp.data.views import View, make_view

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

TABLE, FACTS = "table.arrow", "facts.json"
PARTIAL = ".partial-"
UNUSED_FOR = 30 * 24 * 3600  # seconds after which an entry is removed
Facts = dict[str, Any]


class CachedSource:
    """A source whose splits are kept. One that does not say which files it reads (`files`) is asked anew every time."""

    def __init__(self, source: Source, config: Data, folder: Path) -> None:
        self.source = source
        self.config = config
        self.folder = folder

    def load(self, split: Split) -> Rows | None:
        """As the source's own, with what it logged."""
        files: Sequence[Path] | None = getattr(self.source, "files", lambda: None)()
        if files is None:
            return self.source.load(split)
        made_from = {
            "rows": split,
            "settings": self.config.model_dump(mode="json"),
            "files": [[str(file), _sha256(file)] for file in files],
            "source": _sha256(Path(inspect.getfile(type(self.source)))),
        }

        def make() -> tuple[Dataset | None, Facts]:
            with _noting() as said:
                rows = self.source.load(split)
            if rows is None:
                return None, {"said": said}
            facts = {"kind": rows.kind, "name": rows.name, "counts": rows.counts, "fingerprint": rows.fingerprint}
            return rows.table, {**facts, "said": said}

        table, facts, found = _found_or_made(self.folder, made_from, make)
        if found:
            for name, level, message in facts["said"]:
                logging.getLogger(name).log(level, "%s", message)
        if table is None:
            return None
        return Rows(facts["kind"], table, facts["name"], facts["counts"], facts["fingerprint"])


def cached_view(folder: str | None, rows: Rows, accepted: Sequence[ViewName], **rules: Any) -> View:
    """`make_view`, kept in `folder`; None: made anew. Its errors are `make_view`'s."""
    if folder is None:
        return make_view(rows, accepted, **rules)

    def make() -> tuple[Dataset, Facts]:
        view = make_view(rows, accepted, **rules)
        return view.dataset, {"name": view.name, "counts": view.counts}

    made_from = {"view": list(accepted), "of": rows.fingerprint, "rules": rules}
    table, facts, _ = _found_or_made(Path(folder), made_from, make)
    assert table is not None
    return View(facts["name"], table, facts["counts"])


def _found_or_made(
    folder: Path, made_from: Mapping[str, Any], make: Callable[[], tuple[Dataset | None, Facts]]
) -> tuple[Dataset | None, Facts, bool]:
    """Table, facts, and whether they were there already."""
    content = json.dumps({**made_from, "code": _own_code()}, sort_keys=True)
    entry = folder / hashlib.sha256(content.encode()).hexdigest()[:32]
    if (found := _read(entry)) is not None:
        return *found, True
    with _alone_with(entry):
        # A job beside this one may have made it meanwhile.
        if (found := _read(entry)) is not None:
            return *found, True
        table, facts = make()
        try:
            _write(entry, table, facts)
        except OSError as error:
            log.warning("%s: cannot be written (%s); the data is made anew in every run", folder, error)
            return table, facts, False
    # Mapped, so that what has just been made need not stay in memory.
    return *(_read(entry) or (table, facts)), False


@contextmanager
def _alone_with(entry: Path) -> Iterator[None]:
    """One process makes an entry, others wait for it; where no lock can be had, each makes its own."""
    lock = FileLock(entry.with_suffix(".lock"))
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        if lock.is_locked:
            # Whoever waits sees that the file is gone and takes a new one.
            with suppress(OSError):
                os.unlink(lock.lock_file)
            lock.release()


def _read(entry: Path) -> tuple[Dataset | None, Facts] | None:
    from datasets import Dataset

    if not entry.is_dir():
        return None
    try:
        facts: Facts = json.loads((entry / FACTS).read_text(encoding="utf-8"))
        if facts["bytes"] is not None and facts["bytes"] != (entry / TABLE).stat().st_size:
            raise ValueError("its table is not whole")
        table = Dataset.from_file(str(entry / TABLE)) if facts["bytes"] is not None else None
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        log.warning("%s: cannot be used (%s); it is made anew", entry, error)
        shutil.rmtree(entry, ignore_errors=True)
        return None
    with suppress(OSError):
        # Whoever tidies up sees by this when it was last used.
        os.utime(entry)
    return table, facts


def _write(entry: Path, table: Dataset | None, facts: Facts) -> None:
    partial = entry.with_name(f"{PARTIAL}{entry.name}")
    # Of a process that was killed while it wrote.
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        if table is not None:
            content = table.with_format("arrow")[:]
            with pa.OSFile(str(partial / TABLE), "wb") as file, pa.ipc.new_stream(file, content.schema) as writer:
                writer.write_table(content, max_chunksize=10_000)
        size = (partial / TABLE).stat().st_size if table is not None else None
        (partial / FACTS).write_text(json.dumps({**facts, "bytes": size}), encoding="utf-8")
        partial.rename(entry)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _tidy(entry.parent)


def _tidy(folder: Path) -> None:
    """Removes what has not been used for long."""
    for entry in folder.iterdir():
        with suppress(OSError):
            if time.time() - entry.stat().st_mtime > UNUSED_FOR:
                shutil.rmtree(entry)


@contextmanager
def _noting() -> Iterator[list[tuple[str, int, str]]]:
    """Gathers what embexp's data package logs: (logger, level, message)."""
    said: list[tuple[str, int, str]] = []

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append((record.name, record.levelno, record.getMessage()))

    logger, handler = logging.getLogger(__package__), Gather()
    logger.addHandler(handler)
    try:
        yield said
    finally:
        logger.removeHandler(handler)


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@lru_cache
def _own_code() -> str:
    """Of this package: rows made by other code are other rows."""
    here = Path(__file__).parent
    files = sorted(file for file in here.rglob("*") if file.suffix in (".py", ".yaml"))
    return hashlib.sha256("".join(_sha256(file) for file in files).encode()).hexdigest()

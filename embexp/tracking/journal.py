"""The journal: all that a run logs, one JSON line each, in a file in its folder; and how much of it was sent.

A line is in the file before anything is sent, so what a run logged outlives a tracking server that is away and a
process that is killed. Three files belong together:

    journal.jsonl         appended to by the run; a second run in the same folder has a journal-2.jsonl
    journal.jsonl.sent    the MLflow run, and how many bytes of the journal have arrived there
    journal.jsonl.lock    held while somebody sends

The kinds of line are start, metrics, artifact, tags, end. Nothing in here knows MLflow.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from filelock import FileLock

from embexp.tracking.moved import moved_along
from embexp.tracking.secrets import without_secrets
from embexp.tracking.store import at, database_file, is_local

Entry = dict[str, Any]
READ_AT_ONCE = 1 << 20
# How the file is called, after the journal, that tells how far it was sent.
SENT = "sent"
# Folders in multirun/.
WITHOUT_JOURNALS = ("checkpoints", "data", "mteb")


@dataclass
class Sent:
    """How far a journal was sent.

    Attributes:
        bytes: of the journal that the server acknowledged, in whole lines.
        run_id: MLflow's; None where the run has not been made there yet.
        store: in which it has been made, without secrets: a server may have moved since the run was begun.
        formerly: ids that the run had in stores that have it no more.
        owed: files that the server did not take, while it took all else: lines of the journal, to be tried again.
    """

    bytes: int = 0
    run_id: str | None = None
    store: str | None = None
    formerly: list[str] = field(default_factory=list)
    owed: list[Entry] = field(default_factory=list)


class Journal:
    """One run's journal, to be written or read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None
        self._writing = Lock()
        self._ended = False

    @classmethod
    def create(cls, folder: Path) -> Journal:
        """A new one; those of earlier runs in the same folder stay as they are."""
        folder.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            journal = cls(folder.resolve() / ("journal.jsonl" if number == 1 else f"journal-{number}.jsonl"))
            try:
                journal._file = os.open(journal.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
                return journal
            except FileExistsError:
                number += 1

    def append(self, kind: str, **content: Any) -> None:
        """Writes one line; it has left the process when this returns. After the end that it wrote itself nothing is written.

        Raises:
            OSError: the disk is full; the journal is as it was before.
        """
        with self._writing:
            if self._ended:
                return
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            line = _line(kind, content)
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(28, "No space left on device", str(self.path))
            # Before the wait below, in which Ctrl-C may come: nothing follows an end.
            self._ended = kind == "end"
            if kind in ("start", "end"):
                # These two are worth a power cut's protection, and come once a run.
                os.fsync(self._file)

    def read(self, offset: int = 0) -> list[tuple[Entry, int]]:
        """The lines from a byte on, each with the byte at which it ends; at most about 1 MiB of them."""
        found = []
        for line in self._lines(offset).splitlines(keepends=True):
            offset += len(line)
            found.append((_entry(line), offset))
        return found

    def _lines(self, offset: int) -> bytes:
        """The lines as they stand there.

        What follows the last line break is no line: it is being written, or its process was killed while writing.
        """
        size = READ_AT_ONCE
        with self.path.open("rb") as file:
            while True:
                file.seek(offset)
                chunk = file.read(size)
                if b"\n" in chunk or len(chunk) < size:
                    return chunk[: chunk.rfind(b"\n") + 1]
                size *= 2

    def entries(self, offset: int = 0) -> Iterator[Entry]:
        """All lines from a byte on."""
        while lines := self.read(offset):
            for entry, offset in lines:  # noqa: B007
                yield entry

    @cached_property
    def start(self) -> Entry | None:
        """The first line; None where not even that was written whole, or the file is gone."""
        try:
            with self.path.open("rb") as file:
                line = file.readline()
        except FileNotFoundError:
            return None
        entry = _entry(line) if line.endswith(b"\n") else None
        return entry if entry is not None and entry["kind"] == "start" else None

    def today(self, recorded: str | Path) -> Path:
        """Where a path that the journal names is: the working folder may have been moved, or copied, with it and the journal."""
        before = Path(recorded)
        now = self._moved(before)
        # What was not copied is where it was.
        return now if now.exists() or not before.exists() else before

    def _moved(self, recorded: Path) -> Path:
        start, folder = self.start or {}, self.path.parent.resolve()
        if "home" not in start:
            return recorded
        return moved_along(recorded, home=Path(start["home"]), folder=Path(start["folder"]), now=folder)

    @cached_property
    def uri(self) -> str:
        """The store that the run was begun for, without secrets; where a folder was moved with all in it, as it is called now."""
        return self._today_s(str((self.start or {})["uri"]))

    def store(self) -> str:
        """The store that has the run, else that for which it was begun: a server may have moved since."""
        sent = self.sent().store
        return self.uri if sent is None else self._today_s(sent)

    def _today_s(self, uri: str) -> str:
        # A copy without its store has none, rather than that of the folder that it was copied from.
        return at(uri, self._moved(database_file(uri))) if is_local(uri) else uri

    @cached_property
    def left_off(self) -> float:
        """When the next run that is another began in the same folder, and wrote its files over this one's; in milliseconds."""
        own = self.start or {"time": 0, "tags": {}}
        key = own["tags"].get("embexp.key")
        later = [
            start["time"]
            for path in self.path.parent.glob("journal*.jsonl")
            if (start := Journal(path).start)
            and start["time"] > own["time"]
            and (start["continues"] is None or start["tags"].get("embexp.key") != key)
        ]
        return min(later, default=math.inf)

    def end(self) -> Entry | None:
        """The run's end, if no line that can be read follows it: one that is broken says nothing of how the run ended."""
        size, length = self.path.stat().st_size, 65_536
        with self.path.open("rb") as file:
            while True:
                file.seek(max(0, size - length))
                # What follows the last line break is no line; the first may be half of one, and reads as broken.
                lines = file.read().split(b"\n")[:-1]
                entry = next((entry for line in reversed(lines) if (entry := _entry(line))["kind"] != "broken"), None)
                if entry is not None or length >= size:
                    return entry if entry is not None and entry["kind"] == "end" else None
                length *= 16

    def close_as(self, status: str, reason: str) -> None:
        """Ends the journal of a process that is gone; the line that it was writing, if any, is cut off."""
        with self.path.open("rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
        self.append("end", status=status, reason=reason)

    def sent(self) -> Sent:
        """How far it was sent. A file that a power cut spoiled counts as nothing: what arrived is found out anew."""
        try:
            return Sent(**json.loads(self._beside(SENT).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Sent()

    def mark(self, sent: Sent) -> None:
        """Keeps how far it was sent, whole or not at all."""
        partial = self._beside("sent.partial")
        partial.write_text(json.dumps(asdict(sent)), encoding="utf-8")
        os.replace(partial, self._beside(SENT))

    def unsent(self) -> int:
        """How many bytes have not been acknowledged yet; 0 where no whole line is among them. Lines of owed files do not count."""
        sent = self.sent().bytes
        # Of what is being written, or was cut off, it is not known yet whether it will be a line.
        return self.path.stat().st_size - sent if self._lines(sent) else 0

    def files_to_send(self) -> list[Path]:
        """The files, or folders, that have not arrived and are still there as the run left them."""
        sent = self.sent()
        entries = [*sent.owed, *(entry for entry in self.entries(sent.bytes) if entry["kind"] == "artifact")]
        paths = dict.fromkeys(self.path.parent / self.today(entry["path"]) for entry in entries)
        return [path for path in paths if path.exists() and not self.is_another_run_s(path)]

    def is_another_run_s(self, path: Path) -> bool:
        """Whether a later run in the same folder wrote a file, or one in a folder, over this one's."""
        if self.left_off == math.inf:
            return False
        end = self.end()
        files = [path, *path.rglob("*")] if path.is_dir() else [path]
        written = max((int(each.stat().st_mtime * 1000) for each in files if each.exists()), default=0)
        # What describes the later run is written before its journal, but after the end of this one.
        return written > min(self.left_off, math.inf if end is None else end["time"])

    def lock(self, seconds: float) -> FileLock:
        """To be held while sending; the lock of a process that is gone is free.

        Raises (when entered):
            filelock.Timeout: somebody else sends, for longer than `seconds`.
        """
        return FileLock(self._beside("lock"), timeout=seconds)

    def close(self) -> None:
        """Nothing more will be written."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def discard(self) -> None:
        """Removes it, where a run was refused before it began."""
        self.close()
        for path in (self.path, self._beside("sent"), self._beside("lock")):
            path.unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")


def journals_under(folder: Path, *, never_sent: bool = False) -> list[Journal]:
    """All journals in a folder and below that have begun, the oldest run first.

    Not in multirun/'s own folders of data and checkpoints, where much comes and goes.

    Args:
        folder: of runs, at any depth.
        never_sent: only those of which nothing was ever sent.
    """
    found = []
    # A folder that vanishes meanwhile is passed over, unlike by Path.glob.
    for home, folders, files in os.walk(folder):
        if Path(home) == folder:
            folders[:] = [name for name in folders if name not in WITHOUT_JOURNALS]
        names = {name for name in files if fnmatch(name, "journal*.jsonl")}
        if never_sent:
            names = {name for name in names if f"{name}.{SENT}" not in files}
        found += [Journal(Path(home) / name) for name in names]
    return in_order(journal for journal in found if journal.start)


def journals_in(folder: Path) -> list[Journal]:
    """All journals in a folder, and none below, that have begun, the oldest run first."""
    return in_order(journal for path in folder.glob("journal*.jsonl") if (journal := Journal(path)).start)


def in_order(journals: Iterable[Journal]) -> list[Journal]:
    """The oldest run first."""
    # Two of one folder may have begun in the same millisecond: the one with the higher number is the later.
    return sorted(journals, key=lambda journal: ((journal.start or {})["time"], len(journal.path.name), journal.path))


def scrubbed(value: Any) -> Any:
    """The value with user names and passwords taken out of every URI in it."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {key: scrubbed(of) for key, of in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(of) for of in value]
    return value


def _line(kind: str, content: Mapping[str, Any]) -> bytes:
    entry = {"kind": kind, "time": int(time.time() * 1000), **(content if kind == "metrics" else scrubbed(content))}
    return json.dumps(entry, separators=(",", ":"), default=str).encode() + b"\n"


def _entry(line: bytes) -> Entry:
    try:
        entry = json.loads(line)
        return entry if isinstance(entry, dict) and "kind" in entry else {"kind": "broken"}
    except ValueError:
        # A power cut can leave a line of zeros.
        return {"kind": "broken"}

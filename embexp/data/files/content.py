"""What a file holds before it is taken apart: its bytes, unpacked where they are packed; its format; its text."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

# Of tables that are looked for in a folder, where a .txt or .json mostly tells of them.
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
# Of those whose rows are parted into cells, and the sign that does it where no other is named.
DELIMITED = {".csv": ",", ".tsv": "\t"}
# A tab as it can be typed.
TYPED_TAB = "\\t"
# Of a file that is named.
READABLE = (*SUFFIXES, ".json", ".txt")
GZIP = ".gz"
PARQUET_MAGIC = b"PAR1"
# The first bytes of what is often given a wrong suffix, and what to do about it.
FOREIGN = {
    b"PK\x03\x04": "a zip or Excel file; export it as csv",
    b"\xd0\xcf\x11\xe0": "an old Excel file; export it as csv",
    b"\x1f\x8b": "compressed by gzip; name it {name}.gz",
    codecs.BOM_UTF16_LE: "utf-16; {cure}",
    codecs.BOM_UTF16_BE: "utf-16; {cure}",
}
MARK = "\ufeff"
# Of a file that is read, and its rows judged, in half a second.
SMALL_BYTES, SMALL_ROWS = 4 << 20, 20_000


class UnreadableError(Exception):
    """The file as a whole cannot be read; the message says why."""


def suffix_of(path: Path) -> str:
    """The suffix that says what the file is, in small letters; of what is packed by gzip, the one before .gz."""
    name = path.name.lower()
    inner = Path(name.removesuffix(GZIP)).suffix
    return inner if name.endswith(GZIP) and inner != ".parquet" else Path(name).suffix


def delimiter_of(path: Path, named: str | None) -> str:
    """The sign between two cells of csv or tsv, where one is named, or not; a tab also as it is typed."""
    return "\t" if named == TYPED_TAB else named or DELIMITED[suffix_of(path)]


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where its name ends in .gz.

    Raises:
        UnreadableError: it may not be read; in the block, it is no whole gzip.
    """
    try:
        if path.name.lower().endswith(GZIP):
            with gzip.open(path) as unpacked:
                yield cast(BinaryIO, unpacked)
        else:
            with path.open("rb") as file:
                yield file
    except PermissionError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableError(f"broken gzip: {error}") from None


def is_small(path: Path) -> bool:
    """Whether all of a file is read, or found to be none, in no time."""
    if not path.is_file():
        return True
    if suffix_of(path) != ".parquet":
        try:
            with opened(path) as file:
                start = file.read(SMALL_BYTES + 1)
        except UnreadableError:
            return True
        return len(start) <= SMALL_BYTES and start.count(b"\n") <= SMALL_ROWS
    try:
        held = pq.read_metadata(path)
    except (pa.ArrowException, OSError):
        return True
    size = sum(held.row_group(group).total_byte_size for group in range(held.num_row_groups))
    return held.num_rows <= SMALL_ROWS and size <= SMALL_BYTES


def check_format(path: Path, encoding: str, section: str | None) -> None:
    """Refuses what is not of the format that its suffix says, as far as the first bytes tell.

    Args:
        path: of the file.
        encoding: of text.
        section: of the config, where the keys stand that help; None: there are none.

    Raises:
        UnreadableError: with what it is, where that can be told, and what to do.
    """
    suffix = suffix_of(path)
    with opened(path) as file:
        start = file.read(8192)
    if not start.removeprefix(codecs.BOM_UTF8).strip():
        raise UnreadableError("the file is empty")
    parquet = start.startswith(PARQUET_MAGIC)
    if parquet != (suffix == ".parquet"):
        raise UnreadableError(
            f"its content is {'parquet' if parquet else 'no parquet'}, whatever its suffix {suffix} says"
        )
    wide = encoding.lower().startswith(("utf-16", "utf16", "utf-32", "utf32"))
    if parquet or wide:
        return
    foreign = next((kind for magic, kind in FOREIGN.items() if start.startswith(magic)), None)
    if foreign is not None:
        raise UnreadableError(f"it is {foreign.format(cure=_cure('utf-16', section), name=path.name)}")
    if b"\0" in start:
        raise UnreadableError("it holds binary data, not text")
    if suffix in DELIMITED and start.lstrip(codecs.BOM_UTF8 + b" \r\n").startswith((b"{", b"[")):
        raise UnreadableError(
            "its content is JSON; write one object a line and name it .jsonl, or an array of them and name it .json"
        )


@contextmanager
def text_of(path: Path, encoding: str, section: str | None) -> Iterator[TextIO]:
    """The text of a file, read on as it is asked for, its ends of lines as they are, without a byte order mark.

    Args:
        path: of the file.
        encoding: of it.
        section: of the config, where the keys stand that help; None: there are none.

    Raises:
        UnreadableError: in the block too, it is not in this encoding.
    """
    with opened(path) as file:
        try:
            text = io.TextIOWrapper(file, encoding=encoding, newline="")
        except LookupError:
            raise UnreadableError(
                f"{section}.encoding={encoding}: there is no such encoding; common ones are utf-8, utf-16, cp1252, latin-1"
            ) from None
        try:
            if text.read(1) != MARK:
                text.seek(0)
            yield text
        except UnicodeError:
            raise _not_of(encoding, path, section) from None


def _not_of(encoding: str, path: Path, section: str | None) -> UnreadableError:
    """Where the first byte stands that is not of an encoding, and what helps."""
    decoder = codecs.getincrementaldecoder(encoding)()
    row, wrong = 1, b""
    with opened(path) as file:
        try:
            for line in file:
                decoder.decode(line)
                row += 1
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            wrong = error.object[error.start :]
        except UnicodeError as error:
            # Of utf-16 and utf-32, whose bytes come in either order.
            return UnreadableError(f"{error}; {_cure(f'{encoding}-le or {encoding}-be', section)}")
    better = next((name for name in ("utf-8", "cp1252") if _decodes(path, name)), "latin-1")
    return UnreadableError(f"row {row}: byte 0x{wrong[0]:02x} is no {encoding}; {_cure(better, section)}")


def _cure(encoding: str, section: str | None) -> str:
    """What helps with a file of this encoding that is read as another."""
    return "save it as utf-8" if section is None else f"{section}.encoding={encoding} would read it"


def _decodes(path: Path, encoding: str) -> bool:
    try:
        with opened(path) as file:
            for _ in codecs.iterdecode(file, encoding):
                pass
    except UnicodeError:
        return False
    return True

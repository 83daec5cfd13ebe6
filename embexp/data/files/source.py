"""The source over a person's own files: read, checked row by row, split where no dev file is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embexp.config import ConfigError, Kind
from embexp.config.errors import printable
from embexp.data.files.checking import Checked, Checker
from embexp.data.files.columns import match
from embexp.data.files.content import DELIMITED, READABLE, UnreadableError, is_small, suffix_of
from embexp.data.files.readers import Records, read
from embexp.data.files.splitting import CannotSplitError, set_aside, texts_of, what_cannot_be_scored
from embexp.data.rows import COLUMNS, Rows, Split, rows_from

log = logging.getLogger(__name__)

# Of the rows, where no fraction is named.
DEV_FRACTION = 0.1


class FileSource:
    """Rows of csv, tsv, jsonl, json, txt or parquet files.

    Args: the keys of conf/data/files.yaml, where they are explained. Each file's kind is told from its own header, so
    NLI rows to train on may go with scored pairs as dev. `called`, which is no such key, is what messages call the file by where
    it stands under a key of its own.
    """

    def __init__(
        self,
        *,
        kind: Kind | str,
        limit: int | None,
        train: str | None,
        dev: str | None,
        test: str | None,
        columns: Mapping[str, str] | None,
        labels: Mapping[str, str] | None,
        score_scale: Sequence[float] | None,
        dev_fraction: float | None,
        on_bad_rows: str,
        encoding: str,
        delimiter: str | None,
        quoted: bool | None,
        seed: int,
        called: str | None = None,
    ) -> None:
        self.kind: Any = None if kind == "auto" else kind
        self.limit = limit
        self.paths: dict[Split, str | None] = {"train": train, "dev": dev, "test": test}
        self.columns = columns
        self.score_scale = score_scale
        self.dev_fraction = DEV_FRACTION if dev_fraction is None else dev_fraction
        self.drop = on_bad_rows == "drop"
        self.encoding = encoding
        self.delimiter = delimiter
        self.quoted = quoted
        self.seed = seed
        # Files that are only scored on stand in another section of the config.
        self.section = "data" if train is not None else "evaluation.source"
        self.called = called
        self._checker = Checker(labels=labels, score_scale=score_scale, section=self.section)
        self._read: dict[str, Rows] = {}
        self._parts: tuple[Rows, Rows] | None = None

    def peek_kind(self) -> Kind | None:
        """What the rows of the first file are, from the headers of all files alone; None where no file is given.

        Raises:
            ConfigError: with what is wrong with every file.
        """
        return next(iter(self.kinds([split for split, path in self.paths.items() if path is not None]).values()), None)

    def kinds(self, splits: Sequence[Split]) -> dict[Split, Kind]:
        """What the rows of these splits' files are, from the headers alone.

        Raises:
            ConfigError: with what is wrong with every file.
        """
        problems = self._unread_keys()
        kinds: dict[Split, Kind] = {}
        if self.score_scale is not None and self.score_scale[0] >= self.score_scale[1]:
            problems.append(
                f"{self.section}.score_scale={list(self.score_scale)}: the lowest stands first, as in [0,5]."
            )
        for split in splits:
            try:
                records = self._records(str(self.paths[split]), header_only=True)
            except UnreadableError as error:
                problems.append(f"{self._where(split)}: {error}.")
                continue
            matched = self._matched(split, records)
            if isinstance(matched, str):
                problems.append(f"{self._where(split)}: {matched}.")
            else:
                kinds[split] = matched[0]
        if problems:
            raise ConfigError(problems)
        return kinds

    def _unread_keys(self) -> list[str]:
        """What is to be said of keys of tables where none of the files is one."""
        paths = [self._path(path) for path in self.paths.values() if path]
        if not paths or any(suffix_of(path) in DELIMITED or suffix_of(path) not in READABLE for path in paths):
            return []
        typed = {"delimiter": self.delimiter, "quoted": None if self.quoted is None else str(self.quoted).lower()}
        return [
            f"{self.section}.{key}={printable(value)}: nothing reads it in {', '.join(path.name for path in paths)}; leave it out, or "
            f"name what is a table {' or '.join(DELIMITED)}."
            for key, value in typed.items()
            if value is not None
        ]

    def bad_rows(self, split: Split, *, dev_is_scored: bool = False) -> Sequence[str]:
        """What is wrong with the rows of a split's file, if that is read in no time; else loading tells it.

        Args:
            split: whose file.
            dev_is_scored: whether a part of train that is set aside as dev has to give pairs to score on.
        """
        if not is_small(self._path(str(self.paths[split]))):
            return []
        try:
            checked = self._checked(split)
            if split == "train" and dev_is_scored and self._is_split(checked.kind):
                texts = texts_of(checked.kind, checked.good)
                wrong = what_cannot_be_scored(checked.kind, texts, self._set_aside(checked.kind, texts))
                return [] if wrong is None else [f"{self._where('train')}: {wrong}."]
        except ConfigError as error:
            return error.problems
        return []

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; without a dev file, dev is a part of train that shares no text with the rest, if any.

        Raises:
            ConfigError: the file, or rows of it, cannot be used; each is named with its row.
        """
        if self.paths[split] is not None:
            if split != "train":
                return self._file(split)
            rows = self._file("train")
            if self.paths["dev"] is None and rows.kind != "texts" and not self.dev_fraction:
                log.info(
                    "%s: all %d rows are trained on, none is set aside as dev", self._where("train"), len(rows.table)
                )
            return self._halves(rows)[0] if self._is_split(rows.kind) else rows
        if split == "dev" and self.paths["train"] is not None:
            rows = self._file("train")
            return self._halves(rows)[1] if self._is_split(rows.kind) else None
        return None

    def _is_split(self, kind: Kind) -> bool:
        return self.paths["dev"] is None and kind != "texts" and self.dev_fraction > 0

    def _set_aside(self, kind: Kind, texts: Sequence[tuple[str, ...]]) -> list[int]:
        try:
            return set_aside(kind, texts, fraction=self.dev_fraction, seed=self.seed)
        except CannotSplitError as error:
            raise ConfigError([f"{self._where('train')}: {error}."]) from None

    def files(self) -> Sequence[Path]:
        """All three: whether a part is set aside depends on the others too."""
        paths = [self._path(path) for path in self.paths.values() if path is not None]
        return [path for path in paths if path.is_file()]

    def _path(self, path: str) -> Path:
        return Path(path).expanduser()

    def _where(self, split: Split) -> str:
        return f"{self.called or f'{self.section}.{split}'}={self.paths[split]}"

    def _named(self, split: Split, found: Sequence[str]) -> Mapping[str, str] | None:
        """The columns that the config names; files to score on may have none of them, but others that are known."""
        if split != "train" and self.paths["train"] is not None and not set((self.columns or {}).values()) & set(found):
            return None
        return self.columns

    def _records(self, path: str, *, header_only: bool = False) -> Records:
        return read(
            self._path(path),
            encoding=self.encoding,
            delimiter=self.delimiter,
            quoted=self.quoted,
            header_only=header_only,
            section=self.section,
        )

    def _matched(self, split: Split, records: Records) -> tuple[Kind, dict[str, str]] | str:
        named = self._named(split, records.columns)
        return match(records.columns, self.kind, named, section=self.section)

    def _file(self, split: Split) -> Rows:
        """The checked rows of a file, which is read once."""
        if split in self._read:
            return self._read[split]
        checked, where = self._checked(split), self._where(split)
        names = ", ".join(f"{ours}: {theirs}" for ours, theirs in checked.names.items())
        log.info("%s: read as %s rows (%s)", where, checked.kind, names)
        if checked.scale is not None and self.score_scale is None:
            log.info("%s: scores taken as %g to %g", where, *checked.scale)
        counts = {"read": checked.count}
        if bad := len(checked.problems):
            counts["dropped_bad_rows"] = bad
            log.warning("%s: %d bad rows dropped, the first: row %d: %s", where, bad, *checked.problems[0])
        self._read[split] = _rows(checked, name=self._path(str(self.paths[split])).name, counts=counts)
        return self._read[split]

    def _checked(self, split: Split) -> Checked:
        """The judged rows of a file.

        Raises:
            ConfigError: it cannot be read, its columns are not known, no row of it is good, or bad ones are refused.
        """
        where = self._where(split)
        try:
            records = self._records(str(self.paths[split]))
        except UnreadableError as error:
            raise ConfigError([f"{where}: {error}."]) from None
        matched = self._matched(split, records)
        if isinstance(matched, str):
            raise ConfigError([f"{where}: {matched}."])
        if not records.rows and not records.problems:
            raise ConfigError([f"{where}: it has a header and no rows."])
        if split == "train":
            records = records.first(self.limit)
        checked = self._checker.check(records, *matched, where)
        if checked.problems and not self.drop:
            raise ConfigError(self._checker.told(where, checked))
        if not checked.good:
            number, problem = checked.problems[0]
            raise ConfigError([f"{where}: no usable row in it; row {number}: {problem}."])
        return checked

    def _halves(self, rows: Rows) -> tuple[Rows, Rows]:
        """Train and dev: whole groups of rows that are linked by shared texts, so no text is in both."""
        from datasets import Dataset

        if self._parts is not None:
            return self._parts
        dev = self._set_aside(rows.kind, list(zip(*(rows.values(column) for column in rows.text_columns), strict=True)))
        held_out = set(dev)
        train = [row for row in range(len(rows.table)) if row not in held_out]
        log.info("%s: %d of %d rows set aside as dev", self._where("train"), len(dev), len(rows.table))
        parts = (
            (train, "train part", {**rows.counts, "held_out_for_dev": len(dev)}),
            (dev, "dev part", {"read": len(dev)}),
        )
        table = rows.table.with_format("arrow")[:]
        first, second = (
            Rows(rows.kind, Dataset(table.take(part)), f"{rows.name} ({name})", counts) for part, name, counts in parts
        )
        self._parts = first, second
        return self._parts


def _rows(checked: Checked, *, name: str, counts: dict[str, int]) -> Rows:
    values = zip(*checked.good, strict=True)
    columns = {column: list(each) for column, each in zip(COLUMNS[checked.kind], values, strict=True)}
    return rows_from(checked.kind, columns, name=name, counts=counts)

"""The source over a person's own files: read and judged row by row, split where no dev file is given."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from embexp.config import ConfigError, Kind
from embexp.config.errors import printable
from embexp.data.files.checking import Checker, Tally
from embexp.data.files.columns import delimiter_hinted, listed, match
from embexp.data.files.content import DELIMITED, READABLE, UnreadableError, delimiter_of, is_small, suffix_of
from embexp.data.files.file import File
from embexp.data.files.label_splitting import WITHOUT_LABELS, set_labels_aside, what_labels_cannot_tell
from embexp.data.files.readers import read
from embexp.data.files.records import Records
from embexp.data.files.splitting import CannotSplitError, Texts, set_aside, what_cannot_be_scored
from embexp.data.rows import COLUMNS, Rows, Split, schema_of
from embexp.data.tables import AT_ONCE, filtered, passing, records_of, written
from embexp.home import expanded
from embexp.units import counted

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

# Of the rows, where no fraction is named, and the most of them: what more would tell is not worth the time to score it.
DEV_FRACTION, MOST_DEV_ROWS = 0.1, 10_000
# Of columns that say how alike two texts are.
MARKS = ("label", "score", "similarity", "similarity_score", "is_duplicate", "gold_label")
# Rows that are looked at for quotation marks.
LOOKED_AT = 1_000
# A cell as csv writes one that holds some: in quotation marks, and those inside doubled.
QUOTED = '(?s)^"(?:[^"]|"")*""(?:[^"]|"")*"$'


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
        self.dev_fraction = dev_fraction
        self.drop = on_bad_rows == "drop"
        self.encoding = encoding
        self.delimiter = delimiter
        self.quoted = quoted
        self.seed = seed
        # Files that are only scored on stand in another section of the config.
        self.section = "data" if train is not None else "evaluation.source"
        self.called = called
        self._checker = Checker(labels=labels, score_scale=score_scale, section=self.section, encoding=encoding)
        # The file as it was, its rows, and which of them are dev.
        self._halved: tuple[tuple[int, int], Rows, NDArray[np.bool_]] | None = None

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
                records = self._records(str(self.paths[split]))
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

    def delimiters(self) -> dict[Split, str]:
        """What separates the cells of each file that is a table; none where no header looks as if it were another than is read."""
        read: dict[Split, str] = {}
        hinted: dict[Split, str] = {}
        for split, path in self.paths.items():
            if path is None or suffix_of(self._path(path)) not in DELIMITED:
                continue
            with suppress(UnreadableError):
                found = delimiter_hinted(self._records(path).columns)
                read[split] = delimiter_of(self._path(path), self.delimiter)
                hinted |= {} if found is None else {split: found}
        return read | hinted if hinted else {}

    def bad_rows(self, split: Split, *, dev_is_scored: bool = False, labels_tell: bool = False) -> Sequence[str]:
        """What is wrong with the rows of a split's file, if that is read in no time; else loading tells it.

        Args:
            split: whose file.
            dev_is_scored: whether a part of train that is set aside as dev has to give pairs to score on.
            labels_tell: whether labelled texts are used by their labels, and not as texts alone.
        """
        if not is_small(self._path(str(self.paths[split]))):
            return []
        try:
            file = self._file(split)
            tables = list(file.tables(Tally()))
            wrong, cure = None, ""
            if split == "train" and dev_is_scored and self._is_split(file.kind):
                texts = Texts.of(file.kind, tables)
                wrong = what_cannot_be_scored(file.kind, texts, self._set_aside(file.kind, texts))
            elif labels_tell and file.kind == "labelled":
                wrong = what_labels_cannot_tell(Texts.of(file.kind, tables))
                cure = f"; {WITHOUT_LABELS}" if split == "train" else ""
        except ConfigError as error:
            return error.problems
        return [] if wrong is None else [f"{file.where}: {wrong}{cure}."]

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; without a dev file, dev is a part of train that shares no text with the rest, if any.

        Raises:
            ConfigError: the file, or rows of it, cannot be used; each is named with its row.
        """
        return self.load_into(split, None)

    def load_into(self, split: Split, folder: Path | None) -> Rows | None:
        """As `load`; read, judged and written some rows at a time, and mapped from a file of the folder, if one is given."""
        own: Split = "train" if split == "dev" and self.paths["dev"] is None else split
        if self.paths[own] is None:
            return None
        file = self._file(own)
        if own == "train" and self._is_split(file.kind):
            return self._part(split, file, folder)
        if own != split:
            return None
        rows = self._rows(own, file, folder)
        if own == "train" and self.paths["dev"] is None and file.kind != "texts":
            log.info("%s: all %d rows are trained on, none is set aside as dev", file.where, len(rows.table))
        return rows

    def _is_split(self, kind: Kind) -> bool:
        return self.paths["dev"] is None and kind != "texts" and self.dev_fraction != 0

    def _set_aside(self, kind: Kind, texts: Texts) -> list[int]:
        fraction = self.dev_fraction
        if fraction is None:
            fraction = min(DEV_FRACTION, MOST_DEV_ROWS / len(texts))
        try:
            if texts.labels is not None:
                return set_labels_aside(texts, texts.labels, fraction=fraction, seed=self.seed)
            return set_aside(kind, texts, fraction=fraction, seed=self.seed)
        except CannotSplitError as error:
            raise ConfigError([f"{self._where('train')}: {error}."]) from None

    def files(self) -> Sequence[Path]:
        """All three: whether a part is set aside depends on the others too."""
        paths = [self._path(path) for path in self.paths.values() if path is not None]
        return [path for path in paths if path.is_file()]

    def _path(self, path: str) -> Path:
        return expanded(path)

    def _where(self, split: Split) -> str:
        return f"{self.called or f'{self.section}.{split}'}={self.paths[split]}"

    def _named(self, split: Split, found: Sequence[str]) -> Mapping[str, str] | None:
        """The columns that the config names; files to score on may have none of them, but others that are known."""
        if split != "train" and self.paths["train"] is not None and not set((self.columns or {}).values()) & set(found):
            return None
        return self.columns

    def _records(self, path: str) -> Records:
        return read(
            self._path(path),
            encoding=self.encoding,
            delimiter=self.delimiter,
            quoted=self.quoted,
            section=self.section,
        )

    def _matched(self, split: Split, records: Records) -> tuple[Kind, dict[str, str]] | str:
        named = self._named(split, records.columns)
        return match(records.columns, self.kind, named, section=self.section)

    def _file(self, split: Split) -> File:
        """The file of a split, opened.

        Raises:
            ConfigError: it cannot be read, or its columns are not known.
        """
        where = self._where(split)
        try:
            records = self._records(str(self.paths[split]))
        except UnreadableError as error:
            raise ConfigError([f"{where}: {error}."]) from None
        matched = self._matched(split, records)
        if isinstance(matched, str):
            raise ConfigError([f"{where}: {matched}."])
        kind, names = matched
        some = records.first(self.limit if split == "train" else None)
        return File(where, kind, names, some, records, self._checker, self.drop)

    def _rows(self, split: Split, file: File, folder: Path | None, *, to_be_split: bool = False) -> Rows:
        """All that can be used of a file; what was found is told."""
        tally = Tally()
        write = passing if to_be_split else written
        table = write(file.tables(tally), schema_of(COLUMNS[file.kind]), folder)
        names = ", ".join(f"{ours}: {theirs}" for ours, theirs in file.names.items())
        others = [column for column in file.records.columns if column not in file.names.values()]
        log.info(
            "%s: read as %s rows (%s)%s",
            file.where,
            file.kind,
            names,
            f"; not read: {listed(file.records.columns, but=file.names.values())}" if others else "",
        )
        self._warn_of_marks(split, file, others)
        if self.quoted is None and suffix_of(self._path(str(self.paths[split]))) == ".tsv":
            self._warn_of_quoted(file, table)
        if file.scale is not None and self.score_scale is None:
            log.info("%s: scores taken as %g to %g", file.where, *file.scale)
        if tally.numbered:
            log.info(
                "%s: labels taken as 0 entailment, 1 neutral, 2 contradiction, as MNLI has them; where yours mean others: "
                "'%s.labels={0: contradiction, ...}'",
                file.where,
                self.section,
            )
        counts = {"read": tally.count}
        if tally.bad:
            counts["dropped_bad_rows"] = tally.bad
            dropped, costliest = counted(tally.bad, "bad row"), tally.of_the_costliest
            log.warning("%s: %s dropped, the first: row %d: %s%s", file.where, dropped, *tally.told[0], costliest)
        return Rows(file.kind, table, self._path(str(self.paths[split])).name, counts)

    def _warn_of_marks(self, split: Split, file: File, others: Sequence[str]) -> None:
        """Of a column beside pairs that may say which of them are right ones; what columns are called holds for all files."""
        marks = [column for column in others if column.lower() in MARKS]
        if not marks or file.kind not in ("pairs", "triplets"):
            return
        first, second, mark = map(printable, [*list(file.names.values())[:2], marks[0]])
        cure = f"name it: '{self.section}.columns={{sentence1: {first}, sentence2: {second}, score: {mark}}}'"
        if split != "train" and self.paths["train"] is not None:
            cure = "call the file's columns sentence1, sentence2, score"
        told = "%s: its column %s is not read: every row is taken for a right pair; where it scores them, %s"
        log.warning(told, file.where, mark, cure)

    def _warn_of_quoted(self, file: File, table: Dataset) -> None:
        """Of a .tsv whose texts stand in quotation marks: most of what is looked at, or some as csv alone writes them."""
        head = table.with_format("arrow")[:LOOKED_AT]
        rows = [
            any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in row if isinstance(cell, str))
            for row in records_of(head)
        ]
        if sum(rows) > len(rows) / 2:
            log.warning(
                "%s: its texts stand in quotation marks, which in a .tsv are characters like others; %s.quoted=true takes them away",
                file.where,
                self.section,
            )
        elif as_csv := sum(map(_texts_as_csv_quotes_them, table.with_format("arrow").iter(batch_size=AT_ONCE))):
            log.warning(
                "%s: %s in quotation marks with doubled ones inside, as csv is written, and in a .tsv they are characters like others; "
                "%s.quoted=true takes them away",
                file.where,
                "1 of its texts stands" if as_csv == 1 else f"{as_csv} of its texts stand",
                self.section,
            )

    def _part(self, split: Split, file: File, folder: Path | None) -> Rows:
        """Train, or dev: whole groups of rows that are linked by shared texts, so no text is in both."""
        rows, in_dev = self._halves(file, folder)
        kept = in_dev if split == "dev" else ~in_dev
        table = written(filtered(rows.batches(COLUMNS[rows.kind]), kept), schema_of(COLUMNS[rows.kind]), folder)
        held_out = len(rows.table) - len(table)
        counts = {"read": len(table)} if split == "dev" else {**rows.counts, "held_out_for_dev": held_out}
        return Rows(rows.kind, table, f"{rows.name} ({split} part)", counts)

    def _halves(self, file: File, folder: Path | None) -> tuple[Rows, NDArray[np.bool_]]:
        """All rows of train's file, read once while it stays as it is, and which of them are dev."""
        found = self._path(str(self.paths["train"])).stat()
        state = found.st_mtime_ns, found.st_size
        if self._halved is None or self._halved[0] != state:
            rows = self._rows("train", file, folder, to_be_split=True)
            in_dev = np.zeros(len(rows.table), dtype=bool)
            in_dev[self._set_aside(rows.kind, Texts.of(rows.kind, rows.batches(COLUMNS[rows.kind])))] = True
            log.info("%s: %d of %d rows set aside as dev", file.where, in_dev.sum(), len(in_dev))
            self._halved = state, rows, in_dev
        return self._halved[1:]


def _texts_as_csv_quotes_them(table: pa.Table) -> int:
    """How many stand in quotation marks with only doubled ones inside, and some."""
    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    return sum(pc.sum(pc.match_substring_regex(column, QUOTED)).as_py() or 0 for column in texts)

"""The source over a person's own files: read, checked row by row, split where no dev file is given."""

from __future__ import annotations

import logging
import math
import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embexp.config import ConfigError, Kind
from embexp.data.files.columns import match
from embexp.data.files.readers import Records, UnreadableError, read
from embexp.data.rows import COLUMNS, CONTRADICTION, ENTAILMENT, NEUTRAL, TYPES, Rows, Split, rows_from

log = logging.getLogger(__name__)

LABELS = {"entailment": ENTAILMENT, "neutral": NEUTRAL, "contradiction": CONTRADICTION}
MOST_TOLD = 10
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
# Of the rows, where no fraction is named.
DEV_FRACTION = 0.1
# Two to train on, two to score on.
FEWEST_TO_SPLIT = 4

Good = list[tuple[Any, ...]]


class FileSource:
    """Rows of csv, tsv, jsonl or parquet files.

    Args: the keys of conf/data/files.yaml, where they are explained. Each file's kind is told from its own header, so
    NLI rows to train on may go with scored pairs as dev.
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
    ) -> None:
        self.kind: Any = None if kind == "auto" else kind
        self.limit = limit
        self.paths = {"train": train, "dev": dev, "test": test}
        self.columns = columns
        self.labels = {word.lower(): LABELS[meaning] for word, meaning in (labels or {}).items()}
        self.score_scale = score_scale
        self.dev_fraction = DEV_FRACTION if dev_fraction is None else dev_fraction
        self.drop = on_bad_rows == "drop"
        self.encoding = encoding
        self.delimiter = delimiter
        self.quoted = quoted
        self.seed = seed
        # Files that are only scored on stand in another section of the config.
        self.section = "data" if train is not None else "evaluation.source"
        self._read: dict[str, Rows] = {}
        self._parts: tuple[Rows, Rows] | None = None

    def peek_kind(self) -> Kind | None:
        """What the rows of the first file are, from the headers of all files alone; None where no file is given.

        Raises:
            ConfigError: with what is wrong with every file.
        """
        problems, kinds = [], {}
        given = {split: path for split, path in self.paths.items() if path is not None}
        if self.score_scale is not None and self.score_scale[0] >= self.score_scale[1]:
            problems.append(
                f"{self.section}.score_scale={list(self.score_scale)}: the lowest stands first, as in [0,5]."
            )
        for split, path in given.items():
            try:
                records = self._records(path, header_only=True)
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
        return next(iter(kinds.values()), None)

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; without a dev file, dev is a part of train that shares no text with the rest, if any.

        Raises:
            ConfigError: the file, or rows of it, cannot be used; each is named with its row.
        """
        if self.paths[split] is not None:
            if split != "train":
                rows = self._file(split)
                self._tell_overlap(rows)
                return rows
            rows = self._file("train")
            if self.paths["dev"] is None and rows.kind != "texts" and not self.dev_fraction:
                log.info(
                    "%s: all %d rows are trained on, none is set aside as dev", self._where("train"), len(rows.table)
                )
            return self._halves(rows)[0] if self._is_split(rows) else rows
        if split == "dev" and self.paths["train"] is not None:
            rows = self._file("train")
            return self._halves(rows)[1] if self._is_split(rows) else None
        return None

    def _is_split(self, rows: Rows) -> bool:
        return self.paths["dev"] is None and rows.kind != "texts" and self.dev_fraction > 0

    def files(self) -> Sequence[Path]:
        """All three: what is set aside, and what is warned of, depends on the others too."""
        paths = [self._path(path) for path in self.paths.values() if path is not None]
        return [path for path in paths if path.is_file()]

    def _path(self, path: str) -> Path:
        return Path(path).expanduser()

    def _where(self, split: str) -> str:
        return f"{self.section}.{split}={self.paths[split]}"

    def _named(self, split: str, found: Sequence[str]) -> Mapping[str, str] | None:
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

    def _matched(self, split: str, records: Records) -> tuple[Kind, dict[str, str]] | str:
        named = self._named(split, records.columns)
        return match(records.columns, self.kind, named, section=self.section)

    def _file(self, split: str) -> Rows:
        """The checked rows of a file, which is read once."""
        if split in self._read:
            return self._read[split]
        path, where = self._path(str(self.paths[split])), self._where(split)
        try:
            records = self._records(str(path))
        except UnreadableError as error:
            raise ConfigError([f"{where}: {error}."]) from None
        matched = self._matched(split, records)
        if isinstance(matched, str):
            raise ConfigError([f"{where}: {matched}."])
        kind, names = matched
        if not records.rows and not records.problems:
            raise ConfigError([f"{where}: it has a header and no rows."])
        if split == "train":
            records = records.first(self.limit)
        log.info("%s: read as %s rows (%s)", where, kind, ", ".join(f"{ours}: {names[ours]}" for ours in names))
        good, problems = self._checked(records, kind, names, where)
        if problems and not self.drop:
            raise ConfigError(_told(where, problems, of=len(good) + len(problems), section=self.section))
        if not good:
            raise ConfigError([f"{where}: no usable row in it; row {problems[0][0]}: {problems[0][1]}."])
        counts = {"read": len(good) + len(problems)}
        if problems:
            counts["dropped_bad_rows"] = len(problems)
            log.warning("%s: %d bad rows dropped, the first: row %d: %s", where, len(problems), *problems[0])
        self._read[split] = _rows(kind, good, name=path.name, counts=counts)
        return self._read[split]

    def _checked(
        self, records: Records, kind: Kind, names: Mapping[str, str], where: str
    ) -> tuple[Good, list[tuple[int, str]]]:
        scale = self._scale(records, names, where) if kind == "scored" else (0.0, 1.0)
        good, problems = [], list(records.problems)
        for number, record in records.rows:
            try:
                good.append(tuple(self._value(ours, record.get(names[ours]), scale) for ours in COLUMNS[kind]))
            except ValueError as error:
                problems.append((number, str(error)))
        return good, sorted(problems)

    def _value(self, column: str, value: Any, scale: tuple[float, float]) -> Any:
        if value is None:
            raise ValueError(f"{column} is missing")
        if column == "label":
            return self._label(value)
        if column == "score":
            number = _number(value)
            low, high = scale
            if number is None or not low <= number <= high:
                raise ValueError(f"score {value!r} is not a number from {low:g} to {high:g}")
            return (number - low) / (high - low)
        if not isinstance(value, str):
            raise ValueError(f"{column} is {value!r}, not a text")
        if not value.strip():
            raise ValueError(f"{column} is empty")
        return value.strip()

    def _label(self, value: Any) -> int:
        # Parquet has whole numbers as floats where it had to hold a missing one.
        word = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().lower()
        if not word:
            raise ValueError("label is empty")
        allowed = self.labels or {**LABELS, **{str(number): number for number in LABELS.values()}}
        if word not in allowed:
            raise ValueError(f"label {value!r} is none of {', '.join(allowed)}; say what it means with data.labels")
        return allowed[word]

    def _scale(self, records: Records, names: Mapping[str, str], where: str) -> tuple[float, float]:
        if self.score_scale is not None:
            low, high = self.score_scale
            return low, high
        given = ((row, record.get(names["score"])) for row, record in records.rows)
        numbers = [(row, value, _number(value)) for row, value in given if value is not None]
        found = [number for _, _, number in numbers if number is not None]
        # 0, 1, 2 and nothing else look like labels.
        labels = bool(found) and set(found) <= {0, 1, 2} and max(found) == 2
        if found and min(found) >= 0 and max(found) <= 1:
            scale = (0.0, 1.0)
        elif found and min(found) >= 0 and max(found) <= 5 and not labels:
            scale = (0.0, 5.0)
        else:
            reach = f"from {min(found):g} to {max(found):g}" if found else "no numbers"
            wrong = next(((row, value) for row, value, number in numbers if number is None), None)
            reach += f" (and row {wrong[0]} has {wrong[1]!r})" if wrong is not None and found else ""
            hint = " Are they NLI labels? Name the columns premise, hypothesis, label." if labels or not found else ""
            if wrong is not None and DECIMAL_COMMA.fullmatch(str(wrong[1])):
                raise ConfigError(
                    [f"{where}: row {wrong[0]}: score {wrong[1]!r} has a decimal comma; write a point, as in 3.5."]
                )
            raise ConfigError(
                [
                    f"{where}: scores are {reach}; say what is possible: {self.section}.score_scale=[lowest,highest].{hint}"
                ]
            )
        log.info("%s: scores taken as %g to %g", where, *scale)
        return scale

    def _halves(self, rows: Rows) -> tuple[Rows, Rows]:
        """Train and dev: whole groups of rows that are linked by shared texts, so no text is in both."""
        from datasets import Dataset

        if self._parts is not None:
            return self._parts
        if len(rows.table) < FEWEST_TO_SPLIT:
            raise ConfigError(
                [
                    f"{self._where('train')}: {len(rows.table)} rows are too few to set a dev set aside ({FEWEST_TO_SPLIT} at "
                    "least); give data.dev=FILE."
                ]
            )
        columns = [column for column in COLUMNS[rows.kind] if column not in TYPES]
        groups = _linked(list(zip(*(rows.values(column) for column in columns), strict=True)))
        random.Random(self.seed).shuffle(groups)
        wanted = max(2, round(len(rows.table) * self.dev_fraction))
        dev: list[int] = []
        for group in groups:
            if len(dev) < wanted and len(dev) + len(group) <= 2 * wanted:
                dev += group
        if len(dev) < min(wanted, 2) or len(rows.table) - len(dev) < 2:
            raise ConfigError(
                [
                    f"{self._where('train')}: its rows share texts so widely ({max(map(len, groups))} of "
                    f"{len(rows.table)} hang together) that no dev set can be set aside; give data.dev=FILE."
                ]
            )
        held_out = set(dev)
        train = [row for row in range(len(rows.table)) if row not in held_out]
        log.info("%s: %d of %d rows set aside as dev", self._where("train"), len(dev), len(rows.table))
        parts = (
            (train, "train part", {**rows.counts, "held_out_for_dev": len(dev)}),
            (sorted(dev), "dev part", {"read": len(dev)}),
        )
        table = rows.table.with_format("arrow")[:]
        first, second = (
            Rows(rows.kind, Dataset(table.take(part)), f"{rows.name} ({name})", counts) for part, name, counts in parts
        )
        self._parts = first, second
        return self._parts

    def _tell_overlap(self, rows: Rows) -> None:
        if self.paths["train"] is None:
            return
        train = self.load("train")
        shared = len(set(rows.texts()) & set(train.texts() if train else ()))
        if shared:
            log.warning("%s shares %d texts with the training file: its scores are too good", rows.name, shared)


def _told(where: str, problems: Sequence[tuple[int, str]], *, of: int, section: str) -> list[str]:
    lines = [f"{where}: row {number}: {problem}." for number, problem in problems[:MOST_TOLD]]
    if len(problems) > MOST_TOLD:
        lines.append(f"{where}: and {len(problems) - MOST_TOLD} more.")
    return [*lines, f"{where}: {len(problems)} of {of} rows are bad; {section}.on_bad_rows=drop leaves them out."]


def _number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _rows(kind: Kind, good: Good, *, name: str, counts: dict[str, int]) -> Rows:
    columns = {column: list(values) for column, values in zip(COLUMNS[kind], zip(*good, strict=True), strict=True)}
    return rows_from(kind, columns, name=name, counts=counts)


def _linked(rows: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """Groups of rows, each with all rows that share a text with one of the group (union-find)."""
    parent = list(range(len(rows)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first_with: dict[str, int] = {}
    for row, texts in enumerate(rows):
        for text in texts:
            parent[root(row)] = root(first_with.setdefault(text, row))
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(rows)):
        groups[root(row)].append(row)
    return list(groups.values())

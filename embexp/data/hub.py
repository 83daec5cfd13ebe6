"""Rows of a data set on the hub, or of a local mirror of it: a folder of parquet files."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embexp.config import ConfigError, Kind
from embexp.data.files.checking import label_word, refuse_what_is_no_text
from embexp.data.rows import COLUMNS, TYPES, Rows, Split, arrow_table, label_number, schema_of
from embexp.data.stored import Stored, of_hub, of_parquet, said_by
from embexp.data.tables import written
from embexp.home import expanded
from embexp.network import hub_is_reachable

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

STS_SCALE = 5.0
HIDDEN = -1
COMMIT = re.compile("[0-9a-f]{40}")


class HubSource:
    """A data set by its hub id, revision pinned, or by `path`, a folder with one parquet file or more a split.

    Args:
        kind: what its rows are; decides which columns are read, all others never reach a model.
        limit: the first so many rows of the training split, as they come.
        repo, subset, revision: as `datasets.load_dataset` takes them.
        path: the local mirror; files are named `<split>.parquet` or `<split>-*.parquet`, with the hub's own names of the splits.
        splits: the data set's own name of each of our splits, {"train": "train", "dev": "validation"}.
        columns: its own name of each of our columns, where they differ.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        limit: int | None,
        repo: str,
        subset: str | None,
        revision: str | None,
        path: str | None,
        splits: Mapping[str, str],
        columns: Mapping[str, str] | None,
    ) -> None:
        self.kind = kind
        self.limit = limit
        self.repo = repo
        self.subset = subset
        self.revision = revision
        self.path = expanded(path) if path is not None else None
        self.splits = splits
        self.columns = columns or {}

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; rows whose label or score is hidden (-1, as in GLUE's test sets) are dropped and counted.

        Only -1 itself hides a score. Any other below 0 is a score on a scale that is not known here, perhaps -1 to 1, and
        is refused: taken as hidden, half of the rows would be missing.

        Raises:
            ConfigError: neither mirror, nor cache, nor hub has it; it lacks a column; or a column has other values than
                texts, NLI's labels 0 to 2, one word or number for a label, or scores of 0 to 5.
        """
        return self.load_into(split, None)

    def load_into(self, split: Split, folder: Path | None) -> Rows | None:
        """As `load`; read, judged and written some rows at a time, and mapped from a file of the folder, if one is given."""
        if split not in self.splits:
            return None
        stored = self._stored(self.splits[split])
        if stored is None:
            return None
        name = f"{self.repo.rpartition('/')[2]}{f'/{self.subset}' if self.subset else ''} {split}"
        theirs = {column: self.columns.get(column, column) for column in COLUMNS[self.kind]}
        missing = [column for column in theirs.values() if column not in stored.columns]
        if missing:
            raise ConfigError(
                [f"{name}: no column {', '.join(missing)}; it has {', '.join(stored.columns)}; set data.columns."]
            )
        # Of all rows: the first ones may have low scores alone.
        scale = _scale(theirs["score"], stored.values(theirs["score"]), name) if "score" in theirs else STS_SCALE
        if split == "train" and self.limit is not None:
            stored = stored.first(self.limit)
        if self.kind == "nli":
            _check_labels(theirs["label"], stored.values(theirs["label"]), name)
        elif self.kind == "labelled":
            _check_words(theirs["label"], stored.values(theirs["label"]), name)
        for ours, column in theirs.items():
            if ours not in TYPES and not stored.has_texts(column):
                _check_texts(column, stored.values(column), name)
        table = written(self._good(stored, theirs, scale), schema_of(COLUMNS[self.kind]), folder)
        if not len(table):
            return None
        dropped = stored.count - len(table)
        counts = {"read": stored.count} | ({"dropped_hidden_or_empty": dropped} if dropped else {})
        return Rows(self.kind, table, name, counts)

    def files(self) -> Sequence[Path] | None:
        """Those of the local mirror; none where the hub has the rows at a fixed revision, None where it may change them."""
        if self.path is not None:
            return sorted(self.path.glob("*.parquet"))
        return [] if self.revision is not None and COMMIT.fullmatch(self.revision) else None

    def _good(self, stored: Stored, theirs: Mapping[str, str], scale: float) -> Iterator[pa.Table]:
        """The rows to keep, some at a time; what they are told from has been checked."""
        for table in stored.read(list(dict.fromkeys(theirs.values()))):
            values = {ours: table.column(column).to_pylist() for ours, column in theirs.items()}
            if "score" in values:
                shown = map(_shown, values["score"])
                values["score"] = [HIDDEN if score is None else score / scale for score in shown]
            marked = values.get("label", values.get("score", [0] * len(table)))
            if self.kind == "labelled":
                words = list(map(_word, values["label"]))
                marked = [0 if word else HIDDEN for word in words]
                values["label"] = list(map(label_number, words))
            texts = [values[column] for column in values if column not in TYPES]
            kept = [
                row
                for row, mark in enumerate(marked)
                if mark is not None and mark >= 0 and all((column[row] or "").strip() for column in texts)
            ]
            yield arrow_table(self.kind, {ours: [column[row] for row in kept] for ours, column in values.items()})

    def _stored(self, split: str) -> Stored | None:
        if self.path is None:
            return of_hub(self._from_hub(split))
        files = sorted({*self.path.glob(f"{split}.parquet"), *self.path.glob(f"{split}-*.parquet")})
        if not files and split in (self.splits.get("train"), self.splits.get("dev")):
            there = ", ".join(sorted(file.name for file in self.path.glob("*"))[:8]) or "nothing"
            raise ConfigError([f"{self.path}: no {split}.parquet or {split}-*.parquet here; found {there}."])
        if not files and (alike := sorted(file.name for file in self.path.glob(f"{split}*.parquet"))):
            log.warning(
                "%s: %s is not read; its name would be %s.parquet or %s-*.parquet", self.path, alike[0], split, split
            )
        return of_parquet(files) if files else None

    def _from_hub(self, split: str) -> Dataset:
        import datasets

        reachable = hub_is_reachable()
        # Without a network the library would try again and again for 23 s; told to stay offline it looks in its cache at once.
        offline = datasets.config.HF_HUB_OFFLINE
        datasets.config.HF_HUB_OFFLINE = offline or not reachable
        try:
            loaded: Dataset = datasets.load_dataset(self.repo, self.subset, split=split, revision=self.revision)
        except Exception as error:
            cause = (
                f"the hub gave no split {split}: {said_by(error)}"
                if reachable
                else "the hub cannot be reached and it is not in the cache of this machine"
            )
            raise ConfigError(
                [
                    f"data {self.repo}: {cause}; name a local mirror "
                    f"(data.path=FOLDER or evaluation.path=FOLDER, {split}.parquet or {split}-*.parquet), or connect."
                ]
            ) from error
        finally:
            datasets.config.HF_HUB_OFFLINE = offline
        return loaded


def _check_labels(column: str, labels: Iterable[Any], name: str) -> None:
    for row, label in enumerate(labels):
        if label not in (None, HIDDEN, 0, 1, 2):
            raise ConfigError(
                [f"{name} row {row}: {column} {label!r}; allowed: 0 entailment, 1 neutral, 2 contradiction, -1 hidden."]
            )


def _check_words(column: str, labels: Iterable[Any], name: str) -> None:
    for row, label in enumerate(labels):
        try:
            _word(label, called=column)
        except ValueError as error:
            raise ConfigError([f"{name} row {row}: {error}; set data.columns."]) from None


def _word(label: Any, *, called: str = "label") -> str:
    """A label as it is written; nothing where it is hidden or missing, as NaN is where pandas wrote it.

    Raises:
        ValueError: it is several.
    """
    return "" if label is None or label != label or label == HIDDEN else label_word(label, called=called)


def _check_texts(column: str, texts: Iterable[Any], name: str) -> None:
    for row, text in enumerate(texts):
        if text is None:
            continue
        try:
            refuse_what_is_no_text(column, text)
        except ValueError as error:
            raise ConfigError([f"{name} row {row}: {error}; set data.columns."]) from None


def _scale(column: str, values: Iterable[Any], name: str) -> float:
    """The highest score that there can be: 5 as in STS-B, or 1 where no score is above it, as in its other edition."""
    highest = 0.0
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, (int, float)):
            raise ConfigError([f"{name} row {row}: {column} {value!r} is no number; set data.columns."])
        score = _shown(value)
        if score is not None and score < 0:
            raise ConfigError(
                [
                    f"{name} row {row}: a score of {score:g}; allowed: 0 to {STS_SCALE:g}, or 0 to 1, and {HIDDEN} where "
                    "it is hidden; of another scale, name the files themselves: data=files data.train=FILE.parquet "
                    "data.score_scale=[lowest,highest]."
                ]
            )
        highest = max(highest, score or 0.0)
    if highest > STS_SCALE:
        raise ConfigError(
            [f"{name}: a score of {highest}, above {STS_SCALE:g}; allowed: 0 to {STS_SCALE:g}, or 0 to 1."]
        )
    if 0 < highest <= 1:
        log.info("%s: no score above 1: read as 0 to 1", name)
        return 1.0
    return STS_SCALE


def _shown(score: float | None) -> float | None:
    """A score as it is; None where there is none, or it is hidden."""
    return None if score is None or math.isnan(score) or score == HIDDEN else float(score)

"""Rows of a data set on the hub, or of a local mirror of it: a folder of parquet files."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embexp.config import ConfigError, Kind
from embexp.data.files.checking import refuse_what_is_no_text
from embexp.data.rows import COLUMNS, Rows, Split, rows_from
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
        path: the local mirror; files are named `<split>*.parquet`, with the hub's own names of the splits.
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
        self.path = Path(path).expanduser() if path is not None else None
        self.splits = splits
        self.columns = columns or {}

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; rows whose label or score is hidden (-1, as in GLUE's test sets) are dropped and counted.

        Only -1 itself hides a score. Any other below 0 is a score on a scale that is not known here, perhaps -1 to 1, and
        is refused: taken as hidden, half of the rows would be missing.

        Raises:
            ConfigError: neither mirror, nor cache, nor hub has it; it lacks a column; or a column has other values than
                texts, the labels 0 to 2, or scores of 0 to 5.
        """
        if split not in self.splits:
            return None
        table = self._table(self.splits[split])
        if table is None:
            return None
        name = f"{self.repo.rpartition('/')[2]}{f'/{self.subset}' if self.subset else ''} {split}"
        theirs = {column: self.columns.get(column, column) for column in COLUMNS[self.kind]}
        missing = [column for column in theirs.values() if column not in table.column_names]
        if missing:
            raise ConfigError(
                [f"{name}: no column {', '.join(missing)}; it has {', '.join(table.column_names)}; set data.columns."]
            )
        if split == "train" and self.limit is not None:
            table = table.select(range(min(self.limit, len(table))))
        return self._checked({column: _values(table, source) for column, source in theirs.items()}, name)

    def files(self) -> Sequence[Path] | None:
        """Those of the local mirror; none where the hub has the rows at a fixed revision, None where it may change them."""
        if self.path is not None:
            return sorted(self.path.glob("*.parquet"))
        return [] if self.revision is not None and COMMIT.fullmatch(self.revision) else None

    def _checked(self, values: dict[str, list[Any]], name: str) -> Rows | None:
        read = len(next(iter(values.values())))
        scaled = "score" in values
        if scaled:
            scores = _scores(values["score"], name)
            scale = _scale(scores, name)
            values["score"] = [HIDDEN if score is None else score / scale for score in scores]
        if "label" in values:
            _check_labels(values["label"], name)
        marked = values.get("label", values.get("score", [0] * read))
        columns = [column for column in values if column not in ("label", "score")]
        for column in columns:
            _check_texts(column, values[column], name)
        texts = [values[column] for column in columns]
        kept = [
            row
            for row in range(read)
            if marked[row] is not None and marked[row] >= 0 and all((column[row] or "").strip() for column in texts)
        ]
        if not kept:
            return None
        counts = {"read": read} | ({"dropped_hidden_or_empty": read - len(kept)} if len(kept) < read else {})
        return rows_from(self.kind, {c: [v[row] for row in kept] for c, v in values.items()}, name=name, counts=counts)

    def _table(self, split: str) -> Dataset | None:
        import pyarrow as pa
        import pyarrow.parquet as pq
        from datasets import Dataset

        if self.path is None:
            return self._from_hub(split)
        files = sorted({*self.path.glob(f"{split}.parquet"), *self.path.glob(f"{split}-*.parquet")})
        if not files and split in (self.splits.get("train"), self.splits.get("dev")):
            there = ", ".join(sorted(file.name for file in self.path.glob("*"))[:8]) or "nothing"
            raise ConfigError([f"{self.path}: no {split}.parquet or {split}-*.parquet here; found {there}."])
        try:
            return Dataset(pa.concat_tables([pq.read_table(file) for file in files])) if files else None
        except (pa.ArrowException, OSError) as error:
            names = ", ".join(file.name for file in files)
            raise ConfigError(
                [f"{self.path}: {names}: not parquet, or not of the same columns: {_first_line(error)}"]
            ) from error

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
                f"the hub gave no split {split}: {_first_line(error)}"
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


def _values(table: Dataset, column: str) -> list[Any]:
    values: list[Any] = table.with_format("arrow")[:].column(column).to_pylist()
    return values


def _check_labels(labels: list[Any], name: str) -> None:
    for row, label in enumerate(labels):
        if label not in (None, HIDDEN, 0, 1, 2):
            raise ConfigError(
                [f"{name} row {row}: label {label!r}; allowed: 0 entailment, 1 neutral, 2 contradiction, -1 hidden."]
            )


def _check_texts(column: str, texts: list[Any], name: str) -> None:
    for row, text in enumerate(texts):
        if text is None:
            continue
        try:
            refuse_what_is_no_text(column, text)
        except ValueError as error:
            raise ConfigError([f"{name} row {row}: {error}; set data.columns."]) from None


def _scores(values: list[Any], name: str) -> list[float | None]:
    """The scores as they are; None where there is none, or it is hidden."""
    for row, score in enumerate(values):
        if score is not None and not isinstance(score, (int, float)):
            raise ConfigError([f"{name} row {row}: score {score!r} is no number; set data.columns."])
    scores = [None if score is None or math.isnan(score) or score == HIDDEN else float(score) for score in values]
    below = next(((row, score) for row, score in enumerate(scores) if score is not None and score < 0), None)
    if below is not None:
        raise ConfigError(
            [
                f"{name} row {below[0]}: a score of {below[1]:g}; allowed: 0 to {STS_SCALE:g}, or 0 to 1, and {HIDDEN} where "
                "it is hidden; of another scale, name the files themselves: data=files data.train=FILE.parquet "
                "data.score_scale=[lowest,highest]."
            ]
        )
    return scores


def _scale(scores: list[float | None], name: str) -> float:
    """The highest score that there can be: 5 as in STS-B, or 1 where no score is above it, as in its other edition."""
    highest = max((score for score in scores if score is not None), default=0)
    if highest > STS_SCALE:
        raise ConfigError(
            [f"{name}: a score of {highest}, above {STS_SCALE:g}; allowed: 0 to {STS_SCALE:g}, or 0 to 1."]
        )
    if 0 < highest <= 1:
        log.info("%s: no score above 1: read as 0 to 1", name)
        return 1.0
    return STS_SCALE


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)

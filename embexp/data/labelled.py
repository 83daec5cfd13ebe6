"""Labelled texts: which can be learnt from, and of each another text of its label and one of another."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.config import ConfigError
from embexp.data.repeats import first_of_each
from embexp.data.rows import Rows
from embexp.data.tables import parts

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Labelled:
    """Texts, none of them twice, none alone in its label.

    Attributes:
        rows: of which they are.
        kept: their numbers in these, in order.
        labels: of each 0, 1, 2, ...
        dropped: how many rows are no such texts, and why.
    """

    rows: Rows
    kept: NDArray[np.int64]
    labels: NDArray[np.int64]
    dropped: dict[str, int]

    @classmethod
    def of(cls, rows: Rows) -> Labelled:
        """Of labelled rows; of a text that stands there several times the first, and with the label that it has there.

        Raises:
            ConfigError: no two labels have two texts each.
        """
        first = np.flatnonzero(first_of_each(lambda: rows.batches(["text"])))
        # One that says what no row before it says, of a text that is known, says that it has another label.
        disputed = int(np.count_nonzero(first_of_each(lambda: rows.batches(["text", "label"])))) - len(first)
        labels = np.concatenate([table["label"].to_numpy() for table in rows.batches(["label"])])[first]
        _, of_label, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        shared = sizes[of_label] > 1
        kept, labels = first[shared], np.unique(labels[shared], return_inverse=True)[1]
        if not labels.any():
            raise ConfigError([f"{rows.name}: {what_is_wrong_with_labels(sizes)}."])
        if disputed:
            log.warning(
                "%s: %s under another label what an earlier row has; the label of the first is taken",
                rows.name,
                "1 row has" if disputed == 1 else f"{disputed} rows have",
            )
        log.info("%s: %d texts of %d labels, %d to %d each", rows.name, len(kept), labels.max() + 1, *_range(labels))
        dropped = {"dropped_repeated_text": len(rows.table) - len(first) - disputed, "dropped_other_label": disputed}
        return cls(rows, kept, labels, {**dropped, "dropped_alone_in_label": len(first) - len(kept)})

    def tables(self) -> Iterator[pa.Table]:
        """Text and label, some at a time."""
        for some in parts(np.arange(len(self.kept))):
            yield pa.table({"text": self._texts(some), "label": self.labels[some]})

    def pairs(self, seed: int) -> Iterator[pa.Table]:
        """Of each text two pairs, with another of its label and with one of another label, and which is which; some at a time.

        Args:
            seed: draws them. Each text is another's of its label once; where there are but two, they are one pair.
        """
        right, wrong = self._drawn(np.random.default_rng(seed))
        numbers = np.arange(len(self.kept))
        turned = (right[right] == numbers) & (right < numbers)
        for some in parts(numbers):
            first, second = np.repeat(some, 2), np.column_stack([right[some], wrong[some]]).ravel()
            is_right = np.tile([True, False], len(some))
            once = ~(is_right & turned[first])
            columns = [self._texts(first[once]), self._texts(second[once]), is_right[once]]
            yield pa.table(columns, names=["first", "second", "right"])

    def _drawn(self, draw: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        count = len(self.labels)
        shuffled = draw.permutation(count)
        # Label by label, in a random order within each.
        ordered = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        sizes = np.bincount(self.labels)
        starts = np.cumsum(sizes) - sizes
        of_label = self.labels[ordered]
        place = np.arange(count)
        after = np.where(place + 1 < (starts + sizes)[of_label], place + 1, starts[of_label])
        # One of all that stand before the label and behind it.
        others = draw.integers(0, count - sizes[of_label])
        others += np.where(others < starts[of_label], 0, sizes[of_label])
        right, wrong = np.empty((2, count), np.int64)
        right[ordered], wrong[ordered] = ordered[after], ordered[others]
        return right, wrong

    def _texts(self, numbers: NDArray[np.int64]) -> pa.ChunkedArray:
        return self.rows.table.with_format("arrow")[self.kept[numbers]]["text"]


def what_is_wrong_with_labels(sizes: NDArray[np.int64]) -> str:
    """Why there are no two labels with two texts each.

    Args:
        sizes: of each label, how many different texts it has.
    """
    texts, shared = int(sizes.sum()), int(np.count_nonzero(sizes > 1))
    if len(sizes) == 1:
        return f"all its {texts} texts have one label, and two are wanted"
    if not shared:
        return f"its {texts} texts have as many labels, one each, and two of a label are wanted"
    return f"of its {len(sizes)} labels only one has two different texts, and two such are wanted"


def _range(labels: NDArray[np.int64]) -> tuple[int, int]:
    sizes = np.bincount(labels)
    return int(sizes.min()), int(sizes.max())

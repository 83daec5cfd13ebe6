"""How rows come to be batches: shuffled, so that no text occurs twice in one, or so that texts of a label stand together.

In the second every row is there once an epoch, in as many batches as are said beforehand, and in as many in every epoch:
transformers asks once, and counts steps and epochs by it. sentence-transformers' own sampler fills one batch after the
other. The rows that could not stand with their neighbours are left for small batches at the end, more than its length says;
the trainer stops at the length, and never sees these rows: the more of them, the larger the batch. Here all batches of an
epoch are filled evenly.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler, GroupByLabelBatchSampler

from embexp.data.filling import Rows, fill

log = logging.getLogger(__name__)

# In which an epoch's rows are tried to find room.
ORDERS = 5
FEWEST_IN_A_BATCH = 4
# The column of them.
NEGATIVE = "negative"
# Of the rows, in an epoch, before it is worth a warning.
MOST_LEFT_OUT = 0.05


class Shuffled(DefaultBatchSampler):
    """The batches of the plain trainer, whose memory does not grow with the rows: torch's sampler makes every number of an
    epoch a Python object, 200 MB for five million rows.

    An epoch's order follows from the seed and the epoch alone, as accelerate's SeedableRandomSampler has it: a run that goes on
    in a later epoch has the order that it would have had.
    """

    def __iter__(self) -> Iterator[list[int]]:
        rows = len(self.sampler)
        order = torch.randperm(rows, generator=torch.Generator().manual_seed(self.seed + self.epoch))
        for begin in range(0, rows - rows % self.batch_size if self.drop_last else rows, self.batch_size):
            yield order[begin : begin + self.batch_size].tolist()


class NoDuplicates(DefaultBatchSampler):
    """No text twice in a batch, whatever its column, but for negatives; rows in a new random order in every epoch, in as many batches.

    A text that several rows have as their negative, as mined ones often are, may be that of two in a batch: it is wrong for both,
    and counts twice. No row's negative is another's anchor or positive: for that row it would be a right text that counts as wrong.

    All batches are of one size, or one row less, as far as the texts allow it: `batch_size` at most, and less where a text occurs
    in more rows than there would be batches. The arguments are the library's; drop_last is refused.

    Raises:
        ValueError: drop_last was asked for: no row is left out here.
    """

    _made: tuple[int, list[Rows]] | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        if self.drop_last:
            raise ValueError("drop_last: batches without repeated texts have every row; leave it out")

    def __iter__(self) -> Iterator[list[int]]:
        for rows in self._batches():
            yield rows.tolist()

    def __len__(self) -> int:
        return self._number

    @cached_property
    def _number(self) -> int:
        """Of batches, in every epoch: as many as the first one needs; whoever counts steps asks once."""
        batches = self._first()
        _tell_if_small(batches, size=self.batch_size)
        self._made = 0, batches
        return len(batches)

    def _batches(self) -> list[Rows]:
        number = self._number
        if self._made is None or self._made[0] != self.epoch:
            self._made = self.epoch, self._filled(self.epoch, number)
        return self._made[1]

    def _filled(self, epoch: int, number: int) -> list[Rows]:
        texts, generator = self._texts(), self._generator(epoch)
        for _ in range(ORDERS):
            order = self._order(generator)
            batches, _ = fill(texts[order], size=self.batch_size, batches=number, negatives=self._negatives)
            if len(batches) == number:
                return [order[rows] for rows in batches]
        # Few other batches are possible then. These are.
        first = self._first()
        return [first[place] for place in torch.randperm(number, generator=generator).tolist()]

    def _first(self) -> list[Rows]:
        """Of epoch 0, where a number of batches in which all rows find room is looked for."""
        order = self._order(self._generator(0))
        texts = self._texts()[order]
        found, asked = fill(texts, size=self.batch_size, negatives=self._negatives)
        # Those that it had to add have few rows; with that number from the start all have about as many.
        while len(found) > asked:
            found, asked = fill(texts, size=self.batch_size, batches=len(found), negatives=self._negatives)
        return [order[rows] for rows in found]

    def _generator(self, epoch: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + epoch)

    def _order(self, generator: torch.Generator) -> Rows:
        order: Rows = torch.randperm(len(self.sampler), generator=generator).numpy()
        return order

    @property
    def _columns(self) -> list[str]:
        """Those of texts."""
        return [name for name in self.sampler.column_names if name not in (self.valid_label_columns or [])]

    @property
    def _negatives(self) -> list[int]:
        """The places of those that hold negatives."""
        return [place for place, name in enumerate(self._columns) if name == NEGATIVE]

    def _texts(self) -> Rows:
        """A number for each text, equal ones for equal texts: (rows, columns of text)."""
        table, columns = self.sampler.with_format("arrow"), self._columns
        found = np.empty((len(table), len(columns)), dtype=np.int64)
        begin = 0
        for part in table.iter(100_000):
            for number, name in enumerate(columns):
                texts = part.column(name).to_pylist()
                found[begin : begin + len(texts), number] = [hash(text) for text in texts]
            begin += len(part)
        return found


class GroupedByLabel(GroupByLabelBatchSampler):
    """The library's: two texts at least of each label that is in a batch; how many rows an epoch has no room for is told."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Of what is left for a last batch, fewer than two texts each of two labels are none.
        last = self._stream_length % self.batch_size
        left_out = len(self.dataset) - self._stream_length + (last if last < FEWEST_IN_A_BATCH else 0)
        if left_out:
            log.log(
                logging.WARNING if left_out > MOST_LEFT_OUT * len(self.dataset) else logging.INFO,
                "batches: %d of %d rows, others in each epoch, are left out, for no batch has one text alone of a label, nor one label "
                "alone; loss.batches=shuffled takes all rows as they come",
                left_out,
                len(self.dataset),
            )


# By loss.batches.
SAMPLERS: dict[str, type[DefaultBatchSampler]] = {
    "shuffled": Shuffled,
    "no_duplicates": NoDuplicates,
    "group_by_label": GroupedByLabel,
}


def _tell_if_small(batches: list[Rows], *, size: int) -> None:
    rows = sum(map(len, batches))
    full = math.ceil(rows / size)
    if len(batches) > 1.1 * full:
        log.warning(
            "batches: %d of about %d rows, not %d of %d: some text is the anchor or a positive of many rows, or is so where others have it "
            "as their negative, and no batch may hold both; drop such rows, or use loss.batches=shuffled, where it may be its own negative",
            len(batches),
            rows // len(batches),
            full,
            size,
        )

"""Fills batches with rows, evenly, so that no text occurs twice in one: of millions of rows in seconds, whatever they share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
# Batches that are looked at first for a row that has no room in its turn.
LOOKED_AT = 1024
# Rows that are dealt at once.
DEALT_AT_LEAST, DEALT_AT_MOST = 16, 1024
# A text in more rows than these, and than one for so many batches, is looked for by a bit a batch: to go through its rows would
# take longer, and its bits are 64 bytes a row of it at most.
FREQUENT, BATCHES_FOR_ONE = 64, 512
# Of a row that is in no batch, and of a text that may stand in all.
NOWHERE = -1


def fill(texts: Rows, *, size: int, batches: int = 0, negatives: Sequence[int] = ()) -> tuple[list[Rows], int]:
    """The rows in batches, evenly, so that no text occurs twice in one, but as a negative: each a list of places in `texts`.

    A row that can stand in none that has not its share yet makes one larger, up to `size`; what finds room in none at all gets
    more batches, which have few rows.

    Args:
        texts: (rows, columns), equal numbers for equal texts; the rows are taken in this order. A text twice in one row is
            the row's own affair.
        size: of a batch, at most.
        batches: at least.
        negatives: columns whose texts may be those of two rows of a batch, but not what another row has in another column.

    Returns:
        the batches, and how many it began with.
    """
    rows = len(texts)
    if rows == 0:
        return [], 0
    _, number, counts = np.unique(texts, return_inverse=True, return_counts=True)
    number = number.reshape(texts.shape)
    is_negative = np.isin(np.arange(texts.shape[1]), negatives)
    # What is a negative and nothing else may stand anywhere.
    elsewhere = np.zeros(len(counts), dtype=bool)
    elsewhere[number[:, ~is_negative]] = True
    shared = (counts > 1) & elsewhere
    is_shared = shared[number]
    # A text in more rows than there are batches wants more batches.
    batches = max(batches, math.ceil(rows / size), int(_rows_of_the_commonest(number[:, ~is_negative])))
    # First what many have as their negative: when these stand in every batch it finds room in none.
    avoiding = np.bincount(number[:, is_negative].ravel(), minlength=len(counts))
    avoided = np.where(is_negative, 0, avoiding[number]).max(axis=1)
    crowded = np.flatnonzero(is_shared.any(axis=1))
    order = crowded[np.argsort(-avoided[crowded], kind="stable")]
    room = rows // batches + (np.arange(batches) < rows % batches)
    some = _Filled(room, np.where(is_shared, (np.cumsum(shared, dtype=np.int32) - 1)[number], NOWHERE), is_negative)
    some.take(order, size=size)
    free = np.flatnonzero(~is_shared.any(axis=1))
    spaces = np.maximum(0, room - some.counts[:batches])
    parts = [*np.split(free, np.cumsum(spaces))[:batches], *[free[:0]] * (len(some.counts) - batches)]
    filled = np.split(order[np.argsort(some.batch_of[order], kind="stable")], np.cumsum(some.counts)[:-1])
    made = [np.concatenate(both) for both in zip(filled, parts, strict=True)]
    return [batch for batch in made if len(batch)], batches


class _Filled:
    """Batches while they are filled, one row after the other, by the rule of `fill`.

    Rows are dealt to the batches as cards are: of many at once it is seen whether each finds room in its turn, up to the first
    that does not, for which a batch is looked for. Where a text stands is known from the batches of its rows, and of a frequent
    one by a bit a batch.

    Args:
        room: (batches,), rows that are each one's share.
        texts: (rows, columns), numbers from 0 of texts that may not stand everywhere; NOWHERE for others.
        is_negative: (columns,), whether what stands there is a negative.

    Attributes:
        counts: (batches,), rows in each.
        batch_of: (rows,), NOWHERE as long as it is in none.
    """

    def __init__(self, room: Rows, texts: Rows, is_negative: NDArray[np.bool_]) -> None:
        self.counts = np.zeros(len(room), dtype=np.int64)
        self.batch_of = np.full(len(texts), NOWHERE, dtype=np.int32)
        self._room = room
        # A text is known as 2n where it is an anchor or a positive, and as 2n + 1 where it is a negative: two of these may meet.
        self._known_as = np.where(texts == NOWHERE, NOWHERE, 2 * texts + is_negative).astype(np.int32)
        self._is_negative = is_negative
        # The rows of each, one after the other, and where each one's begin.
        row, column = np.nonzero(self._known_as != NOWHERE)
        known = self._known_as[row, column]
        self._rows = row[np.argsort(known, kind="stable")].astype(np.int32)
        self._begins = np.append(0, np.cumsum(np.bincount(known, minlength=2 * (int(texts.max(initial=-1)) + 1))))
        frequent = np.flatnonzero(np.diff(self._begins) > max(FREQUENT, len(room) // BATCHES_FOR_ONE))
        # Of each text that is frequent its row of bits; NOWHERE for others.
        self._bits_of = np.full(len(self._begins) - 1, NOWHERE, dtype=np.int32)
        self._bits_of[frequent] = np.arange(len(frequent))
        self._bits = np.zeros((len(frequent), len(room) // 8 + 1), dtype=np.uint8)

    def take(self, order: Rows, *, size: int) -> None:
        """All these rows, in this order, each to a batch of `size` rows at most."""
        done = place = 0
        dealt = DEALT_AT_LEAST
        while done < len(order):
            rows = order[done : done + min(dealt, DEALT_AT_MOST, len(self.counts))]
            places = (place + np.arange(len(rows))) % len(self.counts)
            fits = (self.counts[places] < self._room[places]) & ~self._clash(rows, places)
            count = len(rows) if fits.all() else int(fits.argmin())
            self._add(rows[:count], places[:count])
            done, place = done + count, (place + count) % len(self.counts)
            dealt = 2 * count + 1
            if count == len(rows):
                continue
            # Where few find room in their turn, to ask it of each of the next would only cost time.
            for row in order[done : done + (1 if count >= DEALT_AT_LEAST else DEALT_AT_LEAST)].tolist():
                found = self._next_with_room(row, place)
                place = self._smallest(row, size=size) if found is None else found
                self._add(np.array([row]), np.array([place]))
                done, place = done + 1, (place + 1) % len(self.counts)

    def _next_with_room(self, row: int, place: int) -> int | None:
        """The first batch from a place on, and around, that has not its share yet and nothing to keep this row out; None: there is none."""
        count = len(self.counts)
        near = min(place + LOOKED_AT, count)
        for begin, end in ((place, near), (near, count), (0, place)):
            fits = self._without(row, begin, end) & (self.counts[begin:end] < self._room[begin:end])
            if fits.any():
                return begin + int(fits.argmax())
        return None

    def _smallest(self, row: int, *, size: int) -> int:
        """The first of the smallest batches that can have this row and have not `size` rows; a new one where there is none."""
        fits = self._without(row, 0, len(self.counts)) & (self.counts < size)
        if fits.any():
            return int(np.where(fits, self.counts, size).argmin())
        self._room, self.counts = np.append(self._room, size), np.append(self.counts, 0)
        if len(self.counts) > 8 * self._bits.shape[1]:
            self._bits = np.pad(self._bits, ((0, 0), (0, self._bits.shape[1])))
        return len(self.counts) - 1

    def _add(self, rows: Rows, places: Rows) -> None:
        """Rows to as many different batches."""
        self.batch_of[rows] = places
        self.counts[places] += 1
        if len(self._bits):
            known = self._known_as[rows]
            row, column = np.nonzero(known != NOWHERE)
            which, at = self._bits_of[known[row, column]], places[row]
            which, at = which[which != NOWHERE], at[which != NOWHERE]
            np.bitwise_or.at(self._bits, (which, at >> 3), (1 << (at & 7)).astype(np.uint8))

    def _keeping_out(self, rows: Rows) -> NDArray[np.int32]:
        """By what the texts are known that may not be in a row's batch: (rows, at most two a column), NOWHERE where there is none."""
        its = self._known_as[rows]
        # Its own right texts as another's right ones and negatives, its negatives as another's right ones.
        right = its[:, ~self._is_negative]
        negative = its[:, self._is_negative]
        if not negative.shape[1]:
            return right
        meets = np.where(right == NOWHERE, NOWHERE, right + 1), np.where(negative == NOWHERE, NOWHERE, negative - 1)
        return np.concatenate([right, *meets], axis=1)

    def _clash(self, rows: Rows, places: Rows) -> NDArray[np.bool_]:
        """Whether a text keeps each row out of the batch at its place."""
        keeping_out = self._keeping_out(rows)
        row, column = np.nonzero(keeping_out != NOWHERE)
        known, at = keeping_out[row, column], places[row]
        clash = np.zeros(len(rows), dtype=bool)
        which = self._bits_of[known]
        is_frequent = which != NOWHERE
        which, its = which[is_frequent], at[is_frequent]
        clash[row[is_frequent][(self._bits[which, its >> 3] >> (its & 7) & 1).astype(bool)]] = True
        row, known, at = row[~is_frequent], known[~is_frequent], at[~is_frequent]
        begins = self._begins[known]
        lengths = self._begins[known + 1] - begins
        each = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
        there = self.batch_of[self._rows[each]] == np.repeat(at, lengths)
        clash[np.repeat(row, lengths)[there]] = True
        return clash

    def _without(self, row: int, begin: int, end: int) -> NDArray[np.bool_]:
        """Which of the batches from `begin` to before `end` have no text that keeps this row out."""
        fits = np.ones(end - begin, dtype=bool)
        for known in self._keeping_out(np.array([row]))[0].tolist():
            if known == NOWHERE:
                continue
            if (which := self._bits_of[known]) != NOWHERE:
                bits = np.unpackbits(self._bits[which, begin >> 3 : (end + 7) >> 3], bitorder="little")
                fits &= bits[begin & 7 :][: end - begin] == 0
            else:
                at = self.batch_of[self._rows[self._begins[known] : self._begins[known + 1]]]
                fits[at[(at >= begin) & (at < end)] - begin] = False
        return fits


def _rows_of_the_commonest(number: Rows) -> np.int64:
    """In how many rows the commonest text is; twice in one row counts once."""
    once = np.sort(number, axis=1)
    first = np.ones_like(once, dtype=bool)
    first[:, 1:] = once[:, 1:] != once[:, :-1]
    return np.bincount(once[first]).max()

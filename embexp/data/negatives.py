"""Negatives of pairs: the anchor's own contradictions, as NLI has them, or the positives of other pairs, mined or drawn.

Texts are told apart by their hashes, 8 bytes each, so that none is in memory but those that are being written. Two texts of one hash,
which are one in 10^19 pairs of texts, would cost a negative and nothing else: another is drawn.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.data.rows import CONTRADICTION, DIRECTED, Rows, hashes_of
from embexp.data.tables import AT_ONCE, parts

if TYPE_CHECKING:
    from datasets import Dataset

# Where hard ones were looked for: what is counted.
HARD, DRAWN = "hard_negative", "drawn_negative"


class Miner(Protocol):
    """Finds hard negatives: see `embexp.mining`.

    Attributes:
        made_from: all that decides what is found but the pairs; as JSON.
    """

    @property
    def made_from(self) -> Mapping[str, Any]: ...

    def of(self, pairs: Dataset, *, directed: bool) -> NDArray[np.int64]:
        """Of each pair the numbers of those whose positives would be its negatives, the hardest first; -1: no more."""


@dataclass(frozen=True)
class Triplets:
    """Pairs, each with a negative; those that found none are not there.

    Attributes:
        hypotheses: of the rows of which the pairs are; None where no negative is one.
        pairs: anchor, positive.
        contradictions: of each pair the row whose hypothesis is its negative, or -1.
        drawn: of each other pair the one whose positive is its negative, or -1.
        hard: of how many it was mined; None: no such were looked for.
    """

    hypotheses: Dataset | None
    pairs: Dataset
    contradictions: NDArray[np.int64]
    drawn: NDArray[np.int64]
    hard: int | None = None

    @classmethod
    def of(cls, rows: Rows, pairs: Dataset, *, own: bool, seed: int, miner: Miner | None = None) -> Triplets:
        """Negatives for pairs.

        Args:
            rows: of which the pairs are.
            pairs: anchor, positive.
            own: whether an anchor gets its own contradictions, in turn, where it has any.
            seed: draws those that neither an own contradiction nor the miner gives.
            miner: finds hard ones for the others.
        """
        if not len(pairs):
            return cls(None, pairs, *np.empty((2, 0), np.int64))
        directed = rows.kind in DIRECTED
        texts = _Pairs.of(pairs, directed=directed)
        own = own and rows.kind == "nli"
        contradictions = _contradictions(rows, texts) if own else np.full(len(pairs), -1)
        hypotheses = rows.table.select_columns(["hypothesis"]) if own else None
        wanted = contradictions < 0
        hard = np.full(len(pairs), -1)
        if miner is not None and wanted.any():
            hard = np.where(wanted, _hardest(texts, miner.of(pairs, directed=directed)), -1)
        drawn = np.where(hard >= 0, hard, _draw(texts, wanted & (hard < 0), seed))
        found = None if miner is None else int(np.count_nonzero(hard >= 0))
        return cls(hypotheses, pairs, contradictions, drawn, found)

    @property
    def counts(self) -> dict[str, int]:
        """Of pairs that found no negative, of those that have a contradiction; where hard ones were looked for, of these, and others."""
        is_own, is_drawn = (int(np.count_nonzero(found >= 0)) for found in (self.contradictions, self.drawn))
        counts = {"dropped_no_negative": len(self.pairs) - is_own - is_drawn, "own_contradiction": is_own}
        return counts if self.hard is None else {**counts, HARD: self.hard, DRAWN: is_drawn - self.hard}

    def tables(self) -> Iterator[pa.Table]:
        """Anchor, positive, negative, some at a time."""
        pairs = self.pairs.with_format("arrow")
        for some in parts(np.flatnonzero((self.contradictions >= 0) | (self.drawn >= 0))):
            is_own = self.contradictions[some] >= 0
            negatives = [pairs[self.drawn[some[~is_own]]]["positive"]]
            if self.hypotheses is not None:
                negatives.append(self.hypotheses.with_format("arrow")[self.contradictions[some[is_own]]]["hypothesis"])
            # First those drawn, then the contradictions: back to the order of the pairs.
            order = np.argsort(np.argsort(is_own, kind="stable"))
            joined = pa.chunked_array([chunk for column in negatives for chunk in column.chunks], type=pa.string())
            yield pairs[some].append_column("negative", joined.take(order))


@dataclass(frozen=True)
class _Pairs:
    """Pairs as hashes of their texts.

    Attributes:
        anchors, positives: of each pair.
        first, second: of two texts that belong together; the same pairs, and, where their texts could change places, these changed.
        known: of each of them a number of both texts, in order.
    """

    anchors: NDArray[np.int64]
    positives: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    known: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Dataset, *, directed: bool) -> _Pairs:
        """Of anchors and positives; directed: the anchor asks for the positive."""
        anchors, positives = np.concatenate([*map(hashes_of, pairs.with_format("arrow").iter(batch_size=AT_ONCE))]).T
        first, second = anchors, positives
        if not directed:
            first, second = np.concatenate([first, second]), np.concatenate([second, first])
        return cls(anchors, positives, first, second, np.unique(_together(first, second)))

    def are_wrong(self, anchors: NDArray[np.int64], texts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Of texts, whether each is its anchor itself or one of the anchor's positives, and so no negative."""
        together = _together(anchors, texts)
        found = self.known[np.searchsorted(self.known, together).clip(max=len(self.known) - 1)]
        wrong: NDArray[np.bool_] = (texts == anchors) | (found == together)
        return wrong


def _together(anchors: NDArray[np.int64], texts: NDArray[np.int64]) -> NDArray[np.int64]:
    # Odd, so that no anchor's texts are mapped onto one; what is too large wraps around.
    return anchors * np.int64(0x9E3779B97F4A7C15 - 2**64) + texts


def _hardest(texts: _Pairs, found: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each pair the first of what was found that is a negative, or -1."""
    hardest = np.full(len(found), -1)
    for column in reversed(found.T):
        fits = (column >= 0) & ~texts.are_wrong(texts.anchors, texts.positives[column])
        hardest[fits] = column[fits]
    return hardest


def _draw(texts: _Pairs, wanted: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """Of each pair the number of the one whose positive is its negative; -1 where none is wanted, or there is none."""
    draw = random.Random(seed)
    shuffled = list(range(len(wanted)))
    draw.shuffle(shuffled)
    drawn = np.where(wanted, shuffled, -1)
    wrong = np.flatnonzero(wanted & texts.are_wrong(texts.anchors, texts.positives[drawn]))
    if not len(wrong):
        return drawn
    none_of: dict[int, set[int]] = defaultdict(set)
    of_these = np.isin(texts.first, texts.anchors[wrong])
    for anchor, other in zip(texts.first[of_these].tolist(), texts.second[of_these].tolist(), strict=True):
        none_of[anchor] |= {anchor, other}
    of_anchor: dict[int, list[int]] = defaultdict(list)
    for pair, anchor in zip(wrong.tolist(), texts.anchors[wrong].tolist(), strict=True):
        of_anchor[anchor].append(pair)
    # Looked up, not drawn until one is right: most pairs may have one of few positives, as yes and no.
    by_text = _ByText.of(texts.positives)
    for anchor, pairs in of_anchor.items():
        drawn[pairs] = by_text.drawn_but(none_of[anchor], len(pairs), draw)
    return drawn


@dataclass(frozen=True)
class _ByText:
    """Pairs in the order of their positives, these in the order in which they first stand: hashes differ between processes.

    Attributes:
        pairs: their numbers.
        hashes: of all texts, sorted.
        starts: of each of these, where its pairs start in `pairs`.
        counts: of each, how many pairs it has.
    """

    pairs: NDArray[np.int64]
    hashes: NDArray[np.int64]
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, positives: NDArray[np.int64]) -> _ByText:
        """Of the positives' hashes."""
        hashes, first, of_pair, counts = np.unique(
            positives, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(first)
        starts = np.empty(len(hashes), np.int64)
        starts[order] = np.cumsum(counts[order]) - counts[order]
        return cls(np.argsort(starts[of_pair], kind="stable"), hashes, starts, counts)

    def drawn_but(self, none_of: Set[int], count: int, draw: random.Random) -> list[int]:
        """So many pairs with other positives, each of these pairs as likely as the others; -1 where there are none."""
        texts = np.fromiter(none_of, np.int64, len(none_of))
        places = np.searchsorted(self.hashes, texts).clip(max=len(self.hashes) - 1)
        places = places[self.hashes[places] == texts]
        places = places[np.argsort(self.starts[places])]
        skipped = np.cumsum(self.counts[places])
        left = len(self.pairs) - int(self.counts[places].sum())
        if not left:
            return [-1] * count
        ranks = np.array([draw.randrange(left) for _ in range(count)])
        # Of pairs that may be taken, how many stand before each text that may not.
        before = self.starts[places] - (skipped - self.counts[places])
        passed = np.searchsorted(before, ranks, side="right")
        chosen: list[int] = self.pairs[ranks + np.concatenate([[0], skipped])[passed]].tolist()
        return chosen


def _contradictions(rows: Rows, texts: _Pairs) -> NDArray[np.int64]:
    """Of each pair the number of the row whose hypothesis contradicts its premise; -1 where there is none.

    The second pair of a premise gets its second contradiction, and so on, and then the first again; one that is there twice
    is one.
    """
    premises, numbers, both, end = *([np.empty(0, np.int64)] for _ in range(3)), 0
    for table in rows.batches(rows.table.column_names):
        start, end = end, end + len(table)
        of_rows, hypotheses = hashes_of(table).T
        # Labels may contradict each other: what somebody called entailed is no negative.
        found = (table["label"].to_numpy() == CONTRADICTION) & ~texts.are_wrong(of_rows, hypotheses)
        premises.append(of_rows[found])
        both.append(_together(of_rows[found], hypotheses[found]))
        numbers.append(np.flatnonzero(found) + start)
    once = np.sort(np.unique(np.concatenate(both), return_index=True)[1])
    having, row = np.concatenate(premises)[once], np.concatenate(numbers)[once]
    order = np.argsort(having, kind="stable")
    having, row = having[order], row[order]
    first = np.searchsorted(having, texts.anchors, side="left")
    count = np.searchsorted(having, texts.anchors, side="right") - first
    chosen = np.full(len(first), -1)
    some = count > 0
    chosen[some] = row[first[some] + (_turns(texts.anchors) % np.maximum(count, 1))[some]]
    return chosen


def _turns(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each value, how many equal ones stand before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    turns = np.empty(len(values), np.int64)
    turns[order] = np.arange(len(values)) - np.searchsorted(ordered, ordered, side="left")
    return turns

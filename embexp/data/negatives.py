"""Negatives of pairs: the anchor's own contradictions, as NLI has them, or the positives of other rows, drawn."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from embexp.data.rows import CONTRADICTION, Rows
from embexp.data.tables import records_of

REDRAWS = 100


def with_negatives(
    rows: Rows, pairs: Sequence[tuple[Any, ...]], *, own: bool, seed: int
) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Triplets of pairs, and the counts of those that found no negative and of those that got a contradiction.

    Args:
        rows: of which the pairs are.
        pairs: (anchor, positive).
        own: whether an anchor gets its own contradictions, in turn, where it has any.
        seed: draws the others.
    """
    entailed: dict[Any, set[Any]] = defaultdict(set)
    for anchor, positive in pairs:
        entailed[anchor].add(positive)
    contradictions = _contradictions(rows, entailed) if own and rows.kind == "nli" else {}
    draw = random.Random(seed)
    shuffled = [positive for _, positive in pairs]
    draw.shuffle(shuffled)
    triplets: list[tuple[Any, ...]] = []
    used: dict[Any, int] = defaultdict(int)
    for (anchor, positive), negative in zip(pairs, shuffled, strict=True):
        if anchor in contradictions:
            negative = contradictions[anchor][used[anchor] % len(contradictions[anchor])]
            used[anchor] += 1
        for _ in range(REDRAWS):
            if negative != anchor and negative not in entailed[anchor]:
                triplets.append((anchor, positive, negative))
                break
            negative = draw.choice(shuffled)
    return triplets, {"dropped_no_negative": len(pairs) - len(triplets), "own_contradiction": sum(used.values())}


def _contradictions(rows: Rows, entailed: dict[Any, set[Any]]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for table in rows.batches(rows.table.column_names):
        for premise, hypothesis, label in records_of(table):
            # Labels may contradict each other: what somebody called entailed is no negative.
            if label == CONTRADICTION and hypothesis != premise and hypothesis not in entailed[premise]:
                found[premise].append(hypothesis)
    return found

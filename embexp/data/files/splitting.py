"""What of a file is set aside as dev where no dev file is given: whole groups of rows that are linked by shared texts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.config import Kind
from embexp.data.rows import hashes_of, text_key

# To train on, and as many to score on.
FEWEST = 2
FEWEST_TO_SPLIT = 2 * FEWEST
# Of two groups that have negatives together.
WHOLE = 2


class CannotSplitError(Exception):
    """No dev part can be set aside, or none that could be scored; the message says why and what helps."""


@dataclass(frozen=True)
class Texts:
    """The texts of rows as numbers of 8 bytes, [rows, texts of a row]: however many there are, none is in memory.

    Attributes:
        same: is equal where texts are.
        alike: is equal where a reader would call them the same: see `embexp.data.rows.text_key`.
        labels: of labelled rows; None: they are others.
    """

    same: NDArray[np.int64]
    alike: NDArray[np.int64]
    labels: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, kind: Kind, tables: Iterable[pa.Table]) -> Texts:
        """Of rows of a kind, some at a time, with all columns."""
        same, alike, labels = [], [], []
        for table in tables:
            same.append(hashes_of(table))
            alike.append(hashes_of(table, text_key))
            if kind == "labelled":
                labels.append(table["label"].to_numpy())
        return cls(np.concatenate(same), np.concatenate(alike), np.concatenate(labels) if labels else None)

    def __len__(self) -> int:
        return len(self.same)

    def rows(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, ...]]:
        """Some of them."""
        return list(map(tuple, self.same[numbers].tolist()))


def set_aside(kind: Kind, texts: Texts, *, fraction: float, seed: int) -> list[int]:
    """The numbers of the rows that become dev, in order: no text of theirs is in the rest.

    A pair's negative is the positive of another pair. Where one group of pairs would be all of dev and give none, as ten
    questions that share an answer, the smallest groups are added until there are negatives in dev and in the rest, up to
    half of the rows; what cannot be mended so stays as it was: see `what_cannot_be_scored`.

    Args:
        kind: of the rows.
        texts: of each row, by column.
        fraction: of the rows; dev has at least two and at most twice as many, and leaves two.
        seed: draws the groups.

    Raises:
        CannotSplitError: there are too few rows, or they hang together too widely.
    """
    count = len(texts)
    if count < FEWEST_TO_SPLIT:
        rows = "1 row is" if count == 1 else f"{count} rows are"
        raise CannotSplitError(
            f"{rows} too few to set a dev set aside ({FEWEST_TO_SPLIT} at least); give data.dev=FILE"
        )
    groups = linked(texts.alike)
    order = list(range(len(groups)))
    random.Random(seed).shuffle(order)
    wanted = max(FEWEST, round(count * fraction))
    most = min(2 * wanted, count - FEWEST)
    chosen, held_out = [], 0
    for number in order:
        if held_out < wanted and held_out + groups.sizes[number] <= most:
            chosen.append(number)
            held_out += groups.sizes[number]
    dev = groups.rows(chosen)
    if kind == "pairs" and not _has_negatives(texts.rows(dev)):
        dev = _with_more(groups, order, chosen, max(2 * wanted, count // 2), texts) or dev
    if len(dev) < FEWEST:
        if kind == "pairs" and len(groups) > 1:
            raise CannotSplitError(f"no dev set can be set aside: {_of_groups(count, len(groups))}; give data.dev=FILE")
        larger = " or a larger data.dev_fraction" if len(groups) > 1 and 2 * wanted < count else ""
        raise CannotSplitError(
            f"its rows share texts so widely ({max(groups.sizes)} of {count} hang together) that no dev set can be set "
            f"aside; give data.dev=FILE{larger}"
        )
    return sorted(dev)


def what_cannot_be_scored(kind: Kind, texts: Texts, dev: Sequence[int]) -> str | None:
    """Why a dev part that was set aside gives no pairs to score on, and what helps; None where it does.

    Args:
        kind: of the rows.
        texts: of each row of the file.
        dev: from `set_aside`.
    """
    held_out = texts.rows(dev)
    if kind != "pairs" or _has_negatives(held_out):
        return None
    if all(len(set(row)) == 1 for row in held_out):
        return (
            f"the {len(dev)} rows set aside as dev are texts with themselves, which cannot be scored; if what belongs to them stands in "
            "another column, name that one in data.columns; else give data.dev=FILE"
        )
    groups = _of_groups(len(texts), len(linked(texts.alike)))
    return f"the {len(dev)} rows set aside as dev give no negatives: {groups}; give data.dev=FILE"


def _of_groups(rows: int, groups: int) -> str:
    counted = "1 group" if groups == 1 else f"{groups} groups"
    return (
        f"by the texts that they share the {rows} rows are {counted}, which stay whole, and a pair's negative is of another group, "
        "so that two are wanted to score on and two to train on"
    )


@dataclass(frozen=True)
class Groups:
    """Rows in groups, in the order of the first rows of each.

    Attributes:
        ordered: the numbers of the rows, group by group.
        starts: where in these each group starts, and the end.
    """

    ordered: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def sizes(self) -> list[int]:
        """How many rows each has."""
        sizes: list[int] = np.diff(self.starts).tolist()
        return sizes

    def rows(self, numbers: Iterable[int]) -> list[int]:
        """Of some groups, one after another."""
        return [
            row for number in numbers for row in self.ordered[self.starts[number] : self.starts[number + 1]].tolist()
        ]


def _with_more(
    groups: Groups, order: Sequence[int], chosen: Sequence[int], most: int, texts: Texts
) -> list[int] | None:
    """The rows of the chosen groups and of the smallest others until there are negatives; None where that leaves too few."""
    taken = set(chosen)
    parts = [_part_of_negatives(texts.rows(groups.rows([number]))) for number in range(len(groups))]
    have, in_all = sum(parts[number] for number in taken), sum(parts)
    dev = groups.rows(chosen)
    for number in sorted((number for number in order if number not in taken), key=lambda n: groups.sizes[n]):
        dev += groups.rows([number])
        have += parts[number]
        if len(dev) > most:
            return None
        if have >= WHOLE:
            return dev if in_all - have >= WHOLE else None
    return None


def _part_of_negatives(group: Sequence[tuple[int, ...]]) -> int:
    """What a group adds to having negatives, which groups have whose parts come to a whole: no text is in two of them.

    Nothing where its rows are texts with themselves; all where it has negatives by itself; else half: with any other such
    group it has them.
    """
    if all(anchor == positive for anchor, positive in group):
        return 0
    return WHOLE if _has_negatives(group) else 1


def _has_negatives(pairs: Sequence[tuple[int, ...]]) -> bool:
    """Whether some anchor has a text among the positives that is neither itself nor one of its own."""
    own: dict[int, set[int]] = defaultdict(set)
    for anchor, positive in pairs:
        if anchor != positive:
            own[anchor].add(positive)
    positives = set().union(*own.values())
    return any(positives - found - {anchor} for anchor, found in own.items())


def linked(alike: NDArray[np.int64]) -> Groups:
    """Groups of rows, each with all rows that share a text with one of the group."""
    # Not above: it takes a while, and most runs split nothing.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys = alike.ravel()
    order = np.argsort(keys, kind="stable")
    same = keys[order[1:]] == keys[order[:-1]]
    # Of the rows that share a text each with the next: enough to link them all.
    first, second = (order[places] // alike.shape[1] for places in (np.append(same, False), np.append(False, same)))
    links = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(alike), len(alike)))
    # Numbered by their first rows.
    _, numbers = connected_components(links, directed=False)
    starts = np.concatenate([[0], np.cumsum(np.bincount(numbers))])
    return Groups(np.argsort(numbers, kind="stable"), starts)

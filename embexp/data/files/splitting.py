"""What of a file is set aside as dev where no dev file is given: whole groups of rows that are linked by shared texts."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from embexp.config import Kind
from embexp.data.rows import COLUMNS, TYPES, text_key

# Two to train on, two to score on.
FEWEST_TO_SPLIT = 4
# Of two groups that have negatives together.
WHOLE = 2


class CannotSplitError(Exception):
    """No dev part can be set aside, or none that could be scored; the message says why and what helps."""


def set_aside(kind: Kind, texts: Sequence[tuple[str, ...]], *, fraction: float, seed: int) -> list[int]:
    """The numbers of the rows that become dev, in order: no text of theirs is in the rest.

    A pair's negative is the positive of another pair. Where one group of pairs would be all of dev and give none, as ten
    questions that share an answer, the smallest groups are added until there are negatives in dev and in the rest, up to
    half of the rows; what cannot be mended so stays as it was: see `what_cannot_be_scored`.

    Args:
        kind: of the rows.
        texts: of each row, by column.
        fraction: of the rows; dev has at least two and at most twice as many.
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
    groups = _linked(texts)
    random.Random(seed).shuffle(groups)
    wanted = max(2, round(count * fraction))
    chosen: list[int] = []
    dev: list[int] = []
    for number, group in enumerate(groups):
        if len(dev) < wanted and len(dev) + len(group) <= 2 * wanted:
            chosen.append(number)
            dev += group
    if kind == "pairs" and not _has_negatives([texts[row] for row in dev]):
        most = max(2 * wanted, count // 2)
        dev = _with_more(groups, chosen, most, texts) or dev
    if len(dev) < min(wanted, 2) or count - len(dev) < 2:
        if kind == "pairs" and len(groups) > 1:
            raise CannotSplitError(f"no dev set can be set aside: {_of_groups(count, len(groups))}; give data.dev=FILE")
        larger = " or a larger data.dev_fraction" if len(groups) > 1 else ""
        raise CannotSplitError(
            f"its rows share texts so widely ({max(map(len, groups))} of {count} hang together) that no dev set can be set "
            f"aside; give data.dev=FILE{larger}"
        )
    return sorted(dev)


def what_cannot_be_scored(kind: Kind, texts: Sequence[tuple[str, ...]], dev: Sequence[int]) -> str | None:
    """Why a dev part that was set aside gives no pairs to score on, and what helps; None where it does.

    Args:
        kind: of the rows.
        texts: of each row of the file, by column.
        dev: from `set_aside`.
    """
    held_out = [texts[row] for row in dev]
    if kind != "pairs" or _has_negatives(held_out):
        return None
    if all(len(set(row)) == 1 for row in held_out):
        return f"the {len(dev)} rows set aside as dev are texts with themselves, which cannot be scored; give data.dev=FILE"
    groups = _of_groups(len(texts), len(_linked(texts)))
    return f"the {len(dev)} rows set aside as dev give no negatives: {groups}; give data.dev=FILE"


def texts_of(kind: Kind, rows: Sequence[tuple[object, ...]]) -> list[tuple[str, ...]]:
    """The texts of rows that have a value for each of the kind's columns."""
    kept = [place for place, column in enumerate(COLUMNS[kind]) if column not in TYPES]
    return [tuple(str(row[place]) for place in kept) for row in rows]


def _of_groups(rows: int, groups: int) -> str:
    counted = "1 group" if groups == 1 else f"{groups} groups"
    return (
        f"by the texts that they share the {rows} rows are {counted}, which stay whole, and a pair's negative is of another group, "
        "so that two are wanted to score on and two to train on"
    )


def _with_more(
    groups: Sequence[list[int]], chosen: Sequence[int], most: int, texts: Sequence[tuple[str, ...]]
) -> list[int] | None:
    """The rows of the chosen groups and of the smallest others until there are negatives; None where that leaves too few."""
    taken = set(chosen)
    parts = [_part_of_negatives([texts[row] for row in group]) for group in groups]
    have, in_all = sum(parts[number] for number in taken), sum(parts)
    dev = [row for number in chosen for row in groups[number]]
    for number in sorted(
        (number for number in range(len(groups)) if number not in taken), key=lambda n: len(groups[n])
    ):
        dev += groups[number]
        have += parts[number]
        if len(dev) > most:
            return None
        if have >= WHOLE:
            return dev if in_all - have >= WHOLE else None
    return None


def _part_of_negatives(group: Sequence[tuple[str, ...]]) -> int:
    """What a group adds to having negatives, which groups have whose parts come to a whole: no text is in two of them.

    Nothing where its rows are texts with themselves; all where it has negatives by itself; else half: with any other such
    group it has them.
    """
    if all(anchor == positive for anchor, positive in group):
        return 0
    return WHOLE if _has_negatives(group) else 1


def _has_negatives(pairs: Sequence[tuple[str, ...]]) -> bool:
    """Whether some anchor has a text among the positives that is neither itself nor one of its own."""
    own: dict[str, set[str]] = defaultdict(set)
    for anchor, positive in pairs:
        if anchor != positive:
            own[anchor].add(positive)
    positives = set().union(*own.values())
    return any(positives - found - {anchor} for anchor, found in own.items())


def _linked(rows: Sequence[tuple[str, ...]]) -> list[list[int]]:
    """Groups of rows, each with all rows that share a text with one of the group (union-find)."""
    parent = list(range(len(rows)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first_with: dict[int, int] = {}
    for row, texts in enumerate(rows):
        for text in texts:
            parent[root(row)] = root(first_with.setdefault(text_key(text), row))
    groups: dict[int, list[int]] = defaultdict(list)
    for row in range(len(rows)):
        groups[root(row)].append(row)
    return list(groups.values())

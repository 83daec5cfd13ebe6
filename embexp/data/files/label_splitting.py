"""What of labelled texts is set aside as dev: of each label that it has two texts or more, and of others none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embexp.data.files.splitting import CannotSplitError, Groups, Texts, linked
from embexp.data.labelled import what_is_wrong_with_labels

# That texts must have for some to belong together and others not.
FEWEST_LABELS = 2
# What a train file whose labels are none is read by.
WITHOUT_LABELS = "data.kind=texts reads texts alone"


def set_labels_aside(texts: Texts, labels: NDArray[np.int64], *, fraction: float, seed: int) -> list[int]:
    """The numbers of the rows that become dev, in order: no text of theirs is in the rest.

    Texts go in twos of a label, so that each has one beside it, and a label keeps two to train on, unless hardly any has so many:
    then whole labels go. What is alone in its label is left in the rest, where it is told of.

    Args:
        texts: of each row.
        labels: of each row; of a text that stands there under several the first is taken.
        fraction: of the rows; dev has at least two texts of two labels and at most about twice as many rows.
        seed: draws the texts.

    Raises:
        CannotSplitError: there are too few texts or labels for both parts.
    """
    draw = np.random.default_rng(seed)
    groups = linked(texts.alike)
    by_label = _by_label(groups, labels, draw)
    shared = [numbers for numbers in by_label if len(numbers) > 1]
    if len(shared) < FEWEST_LABELS:
        wrong = what_is_wrong_with_labels(np.array([len(numbers) for numbers in by_label]))
        raise CannotSplitError(f"{wrong}; {WITHOUT_LABELS}")
    # The last two of a label, or three, stay to train on.
    twos = [spared for numbers in shared if (spared := _in_twos(numbers)[:-1])]
    if len(twos) < FEWEST_LABELS:
        # The largest are left to train on.
        twos = [[numbers] for numbers in sorted(shared, key=len)[:-FEWEST_LABELS]]
    if len(twos) < FEWEST_LABELS:
        raise CannotSplitError(
            f"its {len(groups)} texts of {len(by_label)} labels are too few to set a dev set aside: two texts each of two labels are "
            "wanted in it, and in the rest; give data.dev=FILE"
        )
    wanted = max(2 * FEWEST_LABELS, round(len(labels) * fraction))
    dev: list[int] = []
    for number, two in enumerate(_two_labels_first(twos, draw)):
        rows = groups.rows(two)
        if number < FEWEST_LABELS or len(dev) + len(rows) <= 2 * wanted:
            dev += rows
        if len(dev) >= wanted and number + 1 >= FEWEST_LABELS:
            break
    return sorted(dev)


def what_labels_cannot_tell(texts: Texts) -> str | None:
    """Why labelled texts give no pairs to score on; None where they do."""
    assert texts.labels is not None
    first = np.unique(texts.same, return_index=True)[1]
    sizes = np.unique(texts.labels[first], return_counts=True)[1]
    return what_is_wrong_with_labels(sizes) if np.count_nonzero(sizes > 1) < FEWEST_LABELS else None


def _by_label(groups: Groups, labels: NDArray[np.int64], draw: np.random.Generator) -> list[list[int]]:
    """The numbers of the groups of each label, labels and groups in random order; a group is all rows of one text."""
    order = draw.permutation(len(groups))
    of_group = labels[groups.ordered[groups.starts[:-1]]][order]
    _, numbers = np.unique(of_group, return_inverse=True)
    ordered = order[np.argsort(numbers, kind="stable")]
    found = np.split(ordered, np.cumsum(np.bincount(numbers))[:-1])
    return [found[label].tolist() for label in draw.permutation(len(found))]


def _in_twos(numbers: list[int]) -> list[list[int]]:
    """Two by two; of an odd number the last are three."""
    twos = [numbers[start : start + 2] for start in range(0, len(numbers) - 1, 2)]
    return [*twos[:-1], twos[-1] + numbers[2 * len(twos) :]]


def _two_labels_first(twos: list[list[list[int]]], draw: np.random.Generator) -> list[list[int]]:
    """All twos in a random order, but for one each of two labels, which come first."""
    first = [of_label[0] for of_label in twos[:FEWEST_LABELS]]
    others = [two for number, of_label in enumerate(twos) for two in of_label[number < FEWEST_LABELS :]]
    return [*first, *(others[number] for number in draw.permutation(len(others)))]

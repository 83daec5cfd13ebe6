"""Kinds of rows, and the views that losses are fed: which can be made from which."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

Kind = Literal["nli", "scored", "pairs", "triplets", "labelled", "texts"]
ViewName = Literal["triplets", "pairs", "scored", "classes", "labelled", "noisy", "twins"]

# What can be made from rows of a kind, the most natural view first: a loss gets the first that it accepts.
VIEWS_OF_KIND: dict[Kind, tuple[ViewName, ...]] = {
    "nli": ("triplets", "pairs", "scored", "classes", "noisy", "twins"),
    "triplets": ("triplets", "pairs", "scored", "noisy", "twins"),
    "pairs": ("pairs", "scored", "triplets", "noisy", "twins"),
    "scored": ("scored", "pairs", "triplets", "noisy", "twins"),
    # Neither pairs nor triplets: in a batch of them others of the same label would be negatives.
    "labelled": ("labelled", "scored", "noisy", "twins"),
    "texts": ("noisy", "twins"),
}
# Of labelled texts' views those that are made by their labels.
USING_LABELS: frozenset[ViewName] = frozenset({"labelled", "scored"})
# Views, and the kinds of rows whose negatives are to be found for them.
NEEDS_NEGATIVES: frozenset[tuple[ViewName, Kind]] = frozenset(
    {("triplets", "nli"), ("triplets", "pairs"), ("triplets", "scored"), ("scored", "pairs")}
)


def view_of(kind: Kind, accepted: Collection[ViewName], *, hard: bool = False) -> ViewName | None:
    """The view that a loss is fed; None where none that it accepts can be made.

    Args:
        kind: of the rows.
        accepted: by the loss.
        hard: whether negatives are asked for, and so a view that has some is taken, if there is one.
    """
    possible = [view for view in VIEWS_OF_KIND[kind] if view in accepted]
    with_negatives = [view for view in possible if (view, kind) in NEEDS_NEGATIVES] if hard else []
    return next(iter([*with_negatives, *possible]), None)

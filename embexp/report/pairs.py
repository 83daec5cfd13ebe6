"""What training changed, pair by pair: from a run's predictions.parquet, which holds every pair before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import gaussian_kde, rankdata

# Scores of so few values are a group each; others are put into so many ranges.
VALUES, RANGES = 7, 5
POINTS = 40
MOST_DECIMALS = 7
FEWEST = 5


@dataclass(frozen=True)
class Half:
    """The spread of one group's similarities: (value, width in 0..1) from low to high, and the median."""

    density: tuple[tuple[float, float], ...]
    median: float


@dataclass(frozen=True)
class Spread:
    """The pairs of one gold score, or of a range of them, before and after training."""

    name: str
    count: int
    before: Half
    after: Half


@dataclass(frozen=True)
class Change:
    """A pair whose place among all pairs moved.

    Attributes:
        by: by how much nearer its place is to the one that its score gives it, in percent of all pairs.
    """

    sentence1: str
    sentence2: str
    score: float
    before: float
    after: float
    by: float


def read_predictions(path: Path, split: str) -> dict[str, Any]:
    """The columns of one split: score and the similarities before and after as arrays, the sentences where they are kept.

    Raises:
        ValueError: a cell is empty.
    """
    import pyarrow.parquet as pq

    # Not by read_table: it imports pandas, which takes longer than all that is read here.
    with pq.ParquetFile(path) as file:
        table = file.read()
    if empty := [name for name in table.column_names if table[name].null_count]:
        raise ValueError(f"{path}: empty cells in {', '.join(empty)}")
    chosen = np.asarray(table["split"].to_pylist()) == split
    return {
        name: np.asarray(table[name].to_pylist(), dtype=object if name.startswith("sentence") else None)[chosen]
        for name in table.column_names
        if name != "split"
    }


def similarity_of(columns: Mapping[str, Any], metric: str) -> str | None:
    """The one that a metric is of ("dev/spearman_dot": "dot"), else cosine, else any of those that were kept."""
    kept = [name.removesuffix("_after") for name in columns if name.endswith("_after")]
    return next((name for name in (metric.rpartition("_")[2], "cosine", *kept) if name in kept), None)


def spreads_of(columns: dict[str, Any], similarity: str) -> list[Spread]:
    """Similarities by gold score: each score where they are few, else five ranges of equal width.

    Groups of fewer than five pairs, or whose similarities are all equal, have no shape and are left out.
    """
    scores, before, after = columns["score"], columns[f"{similarity}_before"], columns[f"{similarity}_after"]
    values = np.unique(scores)
    if len(values) <= VALUES:
        groups = [(f"{value:g}", scores == value) for value in values]
    else:
        edges = np.linspace(scores.min(), scores.max(), RANGES + 1)
        # A score on an edge belongs to the range above, whatever its last bit.
        number = np.digitize(scores + 1e-9, edges[1:-1])
        named = _named(edges)
        groups = [(f"{named[n]}–{named[n + 1]}", number == n) for n in range(RANGES)]
    return [
        Spread(name, int(chosen.sum()), _half(before[chosen]), _half(after[chosen]))
        for name, chosen in groups
        if chosen.sum() >= FEWEST and np.ptp(before[chosen]) > 0 and np.ptp(after[chosen]) > 0
    ]


def _named(edges: np.ndarray) -> list[str]:
    """Edges of ranges with as many decimals, all the same, as tell them apart."""
    for decimals in range(1, MOST_DECIMALS):
        named = [f"{edge:.{decimals}f}" for edge in edges]
        if len(set(named)) == len(edges):
            return named
    return [f"{edge:g}" for edge in edges]


def _half(values: np.ndarray) -> Half:
    at = np.linspace(values.min(), values.max(), POINTS)
    density = gaussian_kde(values)(at)
    wide = density / density.max()
    shape = tuple((round(float(a), 4), round(float(b), 3)) for a, b in zip(at, wide, strict=True))
    return Half(shape, float(np.median(values)))


def changes_of(columns: dict[str, Any], count: int, similarity: str) -> tuple[list[Change], list[Change]]:
    """The pairs that training improved most, and those that it worsened most, `count` of each at most.

    Spearman's correlation knows places only, so an error is the distance between a pair's place by similarity and its
    place by gold score. Empty where the sentences were not kept.
    """
    if "sentence1" not in columns or len(columns["score"]) < 2:
        return [], []
    similarities = columns[f"{similarity}_before"], columns[f"{similarity}_after"]
    gold, before, after = (_places(values) for values in (columns["score"], *similarities))
    by = np.abs(before - gold) - np.abs(after - gold)
    order = np.argsort(-by, kind="stable")
    improved = [int(n) for n in order[:count] if by[n] > 0]
    worsened = [int(n) for n in order[::-1][:count] if by[n] < 0]
    return _changes(columns, similarities, by, improved), _changes(columns, similarities, by, worsened)


def _places(values: np.ndarray) -> np.ndarray:
    return (rankdata(values) - 1) / (len(values) - 1) * 100


def _changes(
    columns: dict[str, Any], similarities: tuple[np.ndarray, np.ndarray], by: np.ndarray, chosen: Sequence[int]
) -> list[Change]:
    before, after = similarities
    return [
        Change(
            str(columns["sentence1"][n]),
            str(columns["sentence2"][n]),
            float(columns["score"][n]),
            float(before[n]),
            float(after[n]),
            float(by[n]),
        )
        for n in chosen
    ]

"""What the scores of a table are worth: intervals, paired differences with the best and with the model before training.

From the similarities of every pair that each run left in predictions.parquet: all runs are judged on the same pairs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embexp.compare.cells import label_of, of_the_best
from embexp.compare.predictions import JUDGED, MOST_JUDGED, Damaged, pairs_of, predictions
from embexp.compare.ranking import METRIC, differing, ranked
from embexp.compare.runs import Run
from embexp.statistics import (
    FEWEST_PAIRS,
    RESAMPLES,
    Array,
    Difference,
    Interval,
    Statistic,
    correlations,
    differences,
    differences_with_best,
    interval,
)
from embexp.units import counted


@dataclass(frozen=True)
class Verdict:
    """What can be said of one run's score.

    Attributes:
        interval: of the score.
        against_best: less the best run's score; None for the best, and of all where the best left no predictions.
        against_base: less the score of the same model before training; None where it was not trained.
        label: what tells the run from the others.
        said: both, in words; empty where there is nothing that it could be compared with.
    """

    run: Run
    interval: Interval
    against_best: Difference | None
    against_base: Difference | None
    label: str
    said: str

    @property
    def words(self) -> str:
        """In a sentence; empty where nothing is said."""
        return f"{self.label}: {self.said}" if self.said else ""


@dataclass(frozen=True)
class Resampled:
    """Scores on the same pairs: of each run's model, (runs,) and (runs, resamples), and of the one that it was before."""

    runs: list[Run]
    values: Array
    drawn: Array
    base_values: Array
    base_drawn: Array


def judge(runs: Sequence[Run], *, metric: str = METRIC, resamples: int = RESAMPLES) -> list[Verdict]:
    """The best runs of one set of pairs, in the order of the table; empty where there are no predictions to judge by.

    Runs without predictions, or whose file cannot be read, are left out; where the best is one of them, none is compared
    with it. Whoever is best on these pairs was chosen by them; the differences with it are corrected for that.

    Args:
        runs: of any status.
        metric: "dev/spearman_cosine" and the like; others are not judged.
        resamples: of the pairs.
    """
    found = resampled(runs, metric=metric, resamples=resamples)
    if found is None:
        return []
    # A model that was only scored is compared with none.
    trained = [row for row, run in enumerate(found.runs) if run.is_trained]
    gains = found.values[trained] - found.base_values[trained], found.drawn[trained] - found.base_drawn[trained]
    against_base = dict(zip(trained, differences(*gains), strict=True))
    has_best = best_of(runs, metric) is found.runs[0]
    against_best = differences_with_best(found.values, found.drawn) if has_best else []
    labels = _labels(found.runs)
    verdicts = []
    for row, run in enumerate(found.runs):
        to_best = against_best[row - 1] if row and has_best else None
        said = _said(labels, to_best, against_base.get(row), is_best=has_best and row == 0)
        within = interval(found.values[row], found.drawn[row])
        verdicts.append(Verdict(run, within, to_best, against_base.get(row), labels[row], said))
    return verdicts


def best_of(runs: Sequence[Run], metric: str) -> Run:
    """The run that is ranked first."""
    return ranked(runs, metric)[0][1]


def resampled(runs: Sequence[Run], *, metric: str, resamples: int, most: int = MOST_JUDGED) -> Resampled | None:
    """The scores of the best runs of one set of pairs, as they are and resampled; None where there is too little to do it by."""
    asked = JUDGED.fullmatch(metric)
    if asked is None:
        return None
    found = _of_same_pairs(ranked(runs, metric), asked, most)
    if not found or len(found[0][1]["score"]) < FEWEST_PAIRS:
        return None
    trained = [of_run["after"] for _, of_run in found]
    bases = [of_run["before"] for _, of_run in found]
    # The runs of a sweep start from one model, as a rule.
    different = {base.tobytes(): base for base in bases}
    statistic: Statistic = "spearman" if asked["statistic"] == "spearman" else "pearson"
    similarities = np.stack([*trained, *different.values()])
    values, drawn = correlations(found[0][1]["score"], similarities, statistic=statistic, resamples=resamples)
    rows = [len(trained) + list(different).index(base.tobytes()) for base in bases]
    return Resampled([run for run, _ in found], values[: len(rows)], drawn[: len(rows)], values[rows], drawn[rows])


def too_few_pairs(runs: Sequence[Run], metric: str) -> str | None:
    """What is to be said of runs that were scored on too few pairs to be judged by; None where that is not why they are not."""
    asked = JUDGED.fullmatch(metric)
    found = _of_same_pairs(ranked(runs, metric), asked, MOST_JUDGED) if asked is not None else []
    if asked is None or not found or (pairs := len(found[0][1]["score"])) >= FEWEST_PAIRS:
        return None
    return (
        f"{counted(pairs, asked['split'] + ' pair')} {'is' if pairs == 1 else 'are'} too few for an interval or a verdict, which take "
        f"{FEWEST_PAIRS} at least"
    )


def size_of(difference: Difference) -> str:
    """How large it is the way that it points, with its interval: "0.021 [0.004, 0.038]"; below 0 lies the other way."""
    low, high = difference.low, difference.high
    if difference.value < 0:
        low, high = -high, -low
    return f"{abs(difference.value):.3f} [{low:.3f}, {high:.3f}]"


def _of_same_pairs(
    order: Iterable[tuple[int, Run]], asked: re.Match[str], most: int
) -> list[tuple[Run, Mapping[str, Array]]]:
    """The first runs that left predictions of the same pairs: of as many as a run has recorded, else of the most.

    A file that another run wrote, or that was cut, is of other pairs, or of these in another order. It may be the best run's, and
    several may have been cut alike. Of as many pairs in several orders those count that most runs have.
    """
    of_pairs: dict[tuple[str | None, bytes], list[tuple[Run, Mapping[str, Array]]]] = defaultdict(list)
    for _, run in order:
        try:
            left = predictions(run, asked)
        except Damaged:  # one file is not to cost the others their verdicts; `what_is_lacking` tells of it
            continue
        if left is None:
            continue
        same = of_pairs[run.evaluation, left["score"].tobytes()]
        same.append((run, left))
        if len(same) == most:
            break

    def worth(same: list[tuple[Run, Mapping[str, Array]]]) -> tuple[bool, int, int]:
        # Predictions of others than were recorded are `Damaged`.
        are_recorded = any(pairs_of(run, asked["split"]) is not None for run, _ in same)
        return are_recorded, len(same[0][1]["score"]), len(same)

    return max(of_pairs.values(), key=worth, default=[])


def _labels(runs: Sequence[Run]) -> list[str]:
    keys = differing(runs)
    return [label_of(run, keys, runs) for run in runs]


def _said(labels: Sequence[str], to_best: Difference | None, to_base: Difference | None, *, is_best: bool) -> str:
    told = [] if to_base is None else [_told(to_base, "before training")]
    if to_best is not None:
        told.append(_told(to_best, of_the_best(labels[0])))
    if not told and is_best and len(labels) > 1:
        told.append("the best; it was not trained")
    return "; ".join(told)


def _told(difference: Difference, other: str) -> str:
    if not difference.is_real:
        return f"cannot be told apart from {other}"
    better = "better" if difference.value > 0 else "worse"
    return f"{better} than {other} by {size_of(difference)}"

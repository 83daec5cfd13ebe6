"""How far a score can be believed: confidence intervals, paired differences, the seed's part and the test set's part.

All of it resamples the pairs that were scored on: what another test set of this size, from the same source, would have
said. The same resamples are used for every model, so differences are paired: what makes a pair hard for all of them
cancels out. numpy and scipy, no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

Statistic = Literal["pearson", "spearman"]
Array = NDArray[np.float64]

CONFIDENCE = 0.95
POWER = 0.8
# Of fewer a bootstrap is too sure. Its 95 % interval held the truth of Pearson's correlation, in simulated sets of right and wrong
# pairs, in 70 to 74 of 100 with 6 pairs, in 78 to 88 with 10 to 14, in 84 to 90 with 20; of a few that are in order it is a point.
FEWEST_PAIRS = 20
# The same wherever a score is told, in a table, a report or a card, so that its interval is too. The third decimal of its
# bounds is steady from a few thousand on.
RESAMPLES = 5_000
# Degrees of freedom at which the t-distribution is the normal one.
MANY = 1e6
# Resamples at a time: their counts and ranks fit the processor's cache.
AT_ONCE = 64


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % confidence interval.

    Of the intervals of many test sets of one size, 95 in 100 would hold the score on all the pairs that these are drawn from; of
    few pairs, by Pearson, fewer: see `interval`.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """One score less another, on the same pairs.

    Attributes:
        value: the difference; low, high: its 95 % interval.
        p: two-sided: how often chance alone would make a difference as large.
        p_corrected: for all differences that were asked for together.
    """

    value: float
    low: float
    high: float
    p: float
    p_corrected: float

    @property
    def is_real(self) -> bool:
        """Whether it would hardly be seen if there were none, the number of comparisons considered."""
        return self.p_corrected < 1 - CONFIDENCE


@dataclass(frozen=True)
class SeedSpread:
    """Runs that differ by nothing but their seed.

    Attributes:
        seeds: how many.
        mean: of their scores.
        sd: of their scores, n - 1 in the denominator; nan for one seed.
        of_seed: the variance of one seed's score on this test set (sd squared).
        of_pairs: the variance of the mean over the choice of the test set, by bootstrap.
    """

    seeds: int
    mean: float
    sd: float
    of_seed: float
    of_pairs: float


def correlations(
    gold: Array, similarities: Array, *, statistic: Statistic, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Array, Array]:
    """The correlation of each model's similarities with the given scores, as it is and resampled.

    Spearman is ranked anew in every resample: ranks fixed beforehand would leave out what the ranking itself adds to the
    spread. A resample is held as how often each pair is drawn, so that ranking is a running sum in a fixed order.

    Args:
        gold: (pairs,).
        similarities: (models, pairs).
        statistic: "pearson" or "spearman", of midranks where values are tied.
        resamples: of the pairs, with replacement, the same for all models.
        seed: of the resampling.

    Returns:
        (models,) and (models, resamples); nan where a resample has but one value.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapters 13 and 14.
    """
    models, pairs = similarities.shape
    value = _correlated(np.ones((pairs, 1)), gold, similarities, statistic)[:, 0]
    drawn = np.empty((models, resamples))
    generator = np.random.default_rng(seed)
    for begin in range(0, resamples, AT_ONCE):
        some = min(AT_ONCE, resamples - begin)
        drawn[:, begin : begin + some] = _correlated(_counts(generator, some, pairs), gold, similarities, statistic)
    return value, drawn


def _counts(generator: np.random.Generator, resamples: int, pairs: int) -> Array:
    """How often each pair is drawn: (pairs, resamples). A pair's counts lie together: they are added up as vectors."""
    places = generator.integers(0, pairs, (resamples, pairs)) + np.arange(resamples)[:, None] * pairs
    counts = np.bincount(places.ravel(), minlength=resamples * pairs).reshape(resamples, pairs)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


def _correlated(counts: Array, gold: Array, similarities: Array, statistic: Statistic) -> Array:
    """(pairs, resamples), (pairs,), (models, pairs) -> (models, resamples)."""
    above, spread = (_of_ranks if statistic == "spearman" else _of_values)(counts, gold, similarities)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(spread > 0, above / np.sqrt(np.maximum(spread, 0)), np.nan)
    return found


def _of_values(counts: Array, gold: Array, similarities: Array) -> tuple[Array, Array]:
    """The covariance, and the product of the variances, each (models, resamples), up to the same factor."""
    total = counts.sum(axis=0)
    a, b = gold - gold.mean(), similarities - similarities.mean(axis=1, keepdims=True)
    sum_a, sum_b = a @ counts, b @ counts
    above = (a * b) @ counts - sum_a * sum_b / total
    spread_a = _spread_of_values((a * a) @ counts, sum_a, total)
    spread_b = _spread_of_values((b * b) @ counts, sum_b, total)
    return above, spread_a * spread_b


def _spread_of_values(squares: Array, sums: Array, total: Array) -> Array:
    """The sum of the squares of values about their mean: (..., resamples).

    It is a difference, and 0 where it is within what its parts are rounded by: one value alone was drawn.

    Args:
        squares: the sum of the squares of what was drawn: (..., resamples).
        sums: the sum of it: (..., resamples).
        total: how many were drawn: (resamples,).
    """
    spread = squares - sums**2 / total
    above_rounding: Array = np.where(spread > 2 * total * np.finfo(np.float64).eps * squares, spread, 0.0)
    return above_rounding


def _of_ranks(counts: Array, gold: Array, similarities: Array) -> tuple[Array, Array]:
    """As `_of_values`, of the ranks among what was drawn."""
    total = counts.sum(axis=0)
    middle = (total + 1) / 2
    order = np.argsort(gold, kind="stable")
    ranks, spread_of_gold = _midranks(counts[order], gold[order])
    weighted = np.empty_like(counts)
    weighted[order] = counts[order] * (ranks - middle)
    # Where no two similarities are equal, which is the rule, these sums are the same in whatever order: once is enough.
    untied, shift = _spread(counts), np.einsum("ij,ij->j", weighted, (counts - 1) / 2)
    above, spread = np.empty((2, len(similarities), counts.shape[1]))
    for model, values in enumerate(similarities):
        order = np.argsort(values, kind="stable")
        drawn = counts[order]
        # The weighted ranks of the gold scores add up to nothing: the other ranks need no centring.
        if np.diff(values[order]).all():
            above[model] = np.einsum("ij,ij->j", weighted[order], np.cumsum(drawn, axis=0, out=drawn)) - shift
            spread[model] = untied
        else:
            ranks, spread[model] = _midranks(drawn, values[order])
            above[model] = np.einsum("ij,ij->j", weighted[order], ranks)
    return above, spread * spread_of_gold


def _midranks(counts: Array, ascending: Array) -> tuple[Array, Array]:
    """The ranks of values, (pairs, resamples), equal ones at the middle of theirs; and their spread, (resamples,)."""
    starts = np.flatnonzero(np.r_[True, np.diff(ascending) > 0])
    drawn = np.add.reduceat(counts, starts, axis=0)
    ranks = np.cumsum(drawn, axis=0) - (drawn - 1) / 2
    return np.repeat(ranks, np.diff(np.r_[starts, len(ascending)]), axis=0), _spread(drawn)


def _spread(drawn: Array) -> Array:
    """The sum of the squares of ranks about their mean, from how many share each: (values, resamples) -> (resamples,)."""
    total = drawn.sum(axis=0)
    spread: Array = (total**3 - np.einsum("ij,ij,ij->j", drawn, drawn, drawn)) / 12
    return spread


def interval(value: float, drawn: Array) -> Interval:
    """The percentile interval of a score: (resamples,) -> [low, high].

    In a thousand simulated test sets (normal, graded and 0/1 scores; true correlations of 0.5 to 0.8) it held the truth so often:

        pairs      20            30            50            100           500
        Spearman   94 to 98 %    94 to 97 %    94 to 96 %    95 to 96 %    94 to 96 %
        Pearson    89 to 92 %    91 to 93 %    92 to 94 %    94 to 95 %    94 to 97 %

    BCa intervals hold Pearson's more often with few pairs, 92 to 94 % with 20, but Spearman's no more often, and take as many
    correlations more as there are pairs; Fisher's z is too wide for scores that are not normal, and holds it in up to 99 %.
    """
    low, high = np.nanquantile(drawn, _tails())
    return Interval(float(value), float(low), float(high))


def differences(values: Array, drawn: Array) -> list[Difference]:
    """Paired differences that are asked for together, with Holm's correction for their number.

    Args:
        values: of each difference: (differences,).
        drawn: of each, in every resample: (differences, resamples).

    The p-value is the level at which the percentile interval just reaches zero, never below 2 / (resamples + 1).
    Source: Efron and Tibshirani 1993, chapter 16; Holm 1979, Scandinavian Journal of Statistics 6.
    """
    found = [row[np.isfinite(row)] for row in drawn]
    p = np.array([_p_value(row) for row in found])
    corrected = holm(p)
    intervals = [interval(value, row) for value, row in zip(values, found, strict=True)]
    return [
        Difference(at.value, at.low, at.high, float(one), float(other))
        for at, one, other in zip(intervals, p, corrected, strict=True)
    ]


def differences_with_best(values: Array, drawn: Array) -> list[Difference]:
    """Each model's score less the best one's, corrected for the best having been chosen by these very scores.

    Whoever leads among many equals has a lead by chance: `p_corrected` is how often the largest of all differences between
    any two models, in their standard errors, would be as large if all were equal; never below `p`. A few outliers make the
    resamples skew, which standard errors do not see: the interval then holds zero, and no more is claimed than it says.

    Args:
        values: of the models, the best first: (models,).
        drawn: (models, resamples).

    Returns:
        models - 1 differences, in order.

    Source: the single-step maxT of Westfall and Young 1993, Resampling-Based Multiple Testing, over all pairs as in Tukey's
    range test.
    """
    # Pairs that all have one gold score tell of no model: counted, they would be of no difference.
    drawn = drawn[:, ~np.isnan(drawn).all(axis=0)]
    centred = np.nan_to_num(drawn - np.nanmean(drawn, axis=1, keepdims=True))
    covariance = np.atleast_2d(np.cov(centred))
    variances = np.diag(covariance)
    errors = np.sqrt(np.maximum(variances[:, None] + variances - 2 * covariance, 0))
    # A model beside itself under another name has no error, and differs by nothing.
    errors[errors < 1e-12] = np.inf
    largest = np.zeros(drawn.shape[1])
    for one in range(len(values) - 1):
        scaled = np.abs(centred[one] - centred[one + 1 :]) / errors[one, one + 1 :, None]
        np.maximum(largest, scaled.max(axis=0), out=largest)
    seen = np.abs(values[1:] - values[0]) / errors[0, 1:]
    corrected = [float((1 + np.sum(largest >= one)) / (1 + len(largest))) for one in seen]
    alone = differences(values[1:] - values[0], drawn[1:] - drawn[0])
    return [replace(found, p_corrected=max(found.p, p)) for found, p in zip(alone, corrected, strict=True)]


def _p_value(drawn: Array) -> float:
    if not drawn.any():
        # A model against itself.
        return 1.0
    below = (1 + np.sum(drawn <= 0)) / (1 + len(drawn))
    above = (1 + np.sum(drawn >= 0)) / (1 + len(drawn))
    return float(min(1.0, 2 * min(below, above)))


def holm(p: Array) -> Array:
    """p-values corrected for their number: the smallest times n, the next times n - 1, and so on, never falling."""
    order = np.argsort(p)
    scaled = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2


def seed_spread(values: Array, drawn: Array | None) -> SeedSpread:
    """The seed's and the test set's part in the variance of runs that differ by their seed alone.

    Args:
        values: (seeds,).
        drawn: the same resamples for all: (seeds, resamples); None where there are none, and `of_pairs` is nan.

    Source: Bouthillier et al. 2021, Accounting for Variance in Machine Learning Benchmarks, MLSys.
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    of_pairs = math.nan if drawn is None else float(np.nanvar(drawn.mean(axis=0), ddof=1))
    return SeedSpread(len(values), float(np.mean(values)), sd, sd**2, of_pairs)


def difference_of_means(
    first: Array, second: Array, drawn_first: Array, drawn_second: Array, *, settings: int = 2
) -> Difference:
    """The mean over seeds of one setting less that of another, on the same pairs.

    The variance is the seeds' (Welch's, each setting its own) and the test set's (bootstrap, paired) added up; the
    t-distribution has Satterthwaite's degrees of freedom, for so few seeds. `p_corrected` is how often the largest of all
    differences between any two of the settings would be as large if all were equal: whoever leads among many has a lead by
    chance. The interval is of this difference alone.

    Args:
        first, second: (seeds,) each, at least two.
        drawn_first, drawn_second: the same resamples: (seeds, resamples).
        settings: among which the two were chosen, by the best mean, say.

    Source: Games and Howell 1976, Journal of Educational Statistics 1, by the studentized range.
    """
    value = float(first.mean() - second.mean())
    parts = [float(np.var(part, ddof=1)) / len(part) for part in (first, second)]
    of_pairs = float(np.nanvar(drawn_first.mean(axis=0) - drawn_second.mean(axis=0), ddof=1))
    variance = sum(parts) + of_pairs
    if variance == 0:
        return Difference(value, value, value, float(value == 0), float(value == 0))
    uncertain = sum(part**2 / (len(seeds) - 1) for part, seeds in zip(parts, (first, second), strict=True))
    freedom = min(variance**2 / uncertain, MANY) if uncertain else MANY
    error = math.sqrt(variance)
    half = float(stdtrit(freedom, _tails()[1])) * error
    p = float(2 * stdtr(freedom, -abs(value) / error))
    return Difference(value, value - half, value + half, p, max(p, _of_largest(abs(value) / error, settings, freedom)))


def _of_largest(t: float, settings: int, freedom: float) -> float:
    """How often the largest of the differences between any two of so many equal settings is of t standard errors or more."""
    if settings < 3:
        return 0.0
    # Of two it is Student's t; of more scipy.stats knows, whose import takes longer than most commands.
    from scipy.stats import studentized_range

    return float(studentized_range.sf(math.sqrt(2) * t, settings, freedom))


def seeds_needed(difference: float, *, of_seed: float, of_pairs: float, settings: int = 2) -> int | None:
    """Seeds of each of two settings for a difference of this size to be seen in 4 of 5 trials, at the 5 % level.

    None where no number would do: the test set is too small to show it.

    Args:
        difference: of the means.
        of_seed: the variance of one seed's score, the mean of the two settings'.
        of_pairs: the variance of the difference over the choice of the test set.
        settings: as of `difference_of_means`.

    Source: the normal approximation of Cohen 1988, Statistical Power Analysis, chapter 2.
    """
    wanted = (difference / (_critical(settings) + float(ndtri(POWER)))) ** 2
    if wanted <= of_pairs:
        return None
    return max(2, math.ceil(2 * of_seed / (wanted - of_pairs)))


@cache
def _critical(settings: int) -> float:
    """Standard errors by which the largest difference of so many equal settings is exceeded in 5 of 100, with many seeds."""
    if settings < 3:
        return float(ndtri(_tails()[1]))
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(CONFIDENCE, settings, np.inf)) / math.sqrt(2)

"""Intervals, differences and seeds, held against scipy and against simulations whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from embexp.statistics import (
    correlations,
    difference_of_means,
    differences,
    differences_with_best,
    holm,
    interval,
    seed_spread,
    seeds_needed,
)

SCIPY = {"pearson": pearsonr, "spearman": spearmanr}


def models(generator, *, pairs: int, noises) -> tuple[np.ndarray, np.ndarray]:
    """Gold scores, and similarities of models that see them through noise of their own."""
    gold = generator.normal(size=pairs)
    return gold, np.stack([gold + noise * generator.normal(size=pairs) for noise in noises])


@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_correlations_are_scipys(statistic, tied):
    gold, similarities = models(np.random.default_rng(1), pairs=200, noises=(0.5, 2.0))
    if tied:
        gold, similarities = np.round(gold), np.round(similarities, 1)
    values, _ = correlations(gold, similarities, statistic=statistic, resamples=1)
    for value, row in zip(values, similarities, strict=True):
        assert value == pytest.approx(SCIPY[statistic](gold, row).statistic, abs=1e-12)


@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
@pytest.mark.parametrize("tied", [False, True])
def test_every_resample_is_what_scipy_says_of_the_pairs_drawn(statistic, tied):
    gold, similarities = models(np.random.default_rng(2), pairs=60, noises=(1.0,))
    if tied:
        gold = np.round(gold)
    _, drawn = correlations(gold, similarities, statistic=statistic, resamples=70, seed=5)
    generator = np.random.default_rng(5)
    places = np.concatenate([generator.integers(0, 60, (64, 60)), generator.integers(0, 60, (6, 60))])
    for row, value in zip(places, drawn[0], strict=True):
        assert value == pytest.approx(SCIPY[statistic](gold[row], similarities[0, row]).statistic, abs=1e-10)


@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
def test_a_resample_of_one_value_has_no_correlation(statistic):
    odd = np.eye(50)
    gold, similarities = odd[7], np.stack([odd[30], np.random.default_rng(3).normal(size=50)])
    _, drawn = correlations(gold, similarities, statistic=statistic, resamples=64, seed=5)
    places = np.random.default_rng(5).integers(0, 50, (64, 50))
    for values, of_model in zip(similarities, drawn, strict=True):
        one_value = [len(set(gold[row])) == 1 or len(set(values[row])) == 1 for row in places]
        assert any(one_value)
        assert np.isnan(of_model).tolist() == one_value


def test_holms_correction_is_the_one_worked_by_hand():
    # 0.01 x 4; 0.02 x 3; 0.03 x 2 is less than the one before, which therefore stands; 0.5 x 1.
    assert holm(np.array([0.03, 0.01, 0.5, 0.02])) == pytest.approx([0.06, 0.04, 0.5, 0.06])


def test_a_model_is_no_better_than_itself():
    (same,) = differences(np.zeros(1), np.zeros((1, 100)))
    assert (same.p, same.low, same.high, same.is_real) == (1.0, 0.0, 0.0, False)


def test_the_order_of_models_and_the_time_of_day_change_nothing():
    gold, similarities = models(np.random.default_rng(4), pairs=100, noises=(1.0, 1.2))
    _, one = correlations(gold, similarities, statistic="spearman", resamples=200)
    _, other = correlations(gold, similarities[::-1], statistic="spearman", resamples=200)
    assert np.array_equal(one, other[::-1])


def called(trials: int, *, pairs: int, resamples: int, statistic) -> float:
    """The share of trials in which two models that are equally good are called different."""
    generator, real = np.random.default_rng(6), 0
    for trial in range(trials):
        gold, similarities = models(generator, pairs=pairs, noises=(1.0, 1.0))
        values, drawn = correlations(gold, similarities, statistic=statistic, resamples=resamples, seed=trial)
        (found,) = differences(values[:1] - values[1:], drawn[:1] - drawn[1:])
        real += found.is_real
    return real / trials


def covered(trials: int, *, pairs: int, resamples: int, statistic) -> tuple[float, float]:
    """The shares of trials in which the intervals of a score and of a difference hold their true values."""
    generator = np.random.default_rng(7)
    # What a large sample says: the true correlations of these models.
    truth, _ = correlations(*models(generator, pairs=2_000_000, noises=(0.8, 1.0)), statistic=statistic, resamples=0)
    of_score = of_difference = 0
    for trial in range(trials):
        gold, similarities = models(generator, pairs=pairs, noises=(0.8, 1.0))
        values, drawn = correlations(gold, similarities, statistic=statistic, resamples=resamples, seed=trial)
        found = interval(values[0], drawn[0])
        of_score += found.low <= truth[0] <= found.high
        (apart,) = differences(values[:1] - values[1:], drawn[:1] - drawn[1:])
        of_difference += apart.low <= truth[0] - truth[1] <= apart.high
    return of_score / trials, of_difference / trials


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
def test_equal_models_are_called_different_in_five_of_a_hundred_trials(statistic):
    share = called(1000, pairs=500, resamples=1000, statistic=statistic)
    print(f"{statistic}: {share:.1%} called different")
    assert 0.03 <= share <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["pearson", "spearman"])
def test_intervals_cover_the_truth_in_ninety_five_of_a_hundred_trials(statistic):
    shares = covered(1000, pairs=500, resamples=1000, statistic=statistic)
    print(f"{statistic}: score {shares[0]:.1%}, difference {shares[1]:.1%} covered")
    for share in shares:
        assert 0.93 <= share <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("statistic", "pairs", "least"), [("spearman", 20, 0.93), ("pearson", 20, 0.88), ("pearson", 50, 0.91)]
)
def test_of_few_pairs_intervals_cover_the_truth_as_often_as_the_docs_say(statistic, pairs, least):
    shares = covered(1000, pairs=pairs, resamples=1000, statistic=statistic)
    print(f"{statistic}, {pairs} pairs: score {shares[0]:.1%}, difference {shares[1]:.1%} covered")
    assert min(shares) >= least


def best_called_better(trials: int, *, models: int, pairs: int, resamples: int, corrected: bool = True) -> float:
    """The share of trials in which some of equally good models is told apart from the one that leads."""
    generator, wrong = np.random.default_rng(11), 0
    for trial in range(trials):
        gold = generator.normal(size=pairs)
        similarities = gold + generator.normal(size=(models, pairs))
        values, drawn = correlations(gold, similarities, statistic="pearson", resamples=resamples, seed=trial)
        order = np.argsort(-values)
        if corrected:
            found = differences_with_best(values[order], drawn[order])
        else:
            found = differences(values[order][1:] - values[order][0], drawn[order][1:] - drawn[order][0])
        wrong += any(difference.is_real for difference in found)
    return wrong / trials


@pytest.mark.slow
@pytest.mark.parametrize("models", [2, 8, 20])
def test_the_best_of_many_equal_models_is_called_better_in_five_of_a_hundred_trials(models):
    share = best_called_better(500, models=models, pairs=300, resamples=500)
    print(f"{models} models: {share:.1%}")
    assert share <= 0.08


def test_that_the_best_was_chosen_by_its_score_is_corrected_for():
    few = {"models": 12, "pairs": 300, "resamples": 500}
    assert best_called_better(100, **few) <= 0.12
    assert best_called_better(100, **few, corrected=False) > 0.12


def test_a_model_beside_itself_is_not_told_apart():
    values, drawn = np.array([0.5, 0.5, 0.1]), np.random.default_rng(0).normal(0.5, 0.01, (3, 100))
    drawn[1] = drawn[0]
    drawn[2] -= 0.4
    same, worse = differences_with_best(values, drawn)
    assert not same.is_real
    assert worse.is_real


def test_resamples_in_which_no_model_has_a_score_change_nothing():
    drawn = np.random.default_rng(13).normal(0.5, 0.01, (5, 200))
    values = np.array([0.53, 0.52, 0.51, 0.50, 0.49])
    without = np.concatenate([drawn, np.full((5, 100), np.nan)], axis=1)
    assert differences_with_best(values, without) == differences_with_best(values, drawn)


def test_what_is_told_apart_from_the_best_has_an_interval_without_zero_even_among_outliers():
    generator, kept = np.random.default_rng(12), 0
    for trial in range(40):
        gold, similarities = models(generator, pairs=60, noises=(0.5, 0.5))
        # Of three pairs one model says the contrary, far off.
        gold[:3] *= 5
        similarities[0, :3] *= -5
        values, drawn = correlations(gold, similarities, statistic="pearson", resamples=500, seed=trial)
        order = np.argsort(-values)
        (found,) = differences_with_best(values[order], drawn[order])
        assert found.p_corrected >= found.p
        assert not found.is_real or found.high < 0
        kept += found.is_real
    assert kept


def test_the_error_rates_are_about_right_in_a_few_trials():
    assert called(100, pairs=200, resamples=200, statistic="spearman") <= 0.12
    assert min(covered(100, pairs=200, resamples=200, statistic="spearman")) >= 0.86


def test_the_seeds_part_and_the_pairs_part_are_told_apart():
    generator = np.random.default_rng(8)
    gold = generator.normal(size=400)
    shared = gold + generator.normal(size=400)
    # Seeds that differ a lot, on many pairs; and seeds that hardly differ.
    for noise, larger in ((1.0, True), (0.01, False)):
        similarities = np.stack([shared + noise * k * generator.normal(size=400) for k in (0.2, 0.6, 1.0, 1.4)])
        spread = seed_spread(*correlations(gold, similarities, statistic="pearson", resamples=500))
        assert (spread.of_seed > spread.of_pairs) is larger
        assert spread.sd == pytest.approx(spread.of_seed**0.5)


def test_the_difference_of_means_is_welchs_where_the_pairs_add_nothing():
    from scipy.stats import ttest_ind

    first, second = np.array([0.70, 0.72, 0.71]), np.array([0.68, 0.69, 0.70, 0.67])
    still = [np.repeat(values[:, None], 50, axis=1) for values in (first, second)]
    found = difference_of_means(first, second, *still)
    known = ttest_ind(first, second, equal_var=False)
    assert found.p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx(known.confidence_interval(0.95))


def test_among_many_equal_settings_the_best_is_called_better_in_about_five_of_a_hundred_trials():
    generator, settings, seeds = np.random.default_rng(5), 6, 4
    wrong = {"p": 0, "p_corrected": 0}
    for _ in range(100):
        scores = sorted(generator.normal(size=(settings, seeds)), key=np.mean)
        still = np.zeros((seeds, 2))
        # Whoever is last is the likeliest to be told apart.
        found = difference_of_means(scores[0], scores[-1], still, still, settings=settings)
        wrong = {name: count + (getattr(found, name) < 0.05) for name, count in wrong.items()}
    assert wrong["p_corrected"] <= 10
    assert wrong["p"] > 20


def test_among_more_settings_more_seeds_are_needed():
    two, six = (seeds_needed(0.01, of_seed=1e-4, of_pairs=0.0, settings=number) for number in (2, 6))
    assert two < six


def test_the_seeds_that_are_needed_show_the_difference_in_four_of_five_trials():
    sd, difference = 0.01, 0.008
    seeds = seeds_needed(difference, of_seed=sd**2, of_pairs=0.0)
    generator = np.random.default_rng(9)
    still = np.zeros((seeds, 2))
    found = [
        difference_of_means(generator.normal(difference, sd, seeds), generator.normal(0, sd, seeds), still, still).p
        < 0.05
        for _ in range(500)
    ]
    assert 0.73 <= np.mean(found) <= 0.87


def test_no_number_of_seeds_makes_up_for_too_few_pairs():
    assert seeds_needed(0.01, of_seed=1e-6, of_pairs=1e-4) is None


@pytest.mark.slow
def test_fifty_runs_on_fifteen_hundred_pairs_take_under_twenty_seconds():
    gold, similarities = models(np.random.default_rng(10), pairs=1500, noises=[1.0] * 50)
    began = time.process_time()
    correlations(np.round(gold, 1), similarities, statistic="spearman", resamples=10_000)
    seconds = time.process_time() - began
    print(f"{seconds:.1f} s of one core")
    assert seconds < 20

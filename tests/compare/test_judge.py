"""Verdicts: intervals and differences from the predictions that runs left, in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr

from embexp.compare.judge import judge, size_of, too_few_pairs
from embexp.compare.runs import Run
from embexp.statistics import FEWEST_PAIRS, Difference
from embexp.tracking import Status

METRIC = "dev/spearman_cosine"
PAIRS = 300


def run(
    folder: Path, batch_size: int, *, noise: float, evaluation: str = "e", base_noise: float = 3.0, pairs: int = PAIRS
) -> Run:
    """A finished run whose model sees the scores through noise."""
    generator = np.random.default_rng(batch_size)
    gold = np.random.default_rng(0).normal(size=pairs)
    base = gold + base_noise * np.random.default_rng(1).normal(size=pairs)
    after = gold + noise * generator.normal(size=pairs)
    path = folder / f"{batch_size}.parquet"
    columns = {"split": ["dev"] * pairs, "score": gold, "cosine_before": base, "cosine_after": after}
    pq.write_table(pa.table(columns), path)
    score = float(spearmanr(gold, after).statistic)
    return Run(
        "a run",
        Status.FINISHED,
        None,
        {"loss": "mnr", "batch_size": str(batch_size)},
        {f"best/{METRIC}": score},
        evaluation,
        predictions=path,
    )


def test_verdicts_stand_in_the_order_of_the_table_around_the_scores_that_were_logged(tmp_path):
    runs = [run(tmp_path, 32, noise=1.0), run(tmp_path, 64, noise=0.3), run(tmp_path, 128, noise=2.0)]
    verdicts = judge(runs, resamples=500)
    assert [verdict.run.params["batch_size"] for verdict in verdicts] == ["64", "32", "128"]
    for verdict in verdicts:
        assert verdict.interval.value == pytest.approx(verdict.run.metrics[f"best/{METRIC}"])
        assert verdict.interval.low < verdict.interval.value < verdict.interval.high


def test_what_is_clear_is_said_with_its_size(tmp_path):
    best, other = judge([run(tmp_path, 32, noise=2.0), run(tmp_path, 64, noise=0.3)], resamples=1000)
    assert best.against_best is None
    assert best.words.startswith("batch_size=64: better than before training by 0.")
    assert other.against_best.is_real
    assert other.against_best.value < 0
    assert "worse than the best (batch_size=64) by 0." in other.words


def test_what_is_not_clear_is_said_too(tmp_path):
    runs = [run(tmp_path, size, noise=3.0) for size in (32, 64)]
    best, other = judge(runs, resamples=500)
    assert "cannot be told apart from the best" in other.words
    assert "cannot be told apart from before training" in best.words


def test_of_one_model_that_was_only_scored_nothing_is_said(tmp_path):
    one, other = run(tmp_path, 32, noise=1.0), run(tmp_path, 64, noise=2.0)
    for each in (one, other):
        each.params["loss"] = "none"
    assert [verdict.words for verdict in judge([one], resamples=50)] == [""]
    assert judge([one, other], resamples=50)[0].words == "batch_size=32: the best; it was not trained"


def test_runs_without_predictions_or_on_other_pairs_are_left_out(tmp_path):
    best, other = run(tmp_path, 32, noise=0.5), run(tmp_path, 64, noise=1.0)
    elsewhere = run(tmp_path, 16, noise=1.5, evaluation="other")
    lost = Run("lost", Status.FINISHED, None, dict(other.params), {f"best/{METRIC}": 0.1}, evaluation="e")
    assert [verdict.run for verdict in judge([best, other, elsewhere, lost], resamples=50)] == [best, other]
    assert judge([lost], resamples=50) == []


def test_where_the_best_left_no_predictions_none_is_compared_with_it(tmp_path):
    first, second = run(tmp_path, 32, noise=0.5), run(tmp_path, 64, noise=1.0)
    lost = Run("lost", Status.FINISHED, None, {"loss": "mnr", "batch_size": "8"}, {f"best/{METRIC}": 0.99}, "e")
    verdicts = judge([first, second, lost], resamples=500)
    assert [verdict.run for verdict in verdicts] == [first, second]
    assert all(verdict.against_best is None for verdict in verdicts)
    assert all("the best" not in verdict.words for verdict in verdicts)
    assert "better than before training" in verdicts[0].words


def test_a_model_that_was_only_scored_does_not_count_among_the_differences_with_before_training(tmp_path):
    runs = [run(tmp_path, size, noise=2.9) for size in (32, 64)]
    alone = judge(runs, resamples=500)
    scored = run(tmp_path, 16, noise=0.1)
    scored.params["loss"] = "none"
    beside = judge([*runs, scored], resamples=500)[1:]
    assert [v.against_base.p_corrected for v in beside] == [v.against_base.p_corrected for v in alone]


@pytest.mark.parametrize("pairs", [FEWEST_PAIRS - 1, FEWEST_PAIRS])
def test_of_too_few_pairs_nothing_is_judged_and_that_is_said(tmp_path, pairs):
    runs = [run(tmp_path, size, noise=0.1, pairs=pairs) for size in (32, 64)]
    said = too_few_pairs(runs, METRIC)
    if pairs < FEWEST_PAIRS:
        assert judge(runs, resamples=50) == []
        assert said == "19 dev pairs are too few for an interval or a verdict, which take 20 at least"
    else:
        assert len(judge(runs, resamples=50)) == 2
        assert said is None
    assert too_few_pairs(runs, "time/training_seconds") is None


@pytest.mark.parametrize("metric", ["dev/spearman_max", "time/training_seconds", "test/spearman_dot"])
def test_a_metric_that_pairs_cannot_judge_has_no_verdicts(tmp_path, metric):
    one = run(tmp_path, 32, noise=0.5)
    one.metrics[metric] = 0.5
    assert judge([one], metric=metric, resamples=50) == []


@pytest.mark.parametrize(
    ("value", "low", "high", "said"),
    [
        (0.02, 0.01, 0.03, "0.020 [0.010, 0.030]"),
        (-0.02, -0.03, -0.01, "0.020 [0.010, 0.030]"),
        (-0.393, -0.633, 0.079, "0.393 [-0.079, 0.633]"),
        (0.393, -0.079, 0.633, "0.393 [-0.079, 0.633]"),
    ],
)
def test_an_interval_that_holds_zero_is_told_to_hold_it(value, low, high, said):
    assert size_of(Difference(value, low, high, 0.04, 0.04)) == said

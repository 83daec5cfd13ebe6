"""Charts: where values land, and what is left out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from embexp.compare.ranking import scored_on
from embexp.report.charts import pareto
from embexp.report.entries import entries_of, label_of, metric_title, series_key
from embexp.report.svg import doubling_axis, linear_axis, round_ticks, spread


def test_the_pareto_front_keeps_what_nothing_beats_in_both():
    points = [(3.0, 0.7), (1.0, 0.5), (2.0, 0.4), (5.0, 0.7), (4.0, 0.8)]
    assert pareto(points) == [(1.0, 0.5), (3.0, 0.7), (4.0, 0.8)]


def test_every_value_lies_inside_its_axis_and_in_order():
    axis = linear_axis([0.62, 0.71, 0.65], start=252, end=30)
    assert 252 > axis(0.62) > axis(0.65) > axis(0.71) > 30


def test_an_axis_of_one_value_does_not_divide_by_nothing():
    assert 30 < linear_axis([0.5, 0.5], start=252, end=30)(0.5) < 252


def test_doubled_batch_sizes_are_equally_far_apart():
    axis = doubling_axis([16, 32, 64], start=0, end=300)
    assert axis(32) - axis(16) == pytest.approx(axis(64) - axis(32), abs=0.2)


@pytest.mark.parametrize(("low", "high"), [(0.61, 0.73), (0, 40), (0, 3), (0.7015, 0.7019), (0, 12_345)])
def test_ticks_are_a_handful_and_read_apart(low, high):
    ticks = round_ticks(low, high)
    assert 3 <= len(ticks) <= 11
    assert len({text for _, text in ticks}) == len(ticks)
    assert all(float(text.replace(",", "")) == pytest.approx(value, rel=1e-6, abs=1e-9) for value, text in ticks)


def test_labels_are_moved_apart_and_stay_in_bounds():
    placed = spread([50, 51, 52, 198, 199], distance=13, low=30, high=200)
    assert all(after - before >= 13 - 1e-9 for before, after in itertools.pairwise(placed))
    assert placed[-1] <= 200


def test_runs_are_coloured_by_what_people_compare_and_never_by_seed(runs):
    assert series_key(runs) == "loss"
    assert series_key(runs[:2]) == "batch_size"
    assert label_of(runs[0], ["loss", "batch_size", "seed"]) == "mnr · bs 16 · seed 42"


def test_the_best_series_has_the_first_colour(runs):
    entries = entries_of(runs, metric="dev/spearman_cosine", uri=None)
    assert [(entry.rank, entry.group, entry.series) for entry in entries] == [
        (1, "mnr", 0),
        (2, "mnr", 0),
        (3, "cosine", 1),
        (4, "cosine", 1),
    ]


def test_metrics_are_named_for_people():
    assert metric_title("dev/spearman_cosine") == "dev Spearman"
    assert metric_title("best/test/pearson_dot") == "test Pearson (dot)"
    assert metric_title("retrieval/ndcg_at_10") == "retrieval/ndcg_at_10"


def test_of_several_evaluations_the_first_names_the_pairs(runs):
    assert scored_on(runs[0]) == "helpdesk"
    assert scored_on(replace(runs[0], params={"evaluation": "own+latency", "data": "mnli"})) == "mnli"
    assert scored_on(replace(runs[0], params={"evaluation": "stsb+mteb", "data": "mnli"})) == "stsb"


def test_a_model_that_was_only_scored_says_so(runs):
    only_scored = replace(runs[3], params={**runs[3].params, "loss": "none"})
    found = entries_of([*runs[:3], only_scored], metric="dev/spearman_cosine", uri=None)
    assert found[-1].group == "not trained"

"""Pairs: which improved, and how similarities spread, against values known by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from embexp.report.pairs import changes_of, read_predictions, spreads_of


def columns(score, before, after):
    return {
        "sentence1": np.array([f"a{n}" for n in range(len(score))], dtype=object),
        "sentence2": np.array([f"b{n}" for n in range(len(score))], dtype=object),
        "score": np.array(score, dtype=float),
        "cosine_before": np.array(before, dtype=float),
        "cosine_after": np.array(after, dtype=float),
    }


def test_a_pair_is_improved_where_its_place_comes_nearer_to_that_of_its_score():
    # Before, pairs 0 and 2 have changed places; after, all stand where they belong.
    improved, worsened = changes_of(columns([0.0, 0.5, 1.0], [0.9, 0.5, 0.1], [0.1, 0.5, 0.9]), 5, "cosine")
    assert {change.sentence1 for change in improved} == {"a0", "a2"}
    assert improved[0].by == pytest.approx(100)
    assert worsened == []


def test_a_shift_of_all_similarities_changes_no_pair():
    improved, worsened = changes_of(columns([0.0, 0.5, 1.0], [0.1, 0.2, 0.3], [0.7, 0.8, 0.9]), 5, "cosine")
    assert improved == worsened == []


def test_without_sentences_no_pair_can_be_shown():
    found = columns([0.0, 1.0], [0.1, 0.2], [0.2, 0.1])
    del found["sentence1"]
    assert changes_of(found, 5, "cosine") == ([], [])


def test_medians_are_those_of_the_group():
    random = np.random.default_rng(0)
    score = np.repeat([0.0, 1.0], 50)
    after = random.normal(size=100)
    low, high = spreads_of(columns(score, random.normal(size=100), after), "cosine")
    assert (low.name, low.count, high.name) == ("0", 50, "1")
    assert low.after.median == pytest.approx(np.median(after[:50]))
    assert max(width for _, width in high.after.density) == pytest.approx(1, abs=0.01)


def test_a_score_on_an_edge_belongs_to_the_range_above():
    score = np.repeat(np.arange(11) / 10, 10)
    values = np.random.default_rng(0).normal(size=110)
    found = spreads_of(columns(score, values, values), "cosine")
    assert [(spread.name, spread.count) for spread in found] == [
        ("0.0–0.2", 20),
        ("0.2–0.4", 20),
        ("0.4–0.6", 20),
        ("0.6–0.8", 20),
        ("0.8–1.0", 30),
    ]


def test_a_group_without_spread_is_left_out():
    score = np.repeat([0.0, 1.0], 10)
    values = np.concatenate([np.full(10, 0.5), np.linspace(0, 1, 10)])
    assert [spread.name for spread in spreads_of(columns(score, values, values), "cosine")] == ["1"]


def test_predictions_are_read_for_one_split_only(runs, tmp_path):
    assert len(read_predictions(tmp_path / "0" / "predictions.parquet", "dev")["score"]) == 200
    assert len(read_predictions(tmp_path / "0" / "predictions.parquet", "test")["score"]) == 0


def test_predictions_are_read_without_the_seconds_that_pandas_takes(runs, tmp_path):
    script = (
        "import sys; from pathlib import Path; from embexp.report.pairs import read_predictions;"
        f"read_predictions(Path({str(tmp_path / '0' / 'predictions.parquet')!r}), 'dev'); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_ranges_are_named_with_as_many_decimals_as_tell_their_edges_apart():
    score = np.repeat(0.9 + np.arange(11) / 100, 10)
    values = np.random.default_rng(0).normal(size=110)
    found = spreads_of(columns(score, values, values), "cosine")
    assert [spread.name for spread in found] == ["0.90–0.92", "0.92–0.94", "0.94–0.96", "0.96–0.98", "0.98–1.00"]

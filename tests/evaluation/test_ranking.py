"""Ranking metrics: pytrec_eval's, on rankings of every kind."""

from __future__ import annotations

import numpy as np
import pytest
import pytrec_eval

from embexp.evaluation.ranking import ranking_metrics

MEASURES = {"ndcg_cut.10", "map_cut.100", "recall.1,10,100", "recip_rank"}


def test_metrics_are_those_of_pytrec_eval():
    draw = np.random.default_rng(0)
    documents, queries, depth = 400, 60, 120
    ranked = [draw.permutation(documents)[:depth].tolist() for _ in range(queries)]
    # From one relevant document to two hundred, graded; some of them are never found.
    sizes = [1, 2, 5, 30, 200]
    relevant = [
        {int(document): float(draw.integers(1, 4)) for document in draw.permutation(documents)[: sizes[query % 5]]}
        for query in range(queries)
    ]
    ours = ranking_metrics(ranked, relevant, recall_at=[1, 10, 100])
    judgements = {f"q{n}": {str(d): int(g) for d, g in gains.items()} for n, gains in enumerate(relevant)}
    run = {f"q{n}": {str(d): float(depth - place) for place, d in enumerate(found)} for n, found in enumerate(ranked)}
    top = {query: dict(list(found.items())[:10]) for query, found in run.items()}
    theirs = pytrec_eval.RelevanceEvaluator(judgements, MEASURES)
    full, first_ten = theirs.evaluate(run), theirs.evaluate(top)

    def mean(found, name):
        return float(np.mean([of_query[name] for of_query in found.values()]))

    assert ours["ndcg_at_10"] == pytest.approx(mean(full, "ndcg_cut_10"), abs=1e-12)
    assert ours["map_at_100"] == pytest.approx(mean(full, "map_cut_100"), abs=1e-12)
    assert ours["mrr_at_10"] == pytest.approx(mean(first_ten, "recip_rank"), abs=1e-12)
    for depth in (1, 10, 100):
        assert ours[f"recall_at_{depth}"] == pytest.approx(mean(full, f"recall_{depth}"), abs=1e-12)
    assert 0 < ours["ndcg_at_10"] < 1


def test_a_perfect_ranking_scores_1_and_one_that_finds_nothing_0():
    relevant = [{0: 2.0, 1: 1.0}]
    assert set(ranking_metrics([[0, 1, 2]], relevant, recall_at=[10]).values()) == {1.0}
    assert set(ranking_metrics([[2, 3, 4]], relevant, recall_at=[10]).values()) == {0.0}


def test_fewer_documents_than_the_metric_looks_at_are_no_mistake():
    assert ranking_metrics([[1, 0]], [{0: 1.0}], recall_at=[1, 100])["mrr_at_10"] == 0.5

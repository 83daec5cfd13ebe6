"""What is logged of a run's scores, and that a model without a score is told before it is trained."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from embexp.config import ConfigError
from embexp.evaluation import Scores
from embexp.scoring import log_outcome, refuse_no_score
from embexp.training import Trained


def scores(similarity: float = 0.5, **metrics: float) -> Scores:
    return Scores(metrics, {"cosine": np.full(3, similarity)})


def outcome(
    before: dict[str, Scores], after: dict[str, Scores], *, peak: int | None = None, by: str = "spearman_cosine"
) -> dict[str, float]:
    """What is logged at the last step of a run whose best step was its 20th of 30."""
    logged: dict[int, dict[str, float]] = {}
    record = SimpleNamespace(log_metrics=lambda metrics, step: logged.update({step: metrics}))
    trained = Trained(steps=30, seconds=1.5, texts_per_second=8.0, best_step=20, peak_memory_bytes=peak)
    log_outcome(record, trained, before, after, select_by=by)
    assert list(logged) == [30]
    return logged[30]


def test_a_gain_is_over_the_model_before_training_set_by_set():
    before = {"dev": scores(spearman_cosine=0.75, spearman_dot=0.5), "test": scores(spearman_cosine=0.5)}
    after = {"dev": scores(spearman_cosine=0.5, spearman_dot=0.25), "test": scores(spearman_cosine=0.75)}
    found = outcome(before, after)
    assert found["best/dev/spearman_cosine"] == 0.5
    assert found["best/dev/spearman_dot"] == 0.25
    assert found["test/spearman_cosine"] == 0.75
    assert {name: value for name, value in found.items() if name.startswith("gain/")} == {
        "gain/dev/spearman_cosine": -0.25,
        "gain/test/spearman_cosine": 0.25,
    }
    assert found["best/step"] == 20


def test_the_gain_of_what_the_best_step_is_chosen_by_is_among_them():
    of_dev = {"dev": scores(spearman_dot=0.5)}
    assert outcome(of_dev, {"dev": scores(spearman_dot=0.75)}, by="spearman_dot")["gain/dev/spearman_dot"] == 0.25


def test_memory_is_told_where_it_was_measured():
    of_dev = {"dev": scores(spearman_cosine=0.5)}
    assert "memory/peak_bytes" not in outcome(of_dev, of_dev)
    assert outcome(of_dev, of_dev, peak=2048)["memory/peak_bytes"] == 2048


@pytest.mark.parametrize(("similarity", "why"), [(1.0, "every dev pair equally alike"), (math.nan, "are no numbers")])
def test_a_model_without_a_score_is_told_why(similarity, why):
    with pytest.raises(ConfigError, match=why):
        refuse_no_score(scores(similarity, spearman_cosine=math.nan), "spearman_cosine")


def test_one_with_a_score_passes():
    refuse_no_score(scores(spearman_cosine=-0.1), "spearman_cosine")

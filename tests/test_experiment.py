"""One experiment as a function: what it scores, and how often."""

from __future__ import annotations

import pytest

from embexp import experiment
from embexp.config import compose
from embexp.experiment import run_experiment

SMALL = [
    "model=tiny",
    "data.rows=1000",
    "data.evaluation_rows=100",
    "max_steps=2",
    "evaluation.times=2",
    "tracker=none",
    "trainer.threads=1",
]


@pytest.fixture
def scored(monkeypatch, tmp_path):
    """The names of the sets that are scored, in order."""
    names: list[str] = []
    original = experiment.score_pairs

    def watched(model, pairs, **arguments):
        names.append(pairs.name)
        return original(model, pairs, **arguments)

    monkeypatch.setattr(experiment, "score_pairs", watched)
    monkeypatch.setattr(experiment, "SCORED_BEFORE", {})
    monkeypatch.chdir(tmp_path)
    return names


def test_the_second_job_of_a_sweep_has_its_step_0_from_the_first(tmp_path, scored):
    first = run_experiment(compose([*SMALL, "batch_size=8"]), folder=tmp_path / "1")
    of_first = list(scored)
    second = run_experiment(compose([*SMALL, "batch_size=16"]), folder=tmp_path / "2")
    assert len(scored[len(of_first) :]) == len(of_first) - 2
    assert second.history["dev/spearman_cosine"][0] == first.history["dev/spearman_cosine"][0]
    assert second.metrics["test_before/pearson_dot"] == first.metrics["test_before/pearson_dot"]


@pytest.mark.parametrize("other", ["model.seed=7", "model.max_length=8", "evaluation.batch_size=5", "data.seed=9"])
def test_another_model_or_other_pairs_are_scored_before_training_anew(tmp_path, scored, other):
    run_experiment(compose(SMALL), folder=tmp_path / "1")
    of_first = list(scored)
    run_experiment(compose([*SMALL, other]), folder=tmp_path / "2")
    assert len(scored) == 2 * len(of_first)


def test_the_best_step_is_not_scored_on_dev_twice(tmp_path, scored):
    result = run_experiment(compose(SMALL), folder=tmp_path)
    assert scored.count("helpdesk dev") == 1 + 2
    best = dict(result.history["dev/spearman_cosine"])[int(result.metrics["best/step"])]
    assert result.metrics["best/dev/spearman_cosine"] == best

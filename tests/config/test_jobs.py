"""The jobs of a sweep: what they are made of, and what is told where that cannot be."""

from __future__ import annotations

import pytest

from embexp.config.composition import check_command
from tests.config.conftest import refused

SEARCH = "hydra/sweeper=optuna"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("epochs=range(3,1)", "there is nothing in it."),
        ("epochs=range(1,3,0)", "its step, which stands last, is 0, and no value but the first would come."),
        ("loss=glob(x*)", "there is nothing in it."),
        ("learning_rate=interval(1e-5, 1e-3)", "has no end of values; hydra/sweeper=optuna draws from it."),
    ],
)
def test_what_lists_no_values_is_refused_and_what_else_is_wrong_told_beside_it(typed, said):
    assert refused(typed, "seed=1,x") == [f"{typed}: {said}", "seed=x: must be a whole number."]


def test_options_may_be_named_by_a_pattern():
    assert check_command(["loss=glob(cos*)"], multirun=True).jobs == [["loss=cosent"], ["loss=cosine"]]


def test_several_values_without_their_m_are_looked_at_too():
    told = refused("loss=mnr,mrn", "batch_size=8,0", multirun=False)
    assert [problem.split(": ")[0] for problem in told] == [
        "loss=mnr,mrn",
        "batch_size=8,0",
        "batch_size=0",
        "loss=mrn",
    ]
    assert "add -m to run them all" in told[0]


def test_a_search_whose_name_is_misspelt_is_told_that_alone():
    (problem,) = refused("hydra/sweeper=optna", "hydra.sweeper.n_trials=3", "learning_rate=interval(1e-5, 1e-3)")
    assert problem.endswith("Did you mean 'optuna'?")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hydra.sweeper.ntrials=3", "Did you mean 'hydra.sweeper.n_trials', a key of hydra/sweeper=optuna?"),
        ("hydra/sweeper/sampler=randm", "group; hydra.sweeper.sampler is a key of hydra/sweeper=optuna."),
        ("hydra/launchr=joblib", "there is no such group. Did you mean 'hydra/launcher'?"),
        ("loss/scale=3", "there is no such group; it is a key: loss.scale=3."),
    ],
)
def test_a_key_of_a_search_is_known_without_one(typed, said):
    (problem,) = refused(typed, "seed=1,2")
    assert problem.startswith(f"{typed.split('=')[0]}: ")
    assert said in problem


def test_what_is_wrong_with_a_search_is_told_beside_what_is_wrong_with_its_ranges():
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    typed = ["batch_size=interval(16,1)", "learning_rate=choice(-1,1e-5)", "hydra.sweeper.n_trials=0", "wormup=1"]
    assert [problem.split(": ")[0] for problem in refused(SEARCH, *typed)] == [
        "batch_size=interval(16,1)",
        "wormup",
        "learning_rate=-1",
        "hydra.sweeper.n_trials=0",
    ]
    nothing, misspelt = refused(SEARCH, "hydra.sweeper.ntrials=3")
    assert "no key has a range" in nothing
    assert "Did you mean 'hydra.sweeper.n_trials'?" in misspelt
    # What cannot be read may have been the range.
    (problem,) = refused(SEARCH, "batch_size=choise(1,2)")
    assert "Did you mean 'choice'" in problem


def test_a_key_of_a_search_that_is_written_as_a_group_is_told_with_what_is_wrong_with_its_value():
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    assert refused(SEARCH, "hydra/sweeper/sampler=randm", "seed=1,2") == [
        "hydra/sweeper/sampler: there is no such group; it is a key: hydra.sweeper.sampler=randm.",
        "hydra.sweeper.sampler=randm: must be one of tpe, random. Did you mean 'random'?",
    ]


def test_of_an_interval_a_search_knows_one_tag():
    pytest.importorskip("optuna", reason="the extra optuna is not installed")
    (problem,) = refused(SEARCH, "learning_rate=tag(log10, interval(1e-5, 1e-3))")
    assert problem.endswith(": a search knows no tag log10, only log. Did you mean 'log'?")

"""A search over ranges: what it draws, what it refuses, and that a job that fails does not end it."""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from hydra.core.utils import JobReturn, JobStatus

from embexp.config import ConfigError
from embexp.config.composition import check_command
from embexp.config.ranges import an_instance_of
from tests.test_main import SMALL, results, warm_embexp

optuna = pytest.importorskip("optuna", reason="the extra optuna is not installed")

from embexp.search import build_sampler, search  # noqa: E402

LEARNING_RATE = "learning_rate=tag(log, interval(1e-5, 1e-3))"


def searched(*overrides: str, score, n_trials: int = 30, n_jobs: int = 1, sampler: str = "tpe") -> list[dict[str, str]]:
    """What a search draws where a job scores as `score` says; job by job."""
    drawn = []

    def launch(jobs, first):
        assert first == len(drawn)
        returned = []
        for job in jobs:
            drawn.append(dict(override.split("=", 1) for override in job))
            done = JobReturn(status=JobStatus.COMPLETED)
            done.return_value = score(drawn[-1])
            returned.append(done)
        return returned

    built = build_sampler(sampler, seed=1, n_startup_trials=10)
    search(overrides, launch, n_trials=n_trials, n_jobs=n_jobs, sampler=built)
    return drawn


def distance(job: dict[str, str]) -> float:
    """From the learning rate that would be best, 1e-4, in powers of ten."""
    return abs(math.log10(float(job["learning_rate"])) + 4)


def test_it_looks_where_jobs_did_well():
    drawn = searched(LEARNING_RATE, score=lambda job: -distance(job), n_trials=40)
    first, last = ([distance(job) for job in part] for part in (drawn[:10], drawn[-10:]))
    assert sum(last) < 0.75 * sum(first)


def test_a_job_that_fails_does_not_end_it_and_leads_it_away():
    drawn = searched(
        LEARNING_RATE, score=lambda job: math.nan if float(job["learning_rate"]) > 2e-4 else -distance(job), n_trials=40
    )
    assert len(drawn) == 40
    assert sum(float(job["learning_rate"]) < 2e-4 for job in drawn[-10:]) >= 5


def test_it_goes_on_where_every_job_fails():
    assert len(searched(LEARNING_RATE, score=lambda job: math.nan, n_trials=12)) == 12


def test_what_is_drawn_is_what_was_asked_for():
    drawn = searched(
        "loss=mnr",
        "batch_size=choice(16,32)",
        "epochs=range(1,6,2)",
        "seed=int(interval(3,5))",
        "model.dropout=interval(0.1,0.2)",
        score=lambda job: 0.0,
        sampler="random",
        n_jobs=7,
    )
    assert {job["loss"] for job in drawn} == {"mnr"}
    assert {job["batch_size"] for job in drawn} == {"16", "32"}
    assert {job["epochs"] for job in drawn} == {"1", "3", "5"}
    assert {job["seed"] for job in drawn} == {"3", "4", "5"}
    assert all(0.1 <= float(job["model.dropout"]) <= 0.2 for job in drawn)


def test_the_same_search_draws_the_same_jobs():
    once, again = (searched(LEARNING_RATE, score=lambda job: -distance(job)) for _ in range(2))
    assert once == again


def test_of_a_key_that_is_given_twice_the_last_counts():
    drawn = searched(LEARNING_RATE, "learning_rate=2e-5", "seed=1,2", score=lambda job: 0.0, n_trials=3)
    assert {job["learning_rate"] for job in drawn} == {"2e-5"}


SEARCH = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"]


def refused(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        check_command([*SEARCH, *overrides], multirun=True)
    return raised.value.problems


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("learning_rate=interval(-1, 1)", "learning_rate=-1.0: must be greater than 0."),
        ("model.dropout=interval(0, 2)", "model.dropout=2.0: must be less than 1."),
        ("batch_size=choice(16,0)", "batch_size=0: must be at least 1."),
        ("loss=choice(mnr,mrn)", "Did you mean 'mnr'?"),
        ("batchsize=choice(16,32)", "Did you mean 'batch_size'?"),
        ("batch_size=interval(16, 64)", "must be a whole number; write 'batch_size=int(interval(16, 64))'."),
        ("learning_rate=interval(1e-3, 1e-5)", "its end is below its start"),
        ("learning_rate=tag(log, interval(0, 1))", "wants a start above 0"),
        ("epochs=range(3,1)", "there is nothing in it"),
    ],
)
def test_a_range_that_holds_a_wrong_value_is_refused_before_anything_starts(typed, said):
    assert any(said in problem for problem in refused(typed))


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("hydra.sweeper.n_trials=0", "hydra.sweeper.n_trials=0: must be at least 1."),
        ("hydra.sweeper.sampler=tpa", "Did you mean 'tpe'?"),
    ],
)
def test_a_wrong_word_of_the_search_itself_is_refused(typed, said):
    (problem,) = refused("seed=1,2", typed)
    assert said in problem


def test_ends_that_do_not_go_together_are_refused():
    (problem,) = refused("loss=choice(mnr,cosine)", "batch_size=int(interval(1,64))")
    assert "loss=mnr takes its negatives from the batch" in problem


@pytest.mark.parametrize("typed", [["batch_size=16"], ["seed=1,2", "seed=3"], []])
def test_a_search_of_nothing_is_refused_with_how_a_range_is_written(typed):
    (problem,) = refused(*typed)
    assert "no key has a range" in problem
    assert "'learning_rate=tag(log, interval(1e-5, 1e-3))'" in problem


def test_a_range_may_be_typed_as_a_param_of_the_sweeper_and_is_checked_too():
    params = "hydra.sweeper.params={{learning_rate: 'interval({}, 1)'}}"
    jobs = check_command([*SEARCH, params.format(0.5)], multirun=True).jobs
    assert jobs == [["learning_rate=interval(0.5, 1)", *SEARCH, params.format(0.5)]] * 3
    assert refused(params.format(-1)) == ["learning_rate=-1.0: must be greater than 0."]
    assert "hydra.sweeper.params=3" in refused("seed=1,2", "hydra.sweeper.params=3")[0]


def test_a_search_has_as_many_jobs_as_trials_each_as_typed():
    jobs = check_command([*SEARCH, LEARNING_RATE, "batch_size=16"], multirun=True).jobs
    assert jobs == [[*SEARCH, LEARNING_RATE, "batch_size=16"]] * 3
    assert an_instance_of(jobs[0]) == [*SEARCH, "batch_size=16", "learning_rate=1e-05"]


def test_an_interval_without_a_search_is_refused_with_what_would_do():
    with pytest.raises(ConfigError, match="hydra/sweeper=optuna draws from it"):
        check_command([LEARNING_RATE], multirun=True)


def test_trials_are_children_of_the_search_and_one_that_diverges_costs_itself(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path)
    small = [word for word in SMALL if word != "tracker=none"]
    done = warm_embexp(
        *SEARCH,
        # Of this seed the second trial diverges.
        "hydra.sweeper.seed=9",
        "learning_rate=choice(1e-5,2e-5,1e30)",
        *small,
        "max_steps=4",
        "-m",
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "Sweep of 3 runs" in done.stdout
    assert re.search(r"^ +learning_rate  ", done.stdout, re.MULTILINE)
    assert [run["status"] for run in results(tmp_path)] == ["FINISHED", "FAILED", "FINISHED"]
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        parents = database.execute("SELECT value FROM tags WHERE key = 'mlflow.parentRunId'").fetchall()
        (swept,) = database.execute(
            "SELECT value FROM params WHERE key = 'learning_rate' AND run_uuid = ?", parents[0]
        ).fetchone()
    assert len(set(parents)) == 1
    assert swept == "choice(1e-5,2e-5,1e30)"
    assert sorted(run["params"]["learning_rate"] for run in results(tmp_path)) == [1e-5, 2e-5, 1e30]

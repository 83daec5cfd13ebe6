"""A search over ranges, what hydra/sweeper=optuna runs: each job is drawn where the jobs before it did well.

A job that fails, or is lost, counts as worse than any other and does not end it. The same command draws the same jobs as long
as their scores are the same: what had finished is skipped, and the search goes on where it was.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from optuna.trial import TrialState

from embexp.config.ranges import split

log = logging.getLogger(__name__)


def build_sampler(name: str, *, seed: int, n_startup_trials: int) -> optuna.samplers.BaseSampler:
    """What draws: "tpe", the tree-structured Parzen estimator (Bergstra et al., 2011), or "random"."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # constant_liar: trials that are drawn at one time keep away from each other.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=n_startup_trials, constant_liar=True)


def search(
    overrides: Sequence[str],
    launch: Callable[[list[list[str]], int], Sequence[JobReturn]],
    *,
    n_trials: int,
    n_jobs: int,
    sampler: optuna.samplers.BaseSampler,
) -> None:
    """Draws the jobs, `n_jobs` at a time, and has them run.

    Args:
        overrides: as typed; those with several values are what is searched.
        launch: runs jobs, given by their overrides and the number of the first, and returns what each was ranked by.
        n_trials: how many jobs there are in all.
        n_jobs: how many are drawn before any of them is run.
        sampler: from `build_sampler`.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    fixed, drawn = split(parsed)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for first in range(0, n_trials, n_jobs):
        trials = [study.ask() for _ in range(min(n_jobs, n_trials - first))]
        jobs = [[*fixed, *(f"{each.key}={each.draw(trial)}" for each in drawn)] for trial in trials]
        for trial, job in zip(trials, launch(jobs, first), strict=True):
            score = score_of(job)
            if math.isfinite(score):
                study.tell(trial, score)
            else:
                # Not FAIL, which TPE leaves out: it would go on drawing where jobs diverge, since nothing scored there.
                study.tell(trial, state=TrialState.PRUNED)


def score_of(job: JobReturn) -> float:
    """What a job is ranked by; nan where it failed, which has been told, or could not be started, which is told here."""
    try:
        return float(job.return_value)
    except Exception as error:
        log.error("%s: %s", " ".join(job.overrides or []), error)
        return math.nan

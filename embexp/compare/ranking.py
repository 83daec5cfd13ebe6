"""The order of runs, and which of their settings tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from embexp.compare.runs import Run
from embexp.tracking import Status

METRIC = "dev/spearman_cosine"
# What a person chooses, in the order in which it is read; then whatever else differs.
FIRST_COLUMNS = ("loss", "batch_size", "model", "data", "experiment", "learning_rate", "epochs", "seed")
# What follows from another column or from the machine.
NOT_COLUMNS = ("effective_batch_size", "threads")


def score_of(run: Run, metric: str) -> float | None:
    """The score of the weights that were kept: "best/<metric>" where that was logged, else the last value."""
    return run.metrics.get(f"best/{metric}", run.metrics.get(metric))


def ranked(runs: Sequence[Run], metric: str) -> list[tuple[int, Run]]:
    """Finished runs with a score, the best first; equal scores share a rank."""
    scored = [
        (score, run) for run in runs if run.status == Status.FINISHED and (score := score_of(run, metric)) is not None
    ]
    scored.sort(key=lambda pair: pair[0], reverse=True)
    order = [score for score, _ in scored]
    return [(order.index(score) + 1, run) for score, run in scored]


def differing(runs: Sequence[Run]) -> list[str]:
    """The settings that differ. What was typed for one run alone differs from the others' default.

    But a setting of one loss tells nothing beside its name, and a run that was only scored has no settings of training.
    """
    keys = dict.fromkeys([*FIRST_COLUMNS, *(key for run in runs for key in run.params)])
    values = {
        key: {run.params.get(key) for run in runs if key in run.params or (_may_lack(key) and _is_trained(run))}
        for key in keys
    }
    return [key for key in keys if key not in NOT_COLUMNS and len(values[key]) > 1]


def _may_lack(key: str) -> bool:
    return ("." in key and not key.startswith("loss.")) or key in ("experiment", "max_steps")


def _is_trained(run: Run) -> bool:
    return run.params.get("loss") != "none"

"""The order of runs, and which of their settings tell them apart."""

from __future__ import annotations

from collections.abc import Sequence

from embexp.compare.runs import ROWS, Run
from embexp.config.composition import AT_THE_END
from embexp.identity import CHANGES_NO_RESULT
from embexp.tracking import Status

METRIC = "dev/spearman_cosine"
# The evaluation whose pairs are those of the data.
OWN = "own"
# What a person chooses, in the order in which it is read; then whatever else differs.
FIRST_COLUMNS = ("loss", "batch_size", "model", "data", "experiment", "learning_rate", "epochs", "seed")
# What begins so is the less the better.
COSTS = ("time/", "latency/", "memory/", "train/", "system/")
# What follows from another column or from the machine, or changes no result.
NOT_COLUMNS = ("effective_batch_size", "threads", ROWS, *CHANGES_NO_RESULT)
# What was asked for, and what became of it, which tells more: auto is bf16 on one machine, and fp32 on another.
BECAME = {"trainer.precision": "precision"}


def score_of(run: Run, metric: str) -> float | None:
    """The score of the weights that were kept: "best/<metric>" where that was logged, else the last value."""
    return run.metrics.get(f"best/{metric}", run.metrics.get(metric))


def is_cost(metric: str) -> bool:
    """Whether less of it is better: seconds, bytes, a loss."""
    return metric.startswith(COSTS) and not metric.endswith("texts_per_second")


def ranked(runs: Sequence[Run], metric: str) -> list[tuple[int, Run]]:
    """Finished runs with a score, the best first; equal scores share a rank."""
    scored = [
        (score, run) for run in runs if run.status == Status.FINISHED and (score := score_of(run, metric)) is not None
    ]
    scored.sort(key=lambda pair: pair[0], reverse=not is_cost(metric))
    rank_of: dict[float, int] = {}
    for rank, (score, _) in enumerate(scored, start=1):
        rank_of.setdefault(score, rank)
    return [(rank_of[score], run) for score, run in scored]


def by_evaluation(runs: Sequence[Run], metric: str) -> list[list[Run]]:
    """Finished runs with a score, those together that were scored on the same: only these can be ranked with each other.

    On the same pairs; by a metric of what is scored beside them, on the same texts, tasks or machine too.
    """
    found: dict[tuple[str | None, str | None], list[Run]] = {}
    for run in runs:
        if run.status == Status.FINISHED and score_of(run, metric) is not None:
            found.setdefault((run.evaluation, beside_on(run, metric)), []).append(run)
    return list(found.values())


def beside_on(run: Run, metric: str) -> str | None:
    """The fingerprint of what such a metric is of; None of those of the dev and test pairs."""
    name = metric.removeprefix("best/").removeprefix("gain/")
    return next((found for beginning, found in run.scored_on.items() if f"{name}/".startswith(f"{beginning}/")), None)


def evaluation_of(run: Run) -> str:
    """The evaluation that has the pairs: of several ("latency+stsb") the one that is not scored at the end alone."""
    names = run.params.get("evaluation", OWN).split("+")
    return next((name for name in names if name not in AT_THE_END), OWN)


def scored_on(run: Run) -> str:
    """What the pairs are that the run was scored on."""
    name = evaluation_of(run)
    return run.params.get("data", "own data") if name == OWN else name


def columns_of(runs: Sequence[Run]) -> list[str]:
    """The settings that a table shows: those that differ, else what a run is called by."""
    return differing(runs) or (["loss", "batch_size"] if any(run.is_trained for run in runs) else ["model"])


def differing(runs: Sequence[Run]) -> list[str]:
    """The settings that differ. What was typed for one run alone differs from the others' default.

    But a setting of one loss tells nothing beside its name, and a run that was only scored has no settings of training.
    """
    keys = dict.fromkeys([*FIRST_COLUMNS, *(key for run in runs for key in run.params)])
    values = {
        key: {run.params.get(key) for run in runs if key in run.params or (_may_lack(key) and run.is_trained)}
        for key in keys
    }
    found = [key for key in keys if key not in NOT_COLUMNS and len(values[key]) > 1]
    for asked, became in BECAME.items():
        if {asked, became} <= set(found) and different(runs, [became]) == different(runs, [became, asked]):
            found.remove(asked)
    with_rows = [*found, ROWS]
    tells_more = len(values.get(ROWS, ())) > 1 and different(runs, with_rows) > different(runs, found)
    return with_rows if tells_more else found


def different(runs: Sequence[Run], keys: Sequence[str]) -> int:
    """How many of the runs these settings tell apart."""
    return len({tuple(run.params.get(key) for key in keys) for run in runs})


def _may_lack(key: str) -> bool:
    return ("." in key and not key.startswith("loss.")) or key in (
        "experiment",
        "max_steps",
        "matryoshka_dims",
        "matryoshka_weights",
    )

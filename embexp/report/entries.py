"""Finished runs as the report shows them: ranked, named by what differs, with their series, score and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embexp.compare import Verdict
from embexp.compare.ranking import differing, ranked, score_of
from embexp.compare.runs import UNTRAINED, Run
from embexp.report.details import Details, details_of

# What a series may be: a choice a person compares, never the seed.
SERIES_KEYS = ("loss", "model", "batch_size", "data", "experiment", "learning_rate", "epochs")


@dataclass(frozen=True)
class Entry:
    """One finished run.

    Attributes:
        label: what tells it from the others: "mnr · bs 64".
        group: the value by which runs are coloured; the same for every run where only one is compared.
        series: the number of that group, the best group first.
        before: the score of the model before training; None where it is not known.
        low, high: the 95 % interval of the score; None where there are no predictions to draw it from.
    """

    rank: int
    run: Run
    label: str
    group: str
    series: int
    score: float
    before: float | None
    verdict: Verdict | None
    details: Details

    @property
    def low(self) -> float | None:
        return self.verdict.interval.low if self.verdict is not None and self.verdict.interval is not None else None

    @property
    def high(self) -> float | None:
        return self.verdict.interval.high if self.verdict is not None and self.verdict.interval is not None else None


def entries_of(runs: Sequence[Run], *, metric: str, uri: str | None, verdicts: Sequence[Verdict] = ()) -> list[Entry]:
    """The finished runs that have the metric, the best first."""
    order = ranked(runs, metric)
    shown = [run for _, run in order]
    keys = differing(shown)
    key = series_key(shown)
    groups = list(dict.fromkeys(group_of(run, key) for run in shown))
    of_run = {id(verdict.run): verdict for verdict in verdicts}
    found = []
    for rank, run in order:
        score = score_of(run, metric)
        assert score is not None
        found.append(
            Entry(
                rank=rank,
                run=run,
                label=label_of(run, keys),
                group=group_of(run, key),
                series=groups.index(group_of(run, key)),
                score=score,
                before=before(run, metric),
                verdict=of_run.get(id(run)),
                details=details_of(run, uri=uri),
            )
        )
    return found


def series_key(runs: Sequence[Run]) -> str | None:
    """The setting by which runs are coloured: the first that differs and that people compare."""
    keys = differing(runs)
    return next((key for key in SERIES_KEYS if key in keys), None)


def group_of(run: Run, key: str | None) -> str:
    """The run's value of that setting, as it reads in a legend."""
    if key is None:
        key = "loss"
    return shown(key, run.params.get(key, "–"))


def label_of(run: Run, keys: Sequence[str]) -> str:
    """The settings that tell the run from the others; its whole name where none does."""
    return " · ".join(shown(key, run.params[key]) for key in keys if key in run.params) or run.name


def shown(key: str, value: str) -> str:
    """A setting as it reads without its column's title."""
    if key == "loss" and value == UNTRAINED:
        return "not trained"
    if key in ("loss", "model", "data", "experiment"):
        return value
    return f"bs {value}" if key == "batch_size" else f"{key.replace('_', ' ')} {value}"


def before(run: Run, metric: str) -> float | None:
    """The score of the model before training, on the same pairs."""
    if metric.startswith("test/"):
        return run.metrics.get(metric.replace("test/", "test_before/", 1))
    return run.step0(metric)


def metric_title(metric: str) -> str:
    """ "dev Spearman" of "dev/spearman_cosine"; another similarity is named."""
    split, _, name = metric.removeprefix("best/").partition("/")
    kind, _, similarity = name.partition("_")
    if kind not in ("spearman", "pearson"):
        return metric
    return f"{split} {kind.capitalize()}" + (f" ({similarity})" if similarity != "cosine" else "")

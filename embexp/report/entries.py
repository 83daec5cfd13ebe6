"""Finished runs as the report shows them: ranked, named by what differs, with their series, score and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from embexp.compare.cells import values_of
from embexp.compare.judge import Verdict
from embexp.compare.ranking import differing, ranked, score_of
from embexp.compare.runs import UNTRAINED, Run
from embexp.naming import may_be_files
from embexp.report.details import Details, details_of
from embexp.report.fetched import Fetched

# What a series may be: a choice a person compares, never the seed.
SERIES_KEYS = ("loss", "model", "batch_size", "data", "experiment", "learning_rate", "epochs")

# Of a difference of scores that four decimals show.
SMALLEST = 0.00005


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
        return None if self.verdict is None else self.verdict.interval.low

    @property
    def high(self) -> float | None:
        return None if self.verdict is None else self.verdict.interval.high

    @property
    def beside_before(self) -> str:
        """How the score stands to that of the model before training, in words; empty where that is not known."""
        if self.before is None:
            return ""
        by = self.score - self.before
        # One is the other less a gain, which is rounded; where the best step is 0 they are equal.
        if abs(by) < SMALLEST:
            return "as the model before training"
        against = self.verdict.against_base if self.verdict is not None else None
        unsure = ", from which it cannot be told apart" if against is not None and not against.is_real else ""
        return f"{abs(by):.4f} {'above' if by > 0 else 'below'} the model before training{unsure}"


def entries_of(
    runs: Sequence[Run],
    *,
    metric: str,
    uri: str | None,
    verdicts: Sequence[Verdict] = (),
    fetched: Fetched | None = None,
) -> list[Entry]:
    """The finished runs that have the metric, the best first."""
    order = ranked(runs, metric)
    as_told = with_short_paths([run for _, run in order])
    keys = differing(as_told)
    key = series_key(as_told)
    groups = list(dict.fromkeys(group_of(told, key) for told in as_told))
    of_run = {id(verdict.run): verdict for verdict in verdicts}
    found = []
    for (rank, run), told in zip(order, as_told, strict=True):
        score = score_of(run, metric)
        assert score is not None
        found.append(
            Entry(
                rank=rank,
                run=run,
                label=label_of(told, keys),
                group=group_of(told, key),
                series=groups.index(group_of(told, key)),
                score=score,
                before=before(run, metric),
                verdict=of_run.get(id(run)),
                details=details_of(run, uri=uri, fetched=fetched),
            )
        )
    return found


def with_short_paths(runs: Sequence[Run]) -> list[Run]:
    """The runs, of whose settings that are files or folders no more is left than tells them apart."""
    keys = {key for run in runs for key in run.params if may_be_files(key)}
    short = {key: values_of(runs, key) for key in keys}
    return [
        replace(run, params={key: short[key][value] if key in short else value for key, value in run.params.items()})
        for run in runs
    ]


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
    # The key as it is typed, and as the table has it.
    return f"bs {value}" if key == "batch_size" else f"{key} {value}"


def dashes_of(entries: Sequence[Entry], number: int) -> int:
    """How many of the entries before it have its series, and so its colour: by which their lines are dashed."""
    return sum(other.series == entries[number].series for other in entries[:number])


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

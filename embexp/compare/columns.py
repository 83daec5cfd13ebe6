"""What stands in a table beside the settings: scores, what else was scored, and costs; and what of it tells least."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from embexp.compare.ranking import beside_on, score_of
from embexp.compare.runs import Run
from embexp.config import Similarity
from embexp.units import readable

INTERVAL, GAIN = "interval", "gain"
# Tasks of MTEB that have a column each; of more there is the mean.
MOST_TASKS = 3
OF_DIMS = re.compile(r"dims/(\d+)/dev/spearman_cosine")
OF_SET, OF_TASK = re.compile(r"sts/(.+)/spearman_cosine"), re.compile(r"mteb/(.+)/main_score")
# The first metric of what is scored beside the pairs, and what its title stands for.
BESIDE = {
    "retrieval/ndcg_at_10": ("nDCG@10", "of retrieval"),
    "classification/accuracy": ("accuracy", "of classification"),
    "latency/p50_ms": ("latency", "median of the calls with the smallest batch of short texts"),
}
# Of these, the settings that name their data, and what they are of where none is set.
BUILT_IN = {
    "retrieval": (("path", "corpus"), "the built-in articles"),
    "classification": (("path", "test"), "the built-in intents"),
}
NOT_ALIKE = "not of the same data, or not measured alike, in all rows; --metric {} ranks each by itself"


@dataclass(frozen=True)
class Column:
    """Scores or costs, a run each.

    Attributes:
        title: above it.
        keys: the metric; of several the mean is shown, where a run has them all.
    """

    title: str
    keys: tuple[str, ...]

    def value(self, run: Run) -> float | None:
        """Of the run; None where it has none, as a model that was only scored has no gain."""
        if self.title == GAIN and not run.is_trained:
            return None
        return _mean([score_of(run, key) for key in self.keys])

    def before(self, run: Run) -> float | None:
        """Of the model before training; None where it was not scored then."""
        return _mean([_before(run, key) for key in self.keys])

    def shown(self, value: float | None) -> str:
        """Its cell for the terminal, as rich's markup."""
        if value is None or self.title != GAIN:
            return self.told(value)
        return signed(value)

    def told(self, value: float | None) -> str:
        """Its cell as text."""
        return "" if value is None else readable(self.keys[0], value)

    def is_of(self, metric: str) -> bool:
        """Whether it shows this metric, by the name that runs are ranked by."""
        return [key.removeprefix("best/") for key in self.keys] == [metric]

    def is_mixed(self, runs: Sequence[Run]) -> bool:
        """Whether the runs' values are not all of the same data, or were not all measured alike."""
        found = {beside_on(run, key) for run in runs for key in self.keys if self.value(run) is not None}
        return len(found) > len(self.keys)


SCORES = (
    Column("dev Spearman", ("best/dev/spearman_cosine",)),
    Column("dev Pearson", ("best/dev/pearson_cosine",)),
    Column(GAIN, ("gain/dev/spearman_cosine",)),
    Column("test Spearman", ("test/spearman_cosine",)),
    Column("test Pearson", ("test/pearson_cosine",)),
)
BESIDE_COSINE = tuple(name for name in get_args(Similarity) if name != "cosine")
OF_PAIRS = tuple(column.title for column in SCORES)
COSTS = (
    Column("time", ("time/training_seconds",)),
    Column("texts/s", ("throughput/texts_per_second",)),
)
# What is left out where there is no room, the first first; then what was scored beside the pairs, then MORE.
LEAST, MORE = ("texts/s", "time", "test Pearson", "dev Pearson"), ("test Spearman",)
# What is left out only where there is none even without the settings that hardly tell runs apart.
LAST = (INTERVAL, GAIN)


def columns(runs: Sequence[Run], metric: str, *, judged: bool) -> list[Column]:
    """Those for which any run has a value, in order; the metric that is ranked by is always among them.

    Args:
        runs: of the table.
        metric: that is ranked by.
        judged: whether there are intervals, which stand beside that metric.
    """
    there = [
        column
        for column in (*scores(runs, metric), *beside(runs), *COSTS)
        if any(column.value(r) is not None for r in runs)
    ]
    ranked_by = next((column for column in there if column.is_of(metric)), Column(metric, (metric,)))
    if ranked_by.title not in OF_PAIRS:
        there = [ranked_by, *(column for column in there if column != ranked_by)]
    if judged:
        there.insert(there.index(ranked_by) + 1, Column(INTERVAL, ()))
    return there


def scores(runs: Sequence[Run], metric: str) -> list[Column]:
    """Those of the pairs, by cosine, or where runs have none by the similarity that is ranked by; and the gain in what is ranked by."""
    of: Sequence[Column] = SCORES
    similarity = metric.rpartition("_")[2]
    if similarity in BESIDE_COSINE and all(column.value(run) is None for run in runs for column in SCORES):
        of = tuple(Column(c.title, tuple(key.replace("cosine", similarity) for key in c.keys)) for c in SCORES)
    own = Column(GAIN, (f"gain/{metric}",))
    has_own = any(own.value(run) is not None for run in runs)
    return [own if column.title == GAIN and has_own else column for column in of]


def beside(runs: Sequence[Run]) -> list[Column]:
    """The first metric of each evaluation that any of the runs was scored on beside the pairs of dev and test."""
    there = sorted({key for run in runs for key in run.metrics})
    cuts = sorted((int(found[1]), key) for key in there if (found := OF_DIMS.fullmatch(key)))
    dims = [Column(f"{dim} dims", (key,)) for dim, key in reversed(cuts)]
    sets = [Column(_of_set(name), (key,)) for name, key in _sets_of(runs, there)]
    tasks = [Column(f"MTEB {found[1]}", (key,)) for key in there if (found := OF_TASK.fullmatch(key))]
    if len(tasks) > MOST_TASKS:
        tasks = [Column(f"MTEB, mean of {len(tasks)}", tuple(key for task in tasks for key in task.keys))]
    return [*dims, *sets, *tasks, *(Column(title, (key,)) for key, (title, _) in BESIDE.items() if key in there)]


def mixed(runs: Sequence[Run], of: Sequence[Column]) -> list[tuple[str, str]]:
    """The titles of the columns whose values cannot be compared in all rows, each with what is to be said of it."""
    return [(column.title, NOT_ALIKE.format(column.keys[0])) for column in of if column.is_mixed(runs)]


def least(of: Sequence[Column], metric: str) -> tuple[list[str], list[str]]:
    """The titles that are left out where there is no room, the first first: before settings, and after some of these.

    What is ranked by is in neither.
    """
    others = {column.title for column in of if not column.is_of(metric)}
    known = (*OF_PAIRS, *(column.title for column in COSTS), INTERVAL)
    extra = [column.title for column in reversed(of) if column.title not in known]
    return [title for title in (*LEAST, *extra, *MORE) if title in others], [title for title in LAST if title in others]


def legend(of: Sequence[Column], runs: Sequence[Run]) -> str:
    """What the titles of what was scored beside the pairs stand for, and of what data; empty where there are none.

    Args:
        of: the columns that are shown.
        runs: of the tables.
    """
    titles = {column.title for column in of}
    said = [f"{title}: {what}{_on(key, runs)}." for key, (title, what) in BESIDE.items() if title in titles]
    if any(OF_DIMS.fullmatch(key) for column in of for key in column.keys):
        said.insert(0, "dims: dev Spearman by the first so many dimensions alone.")
    return " ".join(said)


def _on(metric: str, runs: Sequence[Run]) -> str:
    """ " on the built-in articles": what a metric of BUILT_IN is of, as far as the runs' settings tell and they agree."""
    group = metric.partition("/")[0]
    there = [run for run in runs if metric in run.metrics]
    if group not in BUILT_IN or not there:
        return ""
    if len({run.scored_on.get(group) for run in there}) > 1:
        return ", not on the same data in all rows"
    found = {_data_of(group, run) for run in there}
    data = found.pop() if len(found) == 1 else None
    return "" if data is None else f" on {data}"


def _data_of(group: str, run: Run) -> str | None:
    """What a run's settings say that it was scored on; None where they do not."""
    keys, built_in = BUILT_IN[group]
    typed = [run.params[key] for name in keys if (key := f"evaluation.{group}.{name}") in run.params]
    if typed:
        return typed[0] if typed[0] != "null" else None
    # An option of a person's own, or an experiment, may name files that no setting of the run tells.
    shipped = group in run.params.get("evaluation", "").split("+") and "experiment" not in run.params
    source = run.params.get(f"evaluation.{group}.source", "helpdesk")
    return built_in if shipped and source == "helpdesk" else None


def signed(value: float) -> str:
    """A gain, green where there is any, as rich's markup."""
    colour = "green" if value > 0 else "red"
    return f"[{colour}]{value:+.4f}[/{colour}]"


def _sets_of(runs: Sequence[Run], there: Sequence[str]) -> list[tuple[str, str]]:
    """Each set's name and metric; of those that are the same pairs in every run the first alone, by all their names."""
    found: dict[tuple[object, ...], list[tuple[str, str]]] = {}
    for key in there:
        if named := OF_SET.fullmatch(key):
            on = tuple(
                (run.scored_on.get(f"sts/{named[1]}"), run.metrics[key]) if key in run.metrics else None for run in runs
            )
            # Of a run from before it was kept, what it was scored on is not known.
            known = all(of_run is None or of_run[0] is not None for of_run in on)
            found.setdefault(on if known else (key,), []).append((named[1], key))
    return [(" = ".join(name for name, _ in alike), alike[0][1]) for alike in found.values()]


def _of_set(name: str) -> str:
    """The title of the pairs of this name; of some that are called dev or test not the title of what is always scored."""
    title = f"{name} Spearman"
    return f"sts/{title}" if title in {column.title for column in SCORES} else title


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _before(run: Run, key: str) -> float | None:
    name = key.removeprefix("best/")
    if name.startswith("dev/"):
        return None if (value := run.step0(name)) is None else round(value, 6)
    group, _, rest = name.partition("/")
    return run.metrics.get(f"{group}_before/{rest}")

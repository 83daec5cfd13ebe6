"""Draws runs as a ranked table, for the terminal and as markdown, csv and json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embexp.compare.runs import Run
from embexp.tracking import Status

METRIC = "dev/spearman_cosine"
# What a person chooses, in the order in which it is read; then whatever else differs.
FIRST_COLUMNS = ("loss", "batch_size", "model", "data", "experiment", "learning_rate", "epochs", "seed")
# What follows from another column or from the machine.
NOT_COLUMNS = ("effective_batch_size", "threads")
SCORES = (
    ("dev Spearman", "best/dev/spearman_cosine"),
    ("dev Pearson", "best/dev/pearson_cosine"),
    ("gain", "gain/dev/spearman_cosine"),
    ("test Spearman", "test/spearman_cosine"),
    ("test Pearson", "test/pearson_cosine"),
)
COSTS = (("time", "time/training_seconds"), ("texts/s", "throughput/texts_per_second"))
WIDE = 160
# Below this many columns the Pearson scores are left to csv and json.
NARROW = 116


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
    """The settings that differ between runs that have them: a setting of one loss alone tells nothing beside its name."""
    keys = list(dict.fromkeys([*FIRST_COLUMNS, *(key for run in runs for key in run.params)]))
    values = {key: {run.params[key] for run in runs if key in run.params} for key in keys}
    return [key for key in keys if key not in NOT_COLUMNS and len(values[key]) > 1]


def draw(runs: Sequence[Run], *, console: Console, title: str, metric: str = METRIC) -> None:
    """The ranked table, one for each set of pairs that was scored on, then what did not finish, with its reason."""
    if not console.is_terminal:
        console = Console(file=console.file, width=WIDE, no_color=True)
    finished = [run for run in runs if score_of(run, metric) is not None and run.status == Status.FINISHED]
    sets = list(dict.fromkeys(run.evaluation for run in finished))
    for number, evaluation in enumerate(sets, start=1):
        of_set = [run for run in finished if run.evaluation == evaluation]
        name = of_set[0].params.get("evaluation", "own")
        scored_on = of_set[0].params.get("data", "") if name == "own" else name
        which = f" · scored on {scored_on}" + (f" (set {number} of {len(sets)})" if len(sets) > 1 else "")
        console.print()
        console.print(f"[bold]{escape(title)}[/bold]{escape(which)}", highlight=False)
        console.print(_table(of_set, metric, compact=console.width < NARROW))
    if finished:
        console.print(
            "dev, test: cosine similarity against the given scores, of the weights that were best on dev. "
            "gain: over the model before training.",
            style="dim",
            highlight=False,
        )
    for run in runs:
        if run not in finished:
            reason = run.reason or ("still running" if run.status == Status.RUNNING else f"no {metric} was logged")
            console.print(
                f"[red]{run.status}[/red] {escape(run.name)}: {escape(reason)}", highlight=False, soft_wrap=True
            )
            console.print(f"    {escape(run.where)}", style="dim", highlight=False, soft_wrap=True)


def _table(runs: Sequence[Run], metric: str, *, compact: bool) -> Table:
    keys = differing(runs) or ["loss", "batch_size"]
    scores = [pair for pair in SCORES if any(pair[1] in run.metrics for run in runs)]
    if metric != METRIC:
        scores = [(metric, metric), *scores]
    if compact:
        scores = [pair for pair in scores if "Pearson" not in pair[0]]
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True, min_width=2)
    for key in keys:
        numbers = key != keys[0] and all(_is_number(run.params.get(key, "")) for run in runs)
        table.add_column(key.replace("_", " "), justify="right" if numbers else "left", no_wrap=key == keys[0])
    for title, _ in (*scores, *COSTS):
        table.add_column(title, justify="right", no_wrap=True)
    for rank, run in ranked(runs, metric):
        cells = [run.params.get(key, "–") for key in keys]
        values = [_shown(title, _value(run, key, metric)) for title, key in (*scores, *COSTS)]
        table.add_row(str(rank), *map(escape, cells), *values, style="bold" if rank == 1 else "")
    for base in dict.fromkeys(tuple(_base(run, key) for _, key in scores) for run in runs):
        cells = ["before training", *[""] * (len(keys) - 1)]
        shown = [_shown(title, value) for (title, _), value in zip(scores, base, strict=True)]
        table.add_row("", *cells, *shown, *[""] * len(COSTS), style="dim")
    return table


def _value(run: Run, key: str, metric: str) -> float | None:
    return score_of(run, metric) if key == metric else run.metrics.get(key)


def _base(run: Run, key: str) -> float | None:
    if key.startswith("gain/"):
        return None
    if key.startswith("test/"):
        return run.metrics.get(key.replace("test/", "test_before/"))
    return None if (value := run.step0(key.removeprefix("best/"))) is None else round(value, 6)


def _shown(title: str, value: float | None) -> str:
    if value is None:
        return ""
    if title == "gain":
        colour = "green" if value > 0 else "red"
        return f"[{colour}]{value:+.4f}[/{colour}]"
    if title == "time":
        return duration(value)
    return f"{value:.0f}" if title == "texts/s" else f"{value:.4f}"


def duration(seconds: float) -> str:
    """ "1m 23s"."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours}h"] * (hours > 0) + [f"{minutes}m"] * (hours > 0 or minutes > 0) + [f"{left}s"] * (hours == 0)
    return " ".join(parts)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def rows_of(runs: Sequence[Run], metric: str = METRIC) -> list[dict[str, Any]]:
    """A flat row a run, the ranked ones first: rank, name, status, reason, differing settings, all metrics."""
    keys = differing(runs) or ["loss", "batch_size"]
    order = ranked(runs, metric)
    rest = [run for run in runs if all(run is not other for _, other in order)]
    metrics = sorted({key for run in runs for key in run.metrics})
    return [
        {
            "rank": rank,
            "name": run.name,
            "status": run.status.value,
            "reason": run.reason,
            **{key: run.params.get(key) for key in keys},
            **{key: run.metrics.get(key) for key in metrics},
        }
        for rank, run in [*order, *((None, run) for run in rest)]
    ]


def to_csv(runs: Sequence[Run], metric: str = METRIC) -> str:
    """The rows as csv, with a header."""
    rows = rows_of(runs, metric)
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def to_json(runs: Sequence[Run], metric: str = METRIC) -> str:
    """The rows as a json list."""
    return json.dumps(rows_of(runs, metric), indent=1) + "\n"


def to_markdown(runs: Sequence[Run], metric: str = METRIC) -> str:
    """The ranked table as markdown; what did not finish below it."""
    keys = differing(runs) or ["loss", "batch_size"]
    head = ["rank", *keys, *(title for title, _ in SCORES), "time"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for rank, run in ranked(runs, metric):
        scores = ["" if (v := run.metrics.get(key)) is None else f"{v:.4f}" for _, key in SCORES]
        cells = [str(rank), *(run.params.get(key, "–") for key in keys), *scores]
        lines.append(" | ".join([*cells, duration(run.metrics.get("time/training_seconds", 0))]))
    table = "\n".join(f"| {line} |" for line in lines)
    failed = [f"- {run.status}: {run.name}: {run.reason}" for run in runs if run.status != Status.FINISHED]
    return "\n\n".join([table, "\n".join(failed)]) + "\n"

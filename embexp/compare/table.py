"""Draws runs as a ranked table, for the terminal and as markdown, csv and json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embexp.compare.cells import ABSENT, fitting, left_out, paper, values_of
from embexp.compare.judge import Verdict, judge
from embexp.compare.ranking import METRIC, by_evaluation, columns_of, ranked, score_of, scored_on
from embexp.compare.runs import OF_STORE, Run
from embexp.compare.warned import warned
from embexp.tracking import Status

SCORES = (
    ("dev Spearman", "best/dev/spearman_cosine"),
    ("dev Pearson", "best/dev/pearson_cosine"),
    ("gain", "gain/dev/spearman_cosine"),
    ("test Spearman", "test/spearman_cosine"),
    ("test Pearson", "test/pearson_cosine"),
)
COSTS = (("time", "time/training_seconds"), ("texts/s", "throughput/texts_per_second"))
SEVERAL_SETS = (
    "{} sets of pairs were scored on; scores of one say nothing beside those of another: each is ranked by itself."
)
# Runs that are told of in words.
MOST_TOLD = 8
# Rows of a table: who has more runs filters them, or takes the csv.
MOST_DRAWN = 50
# What is left to csv and json where there is no room: level by level, with all of the levels before it.
LEAST: tuple[frozenset[str], ...] = (
    frozenset(),
    frozenset({"dev Pearson", "test Pearson"}),
    frozenset({"time", "texts/s"}),
    frozenset({"test Spearman"}),
)


def draw(
    runs: Sequence[Run], *, console: Console, title: str, metric: str = METRIC, most_unranked: int | None = None
) -> None:
    """The ranked table, one for each set of pairs that was scored on, then what has no score, with its reason.

    Args:
        runs: of any status, the latest last.
        console: to draw on.
        title: above the table.
        metric: to rank by.
        most_unranked: of those without a score the latest so many are named; None: all.
    """
    console = paper(console)
    finished = [run for run in runs if score_of(run, metric) is not None and run.status == Status.FINISHED]
    sets = by_evaluation(finished)
    if len(sets) > 1:
        console.print()
        console.print(SEVERAL_SETS.format(len(sets)), style="dim", highlight=False, soft_wrap=True)
    for number, of_set in enumerate(sets, start=1):
        which = f" · scored on {scored_on(of_set[0])}" + (f" (set {number} of {len(sets)})" if len(sets) > 1 else "")
        console.print()
        console.print(f"[bold]{escape(title)}[/bold]{escape(which)}", highlight=False)
        verdicts = judge(of_set, metric=metric)
        table, without = fitting(
            columns_of(of_set), of_set, partial(_table, of_set, metric, verdicts), len(LEAST), console
        )
        console.print(table)
        if without:
            console.print(left_out(without), style="dim", highlight=False, soft_wrap=True)
        for line in told_of_cautions(ranked(of_set, metric)):
            console.print(escape(line), style="yellow", highlight=False, soft_wrap=True)
        for line in _told(verdicts, of_set):
            console.print(escape(line), style="dim", highlight=False, soft_wrap=True)
    if finished:
        said = "dev, test: cosine similarity against the given scores"
        trained = ", of the weights that were best on dev. gain: over the model before training."
        said += trained if any(run.is_trained for run in finished) else "."
        console.print(said, style="dim", highlight=False)
    is_ranked = {id(run) for run in finished}
    unranked = [run for run in runs if id(run) not in is_ranked]
    named = unranked if most_unranked is None else unranked[-most_unranked:]
    if left := len(unranked) - len(named):
        said = f"{left} earlier runs without a score are not named here: --csv FILE tells of all."
        console.print(said, style="dim", highlight=False, soft_wrap=True)
    for run in named:
        reason = run.reason or ("still running" if run.status == Status.RUNNING else f"no {metric} was logged")
        console.print(f"[red]{run.status}[/red] {escape(run.name)}: {escape(reason)}", highlight=False, soft_wrap=True)
        console.print(f"    {escape(run.where)}", style="dim", highlight=False, soft_wrap=True)


def told_of_cautions(ranked_runs: Sequence[tuple[int, Run]]) -> list[str]:
    """A line for each thing that the runs of a table were warned of when they were made: "! runs 1, 3: dev: ..."."""
    return [f"! {whose}: {said}" for whose, said in warned([(rank, run.cautions) for rank, run in ranked_runs])]


def _told(verdicts: Sequence[Verdict], runs: Sequence[Run]) -> list[str]:
    """What the intervals say, in words: of the best few, and of how many of all."""
    if not verdicts:
        return []
    lines = [f"  {verdict.words}" for verdict in verdicts[:MOST_TOLD]]
    left = f" (of the best {len(verdicts)})" if len(verdicts) < len(runs) else ""
    said = f"[low, high]: 95 % interval over the choice of pairs{left}; = : cannot be told apart from the best."
    return [*lines, said]


def _table(runs: Sequence[Run], metric: str, verdicts: Sequence[Verdict], keys: Sequence[str], level: int) -> Table:
    scores = [pair for pair in SCORES if any(_value(run, pair[1], metric) is not None for run in runs)]
    costs = [pair for pair in COSTS if any(pair[1] in run.metrics for run in runs)]
    if all(key.removeprefix("best/") != metric for _, key in scores):
        scores = [(metric, metric), *scores]
    unseen = frozenset().union(*LEAST[: level + 1])
    # What is ranked by is always there.
    scores = [(title, key) for title, key in scores if title not in unseen or key.removeprefix("best/") == metric]
    costs = [(title, key) for title, key in costs if title not in unseen]
    shown = {key: values_of(runs, key) for key in keys}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True, min_width=2)
    for key in keys:
        numbers = key != keys[0] and all(_is_number(run.params.get(key, "")) for run in runs)
        table.add_column(key.replace("_", " "), justify="right" if numbers else "left", no_wrap=True)
    judged = {id(verdict.run): verdict for verdict in verdicts}
    for title, key in (*scores, *costs):
        table.add_column(title, justify="right", no_wrap=True)
        if judged and key.removeprefix("best/") == metric:
            table.add_column("[low, high]", justify="right", no_wrap=True)
    order = ranked(runs, metric)
    for rank, run in order[:MOST_DRAWN]:
        cells = [shown[key].get(run.params.get(key, ""), ABSENT) for key in keys]
        values = []
        for title, key in (*scores, *costs):
            values.append(_shown(title, _value(run, key, metric)))
            if judged and key.removeprefix("best/") == metric:
                values.append(escape(_bounds(judged.get(id(run)))))
        style = "bold" if rank == 1 else ""
        table.add_row(f"{_mark(judged.get(id(run)))}{rank}", *map(escape, cells), *values, style=style)
    if len(order) > MOST_DRAWN:
        table.add_row("", f"and {len(order) - MOST_DRAWN} more: filter them (loss=mnr), or --csv", style="dim")
    bases = {tuple(_base(run, key) for _, key in scores): run for run in reversed(runs) if run.is_trained}
    bases = {base: run for base, run in bases.items() if any(value is not None for value in base)}
    for base, first in bases.items():
        whose = f" ({first.params.get('model', first.name)})" if len(bases) > 1 else ""
        cells = [f"before training{whose}", *[""] * (len(keys) - 1)]
        of_base = []
        for (title, key), value in zip(scores, base, strict=True):
            of_base += [_shown(title, value)] + [""] * bool(judged and key.removeprefix("best/") == metric)
        table.add_row("", *cells, *of_base, *[""] * len(costs), style="dim")
    return table


def _bounds(verdict: Verdict | None) -> str:
    return "" if verdict is None else f"[{verdict.interval.low:.3f}, {verdict.interval.high:.3f}]"


def _mark(verdict: Verdict | None) -> str:
    apart = verdict is None or verdict.against_best is None or verdict.against_best.is_real
    return "" if apart else "= "


def _value(run: Run, key: str, metric: str) -> float | None:
    if key.startswith("gain/") and not run.is_trained:
        return None
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
    """A flat row a run, the ranked ones first: rank, name, status, reason, differing settings, all metrics, cautions."""
    keys = columns_of(runs)
    order = _ranked_each(runs, metric)
    rest = [run for run in runs if all(run is not other for _, other in order)]
    metrics = sorted({key for run in runs for key in run.metrics})
    judged = {id(v.run): v for part in by_evaluation(runs) for v in judge(part, metric=metric)}
    return [
        {
            "rank": rank,
            "name": run.name,
            "run": run.where.removeprefix(OF_STORE),
            "status": run.status.value,
            "reason": run.reason,
            "scored_on": scored_on(run),
            **{key: run.params.get(key) for key in keys},
            **_judged_cells(judged.get(id(run))),
            **{key: run.metrics.get(key) for key in metrics},
            "cautions": "; ".join(run.cautions),
        }
        for rank, run in [*order, *((None, run) for run in rest)]
    ]


def _ranked_each(runs: Sequence[Run], metric: str) -> list[tuple[int, Run]]:
    return [pair for part in by_evaluation(runs) for pair in ranked(part, metric)]


def _judged_cells(verdict: Verdict | None) -> dict[str, float | None]:
    best, base = (verdict.against_best, verdict.against_base) if verdict else (None, None)
    return {
        "interval_low": verdict.interval.low if verdict else None,
        "interval_high": verdict.interval.high if verdict else None,
        "against_best": best.value if best else None,
        "p_against_best": best.p_corrected if best else None,
        "p_against_base": base.p_corrected if base else None,
    }


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
    """The ranked table as markdown; what was warned of and what did not finish below it."""
    keys = columns_of(runs)
    head = ["rank", *keys, "scored on", *(title for title, _ in SCORES), "time"]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for rank, run in _ranked_each(runs, metric):
        scores = ["" if (v := run.metrics.get(key)) is None else f"{v:.4f}" for _, key in SCORES]
        cells = [str(rank), *(run.params.get(key, "–") for key in keys), scored_on(run), *scores]
        lines.append(" | ".join([*cells, duration(run.metrics.get("time/training_seconds", 0))]))
    table = "\n".join(f"| {line} |" for line in lines)
    several = len({run.evaluation for _, run in _ranked_each(runs, metric)})
    above = [SEVERAL_SETS.format(several)] if several > 1 else []
    below = [f"- {line}" for part in by_evaluation(runs) for line in told_of_cautions(ranked(part, metric))]
    below += [f"- {run.status}: {run.name}: {run.reason}" for run in runs if run.status != Status.FINISHED]
    return "\n\n".join([*above, table, "\n".join(below)]) + "\n"

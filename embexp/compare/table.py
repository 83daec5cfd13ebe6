"""Draws runs as a ranked table, for the terminal and as markdown, csv and json."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embexp.compare.bases import bases
from embexp.compare.cells import ABSENT, fitting, in_markdown, left_out, paper, values_of
from embexp.compare.columns import GAIN, INTERVAL, OF_PAIRS, Column, columns, least, legend, mixed
from embexp.compare.judge import Verdict, judge, too_few_pairs
from embexp.compare.predictions import MOST_JUDGED, what_is_lacking
from embexp.compare.ranking import METRIC, by_evaluation, columns_of, ranked, scored_on
from embexp.compare.runs import OF_STORE, Run
from embexp.compare.sets import headings, names_of
from embexp.compare.unranked import draw_unranked
from embexp.compare.warned import MOST_TOLD, label_among, looking_alike, rows_called, warned
from embexp.tracking import Status

SEVERAL_SETS = (
    "{} sets of runs were scored on other data, or measured otherwise; scores of one say nothing beside those of another: each is "
    "ranked by itself."
)
# Rows of a table: who has more runs filters them, or takes the csv.
MOST_DRAWN = 50


def draw(
    runs: Sequence[Run], *, console: Console, title: str, metric: str = METRIC, most_unranked: int | None = None
) -> None:
    """The ranked table, one for each set of pairs that was scored on, then what has no score, with its reason.

    Args:
        runs: of any status, the latest last.
        console: to draw on.
        title: above the table.
        metric: to rank by.
        most_unranked: see `draw_unranked`.
    """
    console = paper(console)
    sets = by_evaluation(runs, metric)
    finished = [run for of_set in sets for run in of_set]
    seen: list[Column] = []
    if len(sets) > 1:
        console.print()
        console.print(SEVERAL_SETS.format(len(sets)), style="dim", highlight=False, soft_wrap=True)
    for of_set, which in zip(sets, headings(sets, of=len(runs)), strict=True):
        console.print()
        console.print(f"[bold]{escape(title)}[/bold] · {escape(which)}", highlight=False)
        verdicts = judge(of_set, metric=metric)
        of = columns(of_set, metric, judged=bool(verdicts))
        first, last = least(of, metric)
        made = partial(_table, of_set, metric, verdicts, of)
        table, without = fitting(columns_of(of_set), of_set, made, least=first, last=last, console=console)
        console.print(table)
        seen_here = [column for column in of if column.title not in without]
        seen += seen_here
        if len(of_set) > MOST_DRAWN:
            more = f"and {len(of_set) - MOST_DRAWN} more: filter them (loss=mnr), or --csv"
            console.print(more, style="dim", highlight=False, soft_wrap=True)
        if without:
            console.print(escape(left_out(without)), style="dim", highlight=False, soft_wrap=True)
        cautioned = [*told_of_cautions(ranked(of_set, metric)), *told_of_mixed(of_set, seen_here)]
        for line in cautioned:
            console.print(escape(line), style="yellow", highlight=False, soft_wrap=True)
        for line in looking_alike(ranked(of_set, metric), columns_of(of_set)):
            console.print(escape(line), style="dim", highlight=False, soft_wrap=True)
        unjudged = None if verdicts else too_few_pairs(of_set, metric)
        why = [] if unjudged is None or _is_told(unjudged, cautioned) else [f"{unjudged}."]
        told = why if unjudged else _told(verdicts, of_set, metric, has_intervals=INTERVAL not in without)
        for line in [*what_is_lacking(of_set, [verdict.run for verdict in verdicts], metric), *told]:
            console.print(escape(line), style="dim", highlight=False, soft_wrap=True)
    if of_pairs := [column for column in seen if column.title in OF_PAIRS and column.title != GAIN]:
        similarity = of_pairs[0].keys[0].rpartition("_")[2]
        said = f"dev, test: {similarity} similarity against the scores of the pairs"
        trained = ", of the weights that were best on dev. gain: over the model before training."
        said += trained if any(run.is_trained for run in finished) else "."
        console.print(said, style="dim", highlight=False)
    if what := legend(seen, finished):
        console.print(escape(what), style="dim", highlight=False)
    draw_unranked(runs, finished, console=console, metric=metric, most=most_unranked)


def told_of_cautions(ranked_runs: Sequence[tuple[int, Run]]) -> list[str]:
    """A line for each thing that the runs of a table were warned of when they were made: "! rows 1, 3: dev: ..."."""
    found = warned([(rank, run.cautions) for rank, run in ranked_runs], label_among(ranked_runs))
    return [f"! {whose}: {said}" for whose, said in found]


def told_of_mixed(runs: Sequence[Run], of: Sequence[Column]) -> list[str]:
    """A line for each column whose scores are not all of the same data, or were not all measured alike."""
    return [f"! {title}: {said}" for title, said in mixed(runs, of)]


def _is_told(unjudged: str, cautioned: Sequence[str]) -> bool:
    """Whether a caution, which tells what scores on so few pairs are worth, has said how few there are."""
    pairs, split, *_ = unjudged.split()
    return any(f" {split}: {pairs} pair" in line for line in cautioned)


def _told(verdicts: Sequence[Verdict], runs: Sequence[Run], metric: str, *, has_intervals: bool) -> list[str]:
    """What the intervals say, in words: a line for each row, or for those of which the same is said, of the best few of them."""
    order = ranked(runs, metric)
    # Of others it is told one by one why they have none.
    left = f" (of the best {MOST_JUDGED})" if MOST_JUDGED <= len(verdicts) < len(order) else ""
    said = [f"[low, high]: 95 % interval over the choice of pairs{left}"] if has_intervals and verdicts else []
    if verdicts and verdicts[0].run is not order[0][1]:
        best = rows_called(order, [order[0][1]])
        said.append(f"{best} left no predictions of these pairs on this machine: nothing is compared with it")
    elif len(verdicts) > 1:
        said.append("= : cannot be told apart from the best")
    alike: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.said:
            alike.setdefault(verdict.said, []).append(verdict)
    groups = list(alike.values())
    lines = [_in_words(order, of_group) for of_group in groups[:MOST_TOLD]]
    if left_over := sum(map(len, groups[MOST_TOLD:])):
        lines.append(f"       of the next {left_over} in words: the report (compare --html FILE)")
    if left:
        lines.append(
            f"       of the other {len(order) - len(verdicts)} nothing is said: the best {MOST_JUDGED} are judged"
        )
    return [*lines, f"{'; '.join(said)}."] if said else lines


def _in_words(order: Sequence[tuple[int, Run]], alike: Sequence[Verdict]) -> str:
    """What is said of a row, after its number; or of several alike."""
    if len(alike) > 1:
        return f"       {rows_called(order, [verdict.run for verdict in alike])}: {alike[0].said}"
    rank = next(rank for rank, run in order if run is alike[0].run)
    return f"{rank:>4}   {alike[0].words}"


def _table(
    runs: Sequence[Run],
    metric: str,
    verdicts: Sequence[Verdict],
    of: Sequence[Column],
    keys: Sequence[str],
    without: Sequence[str],
) -> Table:
    pairs = [column for column in of if column.title in OF_PAIRS or column.is_of(metric)]
    of = [column for column in of if column.title not in without]
    shown = {key: values_of(runs, key) for key in keys}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", no_wrap=True, min_width=2)
    for key in keys:
        numbers = key != keys[0] and all(_is_number(run.params.get(key, "")) for run in runs)
        table.add_column(key, justify="right" if numbers else "left", no_wrap=True)
    for column in of:
        # Of an interval the brackets tell what it is, and the line below the table.
        title = "" if column.title == INTERVAL else escape(column.title)
        table.add_column(title, justify="right", no_wrap=True)
    judged = {id(verdict.run): verdict for verdict in verdicts}
    order = ranked(runs, metric)
    for rank, run in order[:MOST_DRAWN]:
        verdict = judged.get(id(run))
        cells = [shown[key].get(run.params.get(key, ""), ABSENT) for key in keys]
        values = [
            escape(_bounds(verdict)) if column.title == INTERVAL else column.shown(column.value(run)) for column in of
        ]
        table.add_row(f"{_mark(verdict)}{rank}", *map(escape, cells), *values, style="bold" if rank == 1 else "")
    before = {id(run): tuple(column.before(run) for column in pairs) for run in runs if run.is_trained}
    scored = {run: scores for run, scores in before.items() if any(value is not None for value in scores)}
    for words, of_base in bases(order, scored):
        values = [column.shown(_of_all(column, of_base)) for column in of]
        table.add_row("", escape(words), *[""] * (len(keys) - 1), *values, style="dim")
    return table


def _of_all(column: Column, runs: Sequence[Run]) -> float | None:
    """The one score before training that the runs have; None where none was scored on it, or they differ in what it is of."""
    found = {value for run in runs if (value := column.before(run)) is not None}
    return found.pop() if len(found) == 1 else None


def _bounds(verdict: Verdict | None) -> str:
    return "" if verdict is None else f"[{verdict.interval.low:.3f}, {verdict.interval.high:.3f}]"


def _mark(verdict: Verdict | None) -> str:
    apart = verdict is None or verdict.against_best is None or verdict.against_best.is_real
    return "" if apart else "= "


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def rows_of(runs: Sequence[Run], metric: str = METRIC) -> list[dict[str, Any]]:
    """A flat row a run, the ranked ones first: rank, name, status, reason, differing settings, all metrics, cautions."""
    keys = columns_of(runs)
    order = _ranked_each(runs, metric)
    are_ranked = {id(run) for _, run in order}
    rest = [run for run in runs if id(run) not in are_ranked]
    metrics = sorted({key for run in runs for key in run.metrics})
    sets = by_evaluation(runs, metric)
    judged = {id(v.run): v for of_set in sets for v in judge(of_set, metric=metric)}
    pairs = {id(run): name for of_set, name in zip(sets, names_of(sets), strict=True) for run in of_set}
    return [
        {
            "rank": rank,
            "name": run.name,
            "run": run.where.removeprefix(OF_STORE),
            "status": run.status.value,
            "reason": run.reason,
            "scored_on": pairs.get(id(run), scored_on(run)),
            **{key: run.params.get(key) for key in keys},
            **_judged_cells(judged.get(id(run))),
            **{key: run.metrics.get(key) for key in metrics},
            "cautions": "; ".join(run.cautions),
        }
        for rank, run in [*order, *((None, run) for run in rest)]
    ]


def _ranked_each(runs: Sequence[Run], metric: str) -> list[tuple[int, Run]]:
    return [pair for of_set in by_evaluation(runs, metric) for pair in ranked(of_set, metric)]


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
    """The rows of `rows_of` as csv, with a header."""
    return as_csv(rows_of(runs, metric))


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of the same keys as csv, with a header; empty where there are none."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def as_json(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a json list."""
    return json.dumps(rows, indent=1) + "\n"


def to_markdown(runs: Sequence[Run], metric: str = METRIC) -> str:
    """The ranked table as markdown; what was warned of and what did not finish below it."""
    keys = columns_of(runs)
    sets = by_evaluation(runs, metric)
    of = columns([run for of_set in sets for run in of_set], metric, judged=False)
    head = ["rank", *keys, "scored on", *(column.title for column in of)]
    lines = [_line(head), _line(["---"] * len(head))]
    for of_set, pairs in zip(sets, names_of(sets), strict=True):
        for rank, run in ranked(of_set, metric):
            cells = [str(rank), *(run.params.get(key, ABSENT) for key in keys), pairs]
            lines.append(_line([*cells, *(column.told(column.value(run)) for column in of)]))
    table = "\n".join(lines)
    above = [SEVERAL_SETS.format(len(sets))] if len(sets) > 1 else []
    below = [
        f"- {line}"
        for of_set in sets
        for line in [*told_of_cautions(ranked(of_set, metric)), *told_of_mixed(of_set, of)]
    ]
    below += [f"- {run.status}: {run.name}: {run.reason}" for run in runs if run.status != Status.FINISHED]
    return "\n\n".join([*above, table, "\n".join(below)]) + "\n"


def _line(cells: Sequence[str]) -> str:
    """A row of a markdown table."""
    return f"| {' | '.join(map(in_markdown, cells))} |"

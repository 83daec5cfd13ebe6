"""The report as one HTML page that asks for nothing from anywhere: the ranked table, charts, pairs, failures, commands.

The page is templates/page.html with its style and the few lines of script that sort the tables; without script it
shows the same.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embexp.compare.columns import Column, mixed
from embexp.compare.judge import judge
from embexp.compare.predictions import (
    Damaged,
    pairs_recorded,
    reading,
    refuse_another_score,
    refuse_other_pairs,
    what_is_lacking,
)
from embexp.compare.ranking import METRIC, by_evaluation, differing, score_of
from embexp.compare.runs import Run
from embexp.compare.sets import names_of
from embexp.compare.warned import warned
from embexp.identity import versions
from embexp.naming import name_of, without_folders
from embexp.report.charts import LATENCY, Figure, figures
from embexp.report.entries import Entry, entries_of, metric_title, shown, with_short_paths
from embexp.report.fetched import Fetched
from embexp.report.heat import Heat, heat_map, tasks_of
from embexp.report.pairs import Change, Spread, changes_of, read_predictions, similarity_of, spreads_of
from embexp.report.svg import linear_axis, strip, swatch
from embexp.run_folder import INPUTS, PREDICTIONS, write_whole
from embexp.tracking import Status
from embexp.units import duration

log = logging.getLogger(__name__)
PAIRS_SHOWN = 5
# What stands in the ranked table beside what it is ranked by, where any run has it.
OTHERS = (
    Column("test Spearman", ("test/spearman_cosine",)),
    Column("test Pearson", ("test/pearson_cosine",)),
    Column("p50 ms", (LATENCY,)),
    Column("training", ("time/training_seconds",)),
    Column("texts/s", ("throughput/texts_per_second",)),
)


@dataclass(frozen=True)
class Cell:
    """A cell of the ranked table: what is shown, and what the column is sorted by."""

    text: str | Markup
    by: str | float
    number: bool = False


@dataclass(frozen=True)
class Row:
    """A row of the ranked table."""

    entry: Entry
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Section:
    """All that is shown of the runs that were scored on the same pairs: only these can be compared."""

    scored_on: str
    metric: str
    entries: Sequence[Entry]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    cautions: Sequence[tuple[str, str]]
    mixed: Sequence[tuple[str, str]]
    lacking: Sequence[str]
    base: str
    equals: Sequence[str]
    figures: Sequence[Figure]
    heat: Heat | None
    improved: Sequence[Change]
    worsened: Sequence[Change]


def write_report(runs: Sequence[Run], path: Path, *, title: str, metric: str = METRIC, uri: str | None = None) -> None:
    """Writes the page, whole or not at all.

    Args:
        runs: finished ones and failed ones.
        title: its heading.
        metric: what is ranked by.
        uri: of the store that the runs were read from; None: as for training.
    """
    write_whole(path, report(runs, title=title, metric=metric, uri=uri))


def report(runs: Sequence[Run], *, title: str, metric: str = METRIC, uri: str | None = None) -> str:
    """The page's text; see `write_report`."""
    sets = by_evaluation(runs, metric)
    finished = [run for of_set in sets for run in of_set]
    others = [run for run in runs if not any(run is other for other in finished)]
    environment = Environment(
        loader=PackageLoader("embexp.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["swatch"] = swatch
    # The template reads files of the runs, too.
    with Fetched() as fetched:
        sections = [
            section(of_set, scored_on=name, metric=metric, uri=uri, fetched=fetched)
            for of_set, name in zip(sets, names_of(sets), strict=True)
        ]
        return environment.get_template("page.html").render(
            title=title,
            made=f"{datetime.now():%Y-%m-%d %H:%M}",
            version=versions(("embexp",))["embexp"],
            runs=runs,
            metric=metric,
            metric_name=metric_title(metric),
            sections=sections,
            others=others,
            finished=sum(run.status == Status.FINISHED for run in runs),
            common=common_settings(finished),
            seconds=duration(sum(run.metrics.get("time/training_seconds", 0.0) for run in runs)),
        )


def section(runs: Sequence[Run], *, scored_on: str, metric: str, uri: str | None, fetched: Fetched) -> Section:
    """What is shown of runs that were scored on the same pairs."""
    verdicts = judge(runs, metric=metric)
    entries = entries_of(runs, metric=metric, uri=uri, verdicts=verdicts, fetched=fetched)
    lacking = what_is_lacking(runs, [verdict.run for verdict in verdicts], metric)
    split = metric.removeprefix("best/").partition("/")[0]
    columns = _pairs_of(entries[0], split if split in ("dev", "test") else "dev")
    if verdicts and entries[0].verdict is None:
        # Of other pairs than those that these runs were scored on.
        columns = None
    similarity = similarity_of(columns, metric) if columns else None
    improved: list[Change] = []
    worsened: list[Change] = []
    spreads: list[Spread] = []
    if columns and similarity is not None:
        improved, worsened = changes_of(columns, PAIRS_SHOWN, similarity)
        spreads = spreads_of(columns, similarity)
    columns_shown, rows = ranked_table(entries, metric)
    return Section(
        scored_on=scored_on,
        metric=metric_title(metric),
        entries=entries,
        columns=columns_shown,
        rows=rows,
        cautions=warned(
            [(entry.rank, entry.details.cautions) for entry in entries], lambda number: entries[number].label
        ),
        mixed=mixed(runs, [*others_than(metric, runs), *tasks_of(runs)]),
        lacking=[without_folders(line) for line in lacking],
        base=base_of(entries),
        equals=equals_of(entries),
        figures=figures(entries, metric=metric, spreads=spreads, similarity=similarity or "cosine"),
        heat=heat_map(entries),
        improved=improved,
        worsened=worsened,
    )


def _pairs_of(entry: Entry, split: str) -> dict[str, Any] | None:
    """The run's predictions of a split; None where it left none, or none that can be read, which is told."""
    if (path := entry.details.file(PREDICTIONS)) is None:
        return None
    try:
        with reading(path):
            columns = read_predictions(path, split)
        scored = pairs_recorded(entry.details.json(INPUTS), split)
        refuse_other_pairs(path, split, len(columns["score"]), scored=scored)
        for name in (column.removesuffix("_after") for column in columns if column.endswith("_after")):
            metric = f"{split}/pearson_{name}"
            logged = score_of(entry.run, metric)
            refuse_another_score(path, metric, columns["score"], columns[f"{name}_after"], logged=logged)
    except Damaged as error:
        log.warning("row %d, %s: what training changed is left out: %s", entry.rank, entry.label, error)
        return None
    return columns


def others_than(metric: str, runs: Sequence[Run]) -> list[Column]:
    """The columns beside that of the metric; one that no run has a value for is left out."""
    return [
        column for column in OTHERS if not column.is_of(metric) and any(column.value(run) is not None for run in runs)
    ]


def ranked_table(entries: Sequence[Entry], metric: str) -> tuple[tuple[str, ...], tuple[Row, ...]]:
    """The titles of the table's columns, and its rows."""
    runs = [entry.run for entry in entries]
    keys = differing(runs) or ["loss", "batch_size"]
    others = others_than(metric, runs)
    ends = [end for entry in entries for end in (entry.score, entry.low, entry.high, entry.before) if end is not None]
    axis = linear_axis(ends, start=8, end=142)
    told = any(entry.verdict is not None for entry in entries)
    picture = "95 % interval" if any(entry.low is not None for entry in entries) else "at a glance"
    titles = ("rank", *keys, metric_title(metric), picture, "gain")
    titles += (("less the best",) if told else ()) + tuple(column.title for column in others)
    rows = []
    for entry, told_of in zip(entries, with_short_paths(runs), strict=True):
        drawn = strip(
            entry.low if entry.low is not None else entry.score,
            entry.score,
            entry.high if entry.high is not None else entry.score,
            axis=axis,
            base=entry.before,
            series=entry.series,
        )
        cells = [Cell(str(entry.rank), entry.rank, True)]
        cells += [setting_cell(key, told_of.params.get(key)) for key in keys]
        cells += [Cell(f"{entry.score:.4f}", entry.score, True), Cell(drawn, entry.score), gain_cell(entry)]
        cells += [lead_cell(entry)] if told else []
        cells += [metric_cell(column.keys[0], column.value(entry.run)) for column in others]
        rows.append(Row(entry, tuple(cells)))
    return titles, tuple(rows)


def setting_cell(key: str, value: str | None) -> Cell:
    """A setting as it was typed; numbers are sorted as numbers."""
    if value is None:
        return Cell("–", "", True)
    try:
        return Cell(value, float(value), True)
    except ValueError:
        return Cell(shown(key, value) if key == "loss" else value, value)


def metric_cell(key: str, value: float | None) -> Cell:
    """A metric in its own unit."""
    if value is None:
        return Cell("", "", True)
    if key.startswith("time/"):
        return Cell(duration(value), value, True)
    decimals = {"throughput/texts_per_second": 0, LATENCY: 1}.get(key, 4)
    return Cell(f"{value:.{decimals}f}", value, True)


def gain_cell(entry: Entry) -> Cell:
    """Over the model before training, signed."""
    if entry.before is None:
        return Cell("", "", True)
    gain = entry.score - entry.before
    against = entry.verdict.against_base if entry.verdict is not None else None
    unsure = against is not None and not against.is_real
    colour = "soft" if unsure or gain == 0 else "up" if gain > 0 else "down"
    return Cell(Markup('<span class="{}">{}</span>').format(colour, _signed(gain, unsure)), gain, True)


def lead_cell(entry: Entry) -> Cell:
    """What the run's score is less than the best one's, on the same pairs."""
    lead = entry.verdict.against_best if entry.verdict is not None else None
    if lead is None:
        return Cell("", "" if entry.verdict is None else 0.0, True)
    colour = "" if lead.is_real else "soft"
    return Cell(
        Markup('<span class="{}">{}</span>').format(colour, _signed(lead.value, not lead.is_real)), lead.value, True
    )


def _signed(value: float, unsure: bool) -> Markup:
    mark = Markup('<span aria-hidden="true">≈\N{NO-BREAK SPACE}</span>') if unsure else Markup("")
    said = Markup('<span class="hidden"> (cannot be told apart)</span>') if unsure else Markup("")
    return Markup("{}{}{}").format(mark, f"{value:+.4f}".replace("-", "−"), said)


def base_of(entries: Sequence[Entry]) -> str:
    """The score before training, where it is one and the same model that all runs began with."""
    known = {round(entry.before, 4) for entry in entries if entry.before is not None}
    return f"{known.pop():.4f}" if len(known) == 1 else ""


def equals_of(entries: Sequence[Entry]) -> list[str]:
    """The labels of the runs that cannot be told apart from the best."""
    return [
        entry.label
        for entry in entries
        if entry.verdict is not None and (lead := entry.verdict.against_best) is not None and not lead.is_real
    ]


def common_settings(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """The settings that all runs share, by name."""
    if not runs:
        return []
    first = runs[0].params
    return [(key, name_of(key, first[key])) for key in first if all(run.params.get(key) == first[key] for run in runs)]

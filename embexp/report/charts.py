"""The report's charts, from ranked runs to SVG. Each returns None where there is nothing to see in it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from markupsafe import Markup

from embexp.compare.columns import OF_DIMS
from embexp.compare.ranking import beside_on, is_cost
from embexp.report.entries import Entry, dashes_of, metric_title
from embexp.report.pairs import Spread
from embexp.report.svg import BOTTOM, LEFT, OTHERS, RIGHT, TOP, Axis, Chart, doubling_axis, linear_axis, step_axis

LATENCY = "latency/p50_ms"
# More curves than this cannot be followed: the best are drawn in colour, the others grey and without number.
CURVES = 8


@dataclass(frozen=True)
class Figure:
    """A chart with what stands around it.

    Attributes:
        legend: series and name, where the marks need one.
        rows: the numbers as a table, the header first: for a screen reader, and for whoever wants them.
    """

    title: str
    caption: str
    svg: Markup
    legend: tuple[tuple[int, str], ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def figures(
    entries: Sequence[Entry], *, metric: str, spreads: Sequence[Spread], similarity: str = "cosine"
) -> list[Figure]:
    """All charts that these runs give something to see for; `spreads` are of this similarity."""
    found = (
        learning_curves(entries, metric=metric),
        batch_sizes(entries, metric=metric),
        dimensions(entries),
        latency(entries, metric=metric),
        similarities(spreads, best=entries[0].label if entries else "", name=similarity),
    )
    return [figure for figure in found if figure is not None]


def learning_curves(entries: Sequence[Entry], *, metric: str) -> Figure | None:
    """The dev score over optimiser steps; step 0 is the model before training."""
    metric = curve_metric(metric)
    curves = [(entry, entry.details.history(metric)) for entry in entries]
    curves = [(entry, points) for entry, points in curves if len(points) > 1]
    if not curves:
        return None
    name = metric_title(metric)
    values = [value for _, points in curves for _, value in points]
    chart = Chart(
        f"{name} over optimiser steps, a line for each of {len(curves)} runs",
        x=step_axis(max(points[-1][0] for _, points in curves), start=LEFT, end=RIGHT - 20),
        y=linear_axis(values, start=BOTTOM, end=TOP),
        x_title="optimiser steps",
        y_title=name,
    )
    _level(chart, [points[0][1] for _, points in curves])
    for _, points in reversed(curves[CURVES:]):
        chart.line(points, series=OTHERS)
    for number, (entry, points) in reversed(list(enumerate(curves[:CURVES]))):
        chart.line(points, series=entry.series, dashes=dashes_of([other for other, _ in curves], number))
        best = entry.run.metrics.get("best/step")
        for step, value in points[1:]:
            kept = step == best
            hint = f"{entry.label}, step {step}: {value:.4f}" + (", kept" if kept else "")
            chart.mark(step, value, series=entry.series, hint=hint, large=kept)
    chart.labels([(points[-1][0], points[-1][1], str(entry.rank)) for entry, points in curves[:CURVES]])
    caption = "Numbers are ranks in the table. The large mark is the step whose weights were kept."
    if len(curves) > CURVES:
        caption += f" The best {CURVES} are in colour."
    rows = [
        (f"{e.rank} {e.label}", str(step), f"{value:.4f}") for e, points in curves[:CURVES] for step, value in points
    ]
    return Figure("Learning curves", caption, chart.render(), _legend(entries), (("run", "step", name), *rows))


def curve_metric(metric: str) -> str:
    """The metric whose course is drawn: only dev is scored while training lasts."""
    return metric if metric.startswith("dev/") else "dev/spearman_cosine"


def batch_sizes(entries: Sequence[Entry], *, metric: str) -> Figure | None:
    """The score against the batch size, a line for each series."""
    with_size = [(float(e.run.params["batch_size"]), e) for e in entries if "batch_size" in e.run.params]
    sizes = sorted({size for size, _ in with_size})
    if len(sizes) < 2:
        return None
    groups: dict[str, list[tuple[float, Entry]]] = defaultdict(list)
    for size, entry in with_size:
        groups[entry.group].append((size, entry))
    if all(len({size for size, _ in found}) == 1 for found in groups.values()):
        # Runs that are coloured by their batch size are one line.
        groups = {"": with_size}
    name = metric_title(metric)
    ends = [value for _, e in with_size for value in (e.score, e.low, e.high) if value is not None]
    bases = {e.before for _, e in with_size if e.before is not None}
    chart = Chart(
        f"{name} against batch size, {len(groups)} lines",
        x=doubling_axis(sizes, start=LEFT, end=RIGHT),
        y=linear_axis([*ends, *bases], start=BOTTOM, end=TOP),
        x_title="batch size",
        y_title=name,
    )
    for number, found in enumerate(groups.values()):
        # Marks of different groups stand beside each other, so that their intervals can be seen.
        beside = 1.035 ** (number - (len(groups) - 1) / 2)
        _sizes_of_group(
            chart, found, beside=beside, series=OTHERS if len(groups) == 1 < len(entries) else found[0][1].series
        )
    _level(chart, list(bases))
    caption = "Upright bars are 95 % intervals." if any(e.low is not None for _, e in with_size) else ""
    if any(len({size for size, _ in found}) < len(found) for found in groups.values()):
        caption += " Lines go through the means."
    rows = [(e.label, f"{size:g}", f"{e.score:.4f}") for size, e in sorted(with_size, key=lambda pair: pair[0])]
    head = ("run", "batch size", name)
    legend = _legend(entries) if len(groups) > 1 else ()
    return Figure("Score against batch size", caption.strip(), chart.render(), legend, (head, *rows))


def _sizes_of_group(chart: Chart, found: Sequence[tuple[float, Entry]], *, beside: float, series: int) -> None:
    scores: dict[float, list[float]] = defaultdict(list)
    for size, entry in found:
        scores[size].append(entry.score)
    chart.line([(size * beside, fmean(scores[size])) for size in sorted(scores)], series=series)
    for size, entry in found:
        if entry.low is not None and entry.high is not None:
            chart.whisker(size * beside, entry.low, entry.high, series=entry.series)
        hint = f"{entry.label}: {entry.score:.4f}"
        chart.mark(size * beside, entry.score, series=entry.series, hint=hint, large=True)


def dimensions(entries: Sequence[Entry]) -> Figure | None:
    """The dev score by the first few dimensions of the embeddings, a line for each run."""
    curves = [(entry, _by_dimensions(entry.run.metrics, "dims")) for entry in entries]
    curves = [(entry, points) for entry, points in curves if len(points) > 1]
    if not curves:
        return None
    untrained = {tuple(_by_dimensions(entry.run.metrics, "dims_before")) for entry, _ in curves}
    before = untrained.pop() if len(untrained) == 1 else ()
    values = [value for points in (*(points for _, points in curves), before) for _, value in points]
    chart = Chart(
        f"dev Spearman against dimensions, a line for each of {len(curves)} runs",
        x=doubling_axis(sorted({dim for _, points in curves for dim, _ in points}), start=LEFT, end=RIGHT - 20),
        y=linear_axis(values, start=BOTTOM, end=TOP),
        x_title="dimensions",
        y_title="dev Spearman",
    )
    for points in (*([before] if before else []), *(points for _, points in reversed(curves[CURVES:]))):
        chart.line(points, series=OTHERS)
    for number, (entry, points) in reversed(list(enumerate(curves[:CURVES]))):
        chart.line(points, series=entry.series, dashes=dashes_of([other for other, _ in curves], number))
        for dim, value in points:
            chart.mark(dim, value, series=entry.series, hint=f"{entry.label}, {dim:.0f} dimensions: {value:.4f}")
    chart.labels([(points[-1][0], points[-1][1], str(entry.rank)) for entry, points in curves[:CURVES]])
    caption = "By the first so many dimensions of the embeddings alone. Numbers are ranks in the table."
    if before:
        caption += " The grey line without a mark is the model before training."
    rows = [
        (f"{e.rank} {e.label}", f"{dim:.0f}", f"{value:.4f}") for e, points in curves[:CURVES] for dim, value in points
    ]
    head = ("run", "dimensions", "dev Spearman")
    return Figure("Score against dimensions", caption, chart.render(), _legend(entries), (head, *rows))


def _by_dimensions(metrics: Mapping[str, float], group: str) -> list[tuple[float, float]]:
    found = {key: OF_DIMS.fullmatch(f"dims{key.removeprefix(group)}") for key in metrics if key.startswith(f"{group}/")}
    return sorted((float(cut[1]), metrics[key]) for key, cut in found.items() if cut)


def latency(entries: Sequence[Entry], *, metric: str) -> Figure | None:
    """The score against what one text costs at serving time, with the runs that no other beats in both.

    Of the most that were measured alike; None by a metric of which less is better.
    """
    measured = [entry for entry in entries if LATENCY in entry.run.metrics]
    if len(measured) < 2 or is_cost(metric):
        return None
    (alike, count), *_ = Counter(beside_on(entry.run, LATENCY) for entry in measured).most_common(1)
    if count < 2:
        return None
    found = [(entry.run.metrics[LATENCY], entry) for entry in measured if beside_on(entry.run, LATENCY) == alike]
    name = metric_title(metric)
    chart = Chart(
        f"{name} against median latency of {len(found)} runs",
        x=linear_axis([at for at, _ in found], start=LEFT, end=RIGHT, room=0.15),
        y=linear_axis([entry.score for _, entry in found], start=BOTTOM, end=TOP, room=0.15),
        x_title="median latency, ms",
        y_title=name,
    )
    front = pareto([(at, entry.score) for at, entry in found])
    steps = [(at, y) for (_, y), (at, _) in pairwise(front)]
    corners = [point for pair in zip(front, steps, strict=False) for point in pair] + [front[-1]]
    chart.line(corners, series=OTHERS)
    for at, entry in reversed(found):
        on_front = (at, entry.score) in front
        hint = f"{entry.label}: {entry.score:.4f} at {at:.2f} ms" + (", on the Pareto front" if on_front else "")
        chart.mark(at, entry.score, series=entry.series, hint=hint, large=on_front)
    chart.labels([(at, entry.score, str(entry.rank)) for at, entry in found[:CURVES]])
    caption = "Large marks are on the Pareto front, the grey line: nothing is both better and faster than a run on it."
    if left := len(measured) - len(found):
        caption += f" Left out: {left} measured elsewhere or on other texts."
    rows = [
        (f"{e.rank} {e.label}", f"{at:.2f}", f"{e.score:.4f}", "yes" if (at, e.score) in front else "")
        for at, e in found
    ]
    head = ("run", "latency, ms", name, "on the front")
    return Figure("Quality against latency", caption, chart.render(), _legend(entries), (head, *rows))


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, quality) the points that no other equals or beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for point in sorted(set(points), key=lambda pair: (pair[0], -pair[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def similarities(spreads: Sequence[Spread], *, best: str, name: str = "cosine") -> Figure | None:
    """Similarity by gold score: on the left the model before training, on the right the best."""
    if len(spreads) < 2:
        return None
    values = [value for spread in spreads for half in (spread.before, spread.after) for value, _ in half.density]
    x = Axis(-0.5, len(spreads) - 0.5, LEFT, RIGHT, tuple((n, spread.name) for n, spread in enumerate(spreads)))
    chart = Chart(
        f"{name.capitalize()} similarity by gold score, before training and of the best run",
        x=x,
        y=linear_axis(values, start=BOTTOM, end=TOP, room=0.02),
        x_title="gold score of the pair",
        y_title=f"{name} similarity",
    )
    for n, spread in enumerate(spreads):
        for half, side, kind in ((spread.before, -0.44, "half before"), (spread.after, 0.44, "half after")):
            outline = [(n + side * wide, value) for value, wide in half.density]
            chart.area([(n, outline[0][1]), *outline, (n, outline[-1][1])], kind=kind)
            chart.rule((min(n, n + side), max(n, n + side)), half.median)
    caption = (
        f"Each shape is the spread of one group of pairs: left and hollow, before training; right and filled, {best}. "
        "Strokes are medians. The better the groups stand apart, the better the model tells them apart."
    )
    rows = [(s.name, str(s.count), f"{s.before.median:.3f}", f"{s.after.median:.3f}") for s in spreads]
    head = ("gold score", "pairs", "median before", "median after")
    return Figure("Similarities by gold score", caption, chart.render(), (), (head, *rows))


def _level(chart: Chart, bases: Sequence[float]) -> None:
    known = {round(base, 4) for base in bases}
    if len(known) == 1:
        chart.level(next(iter(bases)), f"before training {next(iter(bases)):.4f}")


def _legend(entries: Sequence[Entry]) -> tuple[tuple[int, str], ...]:
    return tuple(dict.fromkeys((entry.series, entry.group) for entry in entries))

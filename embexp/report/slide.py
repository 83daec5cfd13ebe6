"""The ranking and the learning curves as one picture for a slide, 1920 by 1080."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from embexp.compare.judge import judge
from embexp.compare.ranking import METRIC, by_evaluation, ranked
from embexp.compare.runs import Run
from embexp.config import ConfigError
from embexp.report.charts import CURVES, curve_metric
from embexp.report.entries import Entry, dashes_of, entries_of, metric_title
from embexp.report.fetched import Fetched
from embexp.report.svg import spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's colours and shapes, in the same order; what comes after the last is grey.
COLOURS = ("#0072b2", "#c77700", "#00835f", "#d55e00", "#b4568d", "#2b8fc7")
MARKERS = ("o", "s", "^", "D", "P", "v")
OTHERS, INK, SOFT = "#8b95a1", "#1b2430", "#566171"
DASHES = ("-", "--", ":", "-.")
ROWS = 12
INCHES, DOTS = (12.8, 7.2), 150


def slide_of(runs: Sequence[Run], kind: str, *, title: str, metric: str = METRIC, uri: str | None = None) -> bytes:
    """The file of a picture of the finished runs that were scored on the same as the best of them.

    Args:
        runs: finished ones and failed ones.
        kind: of the file: "png", "svg" or "pdf".
        title: its heading.
        metric: what is ranked by.
        uri: of the store that the runs were read from; None: as for training.

    Raises:
        ConfigError: no run has finished with the metric.
    """
    order = ranked(runs, metric)
    if not order:
        raise ConfigError([f"no run has finished with {metric}; there is nothing to draw."])
    same = next(of_set for of_set in by_evaluation(runs, metric) if any(run is order[0][1] for run in of_set))
    with Fetched() as fetched:
        entries = entries_of(same, metric=metric, uri=uri, verdicts=judge(same, metric=metric), fetched=fetched)
        figure = _drawn(entries, title, metric)
    picture = BytesIO()
    figure.savefig(picture, format=kind)
    return picture.getvalue()


def _drawn(entries: Sequence[Entry], title: str, metric: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS, layout="constrained")
    ranking, curves = figure.subplots(1, 2, width_ratios=(1, 1.15))
    figure.get_layout_engine().set(w_pad=0.25, h_pad=0.2)  # type: ignore[union-attr, call-arg]
    figure.suptitle(title, x=0.02, ha="left", fontsize=20, fontweight="bold", color=INK)
    draw_ranking(ranking, entries[:ROWS], metric)
    draw_curves(curves, entries[:CURVES], metric)
    for axes in (ranking, curves):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(colors=SOFT, labelsize=12, length=0)
        axes.set_axisbelow(True)
        axes.grid(color="#e9edf1", axis="x" if axes is ranking else "y")
    ranking.tick_params(axis="y", labelcolor=INK, labelsize=13)
    return figure


def draw_ranking(axes: Axes, entries: Sequence[Entry], metric: str) -> None:
    """A mark a run, the best on top, with its interval, and the model before training as an upright line."""
    for row, entry in enumerate(entries):
        colour, marker = style_of(entry.series)
        if entry.low is not None and entry.high is not None:
            axes.plot([entry.low, entry.high], [row, row], color=colour, alpha=0.5, linewidth=4, solid_capstyle="round")
        axes.plot([entry.score], [row], marker=marker, color=colour, markersize=11, linestyle="")
        axes.annotate(f"{entry.score:.4f}", (entry.score, row), xytext=(0, 11), textcoords="offset points", ha="center")
    for base in {round(entry.before, 4) for entry in entries if entry.before is not None}:
        axes.axvline(base, color=SOFT, linestyle=(0, (4, 4)), linewidth=1.2)
        axes.annotate(
            f"before training {base:.4f}",
            (base, 0),
            xycoords=("data", "axes fraction"),
            xytext=(5, 6),
            textcoords="offset points",
            color=SOFT,
            fontsize=11,
        )
    axes.set_yticks(range(len(entries)), [f"{entry.rank}  {entry.label}" for entry in entries])
    axes.set_ylim(len(entries) - 0.4, -0.7)
    axes.margins(x=0.15)
    axes.set_title(metric_title(metric), loc="left", fontsize=14, color=SOFT)


def draw_curves(axes: Axes, entries: Sequence[Entry], metric: str) -> None:
    """The learning curves of the same runs, their ranks at the ends."""
    shown = curve_metric(metric)
    ends: list[tuple[float, float, str]] = []
    for number, entry in enumerate(entries):
        points = entry.details.history(shown)
        if len(points) < 2:
            continue
        colour, marker = style_of(entry.series)
        dash = DASHES[dashes_of(entries, number) % len(DASHES)]
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, color=colour, marker=marker, linestyle=dash, linewidth=2.2, markersize=7)
        ends.append((points[-1][1], points[-1][0], str(entry.rank)))
    low, high = axes.get_ylim()
    ends.sort()
    placed = spread([value for value, _, _ in ends], distance=(high - low) / 30, low=low, high=high)
    for (_, step, text), at in zip(ends, placed, strict=True):
        axes.annotate(
            text, (step, at), xytext=(10, -4), textcoords="offset points", fontweight="bold", color=INK, fontsize=12
        )
    axes.set_title(f"{metric_title(shown)} over optimiser steps; numbers: ranks", loc="left", fontsize=14, color=SOFT)


def style_of(series: int) -> tuple[str, str]:
    """Colour and marker of a series."""
    return (COLOURS[series], MARKERS[series]) if series < len(COLOURS) else (OTHERS, "o")

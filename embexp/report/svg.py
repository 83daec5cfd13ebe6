"""Plots as inline SVG: an axis, lines, marks. No colour is written here: the page's style gives them, light and dark.

A chart is 460 units wide, so that its text can still be read where the page scales it down to a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 48, 436, 30, 252
# Series are told apart by shape as well as by colour; what comes after the last is drawn grey.
SHAPES = 6
OTHERS = SHAPES
LABEL_DISTANCE = 13


@dataclass(frozen=True)
class Axis:
    """Values on their way to the chart's units; logarithmic where asked.

    Attributes:
        ticks: the value and the text of each.
    """

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log2(low), math.log2(high), math.log2(at)
        return round(self.start + (at - low) / (high - low) * (self.end - self.start), 1)


def linear_axis(values: Sequence[float], *, start: float, end: float, room: float = 0.08) -> Axis:
    """An axis over all values, with some room at both ends (a share of the range) and round ticks."""
    low, high = min(values), max(values)
    spread = (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - room * spread, high + room * spread
    return Axis(low, high, start, end, tuple((tick, text) for tick, text in round_ticks(low, high)))


def doubling_axis(values: Sequence[float], *, start: float, end: float) -> Axis:
    """A logarithmic axis whose ticks are the values themselves, positive ones: batch sizes."""
    found = sorted(set(values))
    low, high = found[0] / 1.3, found[-1] * 1.3
    return Axis(low, high, start, end, tuple((value, f"{value:g}") for value in found), logarithmic=True)


def step_axis(last: int, *, start: float, end: float) -> Axis:
    """Optimiser steps from 0 on."""
    ticks = [(tick, text) for tick, text in round_ticks(0, max(last, 1)) if float(tick).is_integer()]
    return Axis(0, max(last, 1), start, end, tuple(ticks))


def round_ticks(low: float, high: float, *, about: int = 5) -> list[tuple[float, str]]:
    """Round numbers between two values, with as many decimals as tell them apart."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 2.5, 5, 10) if size * factor >= raw * 0.999)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if round(step / size, 1) == 2.5 and step < 10 else 0)
    first = math.ceil(low / step - 1e-9)
    return [(n * step, f"{n * step:,.{decimals}f}") for n in range(first, math.floor(high / step + 1e-9) + 1)]


class Chart:
    """A chart under way: parts are drawn in the order of the calls, over its grid."""

    def __init__(self, title: str, *, x: Axis, y: Axis, x_title: str, y_title: str) -> None:
        self.title, self.x, self.y, self.x_title, self.y_title = title, x, y, x_title, y_title
        self._parts: list[Markup] = []

    def line(self, points: Sequence[tuple[float, float]], *, series: int, dashes: int = 0) -> None:
        """A line through the points; `dashes` tells apart the lines of one series: 0 is solid."""
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        self._parts.append(
            Markup('<polyline class="line s{} d{}" points="{}"/>').format(min(series, OTHERS), dashes % 4, path)
        )

    def area(self, points: Sequence[tuple[float, float]], *, kind: str) -> None:
        """A closed shape; `kind` is its class in the style."""
        path = " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)
        self._parts.append(Markup('<polygon class="{}" points="{}"/>').format(kind, path))

    def mark(self, x: float, y: float, *, series: int, hint: str, large: bool = False) -> None:
        """A point in the series' shape; `hint` is shown where the pointer rests on it."""
        self._parts.append(shape(self.x(x), self.y(y), series=series, size=6.0 if large else 4.5, hint=hint))

    def whisker(self, x: float, low: float, high: float, *, series: int) -> None:
        """An interval as an upright bar."""
        at = self.x(x)
        self._parts.append(
            Markup('<path class="whisker s{}" d="M{} {}V{}"/>').format(
                min(series, OTHERS), at, self.y(low), self.y(high)
            )
        )

    def level(self, y: float, text: str) -> None:
        """A dashed line across, with its meaning."""
        at = self.y(y)
        above = at - 6 if at - 6 > TOP + 8 else at + 14
        self._parts.append(
            Markup(
                '<path class="level" d="M{} {}H{}"/><text class="level-text" x="{}" y="{}" text-anchor="end">{}</text>'
            ).format(LEFT, at, RIGHT, RIGHT, above, text)
        )

    def rule(self, x: tuple[float, float], y: float) -> None:
        """A short level stroke: a median."""
        self._parts.append(Markup('<path class="median" d="M{} {}H{}"/>').format(self.x(x[0]), self.y(y), self.x(x[1])))

    def labels(self, found: Sequence[tuple[float, float, str]]) -> None:
        """Texts to the right of points (x, y, text), moved apart where they would lie on each other."""
        wanted = sorted((self.y(y), self.x(x), text) for x, y, text in found)
        placed = spread([at for at, _, _ in wanted], distance=LABEL_DISTANCE, low=TOP + 4, high=BOTTOM)
        for (_, x, text), y in zip(wanted, placed, strict=True):
            self._parts.append(
                Markup('<text class="label" x="{}" y="{}">{}</text>').format(x + 8, round(y + 4, 1), text)
            )

    def render(self) -> Markup:
        """The whole as one svg element; its title is what a screen reader says."""
        return Markup('<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}">{}{}</svg>').format(
            self.title, WIDTH, HEIGHT, self._frame(), Markup("").join(self._parts)
        )

    def _frame(self) -> Markup:
        found = []
        for value, text in self.y.ticks:
            at = self.y(value)
            found.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, at, RIGHT))
            found.append(
                Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(LEFT - 8, at + 4, text)
            )
        for value, text in self.x.ticks:
            at = self.x(value)
            found.append(Markup('<path class="axis" d="M{} {}v5"/>').format(at, BOTTOM))
            found.append(
                Markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>').format(at, BOTTOM + 19, text)
            )
        found.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, BOTTOM, RIGHT))
        middle = (LEFT + RIGHT) / 2
        found.append(
            Markup('<text class="axis-title" x="{}" y="{}" text-anchor="middle">{}</text>').format(
                middle, HEIGHT - 8, self.x_title
            )
        )
        # Above its axis and level: a text that stands on its side is hard to read.
        found.append(Markup('<text class="axis-title" x="0" y="13">{}</text>').format(self.y_title))
        return Markup("").join(found)


def spread(wanted: Sequence[float], *, distance: float, low: float, high: float) -> list[float]:
    """Sorted positions, moved apart to at least `distance`; above `high` none, and below `low` none if they fit."""
    placed: list[float] = []
    for at in wanted:
        placed.append(max(at, low, placed[-1] + distance if placed else low))
    limit = high
    for n in reversed(range(len(placed))):
        placed[n] = min(placed[n], limit)
        limit = placed[n] - distance
    return placed


def shape(x: float, y: float, *, series: int, size: float, hint: str = "") -> Markup:
    """One mark: circle, square, triangle, diamond, cross, triangle upside down; a ring for all others."""
    r = size
    paths = (
        f"M{x - r:g} {y:g}a{r:g} {r:g} 0 1 0 {2 * r:g} 0a{r:g} {r:g} 0 1 0 {-2 * r:g} 0z",
        f"M{x - r * 0.9:g} {y - r * 0.9:g}h{1.8 * r:g}v{1.8 * r:g}h{-1.8 * r:g}z",
        f"M{x:g} {y - 1.15 * r:g}l{1.1 * r:g} {1.95 * r:g}h{-2.2 * r:g}z",
        f"M{x:g} {y - 1.3 * r:g}l{1.3 * r:g} {1.3 * r:g}l{-1.3 * r:g} {1.3 * r:g}l{-1.3 * r:g} {-1.3 * r:g}z",
        f"M{x - r:g} {y - 0.4 * r:g}h{0.6 * r:g}v{-0.6 * r:g}h{0.8 * r:g}v{0.6 * r:g}h{0.6 * r:g}v{0.8 * r:g}"
        f"h{-0.6 * r:g}v{0.6 * r:g}h{-0.8 * r:g}v{-0.6 * r:g}h{-0.6 * r:g}z",
        f"M{x:g} {y + 1.15 * r:g}l{1.1 * r:g} {-1.95 * r:g}h{-2.2 * r:g}z",
    )
    path = paths[series] if series < SHAPES else paths[0]
    inside = Markup("<title>{}</title>").format(hint) if hint else Markup("")
    return Markup('<path class="mark s{}" d="{}">{}</path>').format(min(series, OTHERS), path, inside)


def swatch(series: int) -> Markup:
    """The mark of a series beside its name in a legend or a table."""
    return Markup('<svg class="swatch" aria-hidden="true" viewBox="0 0 16 16">{}</svg>').format(
        shape(8, 8, series=series, size=5)
    )


def strip(low: float, value: float, high: float, *, axis: Axis, base: float | None, series: int) -> Markup:
    """A table cell's picture of a score and its interval, on an axis that all rows share; base as an upright stroke."""
    bar = Markup('<path class="whisker s{}" d="M{} 10H{}"/>').format(min(series, OTHERS), axis(low), axis(high))
    stroke = Markup('<path class="base" d="M{} 2v16"/>').format(axis(base)) if base is not None else Markup("")
    mark = shape(axis(value), 10, series=series, size=4.2)
    said = escape(f"{value:.4f}, 95 % interval {low:.4f} to {high:.4f}") if low < high else escape(f"{value:.4f}")
    return Markup('<svg class="strip" role="img" aria-label="{}" viewBox="0 0 150 20">{}{}{}</svg>').format(
        said, stroke, bar, mark
    )

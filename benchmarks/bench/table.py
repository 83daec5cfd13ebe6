"""Ratios of pairs, and the rows of the tables that tell them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

Side = TypeVar("Side")


@dataclass(frozen=True)
class Ratios:
    """The two sides' seconds, pair by pair.

    Attributes:
        plain, embexp: seconds of each pair.
    """

    plain: tuple[float, ...]
    embexp: tuple[float, ...]

    @property
    def each(self) -> list[float]:
        """plain / embexp of every pair: how many times faster embexp is."""
        return [plain / embexp for plain, embexp in zip(self.plain, self.embexp, strict=True)]

    @property
    def median(self) -> float:
        """Of the pairs' ratios, which is not the ratio of the medians."""
        return statistics.median(self.each)


def in_turn(pairs: int, plain: Callable[[], Side], embexp: Callable[[], Side]) -> Iterator[tuple[Side, Side]]:
    """(plain, embexp), pair by pair; every second pair embexp is first, so that no side always has the warm machine."""
    for number in range(pairs):
        if number % 2:
            second = embexp()
            yield plain(), second
        else:
            first = plain()
            yield first, embexp()


def row(*cells: object) -> str:
    """A row of a markdown table."""
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def head(*names: str) -> str:
    """The first two lines of a markdown table."""
    return f"{row(*names)}\n|{'---|' * len(names)}"


RATIO_HEAD = head("what", "plain", "embexp", "plain / embexp", "goal", "each pair")


def ratio_row(what: str, ratios: Ratios, *, goal: float | None) -> str:
    """A row under RATIO_HEAD: the medians of both sides in seconds, the median ratio, and every pair's."""
    return row(
        what,
        in_seconds(statistics.median(ratios.plain)),
        in_seconds(statistics.median(ratios.embexp)),
        f"**{ratios.median:.2f}**",
        "" if goal is None else f"{goal:g}: {'met' if ratios.median >= goal else 'not met'}",
        ", ".join(f"{ratio:.2f}" for ratio in ratios.each),
    )


def spread(values: Sequence[float]) -> str:
    """ "0.8712 ± 0.0009 (5)": mean, standard deviation over runs, how many."""
    if len(values) < 2:
        return f"{values[0]:.4f} (1)"
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f} ({len(values)})"


def in_seconds(value: float) -> str:
    """ "0.0123 s", "23.4 s", "4,503 s"."""
    return f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"


def mebibytes(size: float) -> str:
    """ "1,234 MiB"."""
    return f"{size / 2**20:,.0f} MiB"

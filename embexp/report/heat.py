"""The per-task table of MTEB scores, its cells shaded from the task's worst run to its best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embexp.report.entries import Entry

MAIN_SCORE = re.compile(r"^mteb/([^/]+)/main_score$")
SHADES = 6


@dataclass(frozen=True)
class Shade:
    """A score and its place between the task's worst, 0, and its best, SHADES - 1; None where it was not scored."""

    text: str
    shade: int | None
    best: bool


@dataclass(frozen=True)
class Heat:
    """Tasks downwards, runs across."""

    entries: Sequence[Entry]
    rows: tuple[tuple[str, tuple[Shade, ...]], ...]


def heat_map(entries: Sequence[Entry]) -> Heat | None:
    """The main score of every task and run; None where no run was scored on an MTEB task."""
    tasks = sorted({found[1] for entry in entries for key in entry.run.metrics if (found := MAIN_SCORE.match(key))})
    if not tasks:
        return None
    rows = []
    for task in tasks:
        scores = [entry.run.metrics.get(f"mteb/{task}/main_score") for entry in entries]
        known = [score for score in scores if score is not None]
        low, high = min(known), max(known)
        rows.append((task, tuple(_shade(score, low, high) for score in scores)))
    return Heat(entries, tuple(rows))


def _shade(score: float | None, low: float, high: float) -> Shade:
    if score is None:
        return Shade("–", None, False)
    place = (score - low) / (high - low) if high > low else 0.5
    return Shade(f"{score:.4f}", round(place * (SHADES - 1)), score == high > low)

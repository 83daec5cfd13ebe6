"""The per-task table of MTEB scores, its cells shaded from the task's worst run to its best."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embexp.compare.columns import Column
from embexp.compare.runs import Run
from embexp.report.entries import Entry

MAIN_SCORE = re.compile(r"^mteb/([^/]+)/main_score$")
SHADES = 6


@dataclass(frozen=True)
class Shade:
    """A score and its place between the task's worst, 0, and its best, SHADES - 1.

    Attributes:
        shade: None where it was not scored, or not as the others were.
    """

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
    runs = [entry.run for entry in entries]
    if not (tasks := tasks_of(runs)):
        return None
    rows = []
    for task in tasks:
        scores = [task.value(run) for run in runs]
        # What was scored on other data has neither a worst nor a best.
        comparable = [] if task.is_mixed(runs) else [score for score in scores if score is not None]
        rows.append((task.title, tuple(_shade(score, comparable) for score in scores)))
    return Heat(entries, tuple(rows))


def tasks_of(runs: Sequence[Run]) -> list[Column]:
    """The main scores of the MTEB tasks that any of the runs was scored on, each under its task's name."""
    found = {task[1]: key for run in runs for key in run.metrics if (task := MAIN_SCORE.match(key))}
    return [Column(task, (key,)) for task, key in sorted(found.items())]


def _shade(score: float | None, comparable: Sequence[float]) -> Shade:
    if score is None or not comparable:
        return Shade("–" if score is None else f"{score:.4f}", None, False)
    low, high = min(comparable), max(comparable)
    place = (score - low) / (high - low) if high > low else 0.5
    return Shade(f"{score:.4f}", round(place * (SHADES - 1)), score == high > low)

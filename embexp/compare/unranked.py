"""What stands under the tables: the runs without a score, and why they have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from embexp.compare.runs import OF_STORE, Run
from embexp.output import from_here
from embexp.tracking import Status

# Runs of which the same is said that are named one by one.
MOST_ALIKE = 5


def draw_unranked(
    runs: Sequence[Run], ranked: Sequence[Run], *, console: Console, metric: str, most: int | None = None
) -> None:
    """Each run that has no score, with its reason; of which the same is said, together.

    Args:
        runs: of any status, the latest last.
        ranked: those of them that have a score.
        console: to draw on.
        metric: that is ranked by.
        most: the latest so many are named, and none that was tried again and has a score now; None: all.
    """
    are_ranked = {id(run) for run in ranked}
    without = [run for run in runs if id(run) not in are_ranked]
    named = without
    if most is not None:
        since = {_tried(run): run for run in ranked if run.setting is not None}
        again = [run for run in without if (later := since.get(_tried(run))) and later.started >= run.started]
        if again:
            of_them = "1 run without a score was" if len(again) == 1 else f"{len(again)} runs without a score were"
            _say(console, f"{of_them} tried again, and the same setting has a score now: --csv FILE tells of all.")
        tried_again = {id(run) for run in again}
        left = [run for run in without if id(run) not in tried_again]
        named = left[-most:]
        if earlier := len(left) - len(named):
            of_them = (
                "1 earlier run without a score is" if earlier == 1 else f"{earlier} earlier runs without a score are"
            )
            _say(console, f"{of_them} not named here: --csv FILE tells of all.")
    alike: dict[tuple[Status, str], list[Run]] = {}
    for run in named:
        reason = run.reason or ("still running" if run.status == Status.RUNNING else f"no {metric} was logged")
        alike.setdefault((run.status, reason), []).append(run)
    for (status, reason), some in alike.items():
        whose = some[0].name if len(some) == 1 else f"{len(some)} runs"
        console.print(f"[red]{status}[/red] {escape(whose)}: {escape(reason)}", highlight=False, soft_wrap=True)
        for run in some[-MOST_ALIKE:]:
            where = run.where if run.where.startswith(OF_STORE) else from_here(Path(run.where))
            _say(console, f"    {where}" if len(some) == 1 else f"    {where}  {run.name}")
        if more := len(some[:-MOST_ALIKE]):
            _say(console, f"    and {more} earlier")


def _tried(run: Run) -> tuple[str | None, str | None]:
    """What a second attempt has in common with the first."""
    return run.setting, run.params.get("seed")


def _say(console: Console, words: str) -> None:
    console.print(escape(words), style="dim", highlight=False, soft_wrap=True)

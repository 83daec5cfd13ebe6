"""What stands under the tables: the runs without a score, and why they have none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from embexp.compare.runs import OF_STORE, Run
from embexp.output import from_here
from embexp.tracking import Status
from embexp.units import counted

# Where not all are named: of runs of which the same is said the latest so many.
MOST_ALIKE = 5
IN_THE_CSV = "--csv FILE tells of all."


def draw_unranked(
    runs: Sequence[Run], ranked: Sequence[Run], *, console: Console, metric: str, most: int | None = None
) -> None:
    """Runs that have no score, with their reasons; those of which the same is said together.

    Args:
        runs: of any status, the latest last.
        ranked: those of them that have a score.
        console: to draw on.
        metric: that is ranked by.
        most: the latest so many are named, and of those that were tried again, and have a score now, none; None: all are named.
    """
    are_ranked = {id(run) for run in ranked}
    named = [run for run in runs if id(run) not in are_ranked]
    if most is not None:
        named = _latest(_not_tried_again(named, ranked, console), most, console)
    alike: dict[tuple[Status, str], list[Run]] = {}
    for run in named:
        reason = run.reason or ("still running" if run.status == Status.RUNNING else f"no {metric} was logged")
        alike.setdefault((run.status, reason), []).append(run)
    for (status, reason), some in alike.items():
        whose = some[0].name if len(some) == 1 else counted(len(some), "run")
        console.print(f"[red]{status}[/red] {escape(whose)}: {escape(reason)}", highlight=False, soft_wrap=True)
        shown = some if most is None else some[-MOST_ALIKE:]
        for run in shown:
            where = run.where if run.where.startswith(OF_STORE) else from_here(Path(run.where))
            _say(console, f"    {where}" if len(some) == 1 else f"    {where}  {run.name}")
        if earlier := len(some) - len(shown):
            _say(console, f"    and {earlier} earlier: {IN_THE_CSV}")


def _not_tried_again(runs: Sequence[Run], ranked: Sequence[Run], console: Console) -> list[Run]:
    """Those of whose setting and seed no later run has a score, and those that still run; the others are counted."""
    scored: dict[tuple[str | None, str | None], float] = {}
    for run in ranked:
        if run.setting is not None:
            scored[_tried(run)] = max(run.started, scored.get(_tried(run), run.started))
    left = [
        run
        for run in runs
        if run.status == Status.RUNNING or _tried(run) not in scored or run.started > scored[_tried(run)]
    ]
    if again := len(runs) - len(left):
        was = "was" if again == 1 else "were"
        said = f"{counted(again, 'run')} without a score {was} tried again, and the same setting has a score now: {IN_THE_CSV}"
        _say(console, said)
    return left


def _tried(run: Run) -> tuple[str | None, str | None]:
    """What a second attempt has in common with the first."""
    return run.setting, run.params.get("seed")


def _latest(runs: list[Run], most: int, console: Console) -> list[Run]:
    """The last so many; the others are counted."""
    earlier = max(0, len(runs) - most)
    if earlier:
        verb = "is" if earlier == 1 else "are"
        _say(console, f"{counted(earlier, 'earlier run')} without a score {verb} not named here: {IN_THE_CSV}")
    return runs[earlier:]


def _say(console: Console, words: str) -> None:
    console.print(escape(words), style="dim", highlight=False, soft_wrap=True)

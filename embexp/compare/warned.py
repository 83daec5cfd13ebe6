"""What is said of rows of a table: what their runs were warned of when they were made, each thing once, and which look alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from embexp.compare.cells import label_of
from embexp.compare.ranking import differing
from embexp.compare.runs import Run

LOOK_ALIKE = (
    "differ in nothing that a column shows: in versions, code, the rows of data, the machine or an option's file"
)
# Runs that are told of in words.
MOST_TOLD = 8
# Runs that are named by their ranks.
MOST_NAMED = 8
# How the caution begins by which a model card knows that test was no second look.
TEST_AND_DEV = "test and dev"


def warned(runs: Sequence[tuple[int, Sequence[str]]], label: Callable[[int], str]) -> list[tuple[str, str]]:
    """Whose caution it is ("all rows", "rows 1, 3"), and what it says; those of the best runs first.

    Args:
        runs: of each its rank, and its cautions.
        label: of the run of this number, how it is told from those that share its rank; asked where not all of them were
            warned.
    """
    ranks = [rank for rank, _ in runs]
    found: dict[str, list[int]] = {}
    for number, (_, cautions) in enumerate(runs):
        for caution in dict.fromkeys(cautions):
            found.setdefault(caution, []).append(number)
    return [(whose(numbers, ranks, label), caution) for caution, numbers in found.items()]


def label_among(ranked_runs: Sequence[tuple[int, Run]]) -> Callable[[int], str]:
    """How the run of a number is told from those that share its rank: they all stand in rows of this number."""

    def label(number: int) -> str:
        its_rank, of = ranked_runs[number]
        alike = [run for rank, run in ranked_runs if rank == its_rank]
        # Runs of the same settings look the same in the table, too.
        return label_of(of, keys, alike) if (keys := differing(alike)) else ""

    return label


def rows_called(ranked_runs: Sequence[tuple[int, Run]], runs: Sequence[Run]) -> str:
    """Some of the rows of a table: "row 2", "rows 1 (seed=3), 4"."""
    wanted = {id(run) for run in runs}
    numbers = [number for number, (_, run) in enumerate(ranked_runs) if id(run) in wanted]
    return whose(numbers, [rank for rank, _ in ranked_runs], label_among(ranked_runs))


def looking_alike(order: Sequence[tuple[int, Run]], keys: Sequence[str]) -> list[str]:
    """A line for runs of other scores whose settings are all the same, and which of them is the latest."""
    found: dict[tuple[str | None, ...], list[tuple[int, Run]]] = {}
    for rank, run in order:
        found.setdefault(tuple(run.params.get(key) for key in keys), []).append((rank, run))
    several = [some for some in found.values() if len({rank for rank, _ in some}) > 1]
    lines = []
    for some in several[:MOST_TOLD]:
        rank, _ = max(some, key=lambda each: each[1].started)
        lines.append(f"{rows_called(order, [run for _, run in some])} {LOOK_ALIKE}; the latest is row {rank}.")
    return lines


def whose(numbers: Sequence[int], ranks: Sequence[int], label: Callable[[int], str]) -> str:
    """Rows by their ranks, with a label where others share a rank and are not meant; see `warned`."""
    if len(numbers) == len(ranks) > 1:
        return "all rows"
    sharing, have = Counter(ranks), Counter(ranks[number] for number in numbers)
    # Of one score, and named together where all of them were warned.
    together = {rank for rank, count in have.items() if count == sharing[rank]}
    different = dict.fromkeys((ranks[n], None if ranks[n] in together else n) for n in numbers)
    named = [
        f"{rank}" if number is None or not (words := label(number)) else f"{rank} ({words})"
        for rank, number in list(different)[:MOST_NAMED]
    ]
    more = f" and {len(different) - MOST_NAMED} more" if len(different) > MOST_NAMED else ""
    return f"row{'s' if len(different) > 1 else ''} {', '.join(named)}{more}"

"""What ranked runs were warned of when they were made, each thing once, with the runs that it is of."""

from __future__ import annotations

from collections.abc import Sequence

# Runs that are named by their ranks.
MOST_NAMED = 8


def warned(runs: Sequence[tuple[int, Sequence[str]]]) -> list[tuple[str, str]]:
    """Whose caution it is ("all runs", "runs 1, 3"), and what it says; those of the best runs first.

    Args:
        runs: of each its rank, and its cautions.
    """
    said = dict.fromkeys(caution for _, cautions in runs for caution in cautions)
    return [(_whose([rank for rank, of_run in runs if caution in of_run], len(runs)), caution) for caution in said]


def _whose(ranks: Sequence[int], count: int) -> str:
    if len(ranks) == count > 1:
        return "all runs"
    # Runs of one score share a rank.
    different = [str(rank) for rank in dict.fromkeys(ranks)]
    named = ", ".join(different[:MOST_NAMED])
    more = f" and {len(different) - MOST_NAMED} more" if len(different) > MOST_NAMED else ""
    return f"run{'s' if len(different) > 1 else ''} {named}{more}"

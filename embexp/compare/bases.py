"""The models before training: which there are among the runs of a table, and by what each is told from the others."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from embexp.compare.cells import ABSENT, LONGEST, values_of
from embexp.compare.ranking import differing
from embexp.compare.runs import Run

BEFORE = "before training"
# The setting whose values are long; where there is but one, the word will do.
PROMPTS = "model.prompts"
NONE = {ABSENT, "null"}
# Of a base's runs that are named by their ranks.
MOST_RANKS = 5


def bases(order: Sequence[tuple[int, Run]], scores: Mapping[int, Hashable]) -> list[tuple[str, list[Run]]]:
    """Each model's words, which begin its row, and the runs that started from it; in the order of their first ones.

    Args:
        order: the runs of the table, each with its rank.
        scores: of the model before training, by the `id` of each run that has any; who has the same has the same model.
    """
    found: dict[Hashable, list[tuple[int, Run]]] = {}
    for rank, run in order:
        if id(run) in scores:
            found.setdefault(scores[id(run)], []).append((rank, run))
    rows = list(found.values())
    if len(rows) < 2:
        return [(BEFORE, [run for _, run in row]) for row in rows]
    labels = _by_settings([[run for _, run in row] for row in rows]) or [
        _by_ranks([rank for rank, _ in r]) for r in rows
    ]
    return [(_worded(label), [run for _, run in row]) for label, row in zip(labels, rows, strict=True)]


def _by_settings(rows: Sequence[Sequence[Run]]) -> list[str] | None:
    """By the settings that all runs of a base share and those of others have otherwise; None where they do not tell, or at length."""
    runs = [run for row in rows for run in row]
    keys = [key for key in differing(runs) if all(len({run.params.get(key) for run in row}) == 1 for row in rows)]
    # The model's settings are what makes it another; the others may differ by chance.
    keys.sort(key=lambda key: not _is_of_model(key))
    shown = {key: values_of(runs, key) for key in keys}
    if PROMPTS in shown and len(set(shown[PROMPTS]) - NONE) == 1:
        shown[PROMPTS] = {value: words if value in NONE else "with prompts" for value, words in shown[PROMPTS].items()}
    for told in (*([key] for key in keys), keys):
        labels = [
            ", ".join(_told(key, shown[key].get(row[0].params.get(key, ""), ABSENT)) for key in told) for row in rows
        ]
        if len(set(labels)) == len(rows):
            # Longer, they would make the column, and so the table, as wide; the runs' own rows have what they say.
            return labels if max(map(len, labels)) <= LONGEST else None
    return None


def _is_of_model(key: str) -> bool:
    return key == "model" or key.startswith("model.")


def _told(key: str, value: str) -> str:
    if value in NONE:
        return f"without {key.removeprefix('model.')}"
    return value if _is_of_model(key) else f"{key}={value}"


def _by_ranks(ranks: Sequence[int]) -> str:
    named = dict.fromkeys(map(str, ranks))
    return f"of {', '.join(list(named)[:MOST_RANKS])}{' and others' * (len(named) > MOST_RANKS)}"


def _worded(label: str) -> str:
    # A row of two lines leaves more room for scores than a wide column.
    return f"{BEFORE}{' ' if len(label) <= LONGEST - len(BEFORE) else chr(10)}({label})"

"""A source of a person's own, as embexp asks it: what it gives is held to what embexp's own sources see to themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embexp.config import ConfigError, Kind
from embexp.config.errors import printable
from embexp.data.rows import CALLED, COLUMNS, NLI_LABELS, TYPES, Rows, Source, Split

# By kind, a column of numbers, the lowest and the highest that it may have, and what is to be done about others.
WITHIN: dict[Kind, tuple[str, float, float, str]] = {
    "scored": ("score", 0, 1, "bring all scores to this scale, and leave out rows that have none"),
    "nli": ("label", min(NLI_LABELS), max(NLI_LABELS), "0 is entailment, 1 neutral, 2 contradiction"),
}


class OwnSource:
    """What a person's own class or function gives, with errors that name it and the split.

    Args:
        source: has `load(split)`.
        target: what the data option calls it: "mydata.Tickets".

    Raises:
        ConfigError: it has no `load`.
    """

    def __init__(self, source: Any, target: str) -> None:
        if not callable(getattr(source, "load", None)):
            raise ConfigError(
                [
                    f"data._target_={target}: gives a {type(source).__name__}; it must give what has load(split), as a class of your own."
                ]
            )
        self.source: Source = source
        self.target = target

    def load(self, split: Split) -> Rows | None:
        """The rows of a split; None where it has none.

        Raises:
            ConfigError: what it gives are no rows, a value is missing, a text is blank or a number not within its limits; or there
                are none for train.
        """
        whose = f"data._target_={self.target}: load({split!r})"
        try:
            rows: Any = self.source.load(split)
        except ConfigError as error:
            raise ConfigError([f"{whose}: {problem}" for problem in error.problems]) from error
        if rows is not None and not isinstance(rows, Rows):
            raise ConfigError(
                [f"{whose} gives a {type(rows).__name__}; it must give Rows, or None where there are none."]
            )
        if rows is None or not len(rows.table):
            if split == "train":
                raise ConfigError([f"{whose} gives no rows for train, and without them nothing can be trained."])
            return None
        if problem := _first_problem(rows):
            raise ConfigError([f"{whose}: {rows.name} {problem}."])
        return rows


def _first_problem(rows: Rows) -> str | None:
    """The first row with a value that no row may have, counted from 1, and what is wrong with it; some rows are looked at at once."""
    start = 1
    for table in rows.batches(COLUMNS[rows.kind]):
        found = [wrong for name in table.column_names if (wrong := _first_wrong(rows.kind, name, table.column(name)))]
        if found:
            row, problem = min(found)
            return f"row {start + row}: {problem}"
        start += len(table)
    return None


def _first_no_text(name: str, values: pa.ChunkedArray) -> tuple[int, str] | None:
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return 0, f"{name} is {printable(repr(values[0].as_py()))}, not {CALLED[pa.string()]}"
    row = pc.index(pc.equal(pc.utf8_trim_whitespace(values), ""), value=True).as_py()
    return None if row < 0 else (row, f"{name} is blank; leave out rows that have no text")


def _first_wrong(kind: Kind, name: str, values: pa.ChunkedArray) -> tuple[int, str] | None:
    """The first wrong value of a column: its place, and what is wrong with it."""
    if values.null_count:
        missing = values.is_null().to_numpy()
        return int(np.argmax(missing)), f"{name} is missing"
    if name not in TYPES:
        return _first_no_text(name, values)
    column, lowest, highest, advice = WITHIN.get(kind, ("", 0, 0, ""))
    if name != column:
        return None
    numbers = values.to_numpy()
    if numbers.dtype.kind not in "iuf":
        return 0, f"{name} is {numbers[0]!r}, not a number"
    # Not: is it outside; of NaN neither is true.
    wrong = ~((numbers >= lowest) & (numbers <= highest))
    if not wrong.any():
        return None
    row = int(np.argmax(wrong))
    return row, f"{name} {numbers[row].item()} is not within {lowest:g} to {highest:g}; {advice}"

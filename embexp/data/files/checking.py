"""Holds the rows of a file against what its columns must be, row by row."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embexp.config import ConfigError, Kind
from embexp.data.files.readers import Records
from embexp.data.rows import COLUMNS, CONTRADICTION, ENTAILMENT, NEUTRAL

LABELS = {"entailment": ENTAILMENT, "neutral": NEUTRAL, "contradiction": CONTRADICTION}
MOST_TOLD = 10
HALF = re.compile("[\ud800-\udfff]")
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


@dataclass(frozen=True)
class Checked:
    """What was found in a file.

    Attributes:
        kind: of its rows.
        names: our name of each column: the file's.
        good: the rows, a value for each of the kind's columns.
        problems: (row number, what is wrong).
        scale: the lowest and highest possible score; None where rows have none.
    """

    kind: Kind
    names: Mapping[str, str]
    good: list[tuple[Any, ...]]
    problems: list[tuple[int, str]]
    scale: tuple[float, float] | None

    @property
    def count(self) -> int:
        """All rows, the bad ones too."""
        return len(self.good) + len(self.problems)


class Checker:
    """Judges rows.

    Args:
        labels: a file's label: entailment, neutral or contradiction; None: these words, or 0, 1, 2.
        score_scale: the lowest and highest possible score; None: told from the values.
        section: of the config, where the keys stand that help.
    """

    def __init__(self, *, labels: Mapping[str, str] | None, score_scale: Sequence[float] | None, section: str) -> None:
        own = {word.lower(): LABELS[meaning] for word, meaning in (labels or {}).items()}
        self.labels = own or {**LABELS, **{str(number): number for number in LABELS.values()}}
        self.score_scale = score_scale
        self.section = section

    def check(self, records: Records, kind: Kind, names: Mapping[str, str], where: str) -> Checked:
        """All rows, judged.

        Args:
            records: what was read.
            kind: of the rows.
            names: our name of each column: the file's.
            where: the file, as problems name it.

        Raises:
            ConfigError: the scale of the scores cannot be told.
        """
        scale = self._scale(records, names["score"], where) if kind == "scored" else None
        good, problems = [], list(records.problems)
        for number, record in records.rows:
            try:
                good.append(tuple(self._value(ours, record.get(names[ours]), scale) for ours in COLUMNS[kind]))
            except ValueError as error:
                problems.append((number, str(error)))
        return Checked(kind, names, good, sorted(problems), scale)

    def told(self, where: str, checked: Checked) -> list[str]:
        """What is wrong, the first rows of it by number, and what to do."""
        lines = [f"{where}: row {number}: {problem}." for number, problem in checked.problems[:MOST_TOLD]]
        if len(checked.problems) > MOST_TOLD:
            lines.append(f"{where}: and {len(checked.problems) - MOST_TOLD} more.")
        summary = f"{len(checked.problems)} of {checked.count} rows are bad"
        summary += f"; {self.section}.on_bad_rows=drop leaves them out." if checked.good else "."
        return [*lines, f"{where}: {summary}"]

    def _value(self, column: str, value: Any, scale: tuple[float, float] | None) -> Any:
        if value is None:
            raise ValueError(f"{column} is missing")
        if column == "label":
            return self._label(value)
        if column == "score":
            assert scale is not None
            number = _number(value)
            low, high = scale
            if number is None or not low <= number <= high:
                raise ValueError(f"score {value!r} is not a number from {low:g} to {high:g}")
            return (number - low) / (high - low)
        refuse_what_is_no_text(column, value)
        if not value.strip():
            raise ValueError(f"{column} is empty")
        # JSON can say half of a character, "\\ud83d", which no file of utf-8 can hold.
        if not value.isascii() and (half := HALF.search(value)) is not None:
            raise ValueError(f"{column} has half of a character, {half[0]!a}, at letter {half.start() + 1}")
        return value.strip()

    def _label(self, value: Any) -> int:
        # Parquet has whole numbers as floats where it had to hold a missing one.
        word = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip().lower()
        if not word:
            raise ValueError("label is empty")
        if word not in self.labels:
            raise ValueError(
                f"label {value!r} is none of {', '.join(self.labels)}; say what it means with {self.section}.labels"
            )
        return self.labels[word]

    def _scale(self, records: Records, column: str, where: str) -> tuple[float, float]:
        if self.score_scale is not None:
            low, high = self.score_scale
            return low, high
        given = ((row, record.get(column)) for row, record in records.rows)
        numbers = [(row, value, _number(value)) for row, value in given if value is not None]
        found = [number for _, _, number in numbers if number is not None]
        # 0, 1, 2 and nothing else look like labels.
        labels = bool(found) and set(found) <= {0, 1, 2} and max(found) == 2
        if found and min(found) >= 0 and max(found) <= 1:
            return 0.0, 1.0
        if found and min(found) >= 0 and max(found) <= 5 and not labels:
            return 0.0, 5.0
        reach = f"from {min(found):g} to {max(found):g}" if found else "no numbers"
        wrong = next(((row, value) for row, value, number in numbers if number is None), None)
        reach += f" (and row {wrong[0]} has {wrong[1]!r})" if wrong is not None and found else ""
        hint = " Are they NLI labels? Name the columns premise, hypothesis, label." if labels or not found else ""
        if wrong is not None and DECIMAL_COMMA.fullmatch(str(wrong[1])):
            raise ConfigError(
                [f"{where}: row {wrong[0]}: score {wrong[1]!r} has a decimal comma; write a point, as in 3.5."]
            )
        raise ConfigError(
            [f"{where}: scores are {reach}; say what is possible: {self.section}.score_scale=[lowest,highest].{hint}"]
        )


def refuse_what_is_no_text(column: str, value: Any) -> None:
    """Says so of a number, a list or whatever else stands where a text should.

    Raises:
        ValueError: with the column and the value.
    """
    if not isinstance(value, str):
        raise ValueError(f"{column} is {value!r}, not a text")


def _number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None

"""Holds the rows of a file against what its columns must be, row by row."""

from __future__ import annotations

import codecs
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from embexp.config import ConfigError, Kind
from embexp.config.errors import printable
from embexp.data.files.content import UnreadableError
from embexp.data.files.records import Records, Row, Swallowed, Torn
from embexp.data.rows import COLUMNS, CONTRADICTION, ENTAILMENT, NEUTRAL, label_number
from embexp.units import counted

LABELS = {"entailment": ENTAILMENT, "neutral": NEUTRAL, "contradiction": CONTRADICTION}
MOST_TOLD = 10
# Of a file's rows, as many may be left out without a thought; and as many as are told one by one.
FEW = 0.1
HALF = re.compile("[\ud800-\udfff]")
# What cp1252 has for signs where latin-1 has control characters that no text holds.
OF_CP1252 = re.compile("[\x80\x82-\x8c\x8e\x91-\x9c\x9e\x9f]")
DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


class UnknownLabelError(ValueError):
    """A label of which nobody said what it means."""

    def __init__(self, label: Any, told: str) -> None:
        super().__init__(told)
        self.label = str(label).strip()


@dataclass
class Tally:
    """What was found in a file so far.

    Attributes:
        good, bad: how many rows.
        told: the first of the bad ones: (row number, what is wrong).
        torn: how many of the bad ones may be parts of a row whose cells stand in quotation marks.
        swallowed: by the number of a broken row, how many lines it took with it.
        unknown: the first labels that nobody explained, and how many rows have one of these.
        numbered: whether a label is a number whose meaning nobody said.
    """

    good: int = 0
    bad: int = 0
    torn: int = 0
    told: list[tuple[int, str]] = field(default_factory=list)
    swallowed: Counter[int] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    numbered: bool = False

    @property
    def count(self) -> int:
        """All rows."""
        return self.good + self.bad

    def add_bad(self, number: int, problem: str) -> None:
        """One more."""
        self.bad += 1
        if self.bad <= MOST_TOLD:
            self.told.append((number, problem))

    def add_label(self, label: str) -> None:
        """One more that is unknown."""
        if label in self.unknown or len(self.unknown) < MOST_TOLD:
            self.unknown[label] += 1

    @property
    def of_the_costliest(self) -> str:
        """What is to be said of the broken row that took the most others with it; nothing where none did."""
        if not self.swallowed:
            return ""
        row, lost = self.swallowed.most_common(1)[0]
        return f"; row {row}, where a quotation mark may be opened and not closed, takes {lost} more with it"


class Checker:
    """Judges rows.

    Args:
        labels: a file's label: entailment, neutral or contradiction; None: these words, or 0, 1, 2.
        score_scale: the lowest and highest possible score; None: told from the values.
        section: of the config, where the keys stand that help.
        encoding: of the files, where they are text.
    """

    def __init__(
        self,
        *,
        labels: Mapping[str, str] | None,
        score_scale: Sequence[float] | None,
        section: str,
        encoding: str = "utf-8",
    ) -> None:
        own = {word.lower(): LABELS[meaning] for word, meaning in (labels or {}).items()}
        self.labels = own or {**LABELS, **{str(number): number for number in LABELS.values()}}
        self.labels_are_told = bool(own)
        self.score_scale = score_scale
        self.section = section
        self.encoding = encoding

    def good(
        self,
        rows: Iterable[Row],
        kind: Kind,
        names: Mapping[str, str],
        *,
        scale: tuple[float, float] | None,
        tally: Tally,
    ) -> Iterator[tuple[Any, ...]]:
        """The good ones, a value for each of the kind's columns.

        Args:
            rows: as they are read.
            kind: of the rows.
            names: our name of each column: the file's.
            scale: of their scores, if they have any.
            tally: is kept of good and bad ones.

        Raises:
            UnreadableError: a text shows that the file is of another encoding than was said.
        """
        columns = [(ours, names[ours], printable(names[ours])) for ours in COLUMNS[kind]]
        latin = _is_latin(self.encoding)
        for number, record in rows:
            try:
                if isinstance(record, str):
                    tally.swallowed.update([record.by] if isinstance(record, Swallowed) else ())
                    tally.torn += isinstance(record, Torn)
                    raise ValueError(record)
                values = tuple(
                    self._value(kind, ours, record.get(theirs), scale, called=called)
                    for ours, theirs, called in columns
                )
            except ValueError as error:
                tally.add_bad(number, str(error))
                if isinstance(error, UnknownLabelError):
                    tally.add_label(error.label)
            else:
                tally.good += 1
                if kind == "nli" and not (tally.numbered or self.labels_are_told):
                    tally.numbered = label_word(record[names["label"]]).lower() not in LABELS
                if latin:
                    self._refuse_signs_of_cp1252(number, values)
                yield values

    def told(self, where: str, tally: Tally) -> list[str]:
        """What is wrong, the first rows of it by number, and what to do."""
        lines = [f"{where}: row {number}: {problem}." for number, problem in tally.told]
        if tally.bad > len(tally.told):
            lines.append(f"{where}: and {tally.bad - len(tally.told)} more.")
        summary = f"{tally.bad} of {counted(tally.count, 'row')} {'is' if tally.bad == 1 else 'are'} bad"
        return [*lines, f"{where}: {summary}{tally.of_the_costliest}{self._cure(tally)}."]

    def _cure(self, tally: Tally) -> str:
        """To leave out much of a file is none where its labels, or whatever else is wrong with it, can be mended."""
        drop = f"{self.section}.on_bad_rows=drop"
        if tally.torn:
            return (
                f"; cells in quotation marks with line breaks or tabs in them, as pandas writes a .tsv? {self.section}.quoted=true reads "
                f"them as one; if they are none, {drop} leaves all bad rows out"
            )
        if tally.unknown.total() > FEW * tally.count:
            found = ", ".join(map(printable, tally.unknown))
            return f"; say what every label of the file means, {found} too: '{self.section}.labels={{LABEL: entailment, ...}}'"
        if not tally.good:
            return ""
        if tally.bad <= max(MOST_TOLD, FEW * tally.count):
            return f"; {drop} leaves {'it' if tally.bad == 1 else 'them'} out"
        return f"; so many are a sign that the file is not what it is read as: mend that first, for {drop} leaves them all out"

    def scale(self, records: Records, column: str, where: str) -> tuple[float, float]:
        """The lowest and highest score that there can be.

        Args:
            records: all, each of which is looked at.
            column: of the scores, as the file calls it.
            where: the file, as problems name it.

        Raises:
            ConfigError: it cannot be told.
        """
        if self.score_scale is not None:
            low, high = self.score_scale
            return low, high
        found = _Scores()
        for row, record in records.read([column]):
            if not isinstance(record, str) and (value := record.get(column)) is not None:
                found.add(row, value)
        if found.within(0, 1):
            return 0.0, 1.0
        if found.within(0, 5) and not found.like_grades and not found.like_stars:
            return 0.0, 5.0
        if found.no_number is not None and DECIMAL_COMMA.fullmatch(str(found.no_number[1])):
            row, value = found.no_number
            raise ConfigError(
                [
                    f"{where}: row {row}: {printable(column)} {_shown(value)} has a decimal comma; write a point, as in 3.5."
                ]
            )
        hint = (
            " Are they NLI labels? Name the columns premise, hypothesis, label."
            if found.like_labels or not found.numbers
            else ""
        )
        raise ConfigError(
            [f"{where}: scores are {found}; say what is possible: {self.section}.score_scale=[lowest,highest].{hint}"]
        )

    def _value(self, kind: Kind, column: str, value: Any, scale: tuple[float, float] | None, *, called: str) -> Any:
        """What our column holds; what is wrong names it as the file calls it."""
        if value is None or (column == "label" and value != value):
            raise ValueError(f"{called} is missing{_or_texts(kind, column)}")
        if column == "label":
            word = label_word(value, called=called)
            if not word:
                raise ValueError(f"{called} is empty{_or_texts(kind, column)}")
            return label_number(word) if kind == "labelled" else self._meaning(word, value, called=called)
        if column == "score":
            assert scale is not None
            number = _number(value)
            low, high = scale
            if number is None or not low <= number <= high:
                raise ValueError(f"{called} {_shown(value)} is not a number from {low:g} to {high:g}")
            return (number - low) / (high - low)
        refuse_what_is_no_text(called, value)
        if not value.strip():
            raise ValueError(f"{called} is empty")
        # JSON can say half of a character, "\\ud83d", which no file of utf-8 can hold.
        if not value.isascii() and (half := HALF.search(value)) is not None:
            raise ValueError(f"{called} has half of a character, {half[0]!a}, at letter {half.start() + 1}")
        return value.strip()

    def _refuse_signs_of_cp1252(self, number: int, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, str) and (found := OF_CP1252.search(value)) is not None:
                raise UnreadableError(
                    f"row {number}: byte 0x{ord(found[0]):02x} is a control character in {self.encoding}, which no text has; "
                    f"{self.section}.encoding=cp1252 would read it"
                )

    def _meaning(self, word: str, value: Any, *, called: str) -> int:
        if word.lower() not in self.labels:
            raise UnknownLabelError(
                value,
                f"{called} {_shown(value)} is none of {', '.join(self.labels)}; say what it means with {self.section}.labels",
            )
        return self.labels[word.lower()]


@dataclass
class _Scores:
    """What the scores of a file are.

    Attributes:
        numbers: how many are some.
        low, high: of these.
        few: whether they are 0, 1 and 2 alone.
        whole: whether none has a part of one.
        no_number: the first of the others, and its row.
    """

    numbers: int = 0
    low: float = math.inf
    high: float = -math.inf
    few: bool = True
    whole: bool = True
    no_number: tuple[int, Any] | None = None

    def add(self, row: int, value: Any) -> None:
        """One more."""
        number = _number(value)
        if number is None:
            self.no_number = self.no_number or (row, value)
            return
        self.numbers += 1
        self.low, self.high = min(self.low, number), max(self.high, number)
        self.few = self.few and number in (0, 1, 2)
        self.whole = self.whole and number.is_integer()

    @property
    def like_labels(self) -> bool:
        """0, 1, 2 and nothing else look like labels."""
        return self.few and self.high == 2

    @property
    def like_grades(self) -> bool:
        """Whole numbers below 5, as labels are, and grades from 0 to 3: the highest may be the scale's."""
        return self.whole and self.high < 5

    @property
    def like_stars(self) -> bool:
        """1 to 5, or 1 to 3: whole numbers whose lowest may be the scale's."""
        return self.whole and self.low == 1

    def within(self, low: float, high: float) -> bool:
        """Whether there are any, and all lie there."""
        return self.numbers > 0 and low <= self.low and self.high <= high

    def __str__(self) -> str:
        if not self.numbers:
            return "no numbers"
        other = "" if self.no_number is None else f" (and row {self.no_number[0]} has {_shown(self.no_number[1])})"
        return f"from {self.low:g} to {self.high:g}{other}"


def _is_latin(encoding: str) -> bool:
    """Whether files are said to be in latin-1, as those that are in cp1252 often are."""
    try:
        return codecs.lookup(encoding).name in ("iso8859-1", "iso8859-15")
    except LookupError:
        return False


def refuse_what_is_no_text(column: str, value: Any) -> None:
    """Says so of a number, a list or whatever else stands where a text should.

    Raises:
        ValueError: with the column and the value.
    """
    if not isinstance(value, str):
        raise ValueError(f"{column} is {_shown(value)}, not a text")


def label_word(value: Any, *, called: str = "label") -> str:
    """A label as it is written: a word, or a number's digits.

    Args:
        value: of a cell.
        called: the cell's column, for the message.

    Raises:
        ValueError: it is several.
    """
    if isinstance(value, (list, dict)):
        raise ValueError(f"{called} is {_shown(value)}, not one word or number")
    # Parquet has whole numbers as floats where it had to hold a missing one.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _shown(value: Any) -> str:
    return printable(repr(value))


def _or_texts(kind: Kind, column: str) -> str:
    """What to do where texts are to be read without their labels."""
    return " (data.kind=texts reads texts alone)" if kind == "labelled" and column == "label" else ""


def _number(value: Any) -> float | None:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None

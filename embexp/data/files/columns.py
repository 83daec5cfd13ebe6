"""Which columns of a file are what: as named in the config, or recognised."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from embexp.config import Kind
from embexp.config.errors import closest, printable
from embexp.data.rows import COLUMNS

# Our names of columns.
OURS = sorted({column for columns in COLUMNS.values() for column in columns})
# Of a file's columns.
MOST_NAMED = 30
# Of the name of one: what has more is a text.
MOST_WORDS = 4
# What a shell and Hydra take between two pairs of quotes as it stands.
QUOTABLE = re.compile(r"\w[\w .:/()?-]{,40}")
# Columns that files have beside their texts.
OF_NUMBERS = ("id", "_id", "idx", "index", "no", "nr", "number", "row")
DECIMAL = re.compile(r"-?\d+\.\d+")
# Names that files use for ours; the first set that a file has wholly decides, so the most telling come first.
KNOWN: tuple[tuple[Kind, dict[str, str]], ...] = (
    ("triplets", {"anchor": "anchor", "positive": "positive", "negative": "negative"}),
    ("triplets", {"anchor": "query", "positive": "positive", "negative": "negative"}),
    ("nli", {"premise": "premise", "hypothesis": "hypothesis", "label": "label"}),
    ("scored", {"sentence1": "sentence1", "sentence2": "sentence2", "score": "score"}),
    ("scored", {"sentence1": "sentence1", "sentence2": "sentence2", "score": "label"}),
    ("pairs", {"anchor": "anchor", "positive": "positive"}),
    ("pairs", {"anchor": "question", "positive": "answer"}),
    ("pairs", {"anchor": "query", "positive": "answer"}),
    ("pairs", {"anchor": "query", "positive": "document"}),
    ("pairs", {"anchor": "query", "positive": "passage"}),
    ("pairs", {"anchor": "query", "positive": "positive"}),
    *(
        ("labelled", {"text": text, "label": label})
        for text in ("text", "sentence")
        for label in ("label", "intent", "category", "class")
    ),
    ("texts", {"text": "text"}),
    ("texts", {"text": "sentence"}),
)


def match(
    found: Sequence[str], kind: Kind | None, named: Mapping[str, str] | None, *, section: str
) -> tuple[Kind, dict[str, str]] | str:
    """The kind of the rows and our name of each column: theirs; or, in words, why there is none.

    Args:
        found: the columns of the file.
        kind: as configured; None: to be recognised.
        named: our name: theirs, as configured.
        section: of the config, where the keys stand that help.
    """
    if named is not None:
        absent = [theirs for theirs in named.values() if theirs not in found]
        if absent:
            # Several in one are no name that was meant.
            names = found if delimiter_hinted(found) is None else []
            said = ", ".join(_with_what_was_meant(name, names) for name in absent)
            unknown = [_with_what_was_meant(name, OURS) for name in named if name not in OURS]
            also = f"; on the left {section}.columns takes our names, not {', '.join(unknown)}" if unknown else ""
            return f"no column {said}; it has {listed(found)}{_hint(found, section)}{also}"
        for theirs in named.values():
            roles = [ours for ours, column in named.items() if column == theirs]
            # A text as its own positive, which dropout makes two of, is what SimCSE trains on.
            if len(roles) > 1 and set(roles) != {"anchor", "positive"}:
                return f"{section}.columns takes {theirs} for {' and for '.join(roles)}; each wants a column of its own"
        fitting = [k for k, columns in COLUMNS.items() if set(columns) == set(named) and kind in (None, k)]
        if not fitting:
            options = "; ".join(", ".join(columns) for k, columns in COLUMNS.items() if kind in (None, k))
            said = ", ".join(_with_what_was_meant(name, OURS) for name in named)
            stated = "" if kind is None else f"for {section}.kind={kind} "
            return f"{section}.columns names {said}; on the left it {stated}takes our names of the columns: {options}"
        return fitting[0], dict(named)
    lower = {name.lower(): name for name in found}
    for known, columns in KNOWN:
        if kind in (None, known) and all(theirs in lower for theirs in columns.values()):
            return known, {ours: lower[theirs] for ours, theirs in columns.items()}
    # Of each kind ours alone, which is how it is best called: all ways to call them would hide what is wrong.
    options = "; ".join(", ".join(columns) for known, columns in COLUMNS.items() if kind in (None, known))
    if delimiter_hinted(found) is None and any(map(_is_content, found)):
        return (
            f"its first line looks like a row, not like names of columns: {listed(found)}; write the names in a line above it; known are "
            f"{options}; or, if these are the names, say with {section}.columns which is which"
        )
    nearest = _nearest(lower, kind)
    own = listed(found) or "none"
    # What it would be is told already where it lacks but one.
    example = "" if nearest else _example(found, kind, section)
    known_or_named = f"known are {options}; or name yours with {section}.columns{example}"
    return f"its columns are {own}; {nearest}{known_or_named}{_hint(found, section)}"


def _nearest(lower: Mapping[str, str], kind: Kind | None) -> str:
    """What the columns lack that are of some known kind, of the kind that lacks the fewest; nothing where none is known."""
    there = [
        ([name for name in columns.values() if name in lower], [name for name in columns.values() if name not in lower])
        for known, columns in KNOWN
        if kind in (None, known)
    ]
    some = [(has, lacks) for has, lacks in there if has]
    if not some:
        return ""
    nearest, fewest = min(some, key=lambda each: (len(each[1]), -len(each[0])))
    ways = dict.fromkeys(", ".join(lacks) for has, lacks in some if has == nearest and len(lacks) == len(fewest))
    has = ", ".join(lower[name] for name in nearest)
    said = f"{has} want {{}} beside them" if len(nearest) > 1 else f"{has} wants {{}} beside it"
    return f"{said.format(' or '.join(ways))}; "


def listed(columns: Sequence[str], *, but: Collection[str] = ()) -> str:
    """The first of a file's columns, and how many more there are; those that have no name by their places.

    Args:
        columns: all, in the file's order.
        but: those that are left out.
    """
    named = [
        printable(name) if name.strip() else f"a column without a name (the {_ordinal(place)})"
        for place, name in enumerate(columns, start=1)
        if name not in but
    ]
    more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    return f"{', '.join(named[:MOST_NAMED])}{more}"


def _ordinal(place: int) -> str:
    """1st, 2nd, 3rd, 4th; 11th, 12th, 13th."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th") if place % 100 not in (11, 12, 13) else "th"
    return f"{place}{ending}"


def _is_content(name: str) -> bool:
    """Whether it is a sentence or a number that counts no columns, as hardly any of them is called."""
    words = name.split()
    return (
        len(words) > MOST_WORDS or (len(words) > 1 and name.endswith((".", "?", "!"))) or bool(DECIMAL.fullmatch(name))
    )


def _with_what_was_meant(name: str, known: Sequence[str]) -> str:
    meant = None if name in known else closest(name, known)
    return name if meant is None else f"{name} (did you mean {printable(meant)}?)"


def delimiter_hinted(found: Sequence[str]) -> str | None:
    """What a single column is separated by that looks like several; None where it does not."""
    return next((sign for sign in ";\t|," if len(found) == 1 and sign in found[0]), None)


def _example(found: Sequence[str], kind: Kind | None, section: str) -> str:
    """How the first of the file's columns would be named, those that number rows left out; nothing where there are too few."""
    texts = [name for name in found if name.lower() not in OF_NUMBERS]
    ours = COLUMNS[kind or ("pairs" if len(texts) > 1 else "texts")]
    if len(texts) < len(ours) or delimiter_hinted(found) or not all(map(QUOTABLE.fullmatch, texts[: len(ours)])):
        return ""
    named = ", ".join(f"{name}: '{theirs}'" for name, theirs in zip(ours, texts, strict=False))
    return f', as in "{section}.columns={{{named}}}"'


def _hint(found: Sequence[str], section: str) -> str:
    """What to try where a single column holds what looks like several."""
    delimiter = delimiter_hinted(found)
    shown = "\\t" if delimiter == "\t" else delimiter
    return "" if delimiter is None else f"; separated by {delimiter!r}? set '{section}.delimiter=\"{shown}\"'"

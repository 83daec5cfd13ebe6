"""A table's settings as they are shown: short, and as many as there is room for."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import PurePath

from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

from embexp.compare.ranking import different
from embexp.compare.runs import Run
from embexp.naming import may_be_files

# Where a setting's name may be broken: "weight_", "decay".
WORDS = re.compile(r"(?<=_)")
# What ends a cell in markdown, and the backslashes before it, which would be taken for the one that it gets.
BEFORE_A_BAR = re.compile(r"(\\*)\|")
# Columns of what is no terminal.
WIDE = 200
# Letters of a value.
LONGEST = 40
# Of those that long values have in common, as many are shown before the first that differs.
IN_COMMON = 12
# Of a run's label.
LONGEST_LABEL = 80
# A setting in which fewer than one of so many runs differs from most hardly tells them apart.
FEW = 4
ABSENT = "–"


def paper(console: Console) -> Console:
    """The console, or where it is no terminal one without colours that has room for most tables."""
    return console if console.is_terminal else Console(file=console.file, width=WIDE, no_color=True)


def values_of(runs: Iterable[Run], key: str) -> dict[str, str]:
    """How each value of a setting is shown: short, of files no more of their paths than tells them apart; no two alike."""
    values = {run.params[key] for run in runs if key in run.params}
    shown = {value: value for value in values}
    if may_be_files(key):
        parts = {value: PurePath(value).parts for value in values}
        deepest = max(map(len, parts.values()), default=0)
        for depth in range(1, deepest + 1):
            shown = {value: str(PurePath(*of[-depth:])) for value, of in parts.items()}
            if len(set(shown.values())) == len(values):
                break
        else:
            # One file, written in two ways.
            shown = {value: value for value in values}
    cut = _cut(set(shown.values()))
    return {value: cut[whole] for value, whole in shown.items()}


def _cut(texts: set[str]) -> dict[str, str]:
    """Texts of at most LONGEST letters: the end of each, or where others end so too, the place where they differ."""
    cut = {text: text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}" for text in texts}
    for some in _alike(cut):
        cut |= _where_they_differ(some)
    # By chance two places may read the same.
    return cut | {text: text for some in _alike(cut) for text in some}


def _where_they_differ(texts: list[str]) -> dict[str, str]:
    # What the first and the last of the alphabet have in common, all have.
    first, last = min(texts), max(texts)
    apart = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    cut = {text: _from(text, max(0, apart - IN_COMMON)) for text in texts}
    # Fewer each time: of all of them the first letter that differs is seen.
    for some in _alike(cut):
        cut |= _where_they_differ(some)
    return cut


def _alike(cut: Mapping[str, str]) -> list[list[str]]:
    """The texts that are cut to the same, together."""
    found: dict[str, list[str]] = defaultdict(list)
    for text, short in cut.items():
        found[short].append(text)
    return [some for some in found.values() if len(some) > 1]


def _from(text: str, begin: int) -> str:
    there = f"…{text[begin:]}" if begin else text
    return there if len(there) <= LONGEST else f"{there[: LONGEST - 1]}…"


def label_of(run: Run, keys: Collection[str], others: Sequence[Run]) -> str:
    """The settings that tell runs apart, of each the same ones, as this run has them or is without; its name where none does.

    Args:
        run: one of the others.
        keys: in which they differ; what follows from the option of its group, as a loss's own from the loss, is not told.
        others: the best first; where there is much to tell, what a run has in common with it is not told.
    """
    told = {}
    for key in keys:
        if key in run.params:
            told[key] = f"{key}={values_of(others, key)[run.params[key]]}"
        # Of a run that somebody typed in full nobody says that it is without an experiment.
        elif not key.startswith("loss.") and key != "experiment":
            told[key] = f"without {key}"
    told = {key: words for key, words in told.items() if not _follows(key, keys, others)}
    if len(", ".join(told.values())) > LONGEST_LABEL and run is not others[0]:
        told = {key: words for key, words in told.items() if run.params.get(key) != others[0].params.get(key)}
    return ", ".join(told.values()) or run.name


def _follows(key: str, keys: Collection[str], runs: Sequence[Run]) -> bool:
    """Whether a setting is the same in all runs that have the same option of its group, which is told too."""
    group, dot, _ = key.partition(".")
    return bool(dot) and group in keys and different(runs, [group]) == different(runs, [group, key])


def of_the_best(label: str) -> str:
    """How a sentence speaks of the best: with its label where that is short, for the first row of the table has it."""
    return f"the best ({label})" if len(label) <= LONGEST else "the best"


def fitting(
    keys: Sequence[str],
    runs: Sequence[Run],
    made: Callable[[Sequence[str], Sequence[str]], Table],
    *,
    least: Sequence[str],
    last: Sequence[str],
    console: Console,
) -> tuple[Table, list[str]]:
    """The fullest table for which there is room, and what is left out of it: whole columns, for half a number is a wrong one.

    In this order: the columns of `least`, the settings that tell few runs apart and without which no two look the same, those
    of `last`, the other settings. Once all but one of `last` are gone, names and values of settings are broken into lines
    where that is enough. What went early and has room beside what is left comes back.

    Args:
        keys: the settings, in order.
        runs: in the table.
        made: a table of some of the settings, without the columns of these titles.
        least: titles of columns, the first to go first.
        last: likewise, of those that tell more than a setting in which hardly any run differs.
        console: to draw on.
    """
    unbound = console.options.update(max_width=10 * WIDE)

    def laid_out(gone: Sequence[str], in_lines: bool) -> tuple[Table, int]:
        kept = [key for key in keys if key not in gone]
        table = made(kept, [name for name in gone if name not in keys])
        room = console.width - Measurement.get(console, unbound, table).maximum
        if in_lines and room < 0:
            room += _broken_into_lines(table.columns[1 : 1 + len(kept)], -room, console)
        return table, room

    early, late = _leaving(keys, runs)
    going = [*least, *early, *last, *late]
    in_one_line = len(least) + len(early) + max(0, len(last) - 1)
    steps = [(count, False) for count in range(in_one_line + 1)]
    steps += [(count, True) for count in range(in_one_line, len(going) + 1)]
    for count, in_lines in steps:
        gone = going[:count]
        table, room = laid_out(gone, in_lines)
        if room >= 0:
            break
    for name in reversed(gone):
        fewer = [other for other in gone if other != name]
        fuller, room = laid_out(fewer, in_lines)
        if room >= 0:
            table, gone = fuller, fewer
    # Columns first, in the order in which they went.
    return table, sorted(gone, key=lambda name: name in keys)


def _leaving(keys: Sequence[str], runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """The settings that go early, and those that go late, the first to go first; the one that tells most never goes."""
    # Of two that tell as much the first stays.
    from_least = sorted(keys, key=lambda key: (_others_than_most(runs, key), -keys.index(key)))
    needed = list(keys)
    for key in from_least:
        rest = [other for other in needed if other != key]
        if different(runs, rest) == different(runs, keys):
            needed = rest
    order = sorted(from_least, key=lambda key: key in needed)[:-1]
    early = [key for key in order if key not in needed and not _tells_many(runs, key)]
    return early, [key for key in order if key not in early]


def _broken_into_lines(columns: Sequence[Column], less: int, console: Console) -> int:
    """Makes columns narrower by `less`, as far as words allow, the last ones first; by how much it did."""
    done = 0
    for column in reversed(columns):
        title, cells = str(column.header), [console.measure(cell) for cell in column.cells]
        low = max(*map(len, WORDS.split(title)), *(cell.minimum for cell in cells))
        high = max(len(title), *(cell.maximum for cell in cells))
        column.width = max(low, high - less + done)
        column.header = _in_lines(title, column.width)
        column.no_wrap, column.overflow = False, "fold"
        done += high - column.width
    return done


def _in_lines(title: str, width: int) -> str:
    """A setting's name in lines of at most so many letters, as far as its words are as short."""
    lines = [""]
    for word in WORDS.split(title):
        if lines[-1] and len(lines[-1] + word) > width:
            lines.append("")
        lines[-1] += word
    return "\n".join(lines)


def _tells_many(runs: Sequence[Run], key: str) -> bool:
    return _others_than_most(runs, key) * FEW >= len(runs)


def _others_than_most(runs: Sequence[Run], key: str) -> int:
    """How many runs have another value than most of them have."""
    counts = Counter(run.params.get(key) for run in runs)
    return len(runs) - counts.most_common(1)[0][1]


def in_markdown(cell: str) -> str:
    """A cell of a markdown table; what would end it or its row there, as in a prompt, stands as text."""
    return " ".join(BEFORE_A_BAR.sub(r"\1\1\|", cell).splitlines())


def left_out(titles: Sequence[str]) -> str:
    """What is said of columns for which there was no room."""
    return f"no room for {', '.join(titles)}: a wider terminal shows more, --csv FILE all."

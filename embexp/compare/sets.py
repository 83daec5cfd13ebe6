"""The sets of pairs, or of other data, that runs were scored on: what each is called beside the others, and what stands above its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from embexp.compare.cells import values_of
from embexp.compare.ranking import OWN, differing, evaluation_of, scored_on
from embexp.compare.runs import Run

# The settings that name the pairs, of the data's own and of others.
OF_DATA, OF_OTHERS = ("data.",), ("evaluation.source.", "evaluation.path")
# Of what was scored beside the same pairs.
OF_THE_REST = ("evaluation.",)
# Those of them that are files or folders: the first that a run has holds its pairs, a part of train where there is no dev.
FILES = ("dev", "train", "path")


def names_of(sets: Sequence[Sequence[Run]]) -> list[str]:
    """What the pairs of each set are; those of one name ("files") are told apart by their file, or else by other settings.

    Where neither does, as where a file was changed, by when they were first scored on.
    """
    plain = [scored_on(of_set[0]) for of_set in sets]
    found = list(plain)
    for name in (name for name, count in Counter(plain).items() if count > 1):
        alike = [number for number, other in enumerate(plain) if other == name]
        for number, words in zip(alike, _apart([sets[number] for number in alike]), strict=True):
            found[number] = f"{name} with {words}" if words else name
    still_alike = {name for name, count in Counter(found).items() if count > 1}
    return [
        f"{name}{_since(of_set)}" if name in still_alike else name for name, of_set in zip(found, sets, strict=True)
    ]


def _since(of_set: Sequence[Run]) -> str:
    """When the first of the runs began; empty where that is not known."""
    first = min((run.started for run in of_set if run.started), default=None)
    return "" if first is None else f", first on {datetime.fromtimestamp(first):%Y-%m-%d %H:%M}"


def headings(sets: Sequence[Sequence[Run]], *, of: int) -> list[str]:
    """What stands beside the title above the table of each set: "3 here, scored on stsb (set 1 of 2)".

    Args:
        sets: the runs of each table.
        of: how many runs the title tells of; those that are in no table are among them.
    """
    said = [
        f"scored on {name}" if len(of_set) == of else f"{len(of_set)} here, scored on {name}"
        for of_set, name in zip(sets, names_of(sets), strict=True)
    ]
    if len(sets) == 1:
        return said
    return [f"{words} (set {number} of {len(sets)})" for number, words in enumerate(said, start=1)]


def _apart(sets: Sequence[Sequence[Run]]) -> list[str]:
    """The settings that tell sets of one name apart, as few as do; where none does, what tells most, or the file."""
    firsts, runs = [of_set[0] for of_set in sets], [run for of_set in sets for run in of_set]
    shared = [
        key for key in differing(runs) if all(len({run.params.get(key) for run in of_set}) == 1 for of_set in sets)
    ]
    alike = len({run.evaluation for run in firsts}) == 1
    sections = [OF_THE_REST if alike else _sections_of(run) for run in firsts]
    files = [[_file_of(run, of)] for run, of in zip(firsts, sections, strict=True)]
    ways = (files, *([[key]] * len(sets) for key in shared), [shared] * len(sets))
    labels = [
        [_label(run, keys, runs, of) for run, keys, of in zip(firsts, told, sections, strict=True)] for told in ways
    ]
    # The first of those that tell most of them apart.
    return max(labels, key=lambda of_way: len(set(of_way)))


def _file_of(run: Run, sections: tuple[str, ...]) -> str:
    there = [key for key in run.params if key.startswith(sections)]
    return next((key for name in FILES for key in there if key.rpartition(".")[2] == name), "")


def _label(run: Run, keys: Sequence[str], runs: Sequence[Run], sections: tuple[str, ...]) -> str:
    named = [key for key in keys if key in run.params and key.startswith(sections)]
    return ", ".join(f"{key}={values_of(runs, key)[run.params[key]]}" for key in named)


def _sections_of(run: Run) -> tuple[str, ...]:
    return OF_DATA if evaluation_of(run) == OWN else OF_OTHERS

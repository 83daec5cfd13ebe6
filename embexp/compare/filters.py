"""Filters of runs as they are typed: KEY=VALUE, KEY=A,B, sweep=last; and what is said where none has it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

import yaml

from embexp.compare.runs import Run
from embexp.compare.settings import with_setting
from embexp.compare.sweeps import SHORT_ID, SweepRun
from embexp.config import ConfigError
from embexp.config.errors import nearest
from embexp.naming import may_be_files, unquoted
from embexp.tracking import param_text

SWEEP, LAST = "sweep", "last"
# Values of a filter that are named where none of them was.
MOST_SHOWN = 10
# In a list or dictionary; not that of an address.
COLON = re.compile(r":(?!//)(?=\S)")
# How a path begins that says which folder it is of.
FROM_A_FOLDER = ("./", "../", "/", "~")


def filtered(runs: Sequence[Run], filters: Sequence[str], sweeps: Sequence[SweepRun] = ()) -> list[Run]:
    """The runs whose settings are as the filters say, KEY=VALUE or KEY=A,B; sweep=last or the start of a sweep's id; of a file the
    end of its path.

    Args:
        runs: all of the store.
        filters: as typed.
        sweeps: of the store: one of which no job has begun is the last one too.

    Raises:
        ConfigError: a key that no run has, no value that one has, or no run at all.
    """
    if not runs:
        raise ConfigError(["the store: no run; train one: python -m embexp."])
    chosen = list(runs)
    for word in filters:
        chosen = _with(word, chosen, runs, sweeps)
    return chosen


def _with(word: str, left: Sequence[Run], runs: Sequence[Run], sweeps: Sequence[SweepRun]) -> list[Run]:
    """Of the runs that are left those that a filter is of.

    Raises:
        ConfigError: there are none.
    """
    key, quoted = parted(word)
    chosen, elsewhere = with_setting(left, key)
    known = sorted({key for run in runs for key in run.params} | {SWEEP, "status"})
    if quoted is None or not (key in known or any(key in run.params for run in chosen)):
        if word in known:
            raise ConfigError([f"{word}: filters are KEY=VALUE; give it a value: {word}=..."])
        its_key = next((each for run in runs for each, value in run.params.items() if value == word), None)
        meant = nearest(key, known) if its_key is None else f" Did you mean '{its_key}={word}'?"
        raise ConfigError([f"{word}: no run has this; filters are KEY=VALUE.{meant} Keys: {', '.join(known)}."])
    # The latest first.
    there = list(dict.fromkeys(value for run in reversed(chosen) for value in _values(run, key)))
    values = _meant(key, quoted, [*there, *(value for run in runs for value in _values(run, key))])
    last = _last_sweep(runs, sweeps)
    wanted = [last if key == SWEEP and value == LAST and last else value for value in values]
    kept = [run for run in chosen if any(_is(key, value, of) for value in wanted for of in _values(run, key))]
    unknown = [value for value in wanted if not any(_is(key, value, of) for of in there)]
    if kept and unknown:
        print(f"{key}={','.join(unknown)}: no run has this.{_instead(key, unknown, there, sweeps)}", file=sys.stderr)
    if not kept:
        # The store knows of a sweep from its start on.
        for sweep in sweeps if key == SWEEP else ():
            if sweep.run_id in wanted and (missing := sweep.missing(runs)) is not None:
                raise ConfigError([f"{word}: {missing}"])
        among = "no run" if len(chosen) == len(runs) else f"none of the {len(chosen)} that are left"
        raise ConfigError([f"{word}: {among} has this.{_instead(key, values, there, sweeps)}"])
    if elsewhere:
        which = "1 run is" if elsewhere == 1 else f"{elsewhere} runs are"
        print(f"{word}: {which} left out for which it was not typed, and whose config is not at hand", file=sys.stderr)
    return kept


def parted(word: str) -> tuple[str, str | None]:
    """The key of a filter, and what was typed for it, None where nothing was."""
    key, equals, quoted = word.partition("=")
    # As for training, where a key may be given so: what is added, or set wherever it comes from.
    return key.removeprefix("+").removeprefix("+"), quoted if equals else None


def _listed(quoted: str) -> list[str]:
    """The values that are typed for a key, with commas between, each as it is meant."""
    return [unquoted(value) for value in quoted.split(",") if value]


def _last_sweep(runs: Sequence[Run], sweeps: Sequence[SweepRun]) -> str | None:
    starts = {sweep: start for run in runs for sweep, start in run.sweeps.items()}
    # Of one whose jobs were not counted nothing could be said that has no runs.
    starts |= {sweep.run_id: sweep.started for sweep in sweeps if sweep.jobs is not None}
    return max(starts, key=lambda sweep: (starts[sweep], sweep), default=None)


def asked_for(filters: Sequence[str], runs: Sequence[Run], sweeps: Sequence[SweepRun]) -> list[SweepRun]:
    """The sweeps that the filters name."""
    last = _last_sweep(runs, sweeps)
    named = [value for key, quoted in map(parted, filters) if key == SWEEP for value in _listed(quoted or "")]
    wanted = [last if value == LAST else value for value in named]
    return [sweep for sweep in sweeps if any(value and sweep.run_id.startswith(value) for value in wanted)]


def _meant(key: str, quoted: str, anywhere: Sequence[str]) -> list[str]:
    """The values that a filter names: of files that it names by the ends of their paths, the paths.

    Args:
        key: of the setting.
        quoted: as typed, with commas between.
        anywhere: what runs have, those too that other filters have left out.
    """
    whole = unquoted(quoted)
    # A value that holds a comma is meant as it is.
    is_one = bool(whole) and (any(_is(key, whole, of) for of in anywhere) or bool(_files_called(key, whole, anywhere)))
    values = [whole] if is_one else _listed(quoted)
    return [each for value in values for each in _files_called(key, value, anywhere) or [value]]


def _files_called(key: str, typed: str, anywhere: Sequence[str]) -> list[str]:
    """The files whose paths end so, as tables show them; none where there is one that is called exactly so."""
    # Of a model one word is an option's name.
    is_whole = typed.startswith(FROM_A_FOLDER) or (key == "model" and "/" not in typed)
    if not may_be_files(key) or is_whole or any(_is(key, typed, value) for value in anywhere):
        return []
    end = PurePath(typed).parts
    return [value for value in dict.fromkeys(anywhere) if end and PurePath(value).parts[-len(end) :] == end]


def _instead(key: str, values: Sequence[str], there: Sequence[str], sweeps: Sequence[SweepRun]) -> str:
    """What may have been meant, and the values that there are."""
    near = [*there, *([LAST] if key == SWEEP and LAST not in values else [])]
    # A number that is written alike is hardly meant; the start of a sweep's id may be digits.
    meant = dict.fromkeys(nearest(value, near) for value in values if key == SWEEP or not _is_number(value))
    names = {sweep.run_id: f" ({sweep.name})" for sweep in sweeps if sweep.name}
    shown = [
        f"{value[:SHORT_ID]}{names.get(value, '')}" if key == SWEEP else _as_typed(value)
        for value in there[:MOST_SHOWN]
    ]
    others = " and others" if len(there) > MOST_SHOWN else ""
    return f"{''.join(meant)} There are: {', '.join(shown) or 'none'}{others}."


def _is_number(value: str) -> bool:
    return isinstance(_read(value), float)


def _as_typed(value: str) -> str:
    """A whole number without the .0 with which a run keeps it: nobody types it."""
    whole = value.removesuffix(".0")
    return whole if whole.removeprefix("-").isdecimal() else value


def _values(run: Run, key: str) -> list[str]:
    """What a filter of this key can name of a run."""
    if key == SWEEP:
        return list(run.sweeps)
    if key == "status":
        return [run.status.lower()]
    return [run.params[key]] if key in run.params else []


def _is(key: str, typed: str, value: str) -> bool:
    if key == SWEEP:
        return value.startswith(typed)
    if key == "status":
        return value == typed.lower()
    return value == param_text(typed) or _read(typed) == _read(value)


def _read(text: str) -> Any:
    """What a setting's text stands for, however it is written: 1e-5 is 1e-05, 2 is 2.0, and [a,b] is ['a', 'b']."""
    try:
        # A sweep's jobs have {a:b} of what was typed as {a: b}, and YAML takes that for one word.
        return _numbers_of(yaml.safe_load(COLON.sub(": ", text))) if text.startswith(("[", "{")) else float(text)
    except (ValueError, yaml.YAMLError):
        return text


def _numbers_of(value: Any) -> Any:
    """A list or dictionary whose texts are numbers where they can be: YAML takes 1e-5 for a word."""
    if isinstance(value, list):
        return [_numbers_of(each) for each in value]
    if isinstance(value, dict):
        return {key: _numbers_of(each) for key, each in value.items()}
    return _read(value) if isinstance(value, str) and not value.startswith(("[", "{")) else value

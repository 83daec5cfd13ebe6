"""What a search draws from: the intervals, ranges and choices of a command, as Hydra writes them. No Optuna, no torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from embexp.config.errors import ConfigError, nearest
from embexp.config.unreadable import why_unreadable

# Of a drawn number: the rest tells no two runs apart, and is long to read.
DIGITS = 4
# More combinations of ends are not looked at before a search: each takes some hundredths of a second.
MOST_CORNERS = 200
# The tag of an interval that is drawn from by its logarithm.
LOG = "log"
# How `checks` says it.
WHOLE = "must be a whole number"

NOTHING_TO_DRAW = (
    "hydra/sweeper=optuna: no key has a range, so that all jobs would be the same; write one, as "
    "'learning_rate=tag(log, interval(1e-5, 1e-3))' or 'batch_size=choice(16,32,64)'."
)


@dataclass(frozen=True)
class Listed:
    """A key whose values are listed: choice(16,32,64), or in order, range(16,65,16)."""

    key: str
    values: tuple[str, ...]
    ordered: bool

    def ends(self) -> list[str]:
        """The values that are looked at before the search: the first and the last, or, without an order, all."""
        return list(dict.fromkeys([self.values[0], self.values[-1]])) if self.ordered else list(self.values)

    def draw(self, trial: Any) -> str:
        """A value, as an Optuna trial suggests it."""
        if self.ordered:
            return self.values[trial.suggest_int(self.key, 0, len(self.values) - 1)]
        return str(trial.suggest_categorical(self.key, self.values))


@dataclass(frozen=True)
class Interval:
    """A key whose values lie between two ends: interval(0, 0.3), int(interval(16, 64)), tag(log, interval(1e-5, 1e-3))."""

    key: str
    low: float
    high: float
    log: bool

    def ends(self) -> list[str]:
        """The two ends: what is allowed at both is taken to be allowed between them."""
        return list(dict.fromkeys([repr(self.low), repr(self.high)]))

    def draw(self, trial: Any) -> str:
        """A value, as an Optuna trial suggests it."""
        if isinstance(self.low, int):
            return str(trial.suggest_int(self.key, self.low, self.high, log=self.log))
        drawn = trial.suggest_float(self.key, self.low, self.high, log=self.log)
        return repr(min(max(float(f"{drawn:.{DIGITS}g}"), self.low), self.high))


def read(words: Sequence[str]) -> tuple[list[Override], dict[str, str]]:
    """The words of a command that Hydra can read, and what is to be said of each of the others."""
    parser = OverridesParser.create()
    parsed: list[Override] = []
    unread: dict[str, str] = {}
    for word in words:
        if not word.partition("=")[0].strip():
            unread[word] = f"{word or repr('')}: a key stands before the =, without blanks: batch_size=64."
            continue
        try:
            parsed.append(parser.parse_override(word))
        except HydraException as error:
            unread[word] = f"{word}: {why_unreadable(word, error)}"
    return parsed, unread


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides of a command, as Hydra reads them.

    Raises:
        ConfigError: some of them cannot be read.
    """
    parsed, unread = read(overrides)
    if unread:
        raise ConfigError([*unread.values()])
    return parsed


def split(overrides: Sequence[Override]) -> tuple[list[str], list[Listed | Interval]]:
    """What all jobs of a search share, and what is drawn, key by key; of a key that is given twice, the last.

    Raises:
        ConfigError: an interval is empty, or cannot be drawn from by its logarithm.
    """
    last = {override.get_key_element(): override for override in overrides}
    problems = [problem for override in last.values() if (problem := cannot_be_drawn(override))]
    if problems:
        raise ConfigError(problems)
    fixed = [str(override.input_line) for override in last.values() if not override.is_sweep_override()]
    drawn = [_range(key, override) for key, override in last.items() if override.is_sweep_override()]
    return fixed, drawn


def _range(key: str, override: Override) -> Listed | Interval:
    value = override.value()
    if override.is_interval_sweep():
        return Interval(key, value.start, value.end, LOG in value.tags)
    ordered = override.is_range_sweep() and not value.shuffle
    return Listed(key, tuple(override.sweep_string_iterator()), ordered)


def cannot_be_drawn(override: Override) -> str | None:
    """What is wrong with what a search is to draw from; None where nothing is."""
    value, typed = override.value(), override.input_line
    if isinstance(value, Glob):
        return f"{typed}: a search wants the options by name: {override.key_or_group}=choice(a,b)."
    if isinstance(value, IntervalSweep) and value.start > value.end:
        return f"{typed}: nothing can be drawn from it, its end is below its start."
    if isinstance(value, IntervalSweep) and (others := sorted(value.tags - {LOG})):
        return f"{typed}: a search knows no tag {others[0]}, only {LOG}.{nearest(others[0], [LOG])}"
    if isinstance(value, IntervalSweep) and LOG in value.tags and value.start <= 0:
        return f"{typed}: nothing can be drawn from it by its logarithm, which wants a start above 0."
    return _lists_nothing(override)


def cannot_be_listed(override: Override) -> str | None:
    """What is wrong with what Hydra's own sweeper is to list; None where nothing is."""
    if override.is_interval_sweep():
        return f"{override.input_line}: has no end of values; hydra/sweeper=optuna draws from it."
    return _lists_nothing(override)


def _lists_nothing(override: Override) -> str | None:
    value, typed = override.value(), override.input_line
    if isinstance(value, RangeSweep) and value.step == 0:
        return f"{typed}: its step, which stands last, is 0, and no value but the first would come."
    if override.is_discrete_sweep() and next(override.sweep_string_iterator(), None) is None:
        return f"{typed}: there is nothing in it."
    return None


def trials(overrides: Sequence[Override], n_trials: Any) -> list[list[str]]:
    """The overrides of every job of a search: all as typed, what is drawn is not known yet."""
    # A number that is none is refused with the first job.
    times = n_trials if isinstance(n_trials, int) and n_trials > 0 else 1
    return [[str(override.input_line) for override in overrides]] * times


def corners(overrides: Sequence[Override]) -> Iterator[list[str]]:
    """Jobs that a search might draw, at the ends of its ranges: every combination of them, up to a point."""
    fixed, drawn = split(overrides)
    ends = [[f"{each.key}={end}" for end in each.ends()] for each in drawn]
    for combination in itertools.islice(itertools.product(*ends), MOST_CORNERS):
        yield [*fixed, *combination]


def an_instance_of(job: Sequence[str]) -> list[str]:
    """The overrides of a job, those that a search would draw at the first end of their ranges."""
    return next(corners(parse(job)))


def said_of_ranges(problems: Iterable[str], overrides: Sequence[Override]) -> list[str]:
    """The problems of the corners; of an interval that draws no whole numbers where they are wanted, as it is typed."""
    told: dict[str, None] = {}
    for problem in problems:
        for override in overrides:
            if override.is_interval_sweep() and problem.startswith(f"{override.key_or_group}=") and WHOLE in problem:
                key, text = str(override.input_line).split("=", 1)
                problem = f"{key}={text}: {WHOLE}; write '{key}=int({text})'."
        told[problem] = None
    return list(told)

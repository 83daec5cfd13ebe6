"""Runs that differ by their seed alone, as one row: mean, standard deviation, and which differences are real.

python -m embexp.compare --group-by seed
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embexp.compare.bases import bases
from embexp.compare.cells import ABSENT, fitting, label_of, left_out, of_the_best, paper, values_of
from embexp.compare.columns import GAIN, Column, columns, legend, signed
from embexp.compare.judge import resampled, size_of, too_few_pairs
from embexp.compare.predictions import ANEW, ELSEWHERE, JUDGED, damage_of, left_any, predictions
from embexp.compare.ranking import METRIC, NOT_COLUMNS, by_evaluation, differing, is_cost, ranked, score_of
from embexp.compare.runs import OF_STORE, Run
from embexp.compare.sets import headings, names_of
from embexp.compare.table import SEVERAL_SETS, told_of_cautions
from embexp.compare.warned import LOOK_ALIKE, rows_called
from embexp.statistics import (
    RESAMPLES,
    Array,
    Difference,
    SeedSpread,
    difference_of_means,
    seed_spread,
    seeds_needed,
)
from embexp.tracking import Status
from embexp.units import readable_deviation

SEED = "seed"
SEEDS, OF_SEEDS, OF_PAIRS = "seeds", "sd over seeds", "sd over pairs"
# Of the best settings, all their seeds: of each the pairs are resampled, which takes a sixth of a second.
MOST_RUNS = 200


@dataclass(frozen=True)
class Group:
    """The runs of one setting, with different seeds.

    Attributes:
        runs: the best first.
        scores: (runs,).
        drawn: of each, in every resample of the pairs: (runs, resamples); None without predictions.
        spread: of the scores; of_pairs is nan without predictions.
        of_other_pairs: those that left predictions of other pairs than most, or of a part of these.
    """

    runs: tuple[Run, ...]
    scores: Array
    drawn: Array | None
    spread: SeedSpread
    of_other_pairs: tuple[Run, ...] = ()


def by_seed(runs: Sequence[Run], *, metric: str = METRIC, resamples: int = RESAMPLES) -> list[Group]:
    """The settings of the runs of one set of pairs, the best mean first.

    Args:
        runs: of any status; what has no score is left out.
        metric: what is compared; of those that pairs cannot judge, the seeds' part alone is known.
        resamples: of the pairs.
    """
    sign = 1 if is_cost(metric) else -1
    members: dict[str, dict[str | None, Run]] = defaultdict(dict)
    for _, run in ranked(runs, metric):
        # A run that was made anew is no further seed: the last one counts. A model that was only scored has none.
        of_seed = members[_setting_of(run)]
        seed = run.params.get(SEED)
        of_seed[seed] = max(of_seed.get(seed, run), run, key=lambda one: one.started)
    settings = [
        sorted(by_its_seed.values(), key=lambda run: sign * (score_of(run, metric) or 0.0))
        for by_its_seed in members.values()
    ]
    settings.sort(key=lambda of_setting: sign * float(_scores(of_setting, metric).mean()))
    # Whole settings: of one that lacks a seed nothing could be said.
    up_to = accumulate(map(len, settings))
    best = [
        run for of_setting, so_far in zip(settings, up_to, strict=True) if so_far <= MOST_RUNS for run in of_setting
    ]
    found = resampled(best, metric=metric, resamples=resamples, most=MOST_RUNS)
    drawn = {id(run): row for run, row in zip(found.runs, found.drawn, strict=True)} if found else {}
    strange = {id(run) for run in best if drawn and id(run) not in drawn and left_any(run, metric)}
    groups = []
    for of_setting in settings:
        scores = _scores(of_setting, metric)
        rows = [drawn[id(run)] for run in of_setting if id(run) in drawn]
        all_drawn = np.stack(rows) if len(rows) == len(of_setting) else None
        others = tuple(run for run in of_setting if id(run) in strange)
        groups.append(Group(tuple(of_setting), scores, all_drawn, seed_spread(scores, all_drawn), others))
    return groups


def _scores(runs: Sequence[Run], metric: str) -> Array:
    return np.array([score_of(run, metric) for run in runs], dtype=np.float64)


def _setting_of(run: Run) -> str:
    if run.setting is not None:
        return run.setting
    settings = {key: value for key, value in run.params.items() if key not in (SEED, *NOT_COLUMNS)}
    return repr(sorted(settings.items()))


def draw_by_seed(runs: Sequence[Run], *, console: Console, title: str, metric: str = METRIC) -> None:
    """The settings as a table, one for each set of pairs that was scored on, and what can be said of their differences.

    Args:
        runs: of any status, the latest last.
        console: to draw on.
        title: above each table.
        metric: what is compared.
    """
    console = paper(console)
    sets = by_evaluation(runs, metric)
    groups_of_sets = [by_seed(of_set, metric=metric) for of_set in sets]
    shown = [[run for group in groups for run in group.runs] for groups in groups_of_sets]
    if len(sets) > 1:
        console.print()
        console.print(SEVERAL_SETS.format(len(sets)), style="dim", highlight=False, soft_wrap=True)
    for groups, which in zip(groups_of_sets, headings(shown, of=len(runs)), strict=True):
        console.print()
        console.print(f"[bold]{escape(title)}[/bold] · {escape(which)}", highlight=False)
        _draw_set(groups, console, metric)
    anew = sum(map(len, sets)) - sum(map(len, shown))
    if said := _left_out(runs, metric, anew):
        console.print(escape(said), highlight=False, soft_wrap=True)


def _draw_set(groups: Sequence[Group], console: Console, metric: str) -> None:
    firsts = [group.runs[0] for group in groups]
    keys = [key for key in differing(firsts) if key != SEED] or ["loss", "batch_size"]
    column = next(one for one in columns(firsts, metric, judged=False) if one.is_of(metric))
    gain = [GAIN] if any(_gains(group, metric) is not None for group in groups) else []
    made = partial(_table, groups, metric, column, [SEEDS, column.title, *gain, OF_SEEDS, OF_PAIRS])
    table, without = fitting(keys, firsts, made, least=(OF_PAIRS,), last=(OF_SEEDS, SEEDS, *gain), console=console)
    console.print(table)
    if without:
        console.print(escape(left_out(without)), highlight=False, soft_wrap=True)
    by_rank = [(rank, run) for rank, group in enumerate(groups, start=1) for run in group.runs]
    for line in told_of_cautions(by_rank):
        console.print(escape(line), style="yellow", highlight=False, soft_wrap=True)
    for line in told(groups, keys, metric):
        console.print(escape(line), highlight=False, soft_wrap=True)
    if what := legend([column], [run for group in groups for run in group.runs]):
        console.print(escape(what), style="dim", highlight=False)


def _left_out(runs: Sequence[Run], metric: str, anew: int) -> str:
    """How many runs are in no table, and why."""
    unfinished = sum(run.status != Status.FINISHED for run in runs)
    unscored = sum(run.status == Status.FINISHED and score_of(run, metric) is None for run in runs)
    reasons = {"not finished": unfinished, f"without {metric}": unscored, "run anew since": anew}
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"left out: {said}." if said else ""


def _table(
    groups: Sequence[Group], metric: str, column: Column, of: Sequence[str], keys: Sequence[str], without: Sequence[str]
) -> Table:
    firsts = [group.runs[0] for group in groups]
    shown = {key: values_of(firsts, key) for key in keys}
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("", *keys):
        table.add_column(title, no_wrap=True)
    titles = [title for title in of if title not in without]
    for title in titles:
        table.add_column(escape(title), justify="right", no_wrap=True)
    order = list(enumerate(firsts, start=1))
    for (rank, first), group in zip(order, groups, strict=True):
        cells = [escape(shown[key].get(first.params.get(key, ""), ABSENT)) for key in keys]
        told_of = _cells(group, metric, column)
        numbers = [told_of[title] for title in titles]
        table.add_row(str(rank), *cells, *numbers, style="bold" if rank == 1 else "")
    before = {id(group.runs[0]): value for group in groups if (value := _before(group, metric)) is not None}
    for words, (first, *_) in bases(order, before):
        numbers = [column.told(before[id(first)]) if title == column.title else "" for title in titles]
        table.add_row("", escape(words), *[""] * (len(keys) - 1), *numbers, style="dim")
    return table


def _cells(group: Group, metric: str, column: Column) -> dict[str, str]:
    """What each column may show, by its title, as rich's markup."""
    spread, gains = group.spread, _gains(group, metric)
    gain = "" if gains is None else signed(float(gains.mean()))
    if gains is not None and len(gains) > 1:
        gain += f" ± {gains.std(ddof=1):.4f}"
    return {
        SEEDS: str(spread.seeds),
        GAIN: gain,
        OF_SEEDS: _deviation(spread.sd, metric),
        OF_PAIRS: _deviation(math.sqrt(spread.of_pairs), metric),
        # The last: what is compared may be a gain.
        column.title: column.told(spread.mean),
    }


def _gains(group: Group, metric: str) -> Array | None:
    """Over the model before training, of each seed; None where any of them has none."""
    found = [run.metrics.get(f"{GAIN}/{metric}") for run in group.runs if run.is_trained]
    known = np.array([gain for gain in found if gain is not None], dtype=np.float64)
    return known if len(known) == len(group.runs) else None


def _before(group: Group, metric: str) -> float | None:
    """The mean score of the models that its runs started from: of one model, as a rule."""
    gains = _gains(group, metric)
    return None if gains is None else round(float((group.scores - gains).mean()), 6)


def rows_by_seed(runs: Sequence[Run], metric: str = METRIC) -> list[dict[str, Any]]:
    """A flat row a setting, the best of each set of pairs first: rank, differing settings, seeds, what they say, mean metrics, runs."""
    sets = by_evaluation(runs, metric)
    found = [(name, by_seed(of_set, metric=metric)) for name, of_set in zip(names_of(sets), sets, strict=True)]
    every = [run for _, groups in found for group in groups for run in group.runs]
    keys = [key for key in differing(every) if key != SEED] or ["loss", "batch_size"]
    metrics = sorted({key for run in every for key in run.metrics})
    return [
        {
            "rank": rank,
            "scored_on": name,
            **{key: group.runs[0].params.get(key) for key in keys},
            "seeds": group.spread.seeds,
            "sd_over_seeds": _finite(group.spread.sd),
            "sd_over_pairs": _finite(math.sqrt(group.spread.of_pairs)),
            **_difference_cells(group, groups),
            **{key: _mean(group, key) for key in metrics},
            "runs": " ".join(run.where.removeprefix(OF_STORE) for run in group.runs),
            "cautions": "; ".join(dict.fromkeys(said for run in group.runs for said in run.cautions)),
        }
        for name, groups in found
        for rank, group in enumerate(groups, start=1)
    ]


def _difference_cells(group: Group, groups: Sequence[Group]) -> dict[str, float | None]:
    against = None if group is groups[0] else _difference(group, groups)
    return {
        "against_best": against.value if against else None,
        "against_best_low": against.low if against else None,
        "against_best_high": against.high if against else None,
        "p_against_best": against.p_corrected if against else None,
    }


def _mean(group: Group, key: str) -> float | None:
    """Of a metric over the seeds; None where not all of them have it."""
    values = [run.metrics[key] for run in group.runs if key in run.metrics]
    return float(np.mean(values)) if len(values) == len(group.runs) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def told(groups: Sequence[Group], keys: Sequence[str], metric: str = METRIC) -> list[str]:
    """Each setting against the best one, in words, after the number of its row; those of which the same is said in one line."""
    firsts = [group.runs[0] for group in groups]
    labels = [label_of(first, keys, firsts) for first in firsts]
    alike = {label: [rank for rank, other in enumerate(labels, start=1) if other == label] for label in labels}
    best = of_the_best(labels[0] if len(alike[labels[0]]) == 1 else f"row 1: {labels[0]}")
    order = list(enumerate(firsts, start=1))
    same: dict[str, list[int]] = {}
    for rank, group in enumerate(groups[1:], start=2):
        same.setdefault(_against(group, groups, best, metric), []).append(rank)
    lines = [
        f"{ranks[0]:>4}   {labels[ranks[0] - 1]}: {words}"
        if len(ranks) == 1
        else f"       {rows_called(order, [firsts[rank - 1] for rank in ranks])}: {words}"
        for words, ranks in same.items()
    ]
    lines += [f"rows {', '.join(map(str, ranks))} {LOOK_ALIKE}." for ranks in alike.values() if len(ranks) > 1]
    return lines


def _difference(group: Group, groups: Sequence[Group]) -> Difference | None:
    """Its mean less the best one's; None where a setting has but one seed, or nothing is known of the pairs' part."""
    best = groups[0]
    if min(group.spread.seeds, best.spread.seeds) < 2 or group.drawn is None or best.drawn is None:
        return None
    return difference_of_means(group.scores, best.scores, group.drawn, best.drawn, settings=_settings(groups))


def _settings(groups: Sequence[Group]) -> int:
    """How many of them can be compared: the best is the best of so many."""
    return sum(group.spread.seeds > 1 and group.drawn is not None for group in groups)


def _against(group: Group, groups: Sequence[Group], name: str, metric: str) -> str:
    best = groups[0]
    if min(group.spread.seeds, best.spread.seeds) < 2:
        whose = " of the best" if group.spread.seeds > 1 else ""
        return f"cannot be compared with {name}: one seed says nothing of the others; run more{whose}: seed=1,2,3"
    found = _difference(group, groups)
    if found is None or group.drawn is None or best.drawn is None:
        why = _why_unjudged(
            group if group.drawn is None else best, metric, whose="its" if group.drawn is None else "the best's"
        )
        return f"cannot be compared with {name}: {why}; what is known is how far seeds differ"
    if found.is_real:
        return f"worse than {name} by {size_of(found)}"
    of_seed = (group.spread.of_seed + best.spread.of_seed) / 2
    of_pairs = float(np.nanvar(group.drawn.mean(axis=0) - best.drawn.mean(axis=0), ddof=1))
    needed = seeds_needed(found.value, of_seed=of_seed, of_pairs=of_pairs, settings=_settings(groups))
    have = min(group.spread.seeds, best.spread.seeds)
    if needed is None:
        more = "more seeds would not tell: the test set is too small for so small a difference"
    elif needed > have:
        more = f"a difference of {abs(found.value):.3f} needs about {needed - have} more seeds of each"
    else:
        more = "by chance: as many seeds tell such a difference in 4 of 5 trials"
    return f"cannot be told apart from {name}; {more}"


def _why_unjudged(group: Group, metric: str, *, whose: str) -> str:
    """Why nothing is known of the pairs' part of a setting."""
    asked = JUDGED.fullmatch(metric)
    if asked is None:
        return f"no pairs are kept that judge {metric}"
    if group.of_other_pairs:
        return f"{whose} predictions are of other pairs, or of a part of these: {group.of_other_pairs[0].predictions}; {ANEW}"
    if few := too_few_pairs(group.runs, metric):
        return few
    for run in group.runs:
        if (damage := damage_of(run, asked)) is not None:
            return f"{whose} predictions {damage.how}: {run.predictions}"
        if run.predictions is None:
            return f"{whose} predictions were not looked for: {ELSEWHERE}"
        if predictions(run, asked) is None:
            return f"{whose} predictions are not on this machine"
    return f"pairs are resampled of the first {MOST_RUNS} runs alone; name fewer, as loss=mnr"


def _deviation(value: float, metric: str) -> str:
    return readable_deviation(metric, value) if math.isfinite(value) else ""

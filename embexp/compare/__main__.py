"""`python -m embexp.compare`: the ranked table of all finished runs of the store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from embexp.compare.ranking import METRIC, score_of
from embexp.compare.runs import Run, read_runs
from embexp.compare.seeds import SEED, draw_by_seed
from embexp.compare.table import draw, to_csv, to_json
from embexp.config import ConfigError
from embexp.config.errors import nearest

SWEEP = "sweep"
# Runs without a score that are named: a store keeps those of weeks.
MOST_UNFINISHED = 20
# Values of a filter that are named where none of them was.
MOST_SHOWN = 10


def main() -> None:
    """The program: exit 1 where there is nothing to compare, 2 for a wrong usage."""
    arguments = _arguments()
    try:
        _refuse_what_cannot_be_written(arguments)
        runs = read_runs(arguments.uri, experiment=arguments.experiment)
        chosen = filtered(runs, arguments.filters)
        _check_metric(chosen, arguments.metric)
    except ConfigError as error:
        sys.exit("\n".join(error.problems))
    for target, text in ((arguments.csv, to_csv), (arguments.json, to_json)):
        if target == "-":
            print(text(chosen, arguments.metric), end="")
        elif target is not None:
            Path(target).write_text(text(chosen, arguments.metric), encoding="utf-8")
            print(f"{target} is written", file=sys.stderr)
    if arguments.html is not None or arguments.png is not None:
        try:
            _write_report(chosen, arguments)
        except ConfigError as error:
            sys.exit("\n".join(error.problems))
    if "-" in (arguments.csv, arguments.json):
        return
    if arguments.group_by == SEED:
        draw_by_seed(chosen, console=Console(), metric=arguments.metric)
    else:
        title = f"{len(chosen)} runs"
        draw(chosen, console=Console(), title=title, metric=arguments.metric, most_unfinished=MOST_UNFINISHED)


def filtered(runs: Sequence[Run], filters: Sequence[str]) -> list[Run]:
    """The runs whose settings are as the filters say, KEY=VALUE; sweep=last or sweep=ID chooses a sweep.

    Raises:
        ConfigError: a key or a value that no run has, or no run at all.
    """
    if not runs:
        raise ConfigError(["the store: no run; train one: python -m embexp."])
    chosen = list(runs)
    known = sorted({key for run in runs for key in run.params} | {SWEEP, "status"})
    for word in filters:
        key, equals, value = word.partition("=")
        if not equals or key not in known:
            raise ConfigError(
                [f"{word}: no run has this; filters are KEY=VALUE.{nearest(key, known)} Keys: {', '.join(known)}."]
            )
        starts = {sweep: start for run in runs for sweep, start in run.sweeps.items()}
        if key == SWEEP and value == "last" and starts:
            value = max(starts, key=lambda sweep: starts[sweep])
        kept = [run for run in chosen if _has(run, key, value)]
        if not kept:
            there = dict.fromkeys(of for run in chosen for of in _values_of(run, key))
            shown = ", ".join([*list(there)[:MOST_SHOWN], *(["..."] if len(there) > MOST_SHOWN else [])])
            among = "" if len(chosen) == len(runs) else f" of these {len(chosen)}"
            raise ConfigError([f"{word}: no run{among} has this.{nearest(value, there)} There are: {shown or 'none'}."])
        chosen = kept
    return chosen


def _values_of(run: Run, key: str) -> list[str]:
    """What a filter of this key can name of a run."""
    if key == SWEEP:
        return list(run.sweeps)
    if key == "status":
        return [run.status.lower()]
    return [run.params[key]] if key in run.params else []


def _has(run: Run, key: str, value: str) -> bool:
    """Whether a run is one that the filter KEY=VALUE names: several values, A,B; a sweep by the start of its id."""
    if key == SWEEP:
        return any(sweep.startswith(value) for sweep in run.sweeps)
    return any(of in _values_of(run, key) for of in (value.lower() if key == "status" else value).split(","))


def _refuse_what_cannot_be_written(arguments: argparse.Namespace) -> None:
    wanted = {f"--{name}": getattr(arguments, name) for name in ("csv", "json", "html", "png")}
    files = {option: Path(file) for option, file in wanted.items() if file not in (None, "-")}
    problems = [
        f"{option} {file}: there is no folder {file.parent}."
        if not file.parent.is_dir()
        else f"{option} {file}: is a folder; name a file."
        for option, file in files.items()
        if not file.parent.is_dir() or file.is_dir()
    ]
    if problems:
        raise ConfigError(problems)


def _check_metric(runs: Sequence[Run], metric: str) -> None:
    known = sorted({key.removeprefix("best/") for run in runs for key in run.metrics})
    if known and all(score_of(run, metric) is None for run in runs):
        raise ConfigError([f"--metric {metric}: no run has it.{nearest(metric, known)} Metrics: {', '.join(known)}."])


def _write_report(chosen: Sequence[Run], arguments: argparse.Namespace) -> None:
    # The report's imports take longer than the table.
    from embexp.report import write_report, write_slide

    title = " · ".join([f"{len(chosen)} runs", *arguments.filters])
    for target, write in ((arguments.html, write_report), (arguments.png, write_slide)):
        if target is not None:
            write(chosen, Path(target), title=title, metric=arguments.metric, uri=arguments.uri)
            print(f"{target} is written", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embexp.compare", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "filters", nargs="*", metavar="KEY=VALUE", help="only such runs: loss=mnr, sweep=last, status=failed"
    )
    parser.add_argument("--metric", default=METRIC, help="what the runs are ranked by (default: %(default)s)")
    parser.add_argument("--group-by", choices=[SEED], help="one row for runs that differ by their seed alone")
    parser.add_argument("--csv", metavar="FILE", help="also write all rows as csv; - for the terminal")
    parser.add_argument("--json", metavar="FILE", help="also write all rows as json; - for the terminal")
    parser.add_argument("--html", metavar="FILE", help="also write the report: one page that needs nothing else")
    parser.add_argument("--png", metavar="FILE", help="also write ranking and learning curves as a picture for a slide")
    parser.add_argument("--uri", help="the MLflow store; default: as for training")
    parser.add_argument("--experiment", default="embexp", help="the MLflow experiment (default: %(default)s)")
    return parser.parse_intermixed_args()


if __name__ == "__main__":
    main()

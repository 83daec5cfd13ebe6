"""`python -m embexp.compare`: the ranked table of all finished runs of the store."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from embexp.interrupts import ended_in_one_line, leave_on_interrupt

if __name__ == "__main__":
    leave_on_interrupt()

from rich.console import Console

from embexp.compare.filters import asked_for, filtered, parted
from embexp.compare.ranking import METRIC, score_of
from embexp.compare.runs import Run, read_rows, runs_of
from embexp.compare.seeds import SEED, draw_by_seed, rows_by_seed
from embexp.compare.settings import with_what_experiments_set
from embexp.compare.sweeps import sweeps_of
from embexp.compare.table import as_csv, as_json, draw, rows_of
from embexp.config import ConfigError
from embexp.config.errors import nearest
from embexp.output import say
from embexp.run_folder import write_whole
from embexp.tracking import EXPERIMENT, Status
from embexp.tracking.kept import RUNS, never_sent
from embexp.tracking.secrets import without_secrets

# Runs without a score that are named: a store keeps those of weeks.
MOST_UNRANKED = 20
# Metrics that begin alike, as dev/ does, that are named where there is none of the name that was typed.
MOST_OF_GROUP = 6
ALL = "All: --help."
# How files of pictures end.
PICTURES = (".png", ".svg", ".pdf")
# What sweeps at training.
FLAGS_OF_A_SWEEP = ("-m", "--multirun")
# Keys of training that are flags here.
FLAGS_OF_KEYS = {"tracker.uri": "--uri", "tracker.experiment": "--experiment"}


@ended_in_one_line()
def main() -> None:
    """The program: exit 1 where there is nothing to compare, 2 for a wrong usage, 130 interrupted."""
    try:
        arguments = _arguments()
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        sys.exit(2)
    try:
        _refuse_what_cannot_be_written(arguments)
        _tell_of_never_sent(arguments)
        rows = read_rows(arguments.uri, experiment=arguments.experiment)
        runs, sweeps = runs_of(rows), sweeps_of(rows)
        chosen = with_what_experiments_set(filtered(runs, arguments.filters, sweeps))
        _check_metric(chosen, arguments.metric)
    except ConfigError as error:
        sys.exit("\n".join(error.problems))
    for missing in dict.fromkeys(sweep.missing(runs) for sweep in asked_for(arguments.filters, runs, sweeps)):
        if missing is not None:
            print(missing, file=sys.stderr)
    try:
        _write_rows(chosen, arguments)
        _write_report(chosen, arguments)
    except ConfigError as error:
        sys.exit("\n".join(error.problems))
    if "-" in (arguments.csv, arguments.json):
        return
    title = _counted(chosen)
    if arguments.group_by == SEED:
        draw_by_seed(chosen, console=Console(), title=title, metric=arguments.metric)
    else:
        draw(chosen, console=Console(), title=title, metric=arguments.metric, most_unranked=MOST_UNRANKED)


def _tell_of_never_sent(arguments: argparse.Namespace) -> None:
    """Runs of this folder that ended before a store knew of them: no table has them."""
    number = len(never_sent(RUNS, uri=arguments.uri, experiment=arguments.experiment))
    if number:
        which = (
            "1 run of this folder that has ended is"
            if number == 1
            else f"{number} runs of this folder that have ended are"
        )
        print(f"{which} in no store yet: python -m embexp.tracking sync", file=sys.stderr)


def _refuse_what_cannot_be_written(arguments: argparse.Namespace) -> None:
    wanted = {f"--{name}": getattr(arguments, name) for name in ("csv", "json", "html", "png")}
    files = {option: Path(file) for option, file in wanted.items() if file not in (None, "-")}
    picture = files.get("--png")
    is_none = picture is not None and picture.suffix.lower() not in PICTURES
    problems = [f"--png {picture}: name a file that ends in {' or '.join(PICTURES)}."] if is_none else []
    problems += [
        f"{option} {file}: there is no folder {file.parent}."
        if not file.parent.is_dir()
        else f"{option} {file}: is a folder; name a file."
        for option, file in files.items()
        if not file.parent.is_dir() or file.is_dir()
    ]
    if problems:
        raise ConfigError(problems)


def _check_metric(runs: Sequence[Run], metric: str) -> None:
    names = {key.removeprefix("best/") for run in runs for key in run.metrics}
    # Of latency's hundred the few that are of no one setting first.
    known = sorted(names, key=lambda name: (name != METRIC, name.count("/"), name))
    if known and all(score_of(run, metric) is None for run in runs):
        # Of those that begin so what runs are ranked by: of dims/8 dims/8/dev/spearman_cosine.
        like = sorted(known, key=lambda name: (not name.startswith(metric), METRIC not in name))
        part_of = next((name for name in like if metric in name), None)
        meant = nearest(metric, known) if part_of is None else f" Did you mean {part_of!r}?"
        raise ConfigError([f"--metric {metric}: no run has it.{meant} Metrics:", *_by_group(known)])


def _by_group(metrics: Sequence[str]) -> list[str]:
    """A line for the metrics that begin alike, with the first few of them."""
    groups: dict[str, list[str]] = {}
    for name in metrics:
        group, slash, _ = name.partition("/")
        groups.setdefault(f"{group}{slash}", []).append(name)
    lines = []
    for group, names in sorted(groups.items()):
        left = len(names) - MOST_OF_GROUP
        more = f" and {left} more" if left > 0 else ""
        named = ", ".join(name.removeprefix(group) for name in names[:MOST_OF_GROUP]) if group.endswith("/") else ""
        lines.append(f"  {group} {named}{more}".rstrip())
    return lines


def _counted(runs: Sequence[Run]) -> str:
    """ "3 runs, 1 of them not finished"."""
    unfinished = sum(run.status != Status.FINISHED for run in runs)
    said = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    if not unfinished:
        return said
    return f"{said}, not finished" if len(runs) == unfinished else f"{said}, {unfinished} of them not finished"


def _write_rows(chosen: Sequence[Run], arguments: argparse.Namespace) -> None:
    told = rows_by_seed if arguments.group_by == SEED else rows_of
    for target, text in ((arguments.csv, as_csv), (arguments.json, as_json)):
        if target == "-":
            say(text(told(chosen, arguments.metric)).removesuffix("\n"))
        elif target is not None:
            _write(target, text(told(chosen, arguments.metric)))


def _write_report(chosen: Sequence[Run], arguments: argparse.Namespace) -> None:
    if arguments.html is None and arguments.png is None:
        return
    # The report's imports take longer than the table.
    from embexp.report import report, slide_of

    title = " · ".join([_counted(chosen), *arguments.filters])
    if arguments.html is not None:
        _write(arguments.html, report(chosen, title=title, metric=arguments.metric, uri=arguments.uri))
    if arguments.png is not None:
        kind = Path(arguments.png).suffix.lower().removeprefix(".")
        _write(arguments.png, slide_of(chosen, kind, title=title, metric=arguments.metric, uri=arguments.uri))


def _write(target: str, content: str | bytes) -> None:
    """Writes a file, whole or not at all, and says so.

    Raises:
        ConfigError: it cannot be written.
    """
    path = Path(target)
    try:
        if path.exists() and not path.is_file():
            # A pipe or a device is written to, and nothing is put in its place.
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        else:
            write_whole(path.resolve(), content)
    except OSError as error:
        raise ConfigError([f"{target}: cannot be written: {error.strerror}."]) from None
    print(f"{target} is written", file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in a sentence: the usage would be longer, and tell less."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message.removeprefix('argument ')}. {ALL}"])


def flags() -> list[str]:
    """All that there are, as they are typed."""
    return [f"--{name.replace('_', '-')}" for name in vars(_parser().parse_args([])) if name != "filters"]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m embexp.compare", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "filters", nargs="*", metavar="KEY=VALUE", help="only such runs: loss=mnr, sweep=last, status=failed"
    )
    parser.add_argument("--metric", default=METRIC, help="what the runs are ranked by (default: %(default)s)")
    parser.add_argument("--group-by", metavar=SEED, help="one row for runs that differ by their seed alone")
    parser.add_argument("--csv", metavar="FILE", help="also write all rows as csv; - for the terminal")
    parser.add_argument("--json", metavar="FILE", help="also write all rows as json; - for the terminal")
    parser.add_argument("--html", metavar="FILE", help="also write the report: one page that needs nothing else")
    parser.add_argument("--png", metavar="FILE", help="also write ranking and learning curves as a picture for a slide")
    parser.add_argument("--uri", help="the MLflow store; default: as for training")
    parser.add_argument("--experiment", default=EXPERIMENT, help="the MLflow experiment (default: %(default)s)")
    return parser


def _arguments() -> argparse.Namespace:
    """What was typed.

    Raises:
        ConfigError: a flag that there is not, one without its value, or one with another than it takes.
    """
    arguments, unknown = _parser().parse_known_intermixed_args()
    # As the store and the csv call it: "best/dev/..." is ranked by as "dev/..." is.
    arguments.metric = arguments.metric.removeprefix("best/")
    problems = [
        f"{word}: compare takes no {word}, for it runs nothing: it shows the runs that there are; seed=1,2 are those of either seed."
        if word in FLAGS_OF_A_SWEEP
        else f"{word}: there is no such flag.{nearest(word.partition('=')[0], flags())} {ALL}"
        for word in unknown
    ]
    for key, value in map(parted, arguments.filters):
        if key in FLAGS_OF_KEYS:
            shown = without_secrets(value or "")
            problems.append(f"{key}={shown}: is no filter of runs; did you mean {FLAGS_OF_KEYS[key]} {shown}?")
    if (by := arguments.group_by) not in (None, SEED):
        problems.append(f"--group-by {by}: runs are grouped by {SEED} alone.{nearest(by, [SEED])}")
    if problems:
        raise ConfigError(problems)
    return arguments


if __name__ == "__main__":
    main()

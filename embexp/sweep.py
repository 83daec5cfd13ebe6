"""The sweep: the parent run of a multirun's jobs, and what is said when they are done.

Opened and closed around Hydra by the command line itself: Hydra's own callbacks are not called when a job fails, and
what they raise is swallowed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import yaml
from rich.console import Console

from embexp.compare.ranking import METRIC
from embexp.compare.runs import OF_A_SWEEP, RUNS_OF_SWEEP, Run, read_result
from embexp.compare.sweeps import COMMAND_OF_SWEEP, JOBS_OF_SWEEP
from embexp.compare.table import draw, to_csv, to_markdown
from embexp.config import Config, ConfigError
from embexp.config.ranges import parse
from embexp.identity import command_line
from embexp.interrupts import Terminated
from embexp.naming import job_name
from embexp.run_folder import RESULT, read_object
from embexp.tracking import (
    JOBS,
    PARENT_RUN,
    SWEPT,
    MLflowTracker,
    Status,
    Tracker,
    build_tracker,
    reap_dead_runs,
    scrub_file,
    without_secrets,
)
from embexp.tracking.mlflow import MOST_PARAMS

REPORT = "report.html"
# Of 32 characters: a tag is cut at 5,000.
IDS_A_TAG = 150


class Sweep:
    """A multirun under way: its folder, its jobs, its run at the tracker, and the metric that its runs are ranked by."""

    def __init__(self, tracker: Tracker, folder: Path, jobs: Sequence[Sequence[str]], *, metric: str = METRIC) -> None:
        self.tracker = tracker
        self.folder = folder
        self.jobs = jobs
        self.metric = metric

    def runs(self) -> list[Run]:
        """What every job left behind, in order; a job without a result was lost with its process, or never began."""
        swept = list(_swept(self.jobs))
        return [_left_in(self.folder / str(number), overrides, swept) for number, overrides in enumerate(self.jobs)]

    def close(self, interrupted: str | None) -> int:
        """Draws the table, closes the parent run, and gives the exit code: 0 only if every job finished."""
        unread = Status.FAILED, "how its jobs ended could not be read"
        ended: tuple[Status, str | None] = unread if interrupted is None else (Status.KILLED, interrupted)
        hurried = False
        try:
            try:
                runs = self.runs()
                failed = [run for run in runs if run.status != Status.FINISHED]
                if interrupted is None:
                    how_many = f"{len(failed)} of {len(runs)} jobs did not finish"
                    ended = (Status.FAILED, how_many) if failed else (Status.FINISHED, None)
                self._tell(runs, over=interrupted is None)
            finally:
                self._tell_jobs()
        except (KeyboardInterrupt, Terminated):
            hurried = True
            raise
        finally:
            # Its jobs have ended, whatever comes while that is told.
            self.tracker.end(*ended, hurried=hurried)
        return 1 if failed else 0

    def _tell(self, runs: Sequence[Run], *, over: bool) -> None:
        """The table, to the terminal and as files, and the report."""
        draw(runs, console=Console(), title=f"{_titled(runs)} · {self.folder}", metric=self.metric)
        self._reap(runs, over=over)
        # Hydra's own record of the command.
        scrub_file(self.folder / "multirun.yaml")
        tables = {"table.md": to_markdown(runs, self.metric), "table.csv": to_csv(runs, self.metric)}
        for name, text in tables.items():
            (self.folder / name).write_text(text, encoding="utf-8")
            self.tracker.log_artifact(self.folder / name)
        self._report(runs)
        finished = [run for run in runs if run.status == Status.FINISHED]
        scores = [score for run in finished if (score := run.metrics.get(f"best/{self.metric}")) is not None]
        if scores:
            self.tracker.log_metrics({f"best/{self.metric}": max(scores)}, 0)

    def _tell_jobs(self) -> None:
        """The runs of its jobs, to the tracker."""
        try:
            self.tracker.set_tags(self._tags())
        except Exception as error:  # it is not to stand for what broke the table
            print(f"{self.folder}: its jobs are not told: {type(error).__name__}: {error}", file=sys.stderr)

    def _tags(self) -> dict[str, str]:
        # What an earlier sweep began, finished or not, has that one's run as its parent.
        folders = [self.folder / str(number) for number in range(len(self.jobs))]
        ids = [run_id for folder in folders if (run_id := _run_id_in(folder)) is not None]
        batches = [ids[first : first + IDS_A_TAG] for first in range(0, len(ids), IDS_A_TAG)]
        return {f"{RUNS_OF_SWEEP}.{number}": " ".join(batch) for number, batch in enumerate(batches)}

    def _reap(self, runs: Sequence[Run], *, over: bool) -> None:
        # A job whose process was killed could not close its own run.
        if isinstance(self.tracker, MLflowTracker) and any(run.status == Status.KILLED for run in runs):
            ended = self.tracker.run_id if over else None
            reap_dead_runs(self.tracker.uri, experiment=self.tracker.experiment, ended_sweep=ended)

    def _report(self, runs: Sequence[Run]) -> None:
        path = self.folder / REPORT
        try:
            from embexp.report import write_report

            uri = self.tracker.uri if isinstance(self.tracker, MLflowTracker) else None
            write_report(runs, path, title=_titled(runs), metric=self.metric, uri=uri)
        except Exception as error:  # the scores are safe in the table: no fault of a picture may cost a sweep its end
            print(f"{path}: not written: {type(error).__name__}: {without_secrets(str(error))}", file=sys.stderr)
            return
        self.tracker.log_artifact(path)
        print(f"Report: {path}")


def _left_in(folder: Path, typed: Sequence[str], swept: Sequence[str]) -> Run:
    """What a job left in its folder. One that did not finish is called by what tells it from the others, with a result or without."""
    if not (folder / RESULT).is_file():
        return Run.lost(_called(folder, typed, swept), folder)
    try:
        run = read_result(folder / RESULT)
    except ConfigError as error:
        return Run(_called(folder, typed, swept), Status.FAILED, str(error), where=str(folder))
    return run if run.status == Status.FINISHED else replace(run, name=_called(folder, typed, swept) or run.name)


def _called(folder: Path, typed: Sequence[str], swept: Sequence[str]) -> str:
    overrides = _drawn(folder, typed)
    return job_name(overrides, swept) or " ".join(overrides)


def _run_id_in(folder: Path) -> str | None:
    """The id of a job's run; None where it has none, or its result cannot be read, which the table tells."""
    return read_object(folder / RESULT).get("run_id") or None


def _titled(runs: Sequence[Run]) -> str:
    return f"Sweep of {len(runs)} {'run' if len(runs) == 1 else 'runs'}"


def _drawn(folder: Path, typed: Sequence[str]) -> Sequence[str]:
    # What a search drew for a job is known when Hydra, which starts it, has written that whole; else there is but what was typed.
    path = folder / ".hydra" / "overrides.yaml"
    try:
        drawn = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return typed
    return drawn if isinstance(drawn, list) and all(isinstance(each, str) for each in drawn) else typed


@contextmanager
def _closing_what_does_not_open(tracker: Tracker) -> Iterator[None]:
    """Whatever keeps a sweep from its first job ends its run, as nothing else would, and is raised."""
    try:
        yield
    except BaseException as error:
        told_to_go = isinstance(error, (KeyboardInterrupt, Terminated))
        reason = (
            "told to go before its first job"
            if told_to_go
            else f"{type(error).__name__}: {without_secrets(str(error))}"
        )
        tracker.end(Status.KILLED if told_to_go else Status.FAILED, reason, hurried=told_to_go)
        raise


@contextmanager
def open_sweep(config: Config, *, jobs: Sequence[Sequence[str]]) -> Iterator[Sweep]:
    """A sweep whose jobs, in whatever process they run, find their parent in the environment.

    Args:
        config: of the first job; its tracker is the sweep's.
        jobs: the overrides of each job.
    """
    now = datetime.now()
    folder = Path("multirun") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S.%f}"
    folder.mkdir(parents=True)
    tracker = build_tracker(config.tracker)
    if isinstance(tracker, MLflowTracker):
        reap_dead_runs(tracker.uri, experiment=tracker.experiment)
    swept = _swept(jobs)
    differing = [f"{key}={','.join(found)}" for key, found in swept.items()] or [f"{len(jobs)} jobs"]
    with _closing_what_does_not_open(tracker):
        tracker.start(
            # What was swept comes first: the MLflow UI cuts long names.
            f"sweep {' '.join(differing)} · {now:%Y-%m-%d %H:%M}",
            folder=folder,
            params=_params(jobs, swept),
            tags={
                OF_A_SWEEP: str(folder),
                JOBS_OF_SWEEP: str(len(jobs)),
                COMMAND_OF_SWEEP: f"`{command_line()}`",
            },
            parent=None,
        )
        # Here, before its jobs: the first of them would have the import of MLflow alone, and be compared with the others.
        tracker.settle()
    os.environ[JOBS] = str(len(jobs))
    os.environ[SWEPT] = " ".join(swept)
    if tracker.reference is not None:
        os.environ[PARENT_RUN] = tracker.reference
    try:
        yield Sweep(tracker, folder, jobs, metric=f"dev/{config.evaluation.select_by}")
    finally:
        for name in (JOBS, SWEPT, PARENT_RUN):
            os.environ.pop(name, None)


def _params(jobs: Sequence[Sequence[str]], swept: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What was typed, as many keys as a tracker takes, those in which the jobs differ first."""
    values = _values(jobs)
    first = {key: values[key] for key in (*swept, *values)}
    told = {key: json.dumps(found) if len(found) > 1 else found[0] for key, found in first.items()}
    return dict(list(told.items())[:MOST_PARAMS])


def _swept(jobs: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """The keys in which the jobs differ, or that a search draws, with what they are set to."""
    # A search's jobs are all as typed.
    drawn = {_key(override.get_key_element()) for override in parse(jobs[0]) if override.is_sweep_override()}
    return {key: found for key, found in _values(jobs).items() if len(found) > 1 or key in drawn}


def _values(jobs: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """What the jobs set each key to, every value once."""
    values: dict[str, dict[str, None]] = {}
    for job in jobs:
        for override in job:
            key, _, value = override.partition("=")
            values.setdefault(_key(key), {})[value] = None
    return {key: list(found) for key, found in values.items()}


def _key(typed: str) -> str:
    # Of ++seed the tracker would refuse the whole run.
    return typed.lstrip("+~")

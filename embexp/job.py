"""One job of the command line: an experiment run for Hydra, and what the terminal is told of it."""

from __future__ import annotations

import logging
import os
import shlex
import traceback
from dataclasses import replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from embexp.compare.runs import read_result
from embexp.compare.table import draw
from embexp.config import Tracker
from embexp.config.composition import checked
from embexp.config.schema import MLflow
from embexp.experiment import HAD_FINISHED, TOLD_IN_WORDS, run_experiment
from embexp.interrupts import Terminated, end_at_once_from_now_on, raise_on_interrupt, raise_on_sigterm
from embexp.naming import job_name, run_name
from embexp.output import from_here
from embexp.record import Result
from embexp.run_folder import RESULT
from embexp.terminal import a_job_begins
from embexp.tracking import EXPERIMENT, JOBS, PARENT_RUN, SWEPT, scrub_file, store_uri, without_secrets
from embexp.tracking.store import DATABASE, is_local, uri_of

log = logging.getLogger(__name__)
# What is none of embexp's own is for run.log: the terminal has the table.
outcome = logging.getLogger("outcome")


def run_job(composed: DictConfig) -> float:
    """One job of the command line: runs it, tells how it went, and returns what it is ranked by.

    A run that is no job of a sweep, whose table comes at its end, ends with a table of its own and where its files are.
    What broke in the run does not leave this function (nan is returned, and result.json says FAILED), so that the
    other jobs of a sweep go on. KeyboardInterrupt and Terminated do: they end the sweep.
    """
    a_job_begins()
    hydra = HydraConfig.get()
    alone = hydra.mode is RunMode.RUN
    config = checked(composed, hydra, looked_at=True)
    # Its process may have been one that a signal ends at once, until now.
    raise_on_interrupt()
    raise_on_sigterm()
    # Hydra's own record of the command, written a moment ago.
    scrub_file(Path(str(hydra.sweep.dir)) / "multirun.yaml")
    overrides = list(hydra.overrides.task)
    label = job_name(overrides, os.environ.get(SWEPT, "").split())
    if JOBS in os.environ:
        log.info("\n%d of %s: %s", hydra.job.num + 1, os.environ[JOBS], label or run_name(config, overrides))
    try:
        result = run_experiment(
            config,
            folder=hydra.runtime.output_dir,
            overrides=overrides,
            parent=os.environ.get(PARENT_RUN),
            label=label,
        )
    except (KeyboardInterrupt, Terminated) as error:
        # Of a sweep there are other jobs to go on with.
        if not (alone and error.args):
            raise type(error) from None
        raise type(error)(f"{error}; {what_shows_it(config.tracker, Path(hydra.runtime.output_dir))}") from None
    except Exception as error:
        tell_failure(error)
        if alone:
            log.info("Folder: %s, with its run.log", from_here(Path(hydra.runtime.output_dir)))
            end_at_once_from_now_on()
        # The frames hold the model: without this the failed job's memory would stay taken for all later ones.
        traceback.clear_frames(error.__traceback__)
        return float("nan")
    select_by = config.evaluation.select_by
    score, gain = (result.metrics.get(f"{group}/dev/{select_by}", float("nan")) for group in ("best", "gain"))
    told = f"{label or result.name}: dev {select_by} {score:.4f}, {gain:+.4f} over step 0"
    if not alone:
        log.info("%s", told)
        return score
    try:
        outcome.info("%s", told)
        tell_run(result, config.tracker, metric=f"dev/{select_by}")
        end_at_once_from_now_on()
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(f"{HAD_FINISHED}; {what_shows_it(config.tracker, result.folder)}") from None
    return score


def tell_run(result: Result, tracker: Tracker, *, metric: str) -> None:
    """The scores of a run as a table, where its files are, and what shows more of it."""
    # Its name says what was typed a moment ago.
    run = replace(read_result(result.folder / RESULT), name="this run")
    draw([run], console=Console(), title="1 run", metric=metric)
    print(f"Folder: {from_here(result.folder)}")
    if result.model is not None:
        print(f"Model:  {from_here(result.model)}")
    else:
        again = " rerun=true" if isinstance(tracker, MLflow) else ""
        # Of a run that had finished before the files may be with a server.
        where = "not kept then, or not on this machine" if result.skipped else "not kept"
        print(f"Model:  {where}; the same command with trainer.save_model=true{again} keeps it")
    if isinstance(tracker, MLflow):
        print(f"More:   {what_shows_more(tracker)}")


def what_shows_it(tracker: Tracker, folder: Path, filters: str = "") -> str:
    """Where the table is to be had that was not drawn to its end, or without a store what it would be drawn from."""
    if isinstance(tracker, MLflow):
        return f"its table: {what_compares(tracker)}{filters}"
    return f"its scores: {from_here(folder)}"


def what_compares(tracker: MLflow) -> str:
    """The command that shows the runs of this store."""
    command = "python -m embexp.compare"
    command += "" if tracker.uri is None else f" --uri {shlex.quote(without_secrets(store_uri(tracker.uri)))}"
    return command + ("" if tracker.experiment == EXPERIMENT else f" --experiment {shlex.quote(tracker.experiment)}")


def what_shows_more(tracker: MLflow) -> str:
    """The commands that show a run of this store beside others, and its curves."""
    where, others = without_secrets(store_uri(tracker.uri)), what_compares(tracker)
    curves = f"mlflow ui --backend-store-uri {shlex.quote(where)}" if is_local(where) else where
    # MLflow's own command looks into no other by itself.
    curves = "make ui (or mlflow ui)" if where == uri_of(Path.cwd() / DATABASE) else curves
    return f"{others} ranks it among all runs; {curves} shows its curves"


def tell_failure(error: Exception) -> None:
    """A person's mistake as one message; anything else with its traceback in the run's log."""
    if isinstance(error, TOLD_IN_WORDS):
        log.error("%s", error)
    else:
        log.error("%s: %s (the traceback is in the run's run.log)", type(error).__name__, error)

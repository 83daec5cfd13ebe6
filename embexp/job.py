"""One job of the command line: an experiment run for Hydra, and what the terminal is told of it."""

from __future__ import annotations

import logging
import os
import traceback
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from embexp.config.composition import checked
from embexp.experiment import TOLD_IN_WORDS, run_experiment
from embexp.interrupts import raise_on_sigterm
from embexp.naming import job_name, run_name
from embexp.terminal import a_job_begins
from embexp.tracking import JOBS, PARENT_RUN, SWEPT, scrub_file

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> float:
    """One job of the command line: runs it, tells how it went, and returns what it is ranked by.

    What broke in the run does not leave this function (nan is returned, and result.json says FAILED), so that the
    other jobs of a sweep go on. KeyboardInterrupt and Terminated do: they end the sweep.
    """
    a_job_begins()
    hydra = HydraConfig.get()
    config = checked(composed, hydra)
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
    except Exception as error:
        tell_failure(error)
        # The frames hold the model: without this the failed job's memory would stay taken for all later ones.
        traceback.clear_frames(error.__traceback__)
        return float("nan")
    score = result.metrics.get(f"best/dev/{config.evaluation.select_by}", float("nan"))
    gain = result.metrics.get("gain/dev/spearman_cosine", float("nan"))
    log.info(
        "%s: dev %s %.4f, Spearman %+.4f over step 0", label or result.name, config.evaluation.select_by, score, gain
    )
    return score


def tell_failure(error: Exception) -> None:
    """A person's mistake as one message; anything else with its traceback in the run's log."""
    if isinstance(error, TOLD_IN_WORDS):
        log.error("%s", error)
    else:
        log.error("%s: %s (the traceback is in the run's run.log)", type(error).__name__, error)

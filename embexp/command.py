"""The command line: compose, check, run."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from math import isnan

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from embexp.config import ConfigError
from embexp.config.composition import (
    check_command,
    compose,
    for_multirun,
    is_sweep,
    keep_to_own_options,
)
from embexp.config.errors import closest, did_you_mean
from embexp.config.folder import refuse_a_folder_that_cannot_be_written_to
from embexp.config.meant import groups
from embexp.config.ranges import an_instance_of
from embexp.config.schema import Scalars
from embexp.identity import COMMAND, command_line
from embexp.imports import uncollected
from embexp.interrupts import (
    LOADED,
    Terminated,
    end_at_once_from_now_on,
    leaving_while_importing,
    raise_on_sigterm,
    waiting_for_a_good_moment,
)
from embexp.output import caution, saying
from embexp.pages import ask_for_large_pages
from embexp.shipped import conf_folder
from embexp.terminal import nothing_is_said_yet

TELLS_ONLY = ("help", "hydra_help", "cfg", "info", "shell_completion")
SAID_OF = {KeyboardInterrupt: "interrupted (Ctrl-C)", Terminated: "terminated (SIGTERM)"}
IN_TORCHRUN_A_SWEEP = "-m inside torchrun would mix two experiments: start one process for a sweep."
IN_TORCHRUN_A_RUN = (
    "inside torchrun the same run would be started {0} times: start it once, as python -m embexp devices={0}, and it starts "
    "the other devices' processes itself."
)
WHAT_NEXT = "the same command again goes on from here"
# What decides which tasks of MTEB a job asks for.
ASKING, TASKS = ("evaluation", "experiment="), "evaluation.mteb.tasks="
LAUNCHER = "hydra/launcher="
USAGE, INTERRUPTED, TERMINATED = 2, 128 + signal.SIGINT, 128 + signal.SIGTERM


class UsageError(ConfigError):
    """A flag that there is not, as argparse ends where one lacks its value."""


def tell_of_loading() -> None:
    """To a person who waits: on a slow disk it takes a minute until there is anything to say of the run."""
    if sys.stderr.isatty() and "torch" not in sys.modules:
        print("loading torch and what else training takes ...", file=sys.stderr)


def job(composed: DictConfig) -> float:
    """What Hydra runs. The imports of training are in here: they take seconds, and a typo must not."""
    alone = HydraConfig.get().mode is RunMode.RUN
    # A sweep has told it before its first job.
    if alone:
        tell_of_loading()
    # Of a sweep a record is open, which a signal has to close; and a job that its queue ends has to be queued again.
    with uncollected(), leaving_while_importing(WHAT_NEXT) if alone else waiting_for_a_good_moment(LOADED):
        from embexp.job import run_job

    objective = run_job(composed)
    if isnan(objective) and alone:
        sys.exit(1)
    return objective


def run_hydra() -> None:
    """Hands the command over to Hydra, which composes each job and launches it."""
    keep_to_own_options()
    hydra.main(version_base=None, config_path=str(conf_folder()), config_name="config")(job)()


def run_sweep(jobs: list[list[str]], config_dir: str | None) -> int:
    """All jobs under one parent run, then the table of them."""
    tell_of_loading()
    with uncollected(), leaving_while_importing(WHAT_NEXT):
        from embexp.sweep import open_sweep

    config = compose(an_instance_of(jobs[0]), config_dir=config_dir)
    with open_sweep(config, jobs=jobs) as sweep:
        sys.argv.append(f"hydra.sweep.dir={sweep.folder}")
        try:
            run_hydra()
        except BaseException as error:
            sweep.close(SAID_OF.get(type(error), f"stopped by {error!r}"))
            raise
        try:
            return sweep.close(None)
        except (KeyboardInterrupt, Terminated) as error:
            from embexp.job import what_shows_it

            shown = what_shows_it(config.tracker, sweep.folder, " sweep=last")
            raise type(error)(f"all jobs of the sweep had ended; {shown}") from None


def refuse_unknown_tasks(jobs: list[list[str]], config_dir: str | None) -> None:
    """Where tasks of MTEB are typed, asks it for them before anything is made; of jobs of this process, which import it anyway.

    What else breaks in it the run tells.
    """
    # Of the jobs that ask it for the same, one.
    settings = [frozenset(word for word in job if word.lstrip("+").startswith(ASKING)) for job in jobs]
    naming = {
        asked: job
        for asked, job in zip(settings, jobs, strict=True)
        if any(word.lstrip("+").startswith(TASKS) for word in asked)
    }
    if not naming:
        return
    tell_of_loading()
    try:
        with uncollected(), leaving_while_importing(WHAT_NEXT):
            from embexp.evaluation import mteb

            for job in naming.values():
                asked = compose(an_instance_of(job), config_dir=config_dir).evaluation.mteb
                if asked is not None:
                    mteb.refuse_unknown_tasks(asked)
    except ConfigError:
        raise
    except Exception:  # whatever an installation lacks: a run has a record in which to tell it
        return


def instead_of_a_flag(word: str) -> str:
    """Whose flag it is, the flag that it is like, or what to write for a key that was given as one, as most programs want it."""
    # Not above: most commands have no such word.
    from embexp.compare.__main__ import flags

    flag, _, value = word.partition("=")
    key = flag.lstrip("-")
    typed_without = f" Keys and groups stand without dashes: {key}={value or '...'}." if key else ""
    if key.partition(".")[0] in (*groups(), *Scalars.model_fields):
        return typed_without
    if flag in flags():
        return " It is a flag of python -m embexp.compare, the table of finished runs."
    own = {word.lstrip("-"): word for word in get_args_parser()._option_string_actions if word.startswith("--")}
    if (meant := closest(key, own)) is not None:
        return did_you_mean(flag, own[meant])
    return typed_without


def run_command() -> int:
    """Reads the command, checks every job of it, runs it, and gives the exit code."""
    parser = get_args_parser()
    # Else --experiment is Hydra's --experimental-rerun.
    parser.allow_abbrev = False
    arguments, unknown = parser.parse_known_intermixed_args()
    # Beside a flag stands what is meant as its value.
    if wrong := [word for word in unknown if word.startswith("-")]:
        raise UsageError([f"{word}: there is no such flag.{instead_of_a_flag(word)} All: --help." for word in wrong])
    if any(getattr(arguments, name) for name in TELLS_ONLY):
        # What Hydra prints breaks, with a traceback, where a reader leaves before its end.
        with saying():
            run_hydra()
        return 0
    overrides, config_dir = list(arguments.overrides), arguments.config_dir
    # Hydra wants flags and overrides apart; a person may mix them.
    flags = [word for word in sys.argv[1:] if word not in overrides]
    multirun = arguments.multirun or is_sweep(overrides, config_dir=config_dir)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        said = IN_TORCHRUN_A_SWEEP if multirun else IN_TORCHRUN_A_RUN
        raise ConfigError([said.format(os.environ["WORLD_SIZE"])])
    jobs, cautions = check_command(overrides, multirun=multirun, config_dir=config_dir)
    refuse_a_folder_that_cannot_be_written_to(() if multirun else overrides)
    caution(cautions)
    # As it was typed: what Hydra is given below says the same in other words.
    os.environ[COMMAND] = command_line()
    ask_for_large_pages()
    sys.argv[1:] = [*flags, *(for_multirun(overrides, config_dir=config_dir) if multirun else overrides)]
    raise_on_sigterm()
    nothing_is_said_yet()
    # Jobs in processes of their own are not held up, nor this one filled, by what they load themselves.
    launchers = {word for word in overrides if word.startswith(LAUNCHER)}
    if not multirun or launchers <= {f"{LAUNCHER}basic"}:
        refuse_unknown_tasks(jobs, config_dir)
    if multirun:
        return run_sweep(jobs, config_dir)
    run_hydra()
    return 0


def main() -> None:
    """The program: exit 0, all runs finished; 1, some did not or the config was refused; 2, a wrong usage; 130, 143, interrupted."""
    # As with `python -m embexp`: a person's own loss lies there.
    with suppress(FileNotFoundError):
        if (here := os.getcwd()) not in sys.path:
            sys.path.insert(0, here)
    try:
        code = run_command()
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        code = USAGE if isinstance(error, UsageError) else 1
    except (KeyboardInterrupt, Terminated) as error:
        # What comes when all is done says so itself.
        what_next = str(error) or WHAT_NEXT
        print(f"{SAID_OF.get(type(error), 'told to go')}; {what_next}", file=sys.stderr)
        code = INTERRUPTED if isinstance(error, KeyboardInterrupt) else TERMINATED
    end_at_once_from_now_on()
    sys.exit(code)

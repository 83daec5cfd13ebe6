"""`python -m embexp.evaluate model=... evaluation=...`: scores a model without training it, into the same store.

    python -m embexp.evaluate model=minilm,mpnet evaluation=stsb evaluation.path=DIR
    python -m embexp.evaluate model.path=multirun/2026-11-23/18-00-00.000000/0/model 'evaluation=[stsb,mteb,latency]'

Its metrics are called as a trained run's are (best/dev/..., test/...), without a gain, so that both stand in one table. The
same model on the same evaluation is not scored twice; rerun=true scores it anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import logging.config
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embexp.interrupts import (
    Terminated,
    end_at_once_from_now_on,
    ended_in_one_line,
    leave_on_interrupt,
    leaving_while_importing,
    raise_on_sigterm,
)

if __name__ == "__main__":
    leave_on_interrupt()

import yaml

from embexp import identity
from embexp.compare.runs import UNTRAINED
from embexp.config import VIEWS_OF_KIND, Config, ConfigError
from embexp.config.composition import check_command, compose
from embexp.config.folder import refuse_a_folder_that_cannot_be_written_to
from embexp.imports import uncollected
from embexp.naming import MOST_PARAMS, SCALARS, model_name, typed_params
from embexp.output import caution
from embexp.pages import ask_for_large_pages
from embexp.prompts import prompts_of
from embexp.shipped import conf_folder
from embexp.terminal import a_job_begins, nothing_is_said_yet

if TYPE_CHECKING:
    from embexp.evaluation import Extras, Pairs
    from embexp.models import Encoder
    from embexp.record import Record, Result
    from embexp.training import Hardware

# By its own name: under `python -m` this module is called __main__.
log = logging.getLogger("embexp.evaluate")

# What is said of who told it to go, and the exit code.
INTERRUPTED_BY = {
    KeyboardInterrupt: ("interrupted (Ctrl-C)", 128 + signal.SIGINT),
    Terminated: ("terminated (SIGTERM)", 128 + signal.SIGTERM),
}
WHAT_NEXT = "the same command again scores what is missing"
RUN_LOG = "run.log"
# What decides how a model is trained, and nothing here: groups and numbers, and keys of groups that are read here too.
OF_TRAINING = ("loss", "batch_size", "experiment", *(key for key in SCALARS if key != "seed"))
KEYS_OF_TRAINING = ("data.negatives", "data.hard_margin", "trainer.accumulation_steps", "trainer.early_stopping")


def evaluate_model(config: Config, *, folder: str | Path, overrides: Sequence[str] = ()) -> Result:
    """Scores the model that `config` names on its dev and test pairs and on what was chosen beside them, and logs it.

    Args:
        config: from `compose`, with trains=False; model, data, evaluation, trainer's device and threads, and tracker are read.
        folder: where the run's files go.
        overrides: what was typed; kept with the run.

    Raises:
        ConfigError: the model or the data of an evaluation cannot be used. It is recorded as FAILED before it is
            raised, and so is any other exception; KeyboardInterrupt and Terminated are recorded as KILLED.
    """
    from embexp.checkpoint_folder import alone_in, checkpoints_of
    from embexp.evaluation import build_extras, evaluation_pairs
    from embexp.experiment import verdict
    from embexp.inputs import fingerprint_of_pairs
    from embexp.models import load_encoder
    from embexp.record import Record
    from embexp.tracking import PLACE, build_tracker
    from embexp.training import choose_hardware

    name = f"evaluated · {model_name(config, overrides)} · {config.names['evaluation']}"
    record = Record(build_tracker(config.tracker), Path(folder), name, params=params_of(config, overrides))
    with record.hearing_cautions():
        tags = {"embexp.command": identity.command_line()}
        try:
            record.describe(config, overrides)
            hardware = choose_hardware(config.trainer)
            pairs = evaluation_pairs(config)
            extras = build_extras(config, hardware, pairs)
            encoder = load_encoder(config.model)
            log.info("%s: %s, on %s", name, encoder.origin, hardware.device)
            record.params |= {"device": hardware.device, "threads": hardware.threads, "precision": "fp32"}
            record.evaluation, record.scored_on = fingerprint_of_pairs(pairs), extras.scored_on
            record.key = key_of(config, encoder, hardware, (record.evaluation, extras.fingerprint))
            record.claim_folder(keeps_model=False)
            waiting = f"{name}: another process is scoring the same; waiting for it to end"
            with alone_in(checkpoints_of(config, record.key), waiting=waiting) as place:
                return scored_or_found(config, encoder, hardware, pairs, extras, record, tags={**tags, PLACE: place})
        except BaseException as error:
            # As in training: of what is interrupted before it began there is no run.
            if not record.started and not isinstance(error, (KeyboardInterrupt, Terminated)):
                with suppress(ConfigError):
                    record.start(tags=tags, parent=None)
            record.end(*verdict(error))
            raise


def scored_or_found(
    config: Config,
    encoder: Encoder,
    hardware: Hardware,
    pairs: Mapping[str, Pairs],
    extras: Extras,
    record: Record,
    *,
    tags: Mapping[str, str],
) -> Result:
    """Scores the model and logs it; what had been scored before is taken over, and of that only what was missed tried again."""
    from embexp.checkpoint_folder import remove_checkpoints
    from embexp.experiment import take_over, verdict
    from embexp.tracking import PLACE, Status, scored_on_tags

    key = str(record.key)
    found = None if config.rerun else record.tracker.find_run(key, place=tags[PLACE], folder=record.folder)
    finished = found is not None and found.status is Status.FINISHED
    # What was missed then is tried again: with all else, which costs little beside a training.
    if found is not None and finished and not found.missed:
        take_over(found, record)
        log.info("%s: scored before, not again (run %s); rerun=true scores it anew", record.name, found.run_id)
        remove_checkpoints(config, record.key)
        return record.end(Status.FINISHED, "finished before", skipped=True)
    known = {"embexp.key": str(record.key), "embexp.evaluation": str(record.evaluation)}
    record.start(
        tags={**tags, **known, **scored_on_tags(record.scored_on)},
        parent=None,
        run_id=found.run_id if found else None,
    )
    try:
        score(config, encoder, hardware, pairs, extras, record)
    except BaseException as error:
        if found is not None and finished:
            # It has all that it had, and says what it lacks: how this attempt ended is told, and makes it no worse.
            status, how = verdict(error)
            why = f"finished before; what it had missed ({found.missed}) was tried again: {how}"
            try:
                try:
                    take_over(found, record)
                finally:
                    record.end(Status.FINISHED, why, skipped=True, hurried=status is Status.KILLED)
                    remove_checkpoints(config, record.key)
            except Exception as other:  # it is not to stand for what broke the attempt
                log.warning("%s: its end is not told whole: %s: %s", record.name, type(other).__name__, other)
        raise
    result = record.end(Status.FINISHED)
    # Nothing lies there but what tells the folder from others: it is needed where a process dies before its run's end.
    remove_checkpoints(config, record.key)
    return result


def score(
    config: Config,
    encoder: Encoder,
    hardware: Hardware,
    pairs: Mapping[str, Pairs],
    extras: Extras,
    record: Record,
) -> None:
    """Dev and test by the names that a trained run has, then what is scored beside them."""
    from embexp.cautions import few_pairs, warn_of
    from embexp.evaluation import score_pairs, write_predictions
    from embexp.evaluation.extras import HEADLINES
    from embexp.leaks import leaks_of_classes, leaks_of_dev
    from embexp.matryoshka import refuse_too_many
    from embexp.run_folder import PREDICTIONS
    from embexp.scoring import prefixed, refuse_no_score, score_beside

    refuse_too_many("evaluation.dims", config.evaluation.dims, encoder.model)
    warn_of([*leaks_of_dev(pairs), *leaks_of_classes(extras)])
    hardware.set_up()
    model = encoder.model.to(hardware.device).eval()
    settings = config.evaluation
    scores = {
        name: score_pairs(
            model,
            of_split,
            similarities=settings.similarities,
            batch_size=settings.batch_size,
            prompts=prompts_of(config.model),
        )
        for name, of_split in pairs.items()
    }
    metrics: dict[str, float] = {}
    for name, found in scores.items():
        metrics |= prefixed("best/dev" if name == "dev" else name, found.metrics)
        metrics |= prefixed("dev", found.metrics) if name == "dev" else {}
    refuse_no_score(scores["dev"], settings.select_by)
    record.log_metrics(metrics, 0)
    if told := few_pairs(len(pairs["dev"].scores), scores["dev"].metrics[settings.select_by]):
        warn_of([told])
    for name, found in scores.items():
        keys = dict.fromkeys([settings.select_by, *(key for key in HEADLINES if key in found.metrics)])
        log.info("%s: %s", name, ", ".join(f"{key} {found.metrics[key]:.4f}" for key in keys))
    write_predictions(record.folder / PREDICTIONS, pairs, scores, scores)
    score_beside(extras, model, record, step=0)


def key_of(config: Config, encoder: Encoder, hardware: Hardware, fingerprints: Sequence[str | None]) -> str:
    """The hash, 16 hex digits, of all that can change the scores; the same key again is the same run."""
    settings = identity.settings_in_key(config)["evaluation"]
    content = {
        "evaluation": {key: value for key, value in settings.items() if key not in ("times", "select_by")},
        "model": encoder.identity,
        "prompts": dict(prompts_of(config.model)),
        "rows": list(fingerprints),
        "hardware": [hardware.device, hardware.threads],
        "libraries": identity.versions(identity.deciding_libraries(config)),
        "code": identity.code_of(*identity.SCORING),
        "views": VIEWS_OF_KIND,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def params_of(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """What stands beside the scores; `loss` says that nothing was trained."""
    params: dict[str, Any] = {"loss": UNTRAINED, "model": model_name(config, overrides)}
    # What is trained on is not even read where other pairs are scored on.
    used = ("evaluation",) if config.evaluation.source is not None else ("data", "evaluation")
    params |= {group: config.names[group] for group in used}
    typed = typed_params(overrides).items()
    params |= {key: value for key, value in typed if key.startswith(("model.", "evaluation."))}
    return dict(list(params.items())[:MOST_PARAMS])


def log_to(folder: Path) -> None:
    """The terminal gets embexp's own sentences, run.log in the folder all: as in training."""
    written = (conf_folder() / "hydra" / "job_logging" / "calm.yaml").read_text(encoding="utf-8")
    settings = yaml.safe_load(written.replace("${hydra.runtime.output_dir}", str(folder)))
    logging.config.dictConfig(settings)


def run_command(arguments: argparse.Namespace) -> int:
    """Checks every job of the command, scores them one after the other, draws the table, and gives the exit code."""
    refuse_training(arguments.overrides)
    jobs, cautions = check_command(arguments.overrides, multirun=True, config_dir=arguments.config_dir, trains=False)
    refuse_a_folder_that_cannot_be_written_to()
    caution(cautions)
    raise_on_sigterm()
    ask_for_large_pages()
    with uncollected(), leaving_while_importing(WHAT_NEXT):
        from rich.console import Console

        from embexp.compare.ranking import METRIC
        from embexp.compare.runs import read_result
        from embexp.compare.table import draw
        from embexp.job import tell_failure, what_shows_it
        from embexp.run_folder import RESULT

    nothing_is_said_yet()
    now = datetime.now()
    parent = Path("multirun") / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S.%f}"
    failed, folders, metric, shown = 0, [], METRIC, f"its files: {parent}"
    for number, job in enumerate(jobs):
        folder = parent / str(number)
        folder.mkdir(parents=True)
        folders.append(folder)
        log_to(folder)
        a_job_begins()
        try:
            config = compose(job, config_dir=arguments.config_dir, trains=False)
            metric, shown = f"dev/{config.evaluation.select_by}", what_shows_it(config.tracker, parent)
            evaluate_model(config, folder=folder, overrides=job)
        except Exception as error:
            failed += 1
            tell_failure(error)
    if failed == len(jobs) == 1:
        # Why has been told, and there is nothing to rank.
        print(f"Log: {folders[0] / RUN_LOG}")
        return 1
    title = f"Evaluation of {len(jobs)} {'model' if len(jobs) == 1 else 'models'} · {parent}"
    try:
        runs = [read_result(folder / RESULT) for folder in folders if (folder / RESULT).is_file()]
        draw(runs, console=Console(), title=title, metric=metric)
    except (KeyboardInterrupt, Terminated) as error:
        raise type(error)(f"the scoring had ended; {shown}") from None
    return 1 if failed else 0


def refuse_training(overrides: Sequence[str]) -> None:
    """Says so where something was typed that only training reads."""
    keys = {word: word.lstrip("+~").partition("=")[0] for word in overrides}
    wrong = [word for word, key in keys.items() if key.partition(".")[0] in OF_TRAINING or key in KEYS_OF_TRAINING]
    if wrong:
        raise ConfigError(
            [f"{word}: nothing is trained here; leave it out, or train: python -m embexp." for word in wrong]
        )


@ended_in_one_line()
def main() -> None:
    """The program: exit 0, all models were scored; 1, some were not or the config was refused; 130, 143, interrupted."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m embexp.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for training; several values: a,b")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="taken as said: several values are several models"
    )
    parser.add_argument("-cd", "--config-dir", help="a folder with options of your own")
    try:
        code = run_command(parser.parse_intermixed_args())
    except ConfigError as error:
        print("\n".join(error.problems), file=sys.stderr)
        code = 1
    except (KeyboardInterrupt, Terminated) as error:
        told, code = INTERRUPTED_BY[type(error)]
        # What comes when all is done says so itself.
        print(f"{told}; {str(error) or WHAT_NEXT}", file=sys.stderr)
    end_at_once_from_now_on()
    sys.exit(code)


if __name__ == "__main__":
    main()

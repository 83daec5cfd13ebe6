"""One experiment, from its config to its scores.

    rows -> model -> key -> step-0 scores -> training -> scores -> tracker

`run_experiment` tells the whole story; the functions below it are its steps, in order.
"""

from __future__ import annotations

import gc
import logging
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import torch

from embexp import identity
from embexp.cautions import batches_of_all_rows, cautions, warn_of
from embexp.checkpoint_folder import alone_in, checkpoints_of, remove_checkpoints
from embexp.compare.runs import local_predictions
from embexp.config import Config, ConfigError
from embexp.data.cache import cached_view
from embexp.data.tokens import Tokens
from embexp.data.views import View
from embexp.evaluation import Scores, score_pairs, write_predictions
from embexp.inputs import Inputs, fingerprints, keys_of, load_inputs, what_was_loaded
from embexp.interrupts import Preempted, Terminated
from embexp.leaks import leaks_of_classes, leaks_of_dev, leaks_of_train
from embexp.loss_plan import LossPlan, build_loss, refuse_what_teaches_nothing
from embexp.matryoshka import refuse_too_many
from embexp.mining import miner_for
from embexp.models import quiet_loading
from embexp.naming import run_name, run_params
from embexp.output import from_here
from embexp.prompts import prompts_of
from embexp.record import Record, Result
from embexp.routes import refuse_training_without_roles
from embexp.run_folder import PREDICTIONS, model_in
from embexp.scoring import log_outcome, prefixed, refuse_no_score, score_beside, scores_before
from embexp.tracking import PLACE, FoundRun, Status, build_tracker, scored_on_tags
from embexp.training import (
    CheckpointFailed,
    MemberLost,
    TrainingDiverged,
    column_prompts,
    kept_tokens,
    refuse_what_cannot_be_shared,
    train,
)

log = logging.getLogger(__name__)

# Who told a run to go; the first that fits.
KILLED_BY = {
    KeyboardInterrupt: "interrupted (Ctrl-C)",
    Preempted: "pre-empted: its queue told it to go",
    Terminated: "terminated (SIGTERM)",
}
# What a person or the numbers did wrong: its message says all. Anything else that breaks a run leaves its traceback.
TOLD_IN_WORDS = (ConfigError, TrainingDiverged, CheckpointFailed, MemberLost)
# What who told a run to go is told where that came while its end was recorded.
HAD_FINISHED = "the run had finished"
# Of a run's name in its folder's, in bytes: most file systems take 255, and the time stands before it.
LONGEST_IN_FOLDER = 200


def run_experiment(
    config: Config,
    *,
    folder: str | Path | None = None,
    overrides: Sequence[str] | None = None,
    parent: str | None = None,
    label: str | None = None,
) -> Result:
    """Trains one model as `config` says, scores it before and after on the same pairs, and logs both.

    The same run that had finished before is not trained again: its scores are returned, `skipped` is true.

    Args:
        config: from `compose`.
        folder: where the run's files go; None: one of its own, multirun/library/<date>/<time>_<name>.
        overrides: what was typed; kept with the run. None: what `compose` was given, where that is all.
        parent: the tracker's run id of the sweep that it belongs to.
        label: how what is told of it begins; None: with its name.

    Raises:
        ConfigError: the data, the model or their combination cannot be used; says what to do.
        TrainingDiverged: the loss or a score was NaN or infinite.
        CheckpointFailed: the disk is full.
        MemberLost: of several devices, one's process ended before the run.

    All are recorded as FAILED before they are raised, as is any other exception; KeyboardInterrupt and Terminated as KILLED. One that
    comes while the end of the run is recorded says that it had finished, where the same command is certain to find that end.
    """
    overrides = config.typed if overrides is None else overrides
    name = run_name(config, overrides or ())
    record = Record(
        tracker=build_tracker(config.tracker),
        folder=Path(folder) if folder is not None else library_folder(name),
        name=name,
        params=run_params(config, overrides or ()),
        label=label or name,
    )
    with record.hearing_cautions():
        return recorded(config, record, overrides, parent)


def recorded(config: Config, record: Record, overrides: Sequence[str] | None, parent: str | None) -> Result:
    """The run, whose end is recorded however it comes."""
    tags = {"embexp.command": identity.command_line()}
    try:
        record.describe(config, overrides)
        inputs = load_inputs(config, record)
        record.key, record.setting = keys_of(config, inputs)
        record.evaluation = fingerprints(inputs)["evaluation"]
        record.scored_on = inputs.extras.scored_on
        record.claim_folder(keeps_model=config.trainer.save_model, inputs=what_was_loaded(config, inputs, record))
        waiting = f"{record.label}: another process is making the same run; waiting for it to end"
        with alone_in(checkpoints_of(config, record.key), waiting=waiting) as place:
            return made_or_found(config, inputs, record, tags={**tags, PLACE: place}, parent=parent)
    except BaseException as error:
        if record.ended and isinstance(error, tuple(KILLED_BY)):
            # Of one that was skipped the end had been found.
            certain = not record.started or record.tracker.keeps_end
            raise type(error)(*((HAD_FINISHED,) if certain else ())) from None
        # Of what is interrupted before it began there is no run: the next start could not know it for its own.
        if not record.started and not isinstance(error, tuple(KILLED_BY)):
            # Where it is the tracker that cannot be reached, the run's folder still tells.
            with suppress(ConfigError):
                record.start(tags=tags, parent=parent)
        # Before the end: run.log is handed on there.
        broke = error.__cause__ if isinstance(error, tuple(KILLED_BY)) else error
        if isinstance(broke, Exception) and not isinstance(broke, TOLD_IN_WORDS):
            logging.getLogger("traceback").info("the run broke", exc_info=broke)
        record.end(*verdict(error))
        raise
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def library_folder(name: str) -> Path:
    """A folder that no other run has: what a run is called says too little of it, and may hold the paths of files."""
    now = datetime.now()
    called = name.replace(" · ", "_").replace("/", "_").encode()[:LONGEST_IN_FOLDER].decode(errors="ignore")
    return Path("multirun") / "library" / f"{now:%Y-%m-%d}" / f"{now:%H-%M-%S.%f}_{called}"


def made_or_found(
    config: Config, inputs: Inputs, record: Record, *, tags: dict[str, str], parent: str | None
) -> Result:
    """Trains and scores the run, from its last checkpoint where there is one; a run that had finished is skipped."""
    # What is trained anew and was interrupted goes on too: the same command again.
    found = record.tracker.find_run(str(record.key), finished=not config.rerun, place=tags[PLACE], folder=record.folder)
    if found is not None and found.status is Status.FINISHED:
        return skip(config, record, found)
    tags |= {"embexp.key": str(record.key), "embexp.setting": str(record.setting)}
    tags |= {"embexp.evaluation": str(record.evaluation), **scored_on_tags(record.scored_on)}
    record.start(tags=tags, parent=parent, run_id=found.run_id if found else None)
    try:
        train_and_score(config, inputs, record)
    except TrainingDiverged:
        # From there it would only diverge again. Here, where no other process may be making the same run.
        remove_checkpoints(config, record.key)
        raise
    try:
        result = record.end(Status.FINISHED)
    except tuple(KILLED_BY):
        if record.tracker.keeps_end:
            remove_checkpoints(config, record.key)
        raise
    # Not before: a run that is killed while its end is recorded goes on from its last step.
    remove_checkpoints(config, record.key)
    return result


def train_and_score(config: Config, inputs: Inputs, record: Record) -> None:
    """Scores at step 0, training, scores at the best step; all logged through `record`."""
    model = inputs.encoder.model.to(inputs.hardware.device)
    refuse_training_without_roles(model, inputs.rows, config)
    plan = build_loss(
        config.loss, model, seed=config.seed, dims=config.matryoshka_dims, weights=config.matryoshka_weights
    )
    refuse_too_many("evaluation.dims", config.evaluation.dims, model)
    refuse_what_cannot_be_shared(plan.module, devices=config.devices, name=config.names["loss"])
    view = view_for(config, inputs, plan)
    refuse_what_teaches_nothing(view, model, name=config.names["loss"])
    counts = {**inputs.rows.counts, **view.counts}
    log.info("data: %s as %s: %s", inputs.rows.name, view.name, ", ".join(f"{k} {v}" for k, v in counts.items()))
    decided = {f"loss/{name}": value for name, value in plan.decided.items()}
    record.log_metrics({**decided, **{f"data/{name}": count for name, count in counts.items()}}, 0)
    kept = config.trainer.data_cache
    warn_of(leaks_of_train(inputs.rows, inputs.pairs, inputs.extras, cache=kept))
    of_scores = [*leaks_of_dev(inputs.pairs), *leaks_of_classes(inputs.extras)]
    warn_of([*of_scores, *batches_of_all_rows(len(view.dataset), config.batch_size)])

    prompts = prompts_of(config.model)

    def score(name: str) -> Scores:
        return score_pairs(
            model,
            inputs.pairs[name],
            similarities=config.evaluation.similarities,
            batch_size=config.evaluation.batch_size,
            prompts=prompts,
        )

    before = scores_before(config, inputs, score)
    refuse_no_score(before["dev"], config.evaluation.select_by)
    metric = config.evaluation.select_by
    at_step_0 = before["dev"].metrics[metric]
    dev = inputs.pairs["dev"]
    loss, dims = plan.module, config.matryoshka_dims
    warn_of(cautions(view, model, prompts=prompts, dev=dev, dev_score=at_step_0, metric=metric, loss=loss, dims=dims))
    base = prefixed("dev", before["dev"].metrics)
    record.log_metrics(base, 0)
    if "test" in before:
        record.log_metrics(prefixed("test_before", before["test"].metrics), 0)
    inputs.extras.score_before(model, lambda metrics: record.log_metrics(metrics, 0))
    on_dev: dict[int, Scores] = {}

    def evaluate(step: int) -> dict[str, float]:
        on_dev[step] = score("dev")
        return prefixed("dev", on_dev[step].metrics)

    trained = train(
        inputs.encoder,
        plan,
        view=view,
        tokens=tokens_for(config, inputs, view),
        config=config,
        hardware=inputs.hardware,
        folder=checkpoints_of(config, record.key),
        evaluate=evaluate,
        record=record,
    )
    # The best step has been scored on dev, if this process trained it.
    known = {"dev": on_dev[trained.best_step]} if trained.best_step in on_dev else {}
    after = {name: known[name] if name in known else score(name) for name in inputs.pairs}
    log_outcome(record, trained, before, after, select_by=metric)
    write_predictions(record.folder / PREDICTIONS, inputs.pairs, before, after)
    if config.trainer.save_model:
        with quiet_loading():
            # Its card is the record's to write: sentence-transformers would hand on the base model's.
            record.keep_model(lambda folder: model.save_pretrained(str(folder), create_model_card=False))
    score_beside(inputs.extras, model, record, step=trained.steps)


def view_for(config: Config, inputs: Inputs, plan: LossPlan) -> View:
    """The view of the rows that the loss asks for."""
    miner = miner_for(config, inputs) if config.data.negatives == "hard" else None
    return cached_view(
        # What is mined anew makes another view.
        config.trainer.data_cache if miner is None or miner.folder else None,
        inputs.rows,
        plan.view,
        miner=miner,
        positives=config.data.positives,
        negatives=config.data.negatives,
        threshold=config.data.threshold,
        seed=config.seed,
    )


def tokens_for(config: Config, inputs: Inputs, view: View) -> Tokens | None:
    """The tokens of the view's texts, where they are kept: in a run that reads them all, which costs as much by itself."""
    rows = len(view.dataset)
    a_step = config.batch_size * config.trainer.accumulation_steps
    read = config.max_steps * a_step if config.max_steps else config.epochs * rows
    folder = config.trainer.data_cache
    if folder is None or read < rows:
        return None
    # The seed chooses which row's text is a negative, and hardly ever which texts there are.
    of = {"view": view.name, "of": inputs.rows.fingerprint}
    data = config.data
    rules = {"positives": data.positives, "negatives": data.negatives, "threshold": data.threshold}
    return kept_tokens(
        inputs.encoder.model,
        view.dataset,
        folder,
        of={**of, **rules},
        prompts=column_prompts(view, prompts_of(config.model)),
    )


def skip(config: Config, record: Record, found: FoundRun) -> Result:
    """The result of the same run, which had finished before."""
    remove_checkpoints(config, record.key)
    predictions = take_over(found, record)
    log.info("%s: trained before, not again (run %s); rerun=true trains it anew", record.label, found.run_id)
    if found.missed:
        log.warning("%s: what could not be scored then is not scored now either: %s", record.label, found.missed)
    if predictions is not None and (model := model_in(predictions.parent)) is not None:
        record.model = model
        log.info("%s: its model is in %s", record.label, from_here(model))
    elif config.trainer.save_model and predictions is not None:
        log.warning("%s: its model was not kept then; with rerun=true it is trained anew, and kept", record.label)
    return record.end(Status.FINISHED, "finished before", skipped=True)


def take_over(found: FoundRun, record: Record) -> Path | None:
    """The scores of a run that had finished before, and its predictions where they are within reach: where that is."""
    record.metrics, record.scored_on = dict(found.metrics), dict(found.scored_on)
    record.cautions += [said for said in found.cautions if said not in record.cautions]
    # Where the server is away, a run is known by its journal.
    record.found = None if Path(found.run_id).is_file() else found.run_id
    record.recall()
    predictions = local_predictions(found.artifacts)
    if predictions is not None and predictions.is_file():
        # They are there already where it is this very folder, which the run had finished in.
        with suppress(shutil.SameFileError):
            shutil.copy(predictions, record.folder)
    return predictions


def verdict(error: BaseException) -> tuple[Status, str]:
    """How a run that raised is to be closed, and why."""
    for kind, told in KILLED_BY.items():
        if isinstance(error, kind):
            # What broke while it waited for the end of the step.
            cause = error.__cause__
            return Status.KILLED, told if cause is None else f"{told}, as it failed: {verdict(cause)[1]}"
    if isinstance(error, TOLD_IN_WORDS):
        return Status.FAILED, str(error)
    return Status.FAILED, f"{type(error).__name__}: {error}"

"""One training, as the run's own process sees it (`train`) and as another device's does (`follow`)."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset
from transformers import TrainerCallback

from embexp.config import Config
from embexp.data.noisy import NoisyTexts
from embexp.data.tokens import Tokens
from embexp.data.views import View
from embexp.interrupts import Preemption, waiting_for_a_good_moment
from embexp.loss_plan import LossPlan
from embexp.memory import peak_memory
from embexp.models import Encoder
from embexp.record import Record
from embexp.tracking import NullTracker
from embexp.training.accelerations import Accelerations, accelerated
from embexp.training.arguments import training_arguments
from embexp.training.callbacks import Bar, Clock, Losses, NoiseEpoch, SaveAndGo, Scores, Settle
from embexp.training.checkpoints import Checkpoints, read_progress
from embexp.training.hardware import Hardware
from embexp.training.launchers import launchers_unheard
from embexp.training.members import Assignment, together
from embexp.training.progress import Progress
from embexp.training.shared import SharedSteps
from embexp.training.trainer import EmbeddingTrainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """What training took.

    Attributes:
        steps: optimiser steps, those before a resume included.
        seconds: of training alone, those before a resume included: without scores and checkpoints.
        texts_per_second: trained on in these seconds.
        best_step: the step whose weights were restored.
        peak_memory_bytes: of the GPU, or of this process on the CPU, since training began; None where nothing tells it. On
            several devices the first one's.
    """

    steps: int
    seconds: float
    texts_per_second: float
    best_step: int
    peak_memory_bytes: int | None


def train(
    encoder: Encoder,
    plan: LossPlan,
    *,
    view: View,
    tokens: Tokens | None = None,
    config: Config,
    hardware: Hardware,
    folder: Path,
    evaluate: Callable[[int], dict[str, float]],
    record: Record,
) -> Trained:
    """Trains the encoder in place, from the last checkpoint in `folder` where there is one, and restores the best step.

    Args:
        encoder: its model is on the hardware's device and the loss was built over it.
        plan: the loss and how it is fed.
        view: the rows, as the loss asks for them.
        tokens: of their texts, where they are kept; others are tokenised as they come.
        config: batch size, steps, learning rate, trainer and evaluation are read.
        hardware: from `choose_hardware`.
        folder: of this run's checkpoints; the caller's to remove, when the run has been recorded as finished.
        evaluate: called with the step; gives "dev/..." scores.
        record: gets losses and scores; on a resume, those of before.

    Raises:
        TrainingDiverged: loss or dev score became NaN or infinite.
        CheckpointFailed: the disk is full.
        Terminated: SIGTERM came; a checkpoint was written.
        MemberLost: another device's process ended.
    """
    checkpoints = Checkpoints(folder)
    found = checkpoints.last()
    complete = found is not None and read_progress(found)["complete"]
    if config.trainer.checkpoints and not complete:
        checkpoints.refuse_a_full_disk(plan.module)
    if found is not None:
        log.info("goes on from its checkpoint of step %s", found.name.rpartition("-")[2])
    assignment = Assignment(encoder, plan, view, tokens, config, hardware, found, folder)
    progress = _progress(config, encoder, evaluate, record)
    bar = Bar(clock=progress.clock, losses=progress.losses)
    # What is only loaded needs no other device.
    devices = 1 if complete else config.devices
    with (
        launchers_unheard(),
        together(assignment, devices=devices) as shared,
        accelerated(assignment, alone=shared is None) as how,
        peak_memory(hardware.device) as peak,
    ):

        def built(preemption: Preemption) -> EmbeddingTrainer:
            return _trainer(assignment, progress, how, shared, _callbacks(progress, preemption, bar, config))

        steps = _trained_steps(built, found, clock=progress.clock, bar=bar)
    # The trainer, its optimiser and its callbacks hold each other: only a collection gives their memory back.
    gc.collect()
    # From here on it computes as it did at step 0, whatever the run's precision was.
    for put_there in ("forward", "_original_forward"):
        vars(encoder.model).pop(put_there, None)
    scores = progress.scores
    encoder.model.load_state_dict(scores.best_weights)
    encoder.model.eval()
    return Trained(
        steps=steps,
        seconds=progress.clock.seconds,
        texts_per_second=progress.clock.texts / max(progress.clock.seconds, 1e-9),
        best_step=scores.best_step,
        peak_memory_bytes=peak[0] if peak else None,
    )


def follow(assignment: Assignment, shared: SharedSteps) -> None:
    """Another device's part of `train`: the same steps over its own rows. It scores, logs, saves and decides nothing."""
    unread = Record(tracker=NullTracker(), folder=assignment.folder, name="", params={})
    progress = _progress(assignment.config, assignment.encoder, lambda step: {}, unread)
    with accelerated(assignment, alone=False) as how:
        _trainer(assignment, progress, how, shared, []).train_from(assignment.checkpoint)


def _trainer(
    assignment: Assignment,
    progress: Progress,
    how: Accelerations,
    shared: SharedSteps | None,
    callbacks: list[TrainerCallback],
) -> EmbeddingTrainer:
    dataset, noise = _dataset(assignment.view, assignment.plan)
    return EmbeddingTrainer(
        encoder=how.encoder,
        checkpoints=Checkpoints(assignment.folder),
        progress=progress,
        shared=shared,
        tokens=assignment.tokens,
        loss_called=assignment.config.loss.target,
        model=assignment.encoder.model,
        args=training_arguments(
            assignment.config,
            assignment.encoder.model,
            assignment.plan,
            assignment.view,
            assignment.hardware,
            assignment.folder,
        ),
        train_dataset=dataset,
        loss=assignment.plan.module,
        callbacks=[*how.callbacks, *([NoiseEpoch(noise)] if noise else []), *callbacks],
    )


def _trained_steps(
    built: Callable[[Preemption], EmbeddingTrainer], found: Path | None, *, clock: Clock, bar: Bar
) -> int:
    """Trains to the end, or to SIGTERM; nothing of the trainer is left when this returns."""
    with waiting_for_a_good_moment() as preemption:
        trainer = built(preemption)
        clock.go()
        try:
            return trainer.train_from(found)
        finally:
            clock.pause()
            bar.close()
            trainer.accelerator.free_memory()


def _progress(
    config: Config, encoder: Encoder, evaluate: Callable[[int], dict[str, float]], record: Record
) -> Progress:
    clock = Clock()
    scores = Scores(
        evaluate,
        model=encoder.model,
        select_by=config.evaluation.select_by,
        times=config.evaluation.times,
        patience=config.trainer.early_stopping,
        checkpoints=config.trainer.checkpoints,
        tracker=record,
        clock=clock,
    )
    return Progress(scores, Losses(record, every=config.trainer.logging_steps), clock, record)


def _callbacks(progress: Progress, preemption: Preemption, bar: Bar, config: Config) -> list[TrainerCallback]:
    # In this order: a checkpoint, written when all have been called, holds the loss and the scores of its step.
    last = SaveAndGo(preemption, checkpoints=config.trainer.checkpoints)
    begun = Settle(progress.record.tracker, progress.clock, preemption)
    return [begun, progress.losses, progress.scores, bar, last]


def _dataset(view: View, plan: LossPlan) -> tuple[Dataset, NoisyTexts | None]:
    if plan.noise is None or view.name != "noisy":
        return view.dataset, None
    noise = NoisyTexts(plan.noise)
    return noise.over(view.dataset), noise

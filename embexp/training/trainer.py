"""The trainer: sentence-transformers' own, with unpadded steps, true failures and checkpoints that hold everything."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback

from embexp.config import Config
from embexp.data.noisy import NoisyTexts
from embexp.data.views import View
from embexp.encoding import StepEncoder, can_be_sorted, can_be_unpadded
from embexp.interrupts import Preemption, waiting_for_a_good_moment
from embexp.losses import LossPlan
from embexp.memory import peak_memory
from embexp.models import Encoder
from embexp.record import Record
from embexp.tracking import NullTracker
from embexp.training.arguments import training_arguments
from embexp.training.callbacks import Bar, Clock, Losses, NoiseEpoch, SaveAndGo, Scores
from embexp.training.checkpoints import Checkpoints, read_progress, write_progress
from embexp.training.diverged import diverged
from embexp.training.hardware import Hardware
from embexp.training.members import Assignment, together
from embexp.training.progress import Progress
from embexp.training.shared import ROWS, SharedSteps

log = logging.getLogger(__name__)

WEIGHTS = "weights.pt"


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


class EmbeddingTrainer(SentenceTransformerTrainer):
    """sentence-transformers' trainer; see the module's docstring for what differs."""

    def __init__(
        self,
        *,
        encoder: StepEncoder | None,
        checkpoints: Checkpoints,
        progress: Progress,
        shared: SharedSteps | None,
        **arguments: Any,
    ) -> None:
        self.encoder = encoder
        self.checkpoints = checkpoints
        self.progress = progress
        self.shared = shared
        self.writing_to: str | None = None
        super().__init__(**arguments)
        # What to say is embexp's own callbacks' to decide.
        self.remove_callback(PrinterCallback)
        if shared is not None:
            self.data_collator: Any = shared.collator(self.data_collator)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: it takes seconds, and keeps the trainer alive for as long as the model."""

    def train_from(self, checkpoint: Path | None) -> int:
        """Trains to the end, from the start or from a checkpoint; one of the last step is only loaded. Gives the steps."""
        if checkpoint is not None:
            progress = read_progress(checkpoint)
            if progress["complete"]:
                self._load_from_checkpoint(str(checkpoint))
                return int(progress["steps"])
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return int(self.state.global_step)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The loss of a step, its texts encoded in one go where the loss can be computed so."""
        # The library computes the encoder alone in the run's precision, and would leave a decoder in fp32.
        with self.accelerator.autocast() if hasattr(self.loss, "sum_over_tokens") else nullcontext():
            return self._loss(model, inputs, return_outputs, num_items_in_batch)

    def _loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool, num_items_in_batch: Any
    ) -> Any:
        if self.shared is not None:
            columns, labels = self.collect_features(inputs)
            return self.shared.loss(self.loss, model, columns, labels, rows=inputs[ROWS], encoder=self.encoder)
        if self.encoder is not None:
            columns, labels = self.collect_features(inputs)
            if can_be_sorted(columns):
                if hasattr(self.loss, "compute_sorted_loss"):
                    return self.loss.compute_sorted_loss(columns, self.encoder)
                if hasattr(self.loss, "compute_loss_from_embeddings"):
                    return self.loss.compute_loss_from_embeddings(self.encoder.encode(model, columns), labels)
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """One forward and backward pass; on a GPU a loss that is no number is seen when losses are logged."""
        with self.shared.own_noise(self.state.global_step) if self.shared else nullcontext():
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
        if loss.device.type != "cuda" and not torch.isfinite(loss):
            raise diverged("train/loss", loss.item(), self.state.global_step + 1)
        self.progress.losses.add(loss)
        own = sum(len(ids) for name, ids in inputs.items() if name.endswith("input_ids"))
        self.progress.clock.texts += self.shared.texts(inputs) if self.shared else own
        return loss

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        if self.shared is not None:
            self.shared.add_up_gradients(self.loss, self.model)
        # The Trainer clips the model alone; a decoder or a softmax head is trained too.
        norm = self.accelerator.clip_grad_norm_(self.loss.parameters(), self.args.max_grad_norm)
        self.progress.losses.grad_norm = norm
        return norm

    def _get_output_dir(self, trial: Any) -> str:
        return self.writing_to or str(self.args.output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        step, scores = self.state.global_step, self.progress.scores
        with self.checkpoints.writing(step, best_step=scores.best_step, best_weights=scores.best_weights) as partial:
            self.writing_to = str(partial)
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.writing_to = None

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The loss holds the encoder and, where it has them, its own parameters: all that is trained, in one file.
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.loss.state_dict(), folder / WEIGHTS)
        complete = self.state.global_step >= self.state.max_steps or self.control.should_training_stop
        write_progress(folder, {**self.progress.state(), "steps": self.state.global_step, "complete": complete})

    def _load_from_checkpoint(self, checkpoint_path: str, model: torch.nn.Module | None = None) -> None:
        folder = Path(checkpoint_path)
        self.loss.load_state_dict(torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True))
        state = read_progress(folder)
        self.progress.load_state(state, best_weights=self.checkpoints.best_weights(state["best"]["step"]))


def train(
    encoder: Encoder,
    plan: LossPlan,
    *,
    view: View,
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
    if config.trainer.checkpoints:
        checkpoints.refuse_a_full_disk(plan.module)
    found = checkpoints.last()
    if found is not None:
        log.info("goes on from its checkpoint of step %s", found.name.rpartition("-")[2])
    assignment = Assignment(encoder, plan, view, config, hardware, found, folder)
    progress = _progress(config, encoder, evaluate, record)
    bar = Bar(clock=progress.clock, losses=progress.losses)
    # What is only loaded needs no other device.
    devices = 1 if found is not None and read_progress(found)["complete"] else config.devices
    with (
        together(assignment, devices=devices) as shared,
        _encoding(assignment) as step_encoder,
        peak_memory(hardware.device) as peak,
    ):

        def built(preemption: Preemption) -> EmbeddingTrainer:
            return _trainer(assignment, progress, step_encoder, shared, _callbacks(progress, preemption, bar, config))

        steps = _trained_steps(built, found, clock=progress.clock, bar=bar)
    # The trainer, its optimiser and its callbacks hold each other: only a collection gives their memory back.
    gc.collect()
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
    with _encoding(assignment) as step_encoder:
        _trainer(assignment, progress, step_encoder, shared, []).train_from(assignment.checkpoint)


def _trainer(
    assignment: Assignment,
    progress: Progress,
    encoder: StepEncoder | None,
    shared: SharedSteps | None,
    callbacks: list[TrainerCallback],
) -> EmbeddingTrainer:
    dataset, noise = _dataset(assignment.view, assignment.plan)
    return EmbeddingTrainer(
        encoder=encoder,
        checkpoints=Checkpoints(assignment.folder),
        progress=progress,
        shared=shared,
        model=assignment.encoder.model,
        args=training_arguments(assignment.config, assignment.plan, assignment.hardware, assignment.folder),
        train_dataset=dataset,
        loss=assignment.plan.module,
        callbacks=[*([NoiseEpoch(noise)] if noise else []), *callbacks],
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


@contextmanager
def _encoding(assignment: Assignment) -> Iterator[StepEncoder | None]:
    trainer, model = assignment.config.trainer, assignment.encoder.model
    if not trainer.sort_by_length:
        yield None
        return
    # A GPU computes attention length by length slowly: too many small kernels.
    unpadded = trainer.unpadded and assignment.hardware.device == "cpu" and can_be_unpadded(model)
    encoder = StepEncoder(trainer.chunk_tokens, unpadded)
    with encoder.within(model):
        yield encoder


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
    return [progress.losses, progress.scores, bar, last]


def _dataset(view: View, plan: LossPlan) -> tuple[Dataset, NoisyTexts | None]:
    if plan.noise is None or view.name != "noisy":
        return view.dataset, None
    noise = NoisyTexts(plan.noise)
    return noise.over(view.dataset), noise

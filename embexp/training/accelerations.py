"""What makes the steps of a run faster than the library's own and leaves their result: chosen by its config and hardware."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from transformers import TrainerCallback

from embexp.encoding import (
    OnGpu,
    StepEncoder,
    can_be_packed,
    can_be_unpadded,
    fast_dropout,
    fast_linear,
)
from embexp.pages import freed_memory_kept
from embexp.training.graphs import Graphs, KeptGradients, can_be_recorded
from embexp.training.members import Assignment
from embexp.training.row_gradient import RowGradient, row_gradient_of, sparse, tied_look_ups

log = logging.getLogger(__name__)

# Tokens of a chunk where a config leaves it open: a CPU's caches are small, a GPU is kept waiting by many small kernels.
CHUNK_TOKENS = {"cpu": 512, "mps": 8192, "cuda": 16384}


@dataclass(frozen=True)
class Accelerations:
    """What was chosen.

    Attributes:
        encoder: of the texts of a step in one go; None: column by column, as the library does.
        callbacks: of the trainer, before all others.
    """

    encoder: StepEncoder | None
    callbacks: tuple[TrainerCallback, ...] = ()


@contextmanager
def accelerated(assignment: Assignment, *, alone: bool) -> Iterator[Accelerations]:
    """Within it model and loss are set to it, from the first step to the last.

    Args:
        assignment: whose model is on the device.
        alone: whether the run is trained on one device.
    """
    device = assignment.hardware.device
    with ExitStack() as until_the_end:
        found = _on_cpu(assignment, until_the_end, alone=alone) if device == "cpu" else _on_gpu(assignment, alone=alone)
        if found.encoder is not None:
            until_the_end.enter_context(found.encoder.within(assignment.encoder.model))
        yield found


def _on_cpu(assignment: Assignment, until_the_end: ExitStack, *, alone: bool) -> Accelerations:
    trainer, model, loss = assignment.config.trainer, assignment.encoder.model, assignment.plan.module
    if trainer.keep_memory:
        until_the_end.enter_context(freed_memory_kept())
    if trainer.fast_dropout:
        until_the_end.enter_context(fast_dropout(loss))
    # Of several devices every one would write its own rows, and read those of all.
    by_rows = trainer.row_gradient and alone
    encoder = None
    if trainer.sort_by_length:
        unpadded, chunk_tokens = trainer.unpadded and can_be_unpadded(model), _chunk_tokens(assignment)
        told = "without padding" if unpadded else f"in chunks of {chunk_tokens} tokens, sorted by length"
        if trainer.fast_linear and unpadded and assignment.hardware.precision == "bf16":
            count = until_the_end.enter_context(fast_linear(loss))
            told += f"; {count} linear layers by oneDNN" if count else ""
        log.info("steps: %s", told)
        encoder = StepEncoder(chunk_tokens, unpadded, trainer.fast_dropout, trainer.fused_cross_entropy)
        look_ups = tied_look_ups(model, loss) if by_rows and trainer.fused_cross_entropy else []
        if look_ups and encoder.can_decode(loss.decoder):
            until_the_end.enter_context(sparse(look_ups))
            encoder = replace(encoder, head_in_place=True)
    embeddings = row_gradient_of(model, loss) if by_rows else None
    if embeddings is None:
        return Accelerations(encoder)
    gradient = RowGradient(embeddings)
    until_the_end.enter_context(gradient.kept())
    return Accelerations(encoder, (gradient,))


def _on_gpu(assignment: Assignment, *, alone: bool) -> Accelerations:
    trainer, model, hardware = assignment.config.trainer, assignment.encoder.model, assignment.hardware
    if not trainer.sort_by_length:
        return Accelerations(None)
    chunk_tokens = _chunk_tokens(assignment)
    if hardware.device != "cuda" or not trainer.unpadded or not can_be_packed(model, precision=hardware.precision):
        log.info("steps: in chunks of %d tokens, sorted by length", chunk_tokens)
        return Accelerations(StepEncoder(chunk_tokens))
    # Gradient checkpointing asks for the state of the generator, which is not to be had while a graph is recorded.
    if not (trainer.cuda_graphs and alone and can_be_recorded(model)) or trainer.gradient_checkpointing:
        log.info("steps: without padding, by FlashAttention; not by CUDA graphs")
        return Accelerations(StepEncoder(chunk_tokens, unpadded=True, gpu=OnGpu(model)))
    log.info("steps: without padding, by FlashAttention and CUDA graphs")
    kept = KeptGradients(model)
    return Accelerations(StepEncoder(chunk_tokens, unpadded=True, gpu=Graphs(model, kept)), (kept,))


def _chunk_tokens(assignment: Assignment) -> int:
    return assignment.config.trainer.chunk_tokens or CHUNK_TOKENS[assignment.hardware.device]

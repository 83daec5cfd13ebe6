"""The gradient of word embeddings, written row by row on the CPU.

It is as large as the embeddings (47 MB for MiniLM), and all but the rows of a step's tokens is zero. Made anew in every
step it costs a page fault for each 4 KiB. Here it is kept: the step's rows are added to it (the look-up gives a sparse
gradient, which autograd adds to the dense one in place), and they alone are zeroed before the next. What clips and what
optimises sees the same dense gradient as ever. Where a loss reaches the weights in another way too, as a penalty on them
does, their gradient comes dense, and all of it is zeroed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def row_gradient_of(model: SentenceTransformer, loss: nn.Module) -> nn.Embedding | None:
    """The word embeddings, where they are trained and are no other module's; else None.

    Args:
        model: on the CPU.
        loss: holds the model; a decoder tied to it uses the weights a second time.
    """
    try:
        found = getattr(model.transformers_model, "get_input_embeddings", lambda: None)()
    except NotImplementedError:
        # transformers', where it finds none.
        return None
    if type(found) is not nn.Embedding or not found.weight.requires_grad or found.scale_grad_by_freq:
        return None
    owners = [part for part in loss.modules() if any(own is found.weight for own in part.parameters(recurse=False))]
    return found if owners == [found] else None


class RowGradient(TrainerCallback):
    """Gives the embeddings their kept gradient at the start of every optimiser step."""

    def __init__(self, embeddings: nn.Embedding) -> None:
        self.embeddings = embeddings
        self.gradient = torch.zeros_like(embeddings.weight, requires_grad=False)
        self.rows: list[Tensor] = []
        self.came_dense = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """From the first step to the last."""
        hooks = [
            self.embeddings.register_forward_pre_hook(self._note),
            self.embeddings.weight.register_hook(self._look_at),
        ]
        before, self.embeddings.sparse = self.embeddings.sparse, True
        try:
            yield
        finally:
            self.embeddings.sparse = before
            for hook in hooks:
                hook.remove()

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Zeroes the rows of the step before."""
        if self.came_dense:
            self.gradient.zero_()
        elif self.rows:
            self.gradient.index_fill_(0, torch.cat(self.rows), 0)
        self.rows.clear()
        self.came_dense = False
        self.embeddings.weight.grad = self.gradient

    def _note(self, embeddings: nn.Embedding, given: tuple[Tensor, ...]) -> None:
        if torch.is_grad_enabled():
            self.rows.append(given[0].flatten())

    def _look_at(self, gradient: Tensor) -> None:
        self.came_dense |= not gradient.is_sparse

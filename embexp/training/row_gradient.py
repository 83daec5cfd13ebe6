"""The gradient of word embeddings, written row by row on the CPU.

It is as large as the embeddings (47 MB for MiniLM), and all but the rows of a step's tokens is zero. Made anew in every
step it costs a page fault for each 4 KiB. Here it is kept: the step's rows are added to it (the look-up gives a sparse
gradient, which autograd adds to the dense one in place), and they alone are zeroed before the next. What clips and what
optimises sees the same dense gradient as ever. Where a loss reaches the weights in another way too, as a penalty on them
does, their gradient comes dense, and all of it is zeroed. Of a decoder that shares them the head's gradient is dense anyway: it is
there first (`embexp/encoding/vocabulary.py` writes it), and the rows of the two look-ups are added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


def row_gradient_of(model: SentenceTransformer, loss: nn.Module) -> nn.Embedding | None:
    """The word embeddings, where they are trained and are no other module's; else None.

    Args:
        model: on the CPU.
        loss: holds the model; a decoder tied to it uses the weights a second time.
    """
    owners = _owners_of_words(model, loss)
    return owners[0] if len(owners) == 1 and type(owners[0]) is nn.Embedding else None


def tied_look_ups(model: SentenceTransformer, loss: nn.Module) -> list[nn.Embedding]:
    """The word embeddings of an encoder and of the decoder that it trains, which share them with the decoder's head; else none.

    Args:
        model: on the CPU.
        loss: TSDAE's, whose decoder's head is used in every step before they are, or any other.
    """
    owners = _owners_of_words(model, loss)
    look_ups = [owner for owner in owners if type(owner) is nn.Embedding]
    heads = [owner for owner in owners if type(owner) is nn.Linear]
    tied = isinstance(loss, DenoisingAutoEncoderLoss) and len(heads) == 1 and len(look_ups) + 1 == len(owners)
    return look_ups if tied else []


def _owners_of_words(model: SentenceTransformer, loss: nn.Module) -> list[nn.Module]:
    """The modules whose weight is the model's word embeddings, where these are trained as they are looked up."""
    try:
        found = getattr(model.transformers_model, "get_input_embeddings", lambda: None)()
    except NotImplementedError:
        # transformers', where it finds none.
        return []
    if type(found) is not nn.Embedding or not found.weight.requires_grad or found.scale_grad_by_freq:
        return []
    return [part for part in loss.modules() if any(own is found.weight for own in part.parameters(recurse=False))]


@contextmanager
def sparse(look_ups: Sequence[nn.Embedding]) -> Iterator[None]:
    """Within it their gradients are sparse: autograd adds rows to the dense gradient that is there, and does not make two more such."""
    before = [look_up.sparse for look_up in look_ups]
    for look_up in look_ups:
        look_up.sparse = True
    try:
        yield
    finally:
        for look_up, was in zip(look_ups, before, strict=True):
            look_up.sparse = was


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
        try:
            with sparse([self.embeddings]):
                yield
        finally:
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

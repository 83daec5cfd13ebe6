"""A step that several members share: each encodes its own rows, and all compute the loss of the whole batch.

Every member draws the same batch and takes every n-th of its rows. Where a loss is computed from embeddings, those of all
rows are gathered and every member computes the whole loss over them, its own rows' embeddings alone with a gradient. A
parameter's gradient is then the sum of what the members have for it: exactly one device's loss, with all its in-batch
negatives.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from embexp.config import ConfigError
from embexp.encoding import StepEncoder, can_be_sorted
from embexp.loss_ways import computed_by
from embexp.training.group import Group

# Beside the inputs of a member's own rows: how many rows the whole batch has.
ROWS = "rows_of_all"
# What a loss may have by which it can be computed over several devices; one of them is enough.
WAYS = ("compute_loss_from_embeddings", "sum_over_tokens", "put_together")


def refuse_what_cannot_be_shared(loss: nn.Module, *, devices: int, name: str) -> None:
    """Before anything is scored or trained.

    Raises:
        ConfigError: the loss has none of WAYS.
    """
    # By put_together it is computed in its own forward.
    shared = hasattr(loss, "put_together") or any(computed_by(loss, way) for way in WAYS)
    if devices > 1 and not shared:
        raise ConfigError(
            [
                f"devices={devices}: loss={name} ({type(loss).__name__}) cannot be computed over several devices, for it has "
                "no compute_loss_from_embeddings, or a forward that does more; use devices=1, or a loss that can be: all that "
                "embexp ships."
            ]
        )


class SharedCollator:
    """Collates a member's own rows of a batch, so that no member tokenises another's; labels are those of all rows."""

    def __init__(self, collator: Any, group: Group) -> None:
        self.collator = collator
        self.group = group
        self.valid_label_columns = collator.valid_label_columns

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """The trainer's inputs; a member that no row is left for gets the first, which counts for nothing."""
        inputs: dict[str, Any] = self.collator(rows[self.group.rank :: self.group.size] or rows[:1])
        if "label" in inputs:
            column = next(name for name in self.valid_label_columns if name in rows[0])
            inputs["label"] = self.collator([{column: row[column]} for row in rows])["label"]
        return {**inputs, ROWS: len(rows)}


class SharedSteps:
    """What a member of a group does otherwise than one that trains alone."""

    def __init__(self, group: Group, *, seed: int) -> None:
        self.group = group
        self.seed = seed
        self._at = (-1, 0)

    def collator(self, alone: Any) -> SharedCollator:
        """In place of the one that collates all rows."""
        return SharedCollator(alone, self.group)

    @contextmanager
    def own_noise(self, step: int) -> Iterator[None]:
        """Dropout of its own for every member, step and part of an accumulated step: nothing of it need be saved.

        Outside of it the members' generators stay alike, as the order of the rows may be drawn from them.
        """
        self._at = (step, self._at[1] + 1 if self._at[0] == step else 0)
        with self._drawing(self.group.rank):
            yield

    @contextmanager
    def _drawing(self, who: object) -> Iterator[None]:
        drawn = random.Random(f"{self.seed}/{self._at}/{who}").getrandbits(63)
        with torch.random.fork_rng([0] if self.group.device.type == "cuda" else []):
            torch.manual_seed(drawn)
            yield

    def loss(
        self,
        module: Any,
        model: Callable[[dict[str, Any]], dict[str, Tensor]],
        columns: Sequence[dict[str, Any]],
        labels: Tensor | None,
        *,
        rows: int,
        encoder: StepEncoder | None,
    ) -> Tensor:
        """The loss of the whole batch; its gradient is this member's share.

        Args:
            module: the loss.
            model: gives "sentence_embedding" for a column.
            columns: of this member's own rows; of one that counts for nothing where it has none.
            labels: of all rows, in their order.
            rows: of the whole batch.
            encoder: of texts in one go; None: column by column.
        """
        own = len(range(self.group.rank, rows, self.group.size))
        in_one_go = encoder is not None and can_be_sorted(columns)
        if encoder is not None and in_one_go and computed_by(module, "sum_over_tokens"):
            total, tokens = module.sum_over_tokens(columns, encoder)
            return self._mean_over_tokens(total if own else total * 0, tokens if own else 0)
        if hasattr(module, "put_together"):
            module.put_together = lambda embeddings: self._of_all_rows(embeddings, own, rows)
            try:
                return module(columns, labels)
            finally:
                module.put_together = None
        if not computed_by(module, "compute_loss_from_embeddings"):
            raise ConfigError(
                [
                    f"devices={self.group.size}: this model's texts cannot be sorted, and with trainer.sort_by_length=false or "
                    f"such a model {type(module).__name__} is computed on one device alone; use devices=1."
                ]
            )
        if encoder is not None and in_one_go:
            embeddings = encoder.encode(model, columns)
        else:
            embeddings = [model(column)["sentence_embedding"] for column in columns]
        found = self._of_all_rows(embeddings, own, rows)
        # What it draws, every member must draw alike: the gradients are added up as those of one function.
        with self._drawing("all"):
            return module.compute_loss_from_embeddings(found, labels)

    def _mean_over_tokens(self, total: Tensor, tokens: int) -> Tensor:
        numbers = torch.stack([total.detach().double(), total.new_tensor(tokens, dtype=torch.float64)])
        total_of_all, tokens_of_all = self.group.add_up(numbers)
        share = total / tokens_of_all.to(total.dtype)
        # The value is that of all rows, the gradient that of its own.
        return share + ((total_of_all / tokens_of_all).to(total.dtype) - share).detach()

    def _of_all_rows(self, embeddings: Sequence[Tensor], own: int, rows: int) -> list[Tensor]:
        """Of each column, (own rows, dimension) -> (rows, dimension), in the order of the batch."""
        columns = torch.stack([column[:own] for column in embeddings])
        most = -(-rows // self.group.size)
        padded = torch.cat([columns, columns.new_zeros(len(columns), most - own, columns.shape[2])], dim=1)
        # In float32, whatever they were computed in: nothing is lost, and every backend knows it.
        found = [part.to(columns.dtype) for part in self.group.gather(padded.detach().float())]
        found[self.group.rank] = padded
        # Row j of member r is row j * size + r of the batch; what was padded comes out behind the last.
        return list(torch.stack(found, dim=2).flatten(1, 2)[:, :rows])

    def add_up_gradients(self, module: nn.Module, model: nn.Module) -> None:
        """Every trained parameter's gradient becomes that of the whole batch; before it is clipped.

        Args:
            module: the loss, which holds the encoder.
            model: the encoder.
        """
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.group.add_up_gradients(trained)
        if hasattr(module, "sum_over_tokens"):
            return
        # What such a loss owns it uses on all rows, in every member: each has the whole gradient, not its share.
        encoder = {id(parameter) for parameter in model.parameters()}
        for parameter in trained:
            if id(parameter) not in encoder and parameter.grad is not None:
                parameter.grad /= self.group.size

    def texts(self, inputs: dict[str, Any]) -> int:
        """Of the whole batch."""
        return int(inputs[ROWS]) * sum(name.endswith("input_ids") for name in inputs)

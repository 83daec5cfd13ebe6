"""Matryoshka: a loss that is also taken of the first few dimensions of the embeddings, so that these alone will do.

sentence-transformers' MatryoshkaLoss; here it is computed as the loss is of which it is made: from embeddings that were
encoded in one go, or from those of several devices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss
from sentence_transformers.sentence_transformer.losses.matryoshka import shrink
from torch import Tensor, nn

from embexp.config import ConfigError
from embexp.loss_ways import computed_by


class MatryoshkaOfEmbeddings(MatryoshkaLoss):
    """MatryoshkaLoss of a loss that can be computed from embeddings."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor | None) -> Tensor:
        """What `forward` gives.

        Args:
            embeddings: of each column, (rows, dimension).
            labels: as the loss takes them.
        """
        parts = [
            weight * self.loss.compute_loss_from_embeddings([shrink(column, dim) for column in embeddings], labels)
            for dim, weight in zip(self.matryoshka_dims, self.matryoshka_weights, strict=True)
        ]
        whole: Tensor = sum(parts[1:], start=parts[0])
        return whole


class MatryoshkaOfCached(MatryoshkaLoss):
    """MatryoshkaLoss of `embexp.losses.SharedCachedLoss`, whose embeddings are put together once they are cut."""

    @property
    def put_together(self) -> Callable[[Sequence[Tensor]], Sequence[Tensor]] | None:
        """Gives the columns of all devices' rows for those of one; see SharedCachedLoss."""
        found: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = self.loss.put_together
        return found

    @put_together.setter
    def put_together(self, gather: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None) -> None:
        self.loss.put_together = gather


def matryoshka(
    model: SentenceTransformer, loss: nn.Module, *, dims: Sequence[int], weights: Sequence[float] | None
) -> nn.Module:
    """The sum of the loss over embeddings cut to each of `dims` and brought to length one, each weighed.

    Source: Kusupati et al. 2022, https://arxiv.org/abs/2205.13147.

    Args:
        model: whose embeddings they are.
        loss: over them.
        dims: of the embeddings' first so many dimensions.
        weights: of each; None: 1.

    Raises:
        ConfigError: the model's embeddings have fewer dimensions, or the loss has weights of its own, which read whole embeddings.
    """
    refuse_too_many("matryoshka_dims", dims, model)
    of_model = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) not in of_model for parameter in loss.parameters()):
        raise ConfigError(
            [
                f"matryoshka_dims={list(dims)}: {type(loss).__name__} has weights of its own that read whole embeddings, and these cannot "
                "be cut; use another loss, or leave it out."
            ]
        )
    kind: type[Any] = MatryoshkaLoss
    if hasattr(loss, "put_together"):
        kind = MatryoshkaOfCached
    elif computed_by(loss, "compute_loss_from_embeddings"):
        kind = MatryoshkaOfEmbeddings
    made: nn.Module = kind(model, loss, list(dims), None if weights is None else list(weights))
    return made


def refuse_too_many(key: str, dims: Sequence[int] | None, model: SentenceTransformer) -> None:
    """Before anything is scored or trained; None are never too many.

    Raises:
        ConfigError: the model's embeddings have fewer than any of `dims`.
    """
    there = model.get_embedding_dimension()
    if dims is not None and there is not None and max(dims) > there:
        raise ConfigError([f"{key}={list(dims)}: the model's embeddings have {there} dimensions, and no more."])

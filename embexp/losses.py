"""Losses that need more than their constructor: a factory for each.

A loss option names a sentence-transformers class, or one of these, as its `_target_`; the keys of the option are its arguments. A factory
takes the model and those arguments and gives an nn.Module; what else a loss is stands in `embexp.loss_plan`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    BatchAllTripletLoss,
    BatchHardSoftMarginTripletLoss,
    BatchHardTripletLoss,
    BatchHardTripletLossDistanceFunction,
    BatchSemiHardTripletLoss,
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
    SoftmaxLoss,
)
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from embexp.config import ConfigError
from embexp.data.rows import NLI_LABELS
from embexp.denoising import SortedDenoisingLoss
from embexp.model_files import find
from embexp.models import quiet_loading


def mnr(
    model: SentenceTransformer,
    *,
    scale: float,
    directions: list[str],
    partition_mode: str,
    hardness_mode: str | None,
    hardness_strength: float,
) -> nn.Module:
    """MultipleNegativesRankingLoss, all of whose arguments an option can hold.

    Source: Henderson et al. 2017, https://arxiv.org/abs/1705.00652.
    """
    return MultipleNegativesRankingLoss(
        model,
        scale=scale,
        directions=tuple(directions),
        partition_mode=partition_mode,
        hardness_mode=hardness_mode,
        hardness_strength=hardness_strength,
    )


def cached_mnr(
    model: SentenceTransformer, *, mini_batch_size: int, directions: list[str], **arguments: Any
) -> nn.Module:
    """mnr's loss over batches larger than memory, with its gradients; the other arguments are mnr's.

    Source: Gao et al. 2021 (GradCache), https://arxiv.org/abs/2101.06983.
    """
    return SharedCachedLoss(model, mini_batch_size=mini_batch_size, directions=tuple(directions), **arguments)


class SharedCachedLoss(CachedMultipleNegativesRankingLoss):
    """CachedMultipleNegativesRankingLoss over the embeddings of several devices, where `put_together` gathers them.

    Attributes:
        put_together: gives the columns of all rows for those of a device's own; None: they are all rows.
    """

    put_together: Callable[[Sequence[Tensor]], Sequence[Tensor]] | None = None

    def calculate_loss(
        self, reps: list[list[Tensor]], labels: Tensor | None = None, *, with_backward: bool = False
    ) -> Tensor:
        """The loss over all rows, of which `reps` has a device's own, column by column in parts."""
        if self.put_together is not None:
            reps = [[column] for column in self.put_together([torch.cat(parts) for parts in reps])]
        return super().calculate_loss(reps, labels, with_backward=with_backward)


def softmax(model: SentenceTransformer, **concatenated: bool) -> nn.Module:
    """SoftmaxLoss over the labels of NLI; its arguments say what the classifier reads.

    Source: Reimers and Gurevych 2019, https://arxiv.org/abs/1908.10084.
    """
    return SoftmaxOfEmbeddings(model, model.get_embedding_dimension(), num_labels=len(NLI_LABELS), **concatenated)


class SoftmaxOfEmbeddings(SoftmaxLoss):
    """SoftmaxLoss with a second way to compute it."""

    def compute_loss_from_embeddings(self, embeddings: Sequence[Tensor], labels: Tensor) -> Tensor:
        """What `forward` gives.

        Args:
            embeddings: of the two columns, (rows, dimension).
            labels: (rows,).
        """
        first, second = embeddings
        read = [first, second] if self.concatenation_sent_rep else []
        read += [torch.abs(first - second)] if self.concatenation_sent_difference else []
        read += [first * second] if self.concatenation_sent_multiplication else []
        told = self.classifier(torch.cat(read, dim=1).to(self.classifier.weight.dtype))
        loss: Tensor = self.loss_fct(told, labels.view(-1))
        return loss


DISTANCES = {
    "cosine": BatchHardTripletLossDistanceFunction.cosine_distance,
    "euclidean": BatchHardTripletLossDistanceFunction.euclidean_distance,
}


def batch_all_triplet(model: SentenceTransformer, *, distance: str, triplet_margin: float) -> nn.Module:
    """BatchAllTripletLoss by the name of a distance: the mean over all triplets of the batch that are not yet apart by the margin.

    Source: Hermans et al. 2017, https://arxiv.org/abs/1703.07737.
    """
    return BatchAllTripletLoss(model, DISTANCES[distance], triplet_margin)


def batch_hard_triplet(model: SentenceTransformer, *, distance: str, triplet_margin: float) -> nn.Module:
    """BatchHardTripletLoss: each text, the farthest of its label and the nearest of another.

    Source: Hermans et al. 2017, https://arxiv.org/abs/1703.07737.
    """
    return BatchHardTripletLoss(model, DISTANCES[distance], triplet_margin)


def batch_hard_soft_margin_triplet(model: SentenceTransformer, *, distance: str) -> nn.Module:
    """BatchHardSoftMarginTripletLoss: as `batch_hard_triplet`, with a softplus in place of the margin.

    Source: Hermans et al. 2017, https://arxiv.org/abs/1703.07737.
    """
    return BatchHardSoftMarginTripletLoss(model, DISTANCES[distance])


def batch_semi_hard_triplet(model: SentenceTransformer, *, distance: str, triplet_margin: float) -> nn.Module:
    """BatchSemiHardTripletLoss: each two texts of a label and the nearest of another that is farther than they are apart.

    Source: Schroff et al. 2015 (FaceNet), https://arxiv.org/abs/1503.03832.
    """
    return BatchSemiHardTripletLoss(model, DISTANCES[distance], triplet_margin)


def tsdae(model: SentenceTransformer, *, tie_encoder_decoder: bool, decoder: str | None) -> nn.Module:
    """TSDAE's loss, whose construction leaves the encoder's weights as they were.

    The library's own reads the encoder's weights anew from where they once came from, and so throws away what was
    trained since; here they are put back after the decoder has been tied to them.

    Source: Wang et al. 2021, https://arxiv.org/abs/2104.06979.

    Raises:
        ConfigError: the encoder's architecture has no decoder in transformers, or the untied decoder is not found or of
            another width.
    """
    architecture = model.transformers_model.config.model_type
    if architecture not in DECODING_ENCODERS:
        raise ConfigError(
            [
                f"loss=tsdae: {architecture} has no decoder counterpart; use an encoder that has one: "
                f"{', '.join(sorted(DECODING_ENCODERS))} (model=minilm and model=bert are bert)."
            ]
        )
    folder = None if decoder is None else str(find(decoder, revision=None, package=None, key="loss.decoder")[0])
    device = model.device
    kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        with quiet_loading():
            loss = SortedDenoisingLoss(model, decoder_name_or_path=folder, tie_encoder_decoder=tie_encoder_decoder)
    except (AssertionError, OSError, ValueError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError([f"loss=tsdae: no decoder can be built from {decoder or architecture}: {reason}"]) from error
    # The library takes the dtype of the file for the decoder, and the CPU; by the tie for the encoder too.
    loss.to(device, torch.float32)
    model.load_state_dict(kept)
    return loss


# The encoders that transformers can also decode with, attending to an embedding. Others fail (megatron-bert) or do not
# look at the embedding (data2vec-text).
DECODING_ENCODERS = {
    "bert",
    "big_bird",
    "camembert",
    "electra",
    "ernie",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roformer",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
} & set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)

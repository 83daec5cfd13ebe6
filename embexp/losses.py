"""Losses: what a loss is beyond its module, and the factories of those that need more than their constructor.

A loss option names a sentence-transformers class, or a factory below, as its `_target_`; the keys of the option are
its arguments. A factory takes the model and those arguments and gives an nn.Module.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import get_object
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
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from embexp.config import ConfigError, Loss, ViewName
from embexp.config.errors import nearest
from embexp.data.noise import WordDeletion
from embexp.data.rows import NLI_LABELS
from embexp.data.views import View
from embexp.denoising import SortedDenoisingLoss
from embexp.matryoshka import matryoshka
from embexp.model_files import find
from embexp.models import quiet_loading

log = logging.getLogger(__name__)

# The key of a margin that may be left to the model, and what it is then.
MARGIN = "triplet_margin"
MARGIN_OF_LENGTH_ONE, MARGIN_OF_ANY_LENGTH = 0.5, 5.0


@dataclass(frozen=True)
class LossPlan:
    """A loss and how it is fed.

    Attributes:
        module: forward(sentence_features, labels) -> scalar; may own parameters, which are trained with the model's.
        view: the views it accepts.
        batches: one of `embexp.data.batches.SAMPLERS`.
        noise: what makes the first column of the noisy view; None for other views.
    """

    module: nn.Module
    view: tuple[ViewName, ...]
    batches: str
    noise: WordDeletion | None = None


def build_loss(
    config: Loss,
    model: SentenceTransformer,
    *,
    seed: int,
    dims: Sequence[int] | None = None,
    weights: Sequence[float] | None = None,
) -> LossPlan:
    """The plan of the loss that an option describes, over a loaded model.

    Args:
        config: the option.
        model: to be trained.
        seed: of the noise.
        dims: to which the embeddings are cut, the loss being that of all cuts together (`embexp.matryoshka`); None: they are whole.
        weights: of these; None: 1.

    Raises:
        ConfigError: the target cannot be found, does not take these arguments, or cannot be used with this model.
    """
    arguments = config.arguments()
    target = found_target("loss", config.target)
    noise = None
    if "noisy" in config.view:
        if "deletion_ratio" not in arguments:
            raise ConfigError(
                [f"loss {config.target}: the noisy view needs deletion_ratio, the share of words deleted."]
            )
        noise = WordDeletion(arguments.pop("deletion_ratio"), seed=seed)
    if not callable(target):
        raise ConfigError([f"loss._target_={config.target}: is neither a class nor a function."])
    parameters = inspect.signature(target).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    unknown = [] if takes_any else [key for key in arguments if key not in parameters]
    if unknown:
        allowed = [name for name in parameters if name not in ("self", "model")]
        raise ConfigError(
            [
                f"loss.{key}: {config.target} takes no such argument; it takes {', '.join(allowed)}.{nearest(key, allowed)}"
                for key in unknown
            ]
        )
    if MARGIN in arguments and arguments[MARGIN] is None:
        arguments[MARGIN] = margin_for(model, cut=dims is not None)
    try:
        module = target(model, **arguments)
    except (TypeError, ValueError) as error:
        raise ConfigError([f"loss {config.target}: {error}."]) from error
    held = {id(parameter) for parameter in module.parameters()} if isinstance(module, nn.Module) else set()
    if any(parameter.requires_grad and id(parameter) not in held for parameter in model.parameters()):
        raise ConfigError(
            [
                f"loss._target_={config.target}: what it gives does not hold the model, whose weights would not be trained; it must "
                "be an nn.Module that keeps it: self.model = model."
            ]
        )
    if dims is not None:
        module = matryoshka(model, module, dims=dims, weights=weights)
    return LossPlan(module, tuple(config.view), config.batches, noise)


def margin_for(model: SentenceTransformer, *, cut: bool) -> float:
    """The margin of triplets, where none is named; it is told.

    Args:
        model: to be trained.
        cut: whether the loss is that of embeddings that are cut, which are brought to length one.
    """
    if cut or is_of_length_one(model):
        margin, why = MARGIN_OF_LENGTH_ONE, "embeddings of length one are at most 2 apart"
    else:
        margin, why = MARGIN_OF_ANY_LENGTH, "sentence-transformers' default, for embeddings of any length"
    log.info("loss.%s: %g, %s", MARGIN, margin, why)
    return margin


def is_of_length_one(model: SentenceTransformer) -> bool:
    """Whether all embeddings of a model are of length one."""
    return isinstance(list(model)[-1], Normalize)


def refuse_what_teaches_nothing(view: View, model: SentenceTransformer, *, name: str) -> None:
    """Before anything is scored: rows of one class tell no classes apart, and twins no dropout makes differ are one text.

    Args:
        view: the rows to be trained on.
        model: to be trained.
        name: of the loss.

    Raises:
        ConfigError: nothing could be learnt.
    """
    if view.name == "classes" and len(view.dataset.unique("label")) == 1:
        raise ConfigError(
            [
                f"loss={name}: all {len(view.dataset)} rows have the same label, and of one class nothing is learnt; add rows of the "
                "others, or, where it is entailment, use loss=mnr."
            ]
        )
    if view.name == "twins" and _encodes_alike(model, view.dataset[0]["anchor"]):
        raise ConfigError(
            [
                f"loss={name}: tells a text from its twin by dropout alone, and this model has none, so that nothing is learnt; use "
                "model.dropout=0.1."
            ]
        )


def _encodes_alike(model: SentenceTransformer, text: str) -> bool:
    """Whether a text has the same embedding twice while the model is trained; what is drawn for it is given back."""
    trains = model.training
    with torch.random.fork_rng(), torch.no_grad():
        model.train()
        first, second = (model(batch_to_device(model.preprocess([text]), model.device)) for _ in range(2))
        model.train(trains)
    return torch.equal(first["sentence_embedding"], second["sentence_embedding"])


def found_target(group: str, target: str) -> Any:
    """The class or function that an option's `_target_` names.

    Raises:
        ConfigError: there is none.
    """
    try:
        return get_object(target)
    except (ImportError, ValueError) as error:
        raise ConfigError([f"{group}._target_={target}: there is no such thing: {error}."]) from error


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

"""What a loss is beyond its module: how it is fed, which of its arguments the model decides, and what it could not learn from."""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hydra.utils import get_object
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import TripletLoss
from sentence_transformers.sentence_transformer.modules import Normalize
from sentence_transformers.util import batch_to_device
from torch import nn

from embexp.config import ConfigError, Loss, ViewName
from embexp.config.errors import first_line, nearest
from embexp.config.targets import beside_the_model, what_is_wrong_with_arguments
from embexp.data.noise import WordDeletion
from embexp.data.views import View
from embexp.matryoshka import matryoshka

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
        decided: the arguments that were left to the model, as it decided them.
    """

    module: nn.Module
    view: tuple[ViewName, ...]
    batches: str
    noise: WordDeletion | None = None
    decided: Mapping[str, float] = field(default_factory=dict)


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
    target = loss_target(config)
    noise = None
    if "noisy" in config.view:
        if "deletion_ratio" not in arguments:
            raise ConfigError(
                [f"loss {config.target}: the noisy view needs deletion_ratio, the share of words deleted."]
            )
        noise = WordDeletion(arguments.pop("deletion_ratio"), seed=seed)
    allowed = beside_the_model(list(inspect.signature(target).parameters.values()))
    if allowed is not None and (problems := what_is_wrong_with_arguments(config.target, arguments, allowed)):
        raise ConfigError(problems)
    decided: dict[str, float] = {}
    if target is TripletLoss and arguments.get(MARGIN) is None:
        decided[MARGIN] = margin_for(model, cut=dims is not None)
    try:
        module = target(model, **(arguments | decided))
    except (TypeError, ValueError) as error:
        raise ConfigError([f"loss {config.target}: {str(error).rstrip('.')}."]) from error
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
    return LossPlan(module, tuple(config.view), config.batches, noise, decided)


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


def loss_target(config: Loss) -> Callable[..., Any]:
    """The class or function that an option describes, which needs no model to be told.

    Raises:
        ConfigError: there is none of this name, or it is something else.
    """
    target = found_target("loss", config.target)
    if not callable(target):
        raise ConfigError([f"loss._target_={config.target}: is neither a class nor a function."])
    return target


def found_target(group: str, target: str) -> Any:
    """The class or function that an option's `_target_` names.

    Raises:
        ConfigError: there is none.
    """
    try:
        return get_object(target)
    except (ImportError, ValueError) as error:
        module, _, name = target.rpartition(".")
        # Hydra tells of what is not in a module as of a module that is not there.
        there = vars(sys.modules[module]) if module in sys.modules else {"__getattr__": None}
        if name not in there and "__getattr__" not in there:
            usable = [known for known, value in there.items() if callable(value) and not known.startswith("_")]
            said = f"{module} has no {name!r}.{nearest(name, usable)}"
        else:
            said = f"there is no such thing: {first_line(error)}."
        raise ConfigError([f"{group}._target_={target}: {said}"]) from error

"""Models that encode queries and documents by modules of their own, sentence-transformers' Router: told which a text is.

All other models are told nothing of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from torch import nn

from embexp.config import Config, ConfigError
from embexp.data.rows import DIRECTED, Rows
from embexp.data.views import FLAT
from embexp.prompts import Prompts, Role


def has_routes(model: nn.Module) -> bool:
    """Whether there is a Router in the model."""
    return any(isinstance(module, Router) for module in model.modules())


def route_of(model: nn.Module, role: Role) -> dict[str, str]:
    """What `encode` is to be given besides texts of this role: their task; nothing where the model has no routes.

    Texts that could change places have no task: the model takes its default route for them.
    """
    return {"task": role} if role != "default" and has_routes(model) else {}


def encoding_of(model: nn.Module, role: Role, prompts: Prompts) -> dict[str, Any]:
    """What `encode` is to be given besides texts of this role: the run's prompt, where it has any, and the model's route.

    A prompt that is empty keeps the model from using another.
    """
    return {"prompt": prompts.get(role, "") if prompts else None, **route_of(model, role)}


def refuse_missing_routes(model: SentenceTransformer, roles: Iterable[Role], *, of: str) -> None:
    """Before texts are encoded.

    Args:
        model: any.
        roles: of the texts.
        of: what they are called in messages.

    Raises:
        ConfigError: the model has routes, and none for such a role.
    """
    if not has_routes(model):
        return
    for role in dict.fromkeys(roles):
        try:
            model.encode(["a"], show_progress_bar=False, **route_of(model, role))
        except ValueError as error:
            what = "a text that is neither query nor document" if role == "default" else f"a {role}"
            raise ConfigError([f"{of}: this model's Router has no route for {what}: {error}"]) from error


def refuse_training_without_roles(model: SentenceTransformer, rows: Rows, config: Config) -> None:
    """Before anything is scored: a model with routes learns from queries and their documents alone.

    Raises:
        ConfigError: the model has routes, and texts of the rows or of the loss are neither, or are of one that it has no route for.
    """
    if not has_routes(model):
        return
    if rows.kind not in DIRECTED:
        raise ConfigError(
            [
                f"data={config.names['data']}: {rows.name} has {rows.kind} rows, whose texts could change places, and this model "
                "encodes queries and documents by modules of their own (a Router); train it on pairs or triplets of them."
            ]
        )
    if not set(FLAT).isdisjoint(config.loss.view):
        raise ConfigError(
            [
                f"loss={config.names['loss']}: learns from texts by themselves, and this model encodes queries and documents by "
                "modules of their own (a Router); use a loss of pairs or triplets, e.g. loss=mnr."
            ]
        )
    refuse_missing_routes(model, ("query", "document"), of=rows.name)

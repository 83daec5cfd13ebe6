"""What is put before texts, as many encoders were trained to read them: "query: " before one, "passage: " before another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from embexp.config import Component

# query: asks. document: is asked for. default: of texts that could change places.
Role = Literal["query", "document", "default"]
Prompts = Mapping[Role, str]
NO_PROMPTS: Prompts = {}


def prompts_of(model: Component) -> Prompts:
    """The prompts that a model option sets, for training and for scores; without any the model encodes as it does by itself."""
    return model.arguments().get("prompts") or NO_PROMPTS

"""The config: its typed schema (`schema`), its checks (`sections`, `checks`) and how it is composed from conf/ (`composition`).

The values live in the YAML files of conf/, once, each with a comment that says what raising it does; here stand
their types, their ranges and what goes together. Nothing in this folder imports torch, so that a typo is told in
a second. What is imported from the folder itself are the types: its checks look into files, stores and models, which know these types.
"""

from embexp.config.errors import ConfigError
from embexp.config.kinds import VIEWS_OF_KIND, Kind, ViewName
from embexp.config.schema import (
    Classification,
    Component,
    Config,
    Data,
    Evaluation,
    Latency,
    Loss,
    Mteb,
    Retrieval,
    Similarity,
    Tracker,
    Trainer,
)

__all__ = [
    "VIEWS_OF_KIND",
    "Classification",
    "Component",
    "Config",
    "ConfigError",
    "Data",
    "Evaluation",
    "Kind",
    "Latency",
    "Loss",
    "Mteb",
    "Retrieval",
    "Similarity",
    "Tracker",
    "Trainer",
    "ViewName",
]

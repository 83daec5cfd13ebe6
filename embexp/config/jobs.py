"""The jobs of a sweep, as Hydra's own sweeper or a search makes them of a command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from embexp.config.launching import OPTUNA
from embexp.config.overrides import chosen, composed_of, text_of, unknown_key, unknown_option
from embexp.config.ranges import NOTHING_TO_DRAW, cannot_be_drawn, cannot_be_listed, read, split, trials

SWEEPER = "hydra/sweeper"


class Swept(NamedTuple):
    """What a command is made into.

    Args:
        jobs: the overrides of every job; where a sweeper of another kind draws them, of none but the base.
        wrong: the words that no job can be made of, and that none has, with what is to be said of each.
        problems: what is to be said of no single word.
    """

    jobs: list[list[str]]
    wrong: dict[str, str]
    problems: list[str]


def jobs_of(loader: ConfigLoader, overrides: Sequence[Override], *, whole: bool) -> Swept:
    """The jobs of a sweep.

    Args:
        loader: of the options that there are.
        overrides: of the command.
        whole: whether these are all of it; a word that cannot be read may have been what is to be drawn from.
    """
    # What is no option of its group, and what no number of jobs, is told with the first job.
    fixed = [override for override in overrides if not override.is_sweep_override()]
    options = chosen(loader, overrides)
    bare = composed_of(options)
    typed = [o for o in fixed if o.key_or_group.startswith("hydra.sweeper.") and not unknown_key(loader, bare, o)]
    sweeper = composed_of((*options, *map(text_of, typed))).hydra.sweeper
    params = sweeper.params if isinstance(sweeper.params, DictConfig) else {}
    named, unread = read([f"{key}={value}" for key, value in params.items()])
    target = str(sweeper._target_)
    # Whoever misspells a sweeper means one that draws: the other need not be typed.
    draws = target == OPTUNA or any(o.key_or_group == SWEEPER and unknown_option(loader, o) for o in fixed)
    if not draws and not target.endswith(".BasicSweeper"):
        return Swept([[text_of(override) for override in fixed]], unread, [])
    swept = [*named, *overrides]
    for override in swept:
        # A glob looks there for the options that it stands for.
        override.config_loader = loader
    judge = cannot_be_drawn if draws else cannot_be_listed
    wrong = unread | {text_of(override): problem for override in swept if (problem := judge(override)) is not None}
    sound = [override for override in swept if text_of(override) not in wrong]
    if not draws:
        return Swept(BasicSweeper.split_arguments(sound, None)[0], wrong, [])
    nothing = whole and target == OPTUNA and not wrong and not split(sound)[1]
    times = sweeper.n_trials if target == OPTUNA and not nothing else 1
    return Swept(trials(sound, times), wrong, [NOTHING_TO_DRAW] if nothing else [])

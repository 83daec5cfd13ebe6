"""What is said of a word of a command that stands without a =: which key, option, group, flag or program it may be."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from embexp.config.meant import groups
from embexp.config.overrides import chosen, composed_of, is_of, options_of, unknown_key
from embexp.config.ranges import read

# What other command lines take as a word.
FLAGS = ("help", "version", "multirun")
PROGRAMS = ("compare", "evaluate", "export", "reproduce", "tracking")
# What has options: of Hydra's own groups those that embexp ships options of.
GROUPS = (*(group for group in groups() if group != "hydra"), "hydra/launcher", "hydra/sweeper")


def read_all(loader: ConfigLoader, words: Sequence[str]) -> tuple[list[Override], dict[str, str]]:
    """The words of a command that Hydra can read, and what is to be said of each of the others, by what there is to be typed."""
    parsed, unread = read(words)
    if bare_words := [word for word in unread if "=" not in word]:
        bare = composed_of(chosen(loader, parsed))
        unsure = [override.key_or_group for override in parsed if override.is_sweep_override()]
        for word in bare_words:
            unread[word] = _said_of(loader, bare, word, unsure=unsure) or unread[word]
    return parsed, unread


def lost_with(loader: ConfigLoader, words: Collection[str]) -> list[str]:
    """The keys and groups that stand in words that cannot be read, or of which these may name an option."""
    keys = [word.lstrip("+~").partition("=")[0].partition("@")[0] for word in words]
    return [*keys, *(group for group in GROUPS if any(word in options_of(loader, group) for word in words))]


def _said_of(loader: ConfigLoader, bare: DictConfig, word: str, *, unsure: Collection[str]) -> str | None:
    """What a word is and how that is written; None where it can be no key.

    Args:
        loader: of the options that there are.
        bare: the config of the options that are chosen beside it.
        word: as typed.
        unsure: groups of which several options are typed: which keys they have is not known.
    """
    name = word.lstrip("+~")
    as_key, _ = read([f"{name}=..."])
    if not as_key:
        return None
    if word in FLAGS:
        return f"{word}: is a flag: --{word}."
    if word in PROGRAMS:
        return f"{word}: is a program of its own: python -m embexp.{word}."
    if named := [f"{group}={word}" for group in GROUPS if word in options_of(loader, group)]:
        return f"{word}: is an option; write {' or '.join(named)}."
    if options := options_of(loader, name):
        return f"{word}: has no value; write {name}=OPTION, which is one of {', '.join(options)}."
    problem = None if is_of(name, unsure) else unknown_key(loader, bare, as_key[0])
    return problem or f"{word}: has no value; write KEY=VALUE: {word}=..."

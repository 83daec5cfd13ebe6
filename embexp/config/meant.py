"""Which key or option may be meant by a key that nothing reads: what is like it in the config, and in the shipped options."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from embexp.config.errors import closest, did_you_mean
from embexp.shipped import conf_folder


def groups() -> list[str]:
    """The groups that embexp ships, and Hydra's own as one."""
    return sorted(folder.name for folder in conf_folder().iterdir() if folder.is_dir())


def likely(key: str, known: Sequence[str], *, in_a_section: bool) -> str | None:
    """The key that was meant: the only one that ends so; of the same section, else of any; without such a section, one like the whole."""
    if len(same := [each for each in known if each.rpartition(".")[2] == key]) == 1:
        return same[0]
    if not in_a_section and (whole := closest(key, known)) is not None:
        return whole
    parent, _, name = key.rpartition(".")
    of_section = {each.rpartition(".")[2]: each for each in known if each.rpartition(".")[0] == parent}
    # Of several that are as near the loss's is meant: margin is asked of triplet more than of data.hard_margin.
    of_any: dict[str, str] = {}
    for each in sorted(known, key=lambda each: not each.startswith("loss.")):
        of_any.setdefault(each.rpartition(".")[2], each)
    for by_name in (of_section, of_any):
        if (found := closest(name, by_name)) is not None:
            return by_name[found]
    return None


def options_with(group: str, name: str) -> list[str]:
    """The shipped options of a group that have a key of this name: ["loss=tsdae"]."""
    files = sorted((conf_folder() / group).glob("*.yaml")) if group else []
    return [f"{group}={file.stem}" for file in files if name in OmegaConf.load(file)]


def alike_in_the_group(group: str, name: str) -> str | None:
    """ " Did you mean 'loss.triplet_margin', a key of loss=triplet?", of what a group's shipped options have; None: nothing is near."""
    where = group.replace(".", "/")
    files = sorted((conf_folder() / where).glob("*.yaml")) if group else []
    options: dict[str, list[str]] = {}
    for file in files:
        for key in map(str, OmegaConf.load(file)):
            options.setdefault(key, []).append(f"{where}={file.stem}")
    if (found := closest(name, options)) is None:
        return None
    return did_you_mean(name, f"{group}.{found}", f", a key of {' and of '.join(options[found])}")


def options_that_have(name: str, known: Sequence[str]) -> list[str]:
    """The shipped options that have a key of this name, where none that was chosen has it."""
    if any(each.rpartition(".")[2] == name for each in known):
        return []
    return [option for group in groups() for option in options_with(group, name)]


def pairs_with(name: str) -> list[str]:
    """The options of evaluation whose pairs come from a data option that has a key of this name: ["evaluation=files"]."""
    named = (option.removeprefix("data=") for option in options_with("data", name))
    return [f"evaluation={option}" for option in named if (conf_folder() / "evaluation" / f"{option}.yaml").is_file()]


def dotted(node: DictConfig, prefix: str = "") -> list[str]:
    """Every key of a config, sections and what is in them, as it is typed."""
    keys: list[str] = []
    for key in map(str, node):
        path = f"{prefix}{key}"
        keys.append(path)
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            keys += dotted(value, f"{path}.")
    return keys

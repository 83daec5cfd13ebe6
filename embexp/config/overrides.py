"""What is typed on the command line, held against the options and keys that there are."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path

from hydra import compose as hydra_compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embexp.config.errors import ConfigError, did_you_mean, first_line, nearest
from embexp.config.meant import alike_in_the_group, dotted, groups, likely, options_that_have, options_with, pairs_with
from embexp.shipped import conf_folder

# What Hydra says of an option that a defaults list names, of a group that none names, and where the first line is missing.
NO_OPTION = re.compile(r"In '(.+)': Could not (?:find|load) '(.+)/(.+)'")
NO_GROUP = re.compile(r"Could not override '(.+)'\. No match in the defaults list")
NO_PACKAGE = re.compile(r"In '(.+)': Could not override '(.+)@(.+)'")
# What OmegaConf says of a key that a mapping has not, with where.
NOT_THERE = re.compile(r"is not in struct\s+full_key: (\S+)")
# Mappings to which a person may add keys, with those that something reads.
FREE = {
    "columns": [
        "anchor",
        "positive",
        "negative",
        "premise",
        "hypothesis",
        "label",
        "sentence1",
        "sentence2",
        "score",
        "text",
    ],
    "splits": ["train", "dev", "test"],
}
# What finds a sweep's jobs again, and its table, relies on them.
OF_A_SWEEP = ("hydra.sweep.dir", "hydra.sweep.subdir")
# What an experiment file sweeps. Hydra's own sweeper can be given no key there that no file has.
SWEPT_BY_FILE = "hydra.sweeper.params"
# The options of evaluation that bring the pairs by which the best step is chosen.
PAIRS = ("own", "stsb", "helpdesk", "files")
# How what lies elsewhere is named, of the groups whose options name such a thing.
ELSEWHERE = {
    "model": "A folder with a model, or a model of the hub, is model.path={0}.",
    "data": "A file is data=files data.train={0}, a data set of the hub data=mnli (or allnli, stsb) data.repo={0}.",
    "evaluation": "A file of sentence1, sentence2, score is evaluation=files evaluation.source.dev={0}.",
}


def told_apart(
    loader: ConfigLoader, overrides: Sequence[Override], lost: Collection[str] = ()
) -> tuple[list[str], list[Override]]:
    """The problem of every override that nothing reads, and the overrides that can be judged without it.

    Args:
        loader: of the options that there are.
        overrides: of a job.
        lost: the keys and groups that stand in words that cannot be read.
    """
    problems: list[str] = []
    known: list[Override] = []
    unknown = set(lost)
    for override in overrides:
        if (problem := unknown_option(loader, override)) is not None:
            problems.append(problem)
            unknown.add(override.key_or_group)
        else:
            known.append(override)
    if "experiment" in unknown:
        # It may have chosen any option that is not typed.
        choices = {group for group in groups() if len(options_of(loader, group)) > 1}
        unknown |= choices - {override.key_or_group for override in known}
    # Which keys a group has is not known where its option is not.
    known = [override for override in known if not is_of(override.key_or_group, unknown)]
    try:
        bare = composed_of(tuple(text_of(override) for override in known if group_of(loader, override)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([*problems, said_of(error)]) from None
    keys = {id(override): problem for override in known if (problem := unknown_key(loader, bare, override))}
    judged = [override for override in known if id(override) not in keys]
    meant = [key for override in known if id(override) in keys and (key := _as_key(bare, override)) is not None]
    return [*problems, *keys.values()], [*judged, *meant]


def is_of(key: str, lost: Collection[str]) -> bool:
    """Whether a key is one of these, or belongs to one of these groups: hydra.launcher.n_jobs to hydra/launcher."""
    return any(f"{key}.".replace("/", ".").startswith(f"{each}.".replace("/", ".")) for each in lost)


@lru_cache(maxsize=256)
def composed_of(groups: tuple[str, ...]) -> DictConfig:
    """The config of a choice of options alone; valid as long as the loader that stands."""
    return hydra_compose("config", list(groups), return_hydra_config=True)


def composed_with(loader: ConfigLoader, overrides: Sequence[Override]) -> DictConfig:
    """What Hydra composes of a job's overrides, in a tenth of its time: the jobs of a sweep share most of it.

    The options are composed once; keys are set on a copy, by what Hydra itself sets them with afterwards.
    """
    if any(override.key_or_group == "hydra.searchpath" for override in overrides):
        return hydra_compose("config", [text_of(override) for override in overrides], return_hydra_config=True)
    options = [override for override in overrides if group_of(loader, override)]
    composed = deepcopy(composed_of(tuple(text_of(override) for override in options)))
    keys = [override for override in overrides if override not in options]
    ConfigLoaderImpl._apply_overrides_to_config(keys, composed)
    return composed


@lru_cache(maxsize=256)
def options_of(loader: ConfigLoader, group: str) -> tuple[str, ...]:
    """A group's options, () where it is none; Hydra copies all that it has read at each such question."""
    return tuple(option for option in loader.get_group_options(group) if not _yml(loader, group, option))


def _yml(loader: ConfigLoader, group: str, option: str) -> Path | None:
    """The file of an option that ends in .yml, which Hydra lists but does not find; None where there is a .yaml."""
    folders = [Path(source.path) / group for source in loader.get_sources() if source.scheme() == "file"]
    files = {file.name: file for folder in folders if folder.is_dir() for file in folder.iterdir()}
    return None if f"{option}.yaml" in files else files.get(f"{option}.yml")


def said_of(error: Exception) -> str:
    """What Hydra or OmegaConf says of a config that it cannot compose, in embexp's words where it is a common mistake."""
    text = str(error)
    if found := NO_OPTION.search(text):
        where, group, option = found.groups()
        inner = group.removeprefix(f"{where.rpartition('/')[0]}/")
        if inner != group and options_of(GlobalHydra.instance().config_loader(), inner):
            return f"{where}.yaml: in its defaults write 'override /{inner}: {option}'."
        said = _no_such_option(GlobalHydra.instance().config_loader(), group, option)
        return said if where == "config" else f"{where}: {said}"
    if found := NO_GROUP.search(text):
        return f"{found[1]}: no config has a default of this group.{nearest(found[1], groups())}"
    if (found := NOT_THERE.search(f"{text}\n{error.__cause__}")) and _may_be_added(found[1]):
        return _to_be_added(f"{found[1]}=...")
    if found := NO_PACKAGE.search(text):
        return f"{found[1]}.yaml: {found[2]} is no group of {found[1]}; its first line must be '# @package _global_'."
    return first_line(error)


def _no_such_option(loader: ConfigLoader, group: str, option: str) -> str:
    if file := _yml(loader, group, option):
        return f"{group}={option}: Hydra reads no {file}; let its name end in .yaml."
    options = options_of(loader, group)
    if not options:
        return f"{group}: there is no such group.{nearest(group, groups())}"
    said = f"{group}={option}: there is no such option; {group} is one of {', '.join(options)}."
    own = [Path(source.path) for source in loader.get_sources() if source.provider == "command-line"]
    lost = next((file for folder in own for file in _options_called(folder, option)), None)
    if lost is not None:
        return f"{said} {lost} is there, but would have to lie in {group}/ of the folder that --config-dir names."
    if group in ELSEWHERE and ("/" in option or Path(option).exists()):
        return f"{said} {ELSEWHERE[group].format(option)}"
    return said + nearest(option, options)


def _options_called(folder: Path, option: str) -> Sequence[Path]:
    """The files of this name in a folder or in one of its folders."""
    name = f"{option}.yaml"
    return [file for depth in ("*", "*/*") for file in sorted(folder.glob(f"{depth}.yaml")) if file.name == name]


def without_hydra(composed: DictConfig) -> DictConfig:
    """A run's own config, without Hydra's settings."""
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def text_of(override: Override) -> str:
    """As it was typed."""
    assert override.input_line is not None
    return override.input_line


def group_of(loader: ConfigLoader, override: Override) -> str | None:
    """The group of which it chooses an option; None where it sets a key."""
    key = override.key_or_group
    return key if "." not in key and options_of(loader, key) else None


def chosen(loader: ConfigLoader, overrides: Sequence[Override]) -> tuple[str, ...]:
    """The overrides that choose an option which there is, and only one, as they were typed."""
    of_groups = [o for o in overrides if group_of(loader, o) and not o.is_sweep_override()]
    return tuple(text_of(override) for override in of_groups if not unknown_option(loader, override))


def _called_as(value: object, options: Sequence[str]) -> str | None:
    """The option whose name Hydra reads as this value, which is no text."""
    parser = OverridesParser.create()
    # A nan is told by its text alone.
    return next((each for each in options if repr(parser.parse_override(f"_={each}").value()) == repr(value)), None)


def unknown_option(loader: ConfigLoader, override: Override) -> str | None:
    """What is wrong with the choice of an option; None where nothing is, or none is chosen."""
    group = group_of(loader, override)
    if group is None:
        return None
    if override.value() is None and group == "experiment":
        # Hydra takes ~experiment, and breaks at null.
        said = f"{text_of(override)}: there is none where none is named; leave it out."
        return None if override.is_delete() else said
    options = options_of(loader, group)
    if override.is_delete():
        return f"~{group}: a run needs one; {group} is one of {', '.join(options)}."
    value = override.value()
    if isinstance(value, list) and group != "evaluation":
        return f"{text_of(override)}: a run has one {group}; a sweep over several is {group}={','.join(map(str, value))} -m."
    pairs = [option for option in value if option in PAIRS] if isinstance(value, list) else []
    if len(pairs) > 1:
        return (
            f"{text_of(override)}: one set of pairs chooses the best step; keep one of {', '.join(pairs)}, and name files "
            "of further pairs in evaluation.sets: 'evaluation.sets={mine: FILE}'."
        )
    for option in value if isinstance(value, list) else [value]:
        if not isinstance(option, str) and (called := _called_as(option, options)):
            # Quoted it would be taken, but not of a sweep, whose jobs have it without quotes.
            read_as = "nothing" if option is None else f"the {type(option).__name__} {option}"
            return (
                f"{group}={called}: Hydra reads no word there, but {read_as}; "
                f"give the file {called}.yaml a name that is a word, as {group}_{called}.yaml."
            )
        if option not in options:
            return _no_such_option(loader, group, str(option))
    return (
        None
        if value != []
        else f"{text_of(override)}: a run needs at least one; {group} is one of {', '.join(options)}."
    )


def unknown_key(loader: ConfigLoader, bare: DictConfig, override: Override) -> str | None:
    """What is to be said of a key that the config of the options alone, `bare`, does not have; None where it has it."""
    key = override.key_or_group
    of_hydra = str(bare.hydra.sweeper._target_).endswith(".BasicSweeper")
    if of_hydra and f"{key}.".startswith(f"{SWEPT_BY_FILE}.") and not override.is_delete():
        return (
            f"{SWEPT_BY_FILE}: is for experiment files; on the command line what is swept stands by itself: "
            "batch_size=16,32 -m."
        )
    if group_of(loader, override) or override.is_add() or override.is_force_add():
        return None
    if "/" in key:
        return _no_such_group(bare, override)
    if key in OF_A_SWEEP:
        return f"{key}: a sweep lies in multirun/DATE/TIME, its jobs in 0, 1, ...: start it in the folder where that is to be."
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(bare, parent) if parent else bare
    # Hydra's section is there, but is set key by key.
    if isinstance(node, DictConfig) and name in node and key != "hydra":
        return None
    if isinstance(node, DictConfig) and _may_be_added(key) and not override.is_delete():
        return _to_be_added(text_of(override))
    known = dotted(bare if key.startswith("hydra.") else without_hydra(bare))
    group, _, option = parent.rpartition(".")
    if node is None and (conf_folder() / group / f"{option}.yaml").is_file():
        return (
            f"{key}: nothing reads this key without {group}={option}; choose it beside others: {group}=[own,{option}]."
        )
    if parent == "evaluation.source" and node is None and (options := pairs_with(name)):
        return f"{key}: nothing reads this key without {' or '.join(options)}; choose it as well: {options[0]} {text_of(override)}."
    if node is None and parent in known:
        return f"{key}: {parent} is empty; set it whole: '{parent}={{{name}: ...}}'."
    if others := options_with(parent.replace(".", "/"), name):
        return f"{key}: nothing reads this key here; it is a key of {' and of '.join(others)}."
    if not parent and not override.is_delete() and (options := options_that_have(key, known)):
        group = options[0].partition("=")[0]
        return f"{key}: nothing reads this key; {group}.{key} does, with {options[0]}: {options[0]} {group}.{text_of(override)}."
    near = likely(key, known, in_a_section=node is not None)
    if (near is None or near.rpartition(".")[0] != parent) and (meant := alike_in_the_group(parent, name)):
        return f"{key}: nothing reads this key here.{meant} See them all with --cfg job."
    said = "" if near is None else did_you_mean(name, near)
    return f"{key}: nothing reads this key.{said} See them all with --cfg job."


def _no_such_group(bare: DictConfig, override: Override) -> str:
    """What is said of a key with slashes that is no group: the key that it is, of what is chosen or of an option, or the group like it."""
    key = override.key_or_group
    said = f"{key}: there is no such group"
    if (meant := _as_key(bare, override)) is not None:
        return f"{said}; it is a key: {text_of(meant)}."
    section, _, name = key.rpartition("/")
    if options := options_with(section, name):
        return f"{said}; {key.replace('/', '.')} is a key of {' and of '.join(options)}."
    nested = [f"hydra/{folder.name}" for folder in sorted((conf_folder() / "hydra").iterdir())]
    return f"{said}.{nearest(key, [*groups(), *nested])}"


def _as_key(bare: DictConfig, override: Override) -> Override | None:
    """The key that is meant by one with slashes, hydra.sweeper.seed=1 by hydra/sweeper/seed=1; None where there is none."""
    dotted = override.key_or_group.replace("/", ".")
    section, _, name = dotted.rpartition(".")
    if "/" not in override.key_or_group or override.is_delete():
        return None
    node = OmegaConf.select(bare, section)
    if not (isinstance(node, DictConfig) and name in node):
        return None
    meant: Override = OverridesParser.create().parse_override(f"{dotted}={override.get_value_string()}")
    return meant


def _may_be_added(key: str) -> bool:
    section, _, name = key.rpartition(".")
    return name in FREE.get(section.rpartition(".")[2], ())


def _to_be_added(typed: str) -> str:
    return f"{typed}: is not there yet; what is added has a plus before it: '+{typed}'."

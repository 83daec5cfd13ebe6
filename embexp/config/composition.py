"""Composes configs from conf/ as Hydra does, and tells every mistake of a command before a job starts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embexp.config.checks import check, check_launching, check_sections, check_share
from embexp.config.errors import ConfigError, closest, first_line, nearest
from embexp.config.launching import OPTUNA
from embexp.config.ranges import corners, parse, said_of_ranges, trials
from embexp.config.schema import Config

# The options of evaluation that bring the pairs by which the best step is chosen, and those that are scored at the end.
PAIRS = ("own", "stsb", "helpdesk", "files")
AT_THE_END = ("mteb", "retrieval", "classification", "latency")


def conf_folder() -> Path:
    """The absolute path of conf/: inside the package when installed from a wheel, else beside it in the checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> Config:
    """The checked config of one run, from overrides as they are typed: compose(["loss=cosine", "batch_size=64"]).

    Args:
        overrides: what would stand on the command line.
        config_dir: a folder with options of one's own, as `--config-dir` names it.

    Raises:
        ConfigError: with every problem found.
    """
    with _loader(config_dir) as loader:
        return _compose_job(loader, parse(overrides))


def check_command(overrides: Sequence[str], *, multirun: bool, config_dir: str | Path | None = None) -> list[list[str]]:
    """Composes and checks every job of a command before the first one starts; returns each job's overrides.

    A search's jobs are all as typed: what is drawn later is checked at the ends of its ranges.

    Raises:
        ConfigError: with the problems of all jobs, each told once.
    """
    with _loader(config_dir) as loader:
        parsed = parse(overrides)
        jobs = _jobs(loader, parsed) if multirun else [list(overrides)]
        searched = multirun and any(override.is_sweep_override() for override in parse(jobs[0]))
        problems: dict[str, None] = {}
        for job in corners(parse(jobs[0])) if searched else jobs:
            try:
                _compose_job(loader, parse(job))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
        if problems:
            raise ConfigError(said_of_ranges(problems, parsed))
        return jobs


def is_sweep(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> bool:
    """Whether the chosen options make it a sweep by themselves (hydra.mode), as a named sweep's file does."""
    with _loader(config_dir) as loader:
        chosen = [o for o in parse(overrides) if _group_of(loader, o) and not o.is_sweep_override()]
        if any(_unknown_option(loader, override) for override in chosen):
            return False
        return str(_composed(tuple(_text(o) for o in chosen)).hydra.mode) == "RunMode.MULTIRUN"


def for_multirun(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> list[str]:
    """The checked overrides as Hydra's multirun takes them.

    It sets the fixed ones before it knows any job's options, and so refuses a key that only a swept option has. Written
    as a choice of one, such a key is set job by job.
    """
    with _loader(config_dir) as loader:
        parsed = parse(overrides)
        fixed = [override for override in parsed if not override.is_sweep_override()]
        bare = _composed(tuple(_text(override) for override in fixed if _group_of(loader, override)))
        early = [override for override in fixed if _unknown_key(loader, bare, override)]
        return [
            "{}=choice({})".format(*_text(override).split("=", 1)) if override in early else _text(override)
            for override in parsed
        ]


def checked(composed: DictConfig, hydra: Any) -> Config:
    """The checked config of what Hydra composed and of the options that it chose, as its own node tells them."""
    values = _values(composed)
    names = {group: str(option) for group, option in hydra.runtime.choices.items() if option and "/" not in group}
    chosen = [names["evaluation"]] if "evaluation" in names else _listed("evaluation", list(hydra.overrides.task))
    names["evaluation"] = "+".join(chosen if set(chosen) - set(AT_THE_END) else ["own", *chosen])
    return check(values, names)


def _values(composed: DictConfig) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(_without_hydra(composed), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {first_line(error)}"]) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _listed(group: str, overrides: list[str]) -> list[str]:
    """The options of a group for which a list was chosen: Hydra's record of choices leaves lists out."""
    loader: ConfigLoader = GlobalHydra.instance().config_loader()
    found = loader.compute_defaults_list("config", overrides, RunMode.RUN).defaults
    paths = [default.config_path for default in found if default.config_path and default.package == group]
    return [path.removeprefix(f"{group}/") for path in paths if path.startswith(f"{group}/")]


def keep_to_own_options() -> None:
    """Takes out of Hydra what its plugins call as embexp calls its own: hydra/launcher=joblib is ours.

    Hydra would hold ours against the schema that a plugin of the same name has left.
    """
    Plugins.instance()
    theirs = ConfigStore.instance().repo.get("hydra", {})
    for path in (conf_folder() / "hydra").glob("*/*.yaml"):
        theirs.get(path.parent.name, {}).pop(path.name, None)


@contextmanager
def _loader(config_dir: str | Path | None) -> Iterator[ConfigLoader]:
    """Hydra over conf/ and a person's own folder; what of Hydra was there before is there again afterwards."""
    keep_to_own_options()
    search_path = create_config_search_path(str(conf_folder()))
    if config_dir is not None:
        own = Path(config_dir).expanduser().resolve()
        _refuse_hidden_options(own)
        search_path.prepend(provider="command-line", path=f"file://{own}", anchor=SearchPathQuery(provider="schema"))
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    _composed.cache_clear()
    try:
        yield Hydra.create_main_hydra2(task_name="embexp", config_search_path=search_path).config_loader
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


def _refuse_hidden_options(own: Path) -> None:
    if not own.is_dir():
        raise ConfigError([f"--config-dir {own}: there is no such folder."])
    shipped = conf_folder()
    hidden = [path.relative_to(own) for path in own.rglob("*.yaml") if (shipped / path.relative_to(own)).exists()]
    if hidden:
        raise ConfigError(
            [f"{own / path}: embexp ships an option of this name, which would win; rename yours." for path in hidden]
        )


def _jobs(loader: ConfigLoader, overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of every job of a sweep; where a sweeper of another kind draws them, of none but the base."""
    # What is no option of its group is told with the first job.
    fixed = [o for o in overrides if not o.is_sweep_override()]
    chosen = tuple(_text(o) for o in fixed if _group_of(loader, o) and not _unknown_option(loader, o))
    bare = _composed(chosen)
    typed = [o for o in fixed if o.key_or_group.startswith("hydra.sweeper.") and not _unknown_key(loader, bare, o)]
    sweeper = _composed((*chosen, *map(_text, typed))).hydra.sweeper
    # What is none is refused with the first job.
    params = sweeper.params if isinstance(sweeper.params, DictConfig) else {}
    named = parse([f"{key}={value}" for key, value in params.items()])
    if str(sweeper._target_) == OPTUNA:
        return trials([*named, *overrides], sweeper.n_trials)
    if not str(sweeper._target_).endswith(".BasicSweeper"):
        return [[_text(override) for override in fixed]]
    swept = [*named, *overrides]
    if endless := [_text(override) for override in swept if override.is_interval_sweep()]:
        raise ConfigError([f"{typed}: has no end of values; hydra/sweeper=optuna draws from it." for typed in endless])
    jobs: list[list[str]] = BasicSweeper.split_arguments(swept, None)[0]
    return jobs


def _compose_job(loader: ConfigLoader, overrides: Sequence[Override]) -> Config:
    swept = [override for override in overrides if override.is_sweep_override()]
    if swept:
        raise ConfigError([f"{o.input_line}: several values make a sweep; add -m to run them all." for o in swept])
    unknown, known = _told_apart(loader, overrides)
    if unknown:
        raise ConfigError([*unknown, *_wrong_values(known)])
    try:
        composed = hydra_compose("config", [_text(override) for override in overrides], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([first_line(error)]) from None
    launcher = _plain(composed.hydra.launcher)
    config = checked(composed, composed.hydra)
    check_launching(launcher, _plain(composed.hydra.sweeper), config)
    check_share(config, launcher)
    return config


def _told_apart(loader: ConfigLoader, overrides: Sequence[Override]) -> tuple[list[str], list[Override]]:
    """The problem of every override that nothing reads, and the overrides that can be judged without it."""
    problems: list[str] = []
    known: list[Override] = []
    lost: set[str] = set()
    for override in overrides:
        if (problem := _unknown_option(loader, override)) is not None:
            problems.append(problem)
            lost.add(override.key_or_group)
        else:
            known.append(override)
    # Which keys a group has is not known where its option is not.
    known = [override for override in known if override.key_or_group.partition(".")[0] not in lost]
    try:
        bare = _composed(tuple(_text(override) for override in known if _group_of(loader, override)))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([*problems, first_line(error)]) from None
    keys = {id(override): problem for override in known if (problem := _unknown_key(loader, bare, override))}
    return [*problems, *keys.values()], [override for override in known if id(override) not in keys]


def _wrong_values(overrides: Sequence[Override]) -> list[str]:
    """What is wrong with a typed value in itself; what goes together is not known where something typed is not."""
    try:
        _, problems = check_sections(_values(hydra_compose("config", [_text(override) for override in overrides])))
    except (HydraException, OmegaConfBaseException, ConfigError):
        return []
    typed = tuple(f"{_text(override)}: " for override in overrides)
    return [problem for problem in problems if problem.startswith(typed)]


@lru_cache(maxsize=256)
def _composed(groups: tuple[str, ...]) -> DictConfig:
    """The config of a choice of options alone; valid as long as the loader that stands."""
    return hydra_compose("config", list(groups), return_hydra_config=True)


def _text(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line


def _group_of(loader: ConfigLoader, override: Override) -> str | None:
    key = override.key_or_group
    return key if "." not in key and loader.get_group_options(key) else None


def _unknown_option(loader: ConfigLoader, override: Override) -> str | None:
    group = _group_of(loader, override)
    if group is None or (override.value() is None and group == "experiment"):
        return None
    options = loader.get_group_options(group)
    if override.is_delete():
        return f"~{group}: a run needs one; {group} is one of {', '.join(options)}."
    value = override.value()
    if isinstance(value, list) and group != "evaluation":
        return (
            f"{_text(override)}: a run has one {group}; a sweep over several is {group}={','.join(map(str, value))} -m."
        )
    pairs = [option for option in value if option in PAIRS] if isinstance(value, list) else []
    if len(pairs) > 1:
        return (
            f"{_text(override)}: one set of pairs chooses the best step; keep one of {', '.join(pairs)}, and name files "
            "of further pairs in evaluation.sets: 'evaluation.sets={mine: FILE}'."
        )
    for option in map(str, value) if isinstance(value, list) else [value]:
        if option not in options:
            return f"{group}={option}: there is no such option; {group} is one of {', '.join(options)}.{nearest(str(option), options)}"
    return (
        None if value != [] else f"{_text(override)}: a run needs at least one; {group} is one of {', '.join(options)}."
    )


def _unknown_key(loader: ConfigLoader, bare: DictConfig, override: Override) -> str | None:
    key = override.key_or_group
    if _group_of(loader, override) or override.is_add() or override.is_force_add():
        return None
    settable: DictConfig = bare if key.startswith("hydra.") else _without_hydra(bare)
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(settable, parent) if parent else settable
    if isinstance(node, DictConfig) and name in node:
        return None
    known = _dotted(settable)
    if node is None and parent in known:
        return f"{key}: {parent} is empty; set it whole: '{parent}={{{name}: ...}}'."
    if others := _options_with(parent.replace(".", "/"), name):
        return f"{key}: nothing reads this key here; it is a key of {' and of '.join(others)}."
    likely = _likely(key, known, in_a_section=node is not None)
    said = "" if likely is None else f" Did you mean {likely!r}?"
    return f"{key}: nothing reads this key.{said} See them all with --cfg job."


def _likely(key: str, known: Sequence[str], *, in_a_section: bool) -> str | None:
    """The key that was meant: of the same section, else of any; where there is no such section, one that is like the whole."""
    if not in_a_section and (whole := closest(key, known)) is not None:
        return whole
    parent, _, name = key.rpartition(".")
    for keys in ([each for each in known if each.rpartition(".")[0] == parent], known):
        by_name = {each.rpartition(".")[2]: each for each in reversed(keys)}
        if (found := closest(name, by_name)) is not None:
            return by_name[found]
    return None


def _options_with(group: str, name: str) -> list[str]:
    """The shipped options of a group that have a key of this name: ["loss=tsdae"]."""
    files = sorted((conf_folder() / group).glob("*.yaml")) if group else []
    return [f"{group}={file.stem}" for file in files if name in OmegaConf.load(file)]


def _plain(section: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _without_hydra(composed: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])


def _dotted(node: DictConfig, prefix: str = "") -> list[str]:
    keys: list[str] = []
    for key in map(str, node):
        path = f"{prefix}{key}"
        keys.append(path)
        value = node._get_node(key)
        if isinstance(value, DictConfig) and not value._is_none():
            keys += _dotted(value, f"{path}.")
    return keys

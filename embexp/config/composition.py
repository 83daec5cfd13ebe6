"""Composes configs from conf/ as Hydra does, and tells every mistake of a command before a job starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from warnings import catch_warnings, filterwarnings

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
from yaml import MarkedYAMLError

from embexp.config.bare import lost_with, read_all
from embexp.config.checks import check, check_sections, check_share, what_is_wrong_with_launching
from embexp.config.errors import ConfigError, first_line
from embexp.config.jobs import Swept, jobs_of
from embexp.config.launching import LAUNCHERS, SlurmSubmission
from embexp.config.overrides import (
    chosen,
    composed_of,
    composed_with,
    group_of,
    options_of,
    said_of,
    text_of,
    told_apart,
    unknown_key,
    without_hydra,
)
from embexp.config.ranges import MOST_CORNERS, corners, parse, read, said_of_ranges
from embexp.config.schema import Config
from embexp.config.unread import cautions_of
from embexp.home import expanded
from embexp.shipped import conf_folder

# The options of evaluation that are scored at the end; the others bring the pairs by which the best step is chosen.
AT_THE_END = ("mteb", "retrieval", "classification", "latency")


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None, trains: bool = True) -> Config:
    """The checked config of one run, from overrides as they are typed: compose(["loss=cosine", "batch_size=64"]).

    Args:
        overrides: what would stand on the command line.
        config_dir: a folder with options of one's own, as `--config-dir` names it.
        trains: whether a model is trained, or scored alone, where nothing is asked of a loss.

    Raises:
        ConfigError: with every problem found.
    """
    if isinstance(overrides, str):
        raise ConfigError([f"overrides: a list of texts, each KEY=VALUE: compose([{overrides!r}])."])
    with _loader(config_dir) as loader:
        parsed, unread = read_all(loader, overrides)
        try:
            config = _compose_job(loader, parsed, lost_with(loader, unread), trains=trains)
        except ConfigError as error:
            raise ConfigError([*unread.values(), *error.problems]) from None
    # With a folder of one's own they would not be all.
    return config if config_dir is not None else config.typed_as(overrides)


class Checked(NamedTuple):
    """A command that can be run: each job's overrides, and what a person should hear of them all first."""

    jobs: list[list[str]]
    cautions: list[str]


def check_command(
    overrides: Sequence[str], *, multirun: bool, config_dir: str | Path | None = None, trains: bool = True
) -> Checked:
    """Composes and checks every job of a command before the first one starts.

    A search's jobs are all as typed: what is drawn later is checked at the ends of its ranges. `trains`: see `compose`.

    Raises:
        ConfigError: with the problems of all jobs, each told once.
    """
    with _loader(config_dir) as loader:
        parsed, unread = read_all(loader, overrides)
        several = [override for override in parsed if override.is_sweep_override()]
        # What lacks its -m is looked at as what it will be.
        swept = (
            jobs_of(loader, parsed, whole=not unread)
            if multirun or several
            else Swept([[text_of(override) for override in parsed]], {}, [])
        )
        wrong = unread | swept.wrong
        lost = lost_with(loader, wrong)
        wants_m = [] if multirun else [*map(_wants_m, several)]
        problems = dict.fromkeys([*wrong.values(), *wants_m, *swept.problems])
        searched = any(override.is_sweep_override() for override in parse(swept.jobs[0]))
        configs = []
        # Without its -m it is refused in any case.
        listed = swept.jobs[:MOST_CORNERS] if wants_m else swept.jobs
        for job in corners(parse(swept.jobs[0])) if searched else listed:
            try:
                configs.append(_compose_job(loader, parse(job), lost, trains=trains))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
        if problems:
            raise ConfigError(said_of_ranges(problems, parsed))
        return Checked(swept.jobs, cautions_of(configs))


def is_sweep(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> bool:
    """Whether the chosen options make it a sweep by themselves (hydra.mode), as a named sweep's file does."""
    with _loader(config_dir) as loader:
        # What cannot be read, and what is no option, is told where the command is checked.
        parsed, _ = read(overrides)
        return str(composed_of(chosen(loader, parsed)).hydra.mode) == "RunMode.MULTIRUN"


def for_multirun(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> list[str]:
    """The checked overrides as Hydra's multirun takes them.

    It sets the fixed ones before it knows any job's options, and so refuses a key that only a swept option has. Written
    as a choice of one, such a key is set job by job.
    """
    with _loader(config_dir) as loader:
        parsed = parse(overrides)
        fixed = [override for override in parsed if not override.is_sweep_override()]
        bare = composed_of(tuple(text_of(override) for override in fixed if group_of(loader, override)))
        early = [override for override in fixed if unknown_key(loader, bare, override)]
        return [
            "{}=choice({})".format(*text_of(override).split("=", 1)) if override in early else text_of(override)
            for override in parsed
        ]


def checked(composed: DictConfig, hydra: Any, *, looked_at: bool = False, trains: bool = True) -> Config:
    """The checked config of what Hydra composed and of the options that it chose, as its own node tells them; see `check`."""
    values = _values(composed)
    names = {group: str(option) for group, option in hydra.runtime.choices.items() if option and "/" not in group}
    chosen = [names["evaluation"]] if "evaluation" in names else _listed("evaluation", hydra)
    names["evaluation"] = "+".join(chosen if set(chosen) - set(AT_THE_END) else ["own", *chosen])
    on_slurm = LAUNCHERS.get(str(hydra.launcher._target_)) is SlurmSubmission
    return check(values, names, elsewhere=on_slurm, looked_at=looked_at, trains=trains)


def _values(composed: DictConfig) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(without_hydra(composed), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {first_line(error)}"]) from None
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _listed(group: str, hydra: Any) -> list[str]:
    """The options of a group for which a list was chosen: Hydra's record of choices leaves lists out."""
    with _loader_of(hydra) as loader:
        found = loader.compute_defaults_list("config", list(hydra.overrides.task), RunMode.RUN).defaults
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
def _loader_of(hydra: Any) -> Iterator[ConfigLoader]:
    """What has composed a job; where a launcher sent the job to another process, made there anew."""
    if GlobalHydra.instance().is_initialized():
        yield GlobalHydra.instance().config_loader()
        return
    own = next((source.path for source in hydra.runtime.config_sources if source.provider == "command-line"), None)
    with _loader(own) as loader:
        yield loader


@contextmanager
def _loader(config_dir: str | Path | None) -> Iterator[ConfigLoader]:
    """Hydra over conf/ and a person's own folder; what of Hydra was there before is there again afterwards."""
    keep_to_own_options()
    own = None if config_dir is None else expanded(config_dir).resolve()
    if own is not None:
        _refuse_hidden_options(own)
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with catch_warnings():
            # It is told where one is chosen.
            filterwarnings("ignore", r"Support for \.yml files is deprecated")
            yield _hydra_over(own).config_loader
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{mark.name}: line {mark.line + 1}: " if mark is not None else ""
        raise ConfigError([f"{where}is no YAML: {error.problem}."]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{file}: is not UTF-8." for file in _not_utf8(own)]) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([said_of(error)]) from None
    finally:
        GlobalHydra.instance().clear()
        if outer is not None:
            GlobalHydra.instance().initialize(outer)


# The one that was asked last, which has read its files, and what they were.
_last: tuple[tuple[Any, ...], Hydra] | None = None


def _hydra_over(own: Path | None) -> Hydra:
    """As the one that stands; the last again where no file has changed since: to read and merge them all takes a third of a second."""
    global _last
    shipped = conf_folder()
    files = [file for folder in (shipped, own) if folder is not None for file in _options_in(folder)]
    now = (own, *((file, (found := file.stat()).st_mtime_ns, found.st_size) for file in files))
    if _last is not None and _last[0] == now:
        GlobalHydra.instance().initialize(_last[1])
        return _last[1]
    composed_of.cache_clear()
    options_of.cache_clear()
    search_path = create_config_search_path(str(shipped))
    if own is not None:
        search_path.prepend(provider="command-line", path=f"file://{own}", anchor=SearchPathQuery(provider="schema"))
    _last = now, Hydra.create_main_hydra2(task_name="embexp", config_search_path=search_path)
    return _last[1]


def _options_in(folder: Path) -> list[Path]:
    """The files that can be options; of a person's folder that holds other things too, no others are looked at."""
    # config.yaml, loss/mnr.yaml, hydra/launcher/joblib.yaml.
    return sorted(file for depth in ("*", "*/*", "*/*/*") for file in folder.glob(f"{depth}.yaml") if file.is_file())


def _not_utf8(own: Path | None) -> Iterator[Path]:
    for file in _options_in(conf_folder() if own is None else own):
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            yield file


def _refuse_hidden_options(own: Path) -> None:
    if not own.is_dir():
        raise ConfigError([f"--config-dir {own}: there is no such folder."])
    shipped = conf_folder()
    hidden = [path.relative_to(own) for path in _options_in(own) if (shipped / path.relative_to(own)).exists()]
    if hidden:
        raise ConfigError(
            [f"{own / path}: embexp ships an option of this name, which would win; rename yours." for path in hidden]
        )


def _wants_m(override: Override) -> str:
    return f"{text_of(override)}: several values make a sweep; add -m to run them all."


def _compose_job(
    loader: ConfigLoader, overrides: Sequence[Override], lost: Collection[str] = (), *, trains: bool
) -> Config:
    """The checked config of a job.

    Args:
        loader: of the options that there are.
        overrides: of the job.
        lost: keys and groups that stand in words that cannot be read: what goes together is not known then.
        trains: see `compose`.
    """
    if several := [override for override in overrides if override.is_sweep_override()]:
        raise ConfigError([*map(_wants_m, several)])
    unknown, known = told_apart(loader, overrides, lost)
    if unknown or lost:
        raise ConfigError([*unknown, *_wrong_values(loader, known)])
    try:
        composed = composed_with(loader, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([said_of(error)]) from None
    launcher, sweeper = _plain(composed.hydra.launcher), _plain(composed.hydra.sweeper)
    try:
        config = checked(composed, composed.hydra, trains=trains)
    except ConfigError as error:
        raise ConfigError([*error.problems, *what_is_wrong_with_launching(launcher, sweeper)]) from None
    if problems := what_is_wrong_with_launching(launcher, sweeper, config):
        raise ConfigError(problems)
    check_share(config, launcher)
    return config


def _wrong_values(loader: ConfigLoader, overrides: Sequence[Override]) -> list[str]:
    """What is wrong with a typed value in itself; what goes together is not known where something typed is not."""
    try:
        composed = composed_with(loader, overrides)
        _, problems = check_sections(_values(composed))
        problems += what_is_wrong_with_launching(_plain(composed.hydra.launcher), _plain(composed.hydra.sweeper))
    except (HydraException, OmegaConfBaseException, ConfigError):
        return []
    own = tuple(beginning for override in overrides for beginning in _beginnings(loader, override))
    return [problem for problem in problems if problem.startswith(own)]


def _beginnings(loader: ConfigLoader, override: Override) -> tuple[str, ...]:
    """What a problem begins with that is this override's, whether it is changed or added."""
    if group_of(loader, override):
        return (f"{text_of(override)}: ",)
    key = override.key_or_group
    # Of a section that nothing reads nothing else is told.
    return f"{key}=", f"{key}: ", f"{key}.", f"{key.partition('.')[0]}: "


def _plain(section: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}

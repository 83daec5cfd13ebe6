"""Holds a composed config against the schema, and against what goes together: all problems, told at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embexp.config.cuts import with_cuts_in_order
from embexp.config.errors import ConfigError, nearest
from embexp.config.launching import LAUNCHERS, SWEEPERS, Launcher, what_does_not_go_together, what_is_missing
from embexp.config.pins import without_the_pins_of_others
from embexp.config.rules import OF_FILES, OF_SCORING, OF_THIS_MACHINE, RULES, Rule, is_slow, train_on_all
from embexp.config.schema import (
    SCHEMAS,
    Config,
    Evaluation,
    Schema,
    Trainer,
)
from embexp.config.sections import collect, collect_scalars, schema_of
from embexp.config.sources import PAIRS
from embexp.shares import too_few, visible_gpus


def check(
    values: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    elsewhere: bool = False,
    looked_at: bool = False,
    trains: bool = True,
) -> Config:
    """The checked config of one run; of a train file whose dev part nobody scores, nothing is set aside any more, what
    is not an option's own model or data has not its revision, and of dimensions the most stand first.

    Args:
        values: the composed config as plain Python values, interpolations resolved.
        names: the option chosen in each group, as typed: {"loss": "mnr", "model": "minilm", ...}.
        elsewhere: it is run on another machine, which knows best what it can do.
        looked_at: it has been checked before with all that it names. What became of its files since is the run's to tell, which
            has a record for it.
        trains: a model is trained, not scored alone.

    Raises:
        ConfigError: with every problem that could be found without loading anything.
    """
    values = without_the_pins_of_others(values)
    parts, problems = check_sections(values)
    config = (
        Config.model_construct(**parts, names=dict(names))
        if problems
        else Config.model_validate({**parts, "names": dict(names)})
    )
    rules = [rule for rule in (RULES if trains else OF_SCORING) if not (elsewhere and rule in OF_THIS_MACHINE)]
    if problems or looked_at:
        rules = [rule for rule in rules if not is_slow(rule, config)]
    if looked_at:
        rules = [rule for rule in rules if rule not in OF_FILES]
    problems += [problem for rule in rules for problem in _as_far_as_known(rule, config)]
    if problems:
        raise ConfigError(problems)
    return with_cuts_in_order(train_on_all(config))


def _as_far_as_known(rule: Rule, config: Config) -> Iterator[str]:
    """The problems that a rule finds in a config that lacks what is wrong in itself: none from where it asks for that."""
    try:
        yield from rule(config)
    except AttributeError as error:
        if error.obj is not config or error.name not in Config.model_fields.keys() - config.model_fields_set:
            raise


def check_sections(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Every section against its schema, and the scalars: those that keep to theirs, and the problems of the others."""
    problems: list[str] = []
    parts: dict[str, Any] = {}
    plain: dict[str, type[Schema]] = {"trainer": Trainer, "evaluation": Evaluation}
    groups = [*SCHEMAS, *plain]
    for group, section in values.items():
        if isinstance(section, Mapping) and group not in groups:
            problems.append(f"{group}: nothing reads this section.{_of_an_experiment(group) or nearest(group, groups)}")
        elif isinstance(section, Mapping):
            schema = plain[group] if group in plain else schema_of(group, section)
            part = collect(problems, schema, section, group)
            if part is not None:
                parts[group] = part
        elif group in groups:
            what = "a list" if isinstance(section, list) else repr(section)
            problems.append(f"{group}: the file of the chosen option must hold KEY: VALUE lines, it holds {what}.")
    evaluation = values.get("evaluation")
    source = evaluation.get("source") if isinstance(evaluation, Mapping) else None
    if isinstance(source, Mapping) and collect(problems, schema_of("data", source), source, PAIRS) is None:
        parts.pop("evaluation", None)
    scalars = {key: value for key, value in values.items() if not isinstance(value, Mapping) and key not in groups}
    parts |= collect_scalars(problems, scalars)
    return parts, problems


def _of_an_experiment(group: str) -> str:
    # Without this line Hydra puts what the file holds below the name of its group.
    return " The first line of a file in experiment/ is: # @package _global_" if group == "experiment" else ""


def what_is_wrong_with_launching(
    launcher: Mapping[str, Any], sweeper: Mapping[str, Any], config: Config | None = None
) -> list[str]:
    """Where hydra.launcher and hydra.sweeper break their schemas, of embexp's own ones; and which extra is not installed.

    Args:
        launcher: hydra.launcher.
        sweeper: hydra.sweeper.
        config: of a job, with which they have to go together; None where it is not right itself.
    """
    problems: list[str] = []
    for key, section, schemas in (("hydra.launcher", launcher, LAUNCHERS), ("hydra.sweeper", sweeper, SWEEPERS)):
        schema = schemas.get(str(section.get("_target_")))
        if schema is not None:
            part = collect(problems, schema, section, key)
            problems += what_is_missing(schema)
            if part is not None and config is not None:
                problems += what_does_not_go_together(part, config)
    return problems


def check_share(config: Config, launcher: Mapping[str, Any]) -> None:
    """Refuses a job side by side with others that wants more GPUs than this machine has.

    Here, before the sweep has begun: what a launcher raises, Hydra tells with a traceback.

    Raises:
        ConfigError: with what to use.
    """
    if LAUNCHERS.get(str(launcher.get("_target_"))) is not Launcher or config.devices == 1:
        return
    if config.trainer.device != "cpu" and (problem := too_few(visible_gpus(), config.devices)):
        raise ConfigError([problem])

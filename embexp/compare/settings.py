"""What a run was made with but nobody typed: a default is none of a run's params, and is read from the config among its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from embexp.compare.runs import Run
from embexp.config.recorded import recorded_config
from embexp.run_folder import CONFIG
from embexp.tracking import param_text


def with_setting(runs: Sequence[Run], key: str) -> tuple[list[Run], int]:
    """The runs, each trained one with the setting among its params if its config has it; and how many have none that can be read.

    Args:
        runs: those for which it was typed stay as they are, as do those that were only scored.
        key: as typed: "trainer.weight_decay".
    """
    if not _has_a_default(key):
        return list(runs), 0
    found, unknown = [], 0
    for run in runs:
        untyped = run.is_trained and key not in run.params
        config = _config_of(run) if untyped else None
        found.append(run if config is None else _with_default(run, key, config))
        unknown += untyped and config is None
    return found, unknown


def with_what_experiments_set(runs: Sequence[Run]) -> list[Run]:
    """The runs, those of an experiment with the settings that were typed for others, as its file may have set them too.

    Of all others what is lacking is the default of their options.
    """
    typed = dict.fromkeys(key for run in runs for key in run.params if _has_a_default(key))
    return [_with_all(run, list(typed)) if "experiment" in run.params and run.is_trained else run for run in runs]


def _with_all(run: Run, keys: Sequence[str]) -> Run:
    untyped = [key for key in keys if key not in run.params]
    if not untyped or (config := _config_of(run)) is None:
        return run
    for key in untyped:
        run = _with_default(run, key, config)
    return run


def _has_a_default(key: str) -> bool:
    """Whether it is kept with those runs alone in whose command it stood, though all have it; of a loss all is kept."""
    return "." in key and not key.startswith("loss.")


def _config_of(run: Run) -> dict[str, Any] | None:
    try:
        found = None if run.predictions is None else recorded_config(run.predictions.with_name(CONFIG).read_bytes())
    except OSError:
        return None
    return found if isinstance(found, dict) else None


def _with_default(run: Run, key: str, config: dict[str, Any]) -> Run:
    value: Any = config
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            return run
        value = value[name]
    return replace(run, params={**run.params, key: _as_typed(value)})


def _as_typed(value: Any) -> str:
    """As a person would have typed it, who may have for other runs: null, true, 0 rather than 0.0."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "null" if value is None else param_text(value)

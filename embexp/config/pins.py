"""Revisions that the shipped options pin: each is a commit of one repository of the hub, and of no other."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from embexp.shipped import conf_folder

# Where an option of a group names its repository.
REPOSITORY = {"model": "path", "data": "repo"}


def without_the_pins_of_others(values: Mapping[str, Any]) -> dict[str, Any]:
    """A composed config, in which a model or data set of another name than the option's has not the option's revision.

    With `model.path=` typed, the revision that stands in the option would be asked of a repository that has none such.
    """
    freed = {group: _freed(values[group], key) for group, key in REPOSITORY.items() if group in values}
    evaluation = values.get("evaluation")
    if isinstance(evaluation, Mapping) and "source" in evaluation:
        freed["evaluation"] = {**evaluation, "source": _freed(evaluation["source"], REPOSITORY["data"])}
    return {**values, **freed}


def _freed(section: Any, key: str) -> Any:
    if not isinstance(section, Mapping):
        return section
    pinned = _pinned().get(str(section.get("revision")))
    return section if pinned in (None, section.get(key)) else {**section, "revision": None}


@cache
def _pinned() -> dict[str, str]:
    """{revision: repository}."""
    found = {}
    for group, key in REPOSITORY.items():
        for file in (conf_folder() / group).glob("*.yaml"):
            option = yaml.safe_load(file.read_text(encoding="utf-8"))
            if option.get("revision") is not None:
                found[option["revision"]] = option[key]
    return found

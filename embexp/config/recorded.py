"""The config that a run was recorded with, read back from its config.yaml."""

from __future__ import annotations

from typing import Any

import yaml

try:
    from yaml import CSafeLoader as Loader
except ImportError:  # a PyYAML without libyaml, ten times as slow
    from yaml import SafeLoader as Loader

# What a run's config is composed of: an option of each.
GROUPS = ("model", "loss", "data", "trainer", "evaluation", "tracker")


def recorded_config(text: bytes) -> dict[str, Any] | str:
    """The settings of a recorded config, the names of its options among them; or why it cannot be what a run wrote.

    The names stand last: one that was cut off lacks some of them.
    """
    try:
        found = yaml.load(text.decode("utf-8"), Loader)
    except UnicodeDecodeError:
        return "it is no text"
    except yaml.YAMLError:
        return "it is no YAML"
    if found is None:
        return "it is empty"
    if not isinstance(found, dict):
        return f"it is a {type(found).__name__}, not settings by their names"
    names = found.get("names")
    lacking = [key for key in GROUPS if not isinstance(found.get(key), dict)]
    lacking += [
        f"names.{group}" for group in GROUPS if not (isinstance(names, dict) and isinstance(names.get(group), str))
    ]
    return found if not lacking else f"it lacks {', '.join(lacking)}"

"""What `python -m embexp --help` tells, read from conf/ as it is: Hydra takes three times as long to say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from embexp.shipped import conf_folder


def help_text(own: Path | None = None) -> str:
    """Groups with their options, and the values of a run with no override: Hydra's own help, to the letter.

    Args:
        own: a folder with options of a person's own.
    """
    folder = conf_folder()
    whole = _read(folder / "config.yaml")
    defaults, hydra = whole.pop("defaults"), whole.pop("hydra")["help"]
    for group, option in (item for choice in defaults if isinstance(choice, dict) for item in choice.items()):
        if option is not None and not group.startswith("override "):
            chosen = _read(folder / group / f"{option}.yaml")
            whole[group] = {**whole.get(group, {}), **chosen}
    options = {
        group.name: ", ".join(
            sorted(file.stem for where in (folder, own) if where for file in where.glob(f"{group.name}/*.yaml"))
        )
        for group in sorted(folder.iterdir())
        if group.is_dir() and group.name != "hydra"
    }
    told: str = hydra["template"]
    for name, text in {
        "${hydra.help.header}": hydra["header"],
        "$APP_CONFIG_GROUPS": "".join(f"{group}: {names}\n" for group, names in options.items()),
        "$CONFIG": yaml.dump(whole, sort_keys=False),
        "${hydra.help.footer}": hydra["footer"],
    }.items():
        told = told.replace(name, text)
    return told


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return found

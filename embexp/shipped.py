"""Where the shipped options are."""

from __future__ import annotations

from pathlib import Path


def conf_folder() -> Path:
    """The absolute path of conf/: inside the package when installed from a wheel, else beside it in the checkout."""
    package = Path(__file__).resolve().parent
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())

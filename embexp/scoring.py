"""What is scored of a run, before training and at its end, and what that says to the person who waits for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict

import numpy as np
from sentence_transformers import SentenceTransformer

from embexp.config import Config, ConfigError
from embexp.evaluation import Extras, Scores
from embexp.evaluation.extras import RECORD
from embexp.inputs import Inputs, fingerprints
from embexp.prompts import prompts_of
from embexp.record import Record
from embexp.training import Trained

# In this process: what the first job of a sweep scored before training, its others need not score again.
SCORED_BEFORE: dict[str, dict[str, Scores]] = {}


def scores_before(config: Config, inputs: Inputs, score: Callable[[str], Scores]) -> dict[str, Scores]:
    """Those of the model before training: the jobs of a sweep that start from one model have them from the first."""
    what = {
        "model": inputs.encoder.identity,
        "prompts": dict(prompts_of(config.model)),
        "pairs": fingerprints(inputs)["evaluation"],
        "evaluation": config.evaluation.model_dump(),
        "hardware": asdict(inputs.hardware),
    }
    known = json.dumps(what, sort_keys=True, default=str)
    if known not in SCORED_BEFORE:
        SCORED_BEFORE[known] = {name: score(name) for name in inputs.pairs}
    return SCORED_BEFORE[known]


def refuse_no_score(scores: Scores, select_by: str) -> None:
    """Lets no model pass whose dev pairs tell nothing before any training.

    Raises:
        ConfigError: what it is ranked by is no number.
    """
    if math.isfinite(scores.metrics[select_by]):
        return
    if all(np.isfinite(found).all() for found in scores.similarities.values()):
        why = "it finds every dev pair equally alike; are their words in its vocabulary, and do its weights differ from 0?"
    else:
        why = "its embeddings hold values that are no numbers"
    raise ConfigError([f"dev/{select_by}: is no number for the model as it is, before any training: {why}"])


def log_outcome(record: Record, trained: Trained, before: Mapping[str, Scores], after: Mapping[str, Scores]) -> None:
    """The scores of the model that was kept (the best step's), its gain over step 0, and what it cost."""
    metrics = prefixed("best/dev", after["dev"].metrics)
    if "test" in after:
        metrics |= prefixed("test", after["test"].metrics)
    for name in after:
        for metric in ("pearson_cosine", "spearman_cosine"):
            if metric in after[name].metrics:
                gain = after[name].metrics[metric] - before[name].metrics[metric]
                metrics[f"gain/{name}/{metric}"] = gain
    metrics |= {
        "best/step": trained.best_step,
        "time/training_seconds": trained.seconds,
        "throughput/texts_per_second": trained.texts_per_second,
    }
    if trained.peak_memory_bytes is not None:
        metrics["memory/peak_bytes"] = trained.peak_memory_bytes
    record.log_metrics(metrics, trained.steps)


def score_beside(extras: Extras, model: SentenceTransformer, record: Record, *, step: int) -> None:
    """What is scored once, at the end, on the model that was kept; what could not be scored costs only itself."""
    if not extras.chosen:
        return
    extras.score_after(model, lambda metrics: record.log_metrics(metrics, step))
    extras.write(record.folder / RECORD)
    record.log_artifact(record.folder / RECORD)
    # Empty too: a run that goes on may have missed something before.
    record.tracker.set_tags({"embexp.missed": "; ".join(f"{name}: {why}" for name, why in extras.missed.items())})


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """{"dev/spearman_cosine": ...} from {"spearman_cosine": ...}."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()}

"""What is scored of a run, before training and at its end, and what that says to the person who waits for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from embexp.config import Config, ConfigError
from embexp.data.cache import Made, found_or_made
from embexp.evaluation import Extras, Scores
from embexp.inputs import Inputs, kept_of_models, what_embeds
from embexp.record import Record
from embexp.run_folder import EVALUATIONS
from embexp.training import Trained

# In this process: what the first job of a sweep scored before training, its others need not score again.
SCORED_BEFORE: dict[str, Scores] = {}


def scores_before(config: Config, inputs: Inputs, score: Callable[[str], Scores]) -> dict[str, Scores]:
    """Those of the model before training: all runs that start from one model have them from the first, where data is kept."""
    return {name: _scored_once(config, inputs, name, score) for name in inputs.pairs}


def _scored_once(config: Config, inputs: Inputs, name: str, score: Callable[[str], Scores]) -> Scores:
    made_from = {
        "scores before": inputs.pairs[name].fingerprint,
        "similarities": config.evaluation.similarities,
        **what_embeds(config, inputs),
    }
    known = json.dumps(made_from, sort_keys=True)
    if known not in SCORED_BEFORE:
        folder = kept_of_models(config)
        SCORED_BEFORE[known] = score(name) if folder is None else _kept(folder, made_from, partial(score, name))
    return SCORED_BEFORE[known]


def _kept(folder: Path, made_from: Mapping[str, Any], score: Callable[[], Scores]) -> Scores:
    """What a run of another process scored, or is just scoring; else what is scored now."""

    def make(_: Path | None) -> Made:
        scores = score()
        return Made(Dataset(pa.table(scores.similarities)), {"metrics": scores.metrics})

    (table, facts, *_), _ = found_or_made(folder, made_from, make)
    assert table is not None
    columns = table.with_format("arrow")[:]
    return Scores(facts["metrics"], {name: columns[name].to_numpy() for name in columns.column_names})


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


def log_outcome(
    record: Record, trained: Trained, before: Mapping[str, Scores], after: Mapping[str, Scores], *, select_by: str
) -> None:
    """The scores of the model that was kept (the best step's by `select_by`), its gain over step 0, and what it cost."""
    metrics = prefixed("best/dev", after["dev"].metrics)
    if "test" in after:
        metrics |= prefixed("test", after["test"].metrics)
    for name in after:
        for metric in dict.fromkeys(("pearson_cosine", "spearman_cosine", select_by)):
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
    # Not beside what is timed.
    record.tracker.settle()
    extras.score_after(model, lambda metrics: record.log_metrics(metrics, step))
    extras.write(record.folder / EVALUATIONS)
    record.log_artifact(record.folder / EVALUATIONS)
    # Empty too: a run that goes on may have missed something before.
    record.tracker.set_tags({"embexp.missed": "; ".join(f"{name}: {why}" for name, why in extras.missed.items())})


def prefixed(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """{"dev/spearman_cosine": ...} from {"spearman_cosine": ...}."""
    return {f"{prefix}/{name}": value for name, value in metrics.items()}

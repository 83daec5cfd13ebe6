"""STS scores: how well the similarity of two embeddings tells the score that people gave to two texts."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import (
    pairwise_cos_sim,
    pairwise_dot_score,
    pairwise_euclidean_sim,
    pairwise_manhattan_sim,
)

from embexp.config import Config, ConfigError, Similarity
from embexp.config.schema import Files
from embexp.config.sections import data_schema
from embexp.data import build_source
from embexp.data.rows import Rows, Source, Split
from embexp.data.views import LEFT_OUT, SCORED_AS, make_view
from embexp.evaluation.parts import Part
from embexp.evaluation.sets import rows_of_set
from embexp.evaluation.tables import fingerprint_of
from embexp.prompts import NO_PROMPTS, Prompts, Role
from embexp.routes import encoding_of, refuse_missing_routes
from embexp.units import counted

log = logging.getLogger(__name__)

SIMILARITIES = {
    "cosine": pairwise_cos_sim,
    "manhattan": pairwise_manhattan_sim,
    "euclidean": pairwise_euclidean_sim,
    "dot": pairwise_dot_score,
}
# Mismatched pairs, where a dev set needs them, are the same in every run: their seed is not the run's.
PAIRING_SEED = 0


@dataclass(frozen=True)
class Pairs:
    """What is scored on: n pairs of texts, and the score of each, (n,), in 0..1.

    Attributes:
        directed: whether the first text asks for the second; else they could change places.
        rows: that the pairs were made from; None where they were made otherwise.
    """

    name: str
    sentences1: list[str]
    sentences2: list[str]
    scores: np.ndarray
    directed: bool = False
    rows: Rows | None = None

    @cached_property
    def fingerprint(self) -> str:
        """sha256 hex of the pairs."""
        return fingerprint_of(self.sentences1, self.sentences2, self.scores.tolist(), [self.directed])


@dataclass(frozen=True)
class Scores:
    """Of one model on one set of pairs.

    Attributes:
        metrics: pearson_* and spearman_* for each similarity, and their max where there are several.
        similarities: of each pair, (n,), by similarity; manhattan and euclidean are negative distances.
    """

    metrics: dict[str, float]
    similarities: dict[str, np.ndarray]


def evaluation_pairs(config: Config, *, trained_on: Source | None = None) -> dict[str, Pairs]:
    """The pairs that every run of this config is scored on: `evaluation.source`, else the data's own dev and test.

    Rows of any kind but bare texts become scored pairs, by the rules of `embexp.data.views`.

    Args:
        config: which pairs.
        trained_on: the source of `config.data` where it is at hand: what it has read is not read again.

    Raises:
        ConfigError: there is no dev set, or no pairs can be made from it.
    """
    if config.evaluation.source is not None:
        source = build_source(data_schema(config.evaluation.source), cache=config.trainer.data_cache)
    else:
        source = trained_on or build_source(config.data, cache=config.trainer.data_cache)
    found: dict[str, Pairs] = {}
    splits: tuple[Split, ...] = ("dev", "test")
    for split in splits:
        rows = source.load(split)
        if rows is not None:
            found[split] = _pairs(rows, split, advice=_of_a_part_of_train(config, split))
    if "dev" not in found:
        raise ConfigError(
            [
                f"evaluation={config.names['evaluation']}: there is no dev set to score on; use evaluation=stsb or =helpdesk."
            ]
        )
    return found


def named_sets(files: Mapping[str, str]) -> dict[str, Pairs]:
    """Further sets of pairs, each from its file: see `embexp.evaluation.sets`.

    Raises:
        ConfigError: a file cannot be read, or no scored pairs can be made from it.
    """
    return {name: _pairs(rows_of_set(name, file), f"evaluation.sets.{name}") for name, file in files.items()}


def _of_a_part_of_train(config: Config, split: Split) -> str:
    """What gives a dev set other scores that is set aside of a train file; empty of all others."""
    files, is_own = config.data, config.evaluation.source is None
    if not (is_own and split == "dev" and isinstance(files, Files) and files.dev is None):
        return ""
    return (
        " It is a part of train that was set aside; where train has other scores too: name data.dev=FILE, or set another data.seed or a "
        "larger data.dev_fraction."
    )


def _pairs(rows: Rows, called: str, *, advice: str = "") -> Pairs:
    view = make_view(
        rows, ["scored"], positives="entailment", negatives="contradiction", threshold=0.5, seed=PAIRING_SEED
    )
    table = view.dataset
    scores = np.asarray(table["score"], dtype=np.float64)
    if scores.min() == scores.max():
        raise ConfigError(
            [
                f"{rows.name}: every pair has the score {scores[0]:g}; nothing can be told from that, score on pairs of which some are "
                f"less alike than others.{advice}"
            ]
        )
    if rows.kind in SCORED_AS:
        right = int(scores.sum())
        said = SCORED_AS[rows.kind].format(f"{right} ", f"{len(scores) - right} ")
        lost = [f"{counted(view.counts[key], 'row')} {why}" for key, why in LEFT_OUT.items() if key in view.counts]
        log.info("%s: %s: %s%s", called, rows.name, said, f"; left out: {', '.join(lost)}" if lost else "")
    sentences = list(table["sentence1"]), list(table["sentence2"])
    return Pairs(rows.name, *sentences, scores, view.directed, rows)


def score_pairs(
    model: SentenceTransformer,
    pairs: Pairs,
    *,
    similarities: Sequence[Similarity],
    batch_size: int,
    prompts: Prompts = NO_PROMPTS,
) -> Scores:
    """Pearson and Spearman between the similarities of a model's embeddings and the scores of the pairs.

    Args:
        model: of this run.
        pairs: to be scored on.
        similarities: by name.
        batch_size: texts encoded at once.
        prompts: the run's, which the model has too.

    Raises:
        ConfigError: the model's Router has no route for such texts.
    """
    first, second = embedded_pairs(model, pairs, batch_size=batch_size, prompts=prompts)
    return scores_of(first, second, pairs, similarities=similarities)


def embedded_pairs(
    model: SentenceTransformer, pairs: Pairs, *, batch_size: int, prompts: Prompts = NO_PROMPTS
) -> tuple[torch.Tensor, torch.Tensor]:
    """The embeddings of the first and of the second texts of the pairs, (n, dimension) each, in float64, on the CPU.

    Every text is encoded once, in float32. Of directed pairs the first text goes a model's route of queries, the second that
    of documents, where it has routes.

    Args:
        model: of this run.
        pairs: of texts.
        batch_size: texts encoded at once.
        prompts: the run's, which the model has too.

    Raises:
        ConfigError: the model's Router has no route for such texts.
    """
    roles: tuple[Role, Role] = ("query", "document") if pairs.directed else ("default", "default")
    refuse_missing_routes(model, roles, of=pairs.name)
    ways = [encoding_of(model, role, prompts) for role in roles]
    # What is encoded in one way on both sides is encoded once.
    side_of = [ways.index(way) for way in ways]
    sides = [
        [(side, text) for text in texts]
        for side, texts in zip(side_of, (pairs.sentences1, pairs.sentences2), strict=True)
    ]
    unique = list(dict.fromkeys([*sides[0], *sides[1]]))
    row_of: dict[tuple[int, str], int] = {}
    embedded = []
    for side in dict.fromkeys(side_of):
        texts = [text for of, text in unique if of == side]
        row_of |= {(side, text): len(row_of) + row for row, text in enumerate(texts)}
        found_here = model.encode(
            texts, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True, **ways[side]
        )
        embedded.append(found_here.cpu().double())
    first, second = (torch.cat(embedded)[torch.tensor([row_of[text] for text in side])] for side in sides)
    return first, second


def scores_of(first: torch.Tensor, second: torch.Tensor, pairs: Pairs, *, similarities: Sequence[Similarity]) -> Scores:
    """Pearson and Spearman of embeddings' similarities, which are computed in the embeddings' precision.

    NaN where all similarities are equal (constant embeddings): it is the caller's to refuse.

    Args:
        first: of the first texts, (n, dimension).
        second: of the second texts, likewise.
        pairs: that they are of.
        similarities: by name.
    """
    found: dict[str, np.ndarray] = {name: SIMILARITIES[name](first, second).cpu().numpy() for name in similarities}
    metrics: dict[str, float] = {}
    for metric, correlation in (("pearson", pearsonr), ("spearman", spearmanr)):
        values = {name: _correlation(correlation, pairs.scores, found[name]) for name in similarities}
        metrics |= {f"{metric}_{name}": value for name, value in values.items()}
        if len(values) > 1:
            metrics[f"{metric}_max"] = max(values.values())
    return Scores(metrics, found)


@dataclass(frozen=True)
class SetEvaluation:
    """Pairs beside those of dev and test; see `embexp.evaluation.parts.Extra`."""

    label: str
    pairs: Pairs
    similarities: Sequence[Similarity]
    batch_size: int
    prompts: Prompts
    before: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"sts/{self.label}"

    @property
    def fingerprint(self) -> str:
        return fingerprint_of([self.name], [self.pairs.fingerprint])

    @property
    def record(self) -> dict[str, Any]:
        return {"pairs": len(self.pairs.scores), "rows": self.pairs.name}

    @property
    def scored_on(self) -> Mapping[str, str]:
        return {self.name: self.pairs.fingerprint}

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """pearson_* and spearman_*."""
        scores = score_pairs(
            model, self.pairs, similarities=self.similarities, batch_size=self.batch_size, prompts=self.prompts
        )
        yield Part(scores.metrics)


def _correlation(correlation: Any, scores: np.ndarray, similarities: np.ndarray) -> float:
    if not np.isfinite(similarities).all() or np.ptp(similarities) == 0:
        return float("nan")
    return float(correlation(scores, similarities).statistic)


def write_predictions(
    path: Path, pairs: Mapping[str, Pairs], before: Mapping[str, Scores], after: Mapping[str, Scores]
) -> None:
    """One row a pair: split, the two texts, score, and each similarity before and after training; for paired comparisons later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for split, set_of_pairs in pairs.items():
        columns: dict[str, object] = {
            "split": [split] * len(set_of_pairs.scores),
            "sentence1": set_of_pairs.sentences1,
            "sentence2": set_of_pairs.sentences2,
            "score": set_of_pairs.scores,
        }
        for when, scores in (("before", before[split]), ("after", after[split])):
            columns |= {f"{name}_{when}": values.astype(np.float32) for name, values in scores.similarities.items()}
        tables.append(pa.table(columns))
    pq.write_table(pa.concat_tables(tables), path)

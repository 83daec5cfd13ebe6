"""Search: how well the nearest documents of a query are the relevant ones; exact, in chunks, for any size of corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from sentence_transformers import SentenceTransformer

from embexp.config import Config, ConfigError, Retrieval
from embexp.data import build_source
from embexp.data.helpdesk import retrieval as helpdesk_articles
from embexp.data.views import make_view
from embexp.evaluation.judged import Judged, judge, read_judged, tables_of
from embexp.evaluation.parts import Part
from embexp.evaluation.ranking import MAP_AT, ranking_metrics

log = logging.getLogger(__name__)

# Queries compared with a chunk of documents at once.
QUERIES_AT_ONCE = 1024
HELPDESK_QUERIES = 480


@dataclass(frozen=True)
class RetrievalEvaluation:
    """See `embexp.evaluation.parts.Extra`."""

    settings: Retrieval
    judged: Judged
    on: str = ""
    name: ClassVar[str] = "retrieval"

    @property
    def before(self) -> bool:
        return self.settings.before

    @property
    def fingerprint(self) -> str:
        return self.judged.fingerprint

    @property
    def record(self) -> dict[str, Any]:
        return {"queries": len(self.judged.queries), "documents": len(self.judged.documents)}

    @property
    def scored_on(self) -> Mapping[str, str]:
        return {self.name: self.fingerprint}

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """See `score`."""
        yield Part(self.score(model), on=self.on)

    def score(self, model: SentenceTransformer) -> dict[str, float]:
        """ndcg_at_10, mrr_at_10, map_at_100, recall_at_k."""
        depth = max(MAP_AT, *self.settings.recall_at)
        found = search(
            model,
            self.judged.queries,
            self.judged.documents,
            depth=depth + 1,
            batch_size=self.settings.batch_size,
            chunk=self.settings.chunk,
        )
        ranked = [
            [place for place in places if place != own] for places, own in zip(found, self.judged.itself, strict=True)
        ]
        return ranking_metrics(ranked, self.judged.relevant, recall_at=self.settings.recall_at)


@torch.inference_mode()
def search(
    model: SentenceTransformer,
    queries: Sequence[str],
    documents: Sequence[str],
    *,
    depth: int,
    batch_size: int,
    chunk: int,
) -> list[list[int]]:
    """Of each query, the places of its `depth` nearest documents by cosine, the nearest first; exact.

    Only one chunk of documents is embedded and compared at a time: no more than `chunk` embeddings and
    QUERIES_AT_ONCE * chunk similarities are held beside the queries' own.
    """
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "show_progress_bar": False,
        "convert_to_tensor": True,
        "normalize_embeddings": True,
    }
    asked = model.encode_query(list(queries), **options).float()
    best = torch.full((len(queries), 0), 0.0, device=asked.device)
    places = torch.zeros((len(queries), 0), dtype=torch.long, device=asked.device)
    for start in range(0, len(documents), chunk):
        offered = model.encode_document(list(documents[start : start + chunk]), **options).float()
        found = [_nearest(part, offered, depth) for part in asked.split(QUERIES_AT_ONCE)]
        best = torch.cat([best, torch.cat([similarity for similarity, _ in found])], dim=1)
        places = torch.cat([places, torch.cat([place for _, place in found]) + start], dim=1)
        best, kept = best.topk(min(depth, best.shape[1]), dim=1)
        places = places.gather(1, kept)
    nearest: list[list[int]] = places.tolist()
    return nearest


def _nearest(queries: torch.Tensor, documents: torch.Tensor, depth: int) -> tuple[torch.Tensor, torch.Tensor]:
    similarities, places = (queries @ documents.T).topk(min(depth, len(documents)), dim=1)
    return similarities, places


def retrieval_evaluation(config: Config, settings: Retrieval) -> RetrievalEvaluation:
    """Reads queries, corpus and relevance, wherever the config says that they are.

    Raises:
        ConfigError: a file is missing or broken, or nothing is relevant to any query.
    """
    if settings.path is not None or settings.queries is not None:
        judged, unknown = read_judged(tables_of(settings))
        for told in unknown:
            log.warning("%s", told)
        return RetrievalEvaluation(settings, judged)
    if settings.source == "pairs":
        return RetrievalEvaluation(settings, _from_pairs(config, settings))
    queries, corpus, answers = helpdesk_articles(settings.split, count=HELPDESK_QUERIES, seed=0)
    judged = judge(queries, corpus, {query: {answer: 1.0} for query, answer in answers.items()})
    return RetrievalEvaluation(settings, judged, on="the built-in articles")


def _from_pairs(config: Config, settings: Retrieval) -> Judged:
    """The anchors of held-out rows as queries, all their positives as documents."""
    source = build_source(config.data)
    rows = source.load(settings.split)
    if rows is not None and rows.kind == "labelled":
        raise ConfigError(
            [f"evaluation.retrieval.source=pairs: {rows.name}: of labelled texts none answers another; name files."]
        )
    if rows is None or rows.kind == "texts":
        raise ConfigError(
            [
                f"evaluation.retrieval.source=pairs: the data has no rows to make pairs from in its {settings.split} split; "
                "take another (evaluation.retrieval.split=dev, on which the best step is chosen), or name files."
            ]
        )
    view = make_view(
        rows, ["pairs"], positives="entailment", negatives="contradiction", threshold=config.data.threshold, seed=0
    )
    relevant: dict[str, dict[str, float]] = {}
    for anchor, positive in zip(view.dataset["anchor"], view.dataset["positive"], strict=True):
        relevant.setdefault(anchor, {})[positive] = 1.0
    texts = {text: text for gains in relevant.values() for text in gains}
    return judge({anchor: anchor for anchor in relevant}, texts, relevant)

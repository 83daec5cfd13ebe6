"""Search: how well the nearest documents of a query are the relevant ones; exact, in chunks, for any size of corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from sentence_transformers import SentenceTransformer

from embexp.config import Config, ConfigError, Retrieval
from embexp.config.errors import printable
from embexp.data import build_source
from embexp.data.helpdesk import retrieval as helpdesk_articles
from embexp.data.views import make_view
from embexp.evaluation.parts import Part
from embexp.evaluation.ranking import MAP_AT, ranking_metrics
from embexp.evaluation.tables import BLANK, find_table, fingerprint_of, no_id_agrees, read_columns, relevant_to_each

log = logging.getLogger(__name__)

# How files call the columns, BEIR's own names first.
IDS = ("_id", "id")
QUERIES = {"id": IDS, "text": ("text", "query")}
DOCUMENTS = {"id": IDS, "text": ("text", "document"), "title": ("title",)}
JUDGEMENTS = {"query": ("query-id", "query_id"), "document": ("corpus-id", "corpus_id"), "gain": ("score", "relevance")}
# Queries compared with a chunk of documents at once.
QUERIES_AT_ONCE = 1024
HELPDESK_QUERIES = 480


@dataclass(frozen=True)
class Judged:
    """Queries, documents, and of each query the gain of its relevant documents, by their places in `documents`.

    Attributes:
        itself: of each query, the place of the document that is the query itself and no answer to it: it is found first, and
            does not count; None where there is none.
    """

    queries: list[str]
    documents: list[str]
    relevant: list[dict[int, float]]
    itself: list[int | None]
    fingerprint: str

    def answered(self) -> Iterator[tuple[str, str]]:
        """Each query with each of its relevant documents; with those that are missing, by no text."""
        for query, gains in zip(self.queries, self.relevant, strict=True):
            yield from ((query, self.documents[place]) for place in gains if place < len(self.documents))


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
        return RetrievalEvaluation(settings, _from_files(settings))
    if settings.source == "pairs":
        return RetrievalEvaluation(settings, _from_pairs(config, settings))
    queries, corpus, answers = helpdesk_articles(settings.split, count=HELPDESK_QUERIES, seed=0)
    judged = _judged(queries, corpus, {query: {answer: 1.0} for query, answer in answers.items()})
    return RetrievalEvaluation(settings, judged, on="the built-in articles")


def _from_files(settings: Retrieval) -> Judged:
    files = {"queries": _file(settings, "queries", ["queries"]), "corpus": _file(settings, "corpus", ["corpus"])}
    queries = read_columns(files["queries"], QUERIES, key="evaluation.retrieval.queries", unique=["id"])
    corpus = read_columns(
        files["corpus"],
        DOCUMENTS,
        key="evaluation.retrieval.corpus",
        optional=["title"],
        blank=BLANK,
        one_of=BLANK,
        unique=["id"],
    )
    names = [f"qrels_{settings.split}", f"qrels/{settings.split}", "qrels"]
    files["relevance"] = _file(settings, "relevance", names)
    judgements = read_columns(
        files["relevance"],
        JUDGEMENTS,
        key="evaluation.retrieval.relevance",
        optional=["gain"],
        numbers=["gain"],
        unique=["query", "document"],
    )
    relevant: dict[str, dict[str, float]] = {}
    # A number in one file may be a text in another.
    queries["id"], corpus["id"] = ([*map(str, table["id"])] for table in (queries, corpus))
    for query, document, gain in zip(judgements["query"], judgements["document"], judgements["gain"], strict=True):
        relevant.setdefault(str(query), {})[str(document)] = 1.0 if gain is None else gain
    _tell_of_unknown_ids(relevant, queries["id"], corpus["id"], files)
    texts = [f"{title or ''} {text}".strip() for title, text in zip(corpus["title"], corpus["text"], strict=True)]
    return _judged(
        dict(zip(queries["id"], queries["text"], strict=True)), dict(zip(corpus["id"], texts, strict=True)), relevant
    )


def _tell_of_unknown_ids(
    relevant: Mapping[str, Mapping[str, float]],
    queries: Sequence[str],
    documents: Sequence[str],
    files: Mapping[str, Path],
) -> None:
    """As in trec_eval some that are unknown change the score without an error, and are warned of.

    Raises:
        ConfigError: all are, and every score would be 0.
    """
    judging = files["relevance"]
    answers = relevant_to_each(relevant, judging=str(judging))
    judged = set(answers)
    unknown = _unknown(judged, queries, "query that is judged", "query-id", judging=judging, file=files["queries"])
    if unknown:
        log.warning(
            "retrieval: %d of %d queries that have a relevant document are not in the queries' file, as %s; they are not scored",
            len(unknown),
            len(judged),
            printable(min(unknown)),
        )
    wanted = {document for query in judged - unknown for document in answers[query]}
    missing = _unknown(wanted, documents, "relevant document", "corpus-id", judging=judging, file=files["corpus"])
    if missing:
        log.warning(
            "retrieval: %d of %d relevant documents are not in the corpus, as %s; they count as not found",
            len(missing),
            len(wanted),
            printable(min(missing)),
        )


def _unknown(judged: set[str], known: Sequence[str], what: str, column: str, *, judging: Path, file: Path) -> set[str]:
    """The ids of judgements that a file has not.

    Raises:
        ConfigError: it has none of them.
    """
    unknown = judged.difference(known)
    if len(unknown) == len(judged):
        told = no_id_agrees(what, column, judging=judging, unknown=min(unknown), file=file, known=known[0])
        raise ConfigError([f"evaluation.retrieval: {told}, or name the files that belong together."])
    return unknown


def _file(settings: Retrieval, key: str, names: Sequence[str]) -> Path:
    named = getattr(settings, key)
    if named is not None:
        return Path(named).expanduser()
    folder = Path(str(settings.path)).expanduser()
    found = find_table(folder, names)
    if found is None:
        raise ConfigError(
            [
                f"evaluation.retrieval.path={settings.path}: no {' or '.join(names)} (parquet, jsonl, csv or tsv) in it; "
                f"name the file: evaluation.retrieval.{key}=FILE."
            ]
        )
    return found


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
    return _judged({anchor: anchor for anchor in relevant}, texts, relevant)


def _judged(
    queries: Mapping[str, str], corpus: Mapping[str, str], relevant: Mapping[str, Mapping[str, float]]
) -> Judged:
    """As in trec_eval, queries without a relevant document are left out, and documents that are missing are not found.

    Where queries are documents too, as in ArguAna and Quora, a query is not looked for in itself, as in BEIR's evaluation.
    """
    place = {identifier: number for number, identifier in enumerate(corpus)}
    missing = {document for gains in relevant.values() for document in gains if document not in place}
    everywhere = place | {document: len(place) + number for number, document in enumerate(sorted(missing))}
    kept: dict[str, dict[int, float]] = {}
    for query in queries:
        gains = {everywhere[document]: gain for document, gain in relevant.get(query, {}).items() if gain > 0}
        if gains:
            kept[query] = gains
    if all(number >= len(place) for gains in kept.values() for number in gains):
        raise ConfigError(["evaluation.retrieval: no query has a relevant document; do the ids of the files agree?"])
    texts = [str(queries[query]) for query in kept]
    documents = [str(text) for text in corpus.values()]
    judged = [sorted(gains.items()) for gains in kept.values()]
    itself = [
        number if number is not None and number not in gains and _is_the_same(text, documents[number]) else None
        for text, number, gains in zip(texts, map(place.get, kept), kept.values(), strict=True)
    ]
    return Judged(texts, documents, list(kept.values()), itself, fingerprint_of(texts, documents, judged, itself))


def _is_the_same(query: str, document: str) -> bool:
    """Whether a document that has a query's id is the query, perhaps behind a title; numbers for ids agree by chance."""
    words = query.split()
    return document.split()[-len(words) :] == words

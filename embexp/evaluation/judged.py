"""Queries, documents, and which of these answer which: from files in BEIR's layout; nothing in here needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embexp.config import ConfigError, Retrieval
from embexp.config.errors import printable
from embexp.evaluation.named import Table
from embexp.evaluation.tables import BLANK, find_table, fingerprint_of, no_id_agrees, relevant_to_each
from embexp.home import expanded

# How files call the columns, BEIR's own names first.
IDS = ("_id", "id")
QUERIES = {"id": IDS, "text": ("text", "query")}
DOCUMENTS = {"id": IDS, "text": ("text", "document"), "title": ("title",)}
JUDGEMENTS = {"query": ("query-id", "query_id"), "document": ("corpus-id", "corpus_id"), "gain": ("score", "relevance")}
# How each file is read: see `embexp.evaluation.tables.read_columns`.
READ: Mapping[str, Mapping[str, Any]] = {
    "queries": {"columns": QUERIES, "unique": ["id"]},
    "corpus": {"columns": DOCUMENTS, "optional": ["title"], "blank": BLANK, "one_of": BLANK, "unique": ["id"]},
    "relevance": {
        "columns": JUDGEMENTS,
        "optional": ["gain"],
        "numbers": ["gain"],
        "unique": ["query", "document"],
    },
}


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


def tables_of(settings: Retrieval) -> dict[str, Table]:
    """queries, corpus and relevance: the files that are named, or those in the folder that is.

    Raises:
        ConfigError: one is not there.
    """
    names = {
        "queries": ["queries"],
        "corpus": ["corpus"],
        "relevance": [f"qrels_{settings.split}", f"qrels/{settings.split}", "qrels"],
    }
    return {
        key: Table(_file(settings, key, called), f"evaluation.retrieval.{key}", READ[key])
        for key, called in names.items()
    }


def _file(settings: Retrieval, key: str, names: Sequence[str]) -> Path:
    named = getattr(settings, key)
    if named is not None:
        return expanded(named)
    folder = expanded(str(settings.path))
    found = find_table(folder, names)
    if found is None:
        raise ConfigError(
            [
                f"evaluation.retrieval.path={settings.path}: no {' or '.join(names)} (parquet, jsonl, csv or tsv) in it; "
                f"name the file: evaluation.retrieval.{key}=FILE."
            ]
        )
    return found


def read_judged(tables: Mapping[str, Table]) -> tuple[Judged, list[str]]:
    """What the three tables hold, and what a person should hear of it.

    Raises:
        ConfigError: one is broken, their ids do not agree, or nothing is relevant to any query.
    """
    queries, corpus, judgements = (tables[key].read() for key in READ)
    relevant: dict[str, dict[str, float]] = {}
    # A number in one file may be a text in another.
    queries["id"], corpus["id"] = ([*map(str, table["id"])] for table in (queries, corpus))
    for query, document, gain in zip(judgements["query"], judgements["document"], judgements["gain"], strict=True):
        relevant.setdefault(str(query), {})[str(document)] = 1.0 if gain is None else gain
    files = {key: table.path for key, table in tables.items()}
    unknown = _told_of_unknown_ids(relevant, queries["id"], corpus["id"], files)
    texts = [f"{title or ''} {text}".strip() for title, text in zip(corpus["title"], corpus["text"], strict=True)]
    found = judge(
        dict(zip(queries["id"], queries["text"], strict=True)), dict(zip(corpus["id"], texts, strict=True)), relevant
    )
    return found, unknown


def _told_of_unknown_ids(
    relevant: Mapping[str, Mapping[str, float]],
    queries: Sequence[str],
    documents: Sequence[str],
    files: Mapping[str, Path],
) -> list[str]:
    """As in trec_eval some that are unknown change the score without an error, and are to be warned of.

    Raises:
        ConfigError: all are, and every score would be 0.
    """
    judging = files["relevance"]
    answers = relevant_to_each(relevant, judging=str(judging))
    asked = set(answers)
    unknown = _unknown(asked, queries, "query that is judged", "query-id", judging=judging, file=files["queries"])
    told = []
    if unknown:
        told.append(
            f"retrieval: {len(unknown)} of {len(asked)} queries that have a relevant document are not in the queries' file, as "
            f"{printable(min(unknown))}; they are not scored"
        )
    wanted = {document for query in asked - unknown for document in answers[query]}
    missing = _unknown(wanted, documents, "relevant document", "corpus-id", judging=judging, file=files["corpus"])
    if missing:
        told.append(
            f"retrieval: {len(missing)} of {len(wanted)} relevant documents are not in the corpus, as {printable(min(missing))}; "
            "they count as not found"
        )
    return told


def _unknown(asked: set[str], known: Sequence[str], what: str, column: str, *, judging: Path, file: Path) -> set[str]:
    """The ids of judgements that a file has not.

    Raises:
        ConfigError: it has none of them.
    """
    unknown = asked.difference(known)
    if len(unknown) == len(asked):
        told = no_id_agrees(what, column, judging=judging, unknown=min(unknown), file=file, known=known[0])
        raise ConfigError([f"evaluation.retrieval: {told}, or name the files that belong together."])
    return unknown


def judge(queries: Mapping[str, str], corpus: Mapping[str, str], relevant: Mapping[str, Mapping[str, float]]) -> Judged:
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
    gained = [sorted(gains.items()) for gains in kept.values()]
    itself = [
        number if number is not None and number not in gains and _is_the_same(text, documents[number]) else None
        for text, number, gains in zip(texts, map(place.get, kept), kept.values(), strict=True)
    ]
    return Judged(texts, documents, list(kept.values()), itself, fingerprint_of(texts, documents, gained, itself))


def _is_the_same(query: str, document: str) -> bool:
    """Whether a document that has a query's id is the query, perhaps behind a title; numbers for ids agree by chance."""
    words = query.split()
    return document.split()[-len(words) :] == words

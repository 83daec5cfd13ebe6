"""A person's own data as MTEB tasks: `evaluation.mteb.own={tickets: FOLDER}`, scored as MTEB scores its own.

What the folder holds decides the kind of task, in the layouts of embexp.evaluation.mteb_mirror: corpus, queries and
qrels_test are Retrieval; test with sentence1, sentence2 and score is STS; train and test with text and label are
Classification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embexp.config import ConfigError
from embexp.data.files.columns import listed
from embexp.data.files.content import SUFFIXES, UnreadableError
from embexp.evaluation.mteb_mirror import DOCUMENTS, IDS, OWN, PAIRS, QRELS, judgements, queries_of
from embexp.evaluation.named import Table
from embexp.evaluation.tables import BLANK, add_to, find_table, no_id_agrees, opened, relevant_to_each
from embexp.home import expanded

if TYPE_CHECKING:
    from mteb.abstasks import AbsTask

# How the tables of each kind of task that `kind_of_own` has not read whole are read, as `load_mirror` reads them: see
# `embexp.evaluation.tables.read_columns`.
READ: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "Retrieval": {
        "corpus": {"columns": DOCUMENTS, "optional": ["title"], "blank": BLANK, "one_of": BLANK, "unique": ["id"]}
    },
    "STS": {"test": {"columns": PAIRS, "numbers": ["score"]}},
    "Classification": {split: {"columns": {"text": ("text",), "label": ("label",)}} for split in ("train", "test")},
}


def own_task(name: str, folder: Path, *, kind: str) -> AbsTask:
    """The task of this name; its revision is the hash of the folder's tables, so that changed data is scored anew.

    Args:
        name: in the config.
        folder: of its tables.
        kind: from `kind_of_own`.
    """
    from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval, AbsTaskSTS
    from mteb.abstasks.task_metadata import TaskMetadata

    bases = {"Retrieval": AbsTaskRetrieval, "STS": AbsTaskSTS, "Classification": AbsTaskClassification}
    main_scores = {"Retrieval": "ndcg_at_10", "STS": "cosine_spearman", "Classification": "accuracy"}
    metadata = TaskMetadata(
        name=name,
        description=f"A person's own data, {folder.name}.",
        dataset={"path": f"{OWN}{name}", "revision": tables_hash(folder)},
        type=kind,
        category="t2c" if kind == "Classification" else "t2t",
        eval_langs=["eng-Latn"],
        main_score=main_scores[kind],
    )
    task: AbsTask = type(name, (bases[kind],), {"metadata": metadata, "__module__": __name__})()
    return task


def kind_of_own(name: str, folder: Path) -> str:
    """MTEB's word for the kind of task that a folder makes, by its tables' columns; nothing of MTEB is imported.

    Raises:
        ConfigError: the folder holds none of the layouts, or not all of one; or queries and judgements, which are small beside
            a corpus, are broken or say nothing of it: it would cost the task after the training.
    """
    corpus, queries = find_table(folder, ("corpus",)), find_table(folder, ("queries",))
    if corpus is not None and queries is not None:
        judging = find_table(folder, QRELS)
        if judging is None:
            raise _incomplete(
                name, folder, "corpus and queries without qrels_test: which documents answer which queries"
            )
        _refuse_what_finds_nothing(name, corpus=corpus, queries=queries, judging=judging)
        return "Retrieval"
    test = find_table(folder, ("test",))
    columns = _columns(name, test) if test is not None else []
    if test is not None and {"sentence1", "sentence2"} <= set(columns):
        if not {"score", "label"} & set(columns):
            raise _incomplete(name, folder, f"{test.name} without a column score (or label, 0 to 5)")
        return "STS"
    if {"text", "label"} <= set(columns):
        _refuse_without_train(name, folder)
        return "Classification"
    holds = f"test with {listed(columns)}" if test is not None else "no test"
    raise ConfigError(
        [
            f"evaluation.mteb.own.{name}={folder}: holds {holds}; what makes a task is corpus, queries and qrels_test, or "
            "test with sentence1, sentence2 and score, or train and test with text and label (parquet, jsonl, csv or tsv)."
        ]
    )


def searched_in(folder: Path) -> list[Path]:
    """The tables that `kind_of_own` reads more of than their heads."""
    return [file for names in (("corpus",), ("queries",), QRELS) if (file := find_table(folder, names)) is not None]


def tables_of(name: str, folder: Path, *, kind: str) -> list[Table]:
    """Those in which a broken row would cost the task after the training.

    Args:
        name: in the config.
        folder: of its tables.
        kind: from `kind_of_own`.
    """
    found = {table: find_table(folder, [table]) for table in READ[kind]}
    key = f"evaluation.mteb.own.{name}"
    return [Table(file, key, READ[kind][table]) for table, file in found.items() if file is not None]


def _refuse_what_finds_nothing(name: str, *, corpus: Path, queries: Path, judging: Path) -> None:
    """Judgements by which every score would be 0. Of the corpus no more is read than up to the first relevant document."""
    key = f"evaluation.mteb.own.{name}"
    relevant = relevant_to_each(judgements(judging, key=key), judging=f"{key}: {judging}")
    known = queries_of(queries, key=key)
    if relevant.keys().isdisjoint(known):
        told = no_id_agrees(
            "query that is judged",
            "query-id",
            judging=judging,
            unknown=min(relevant),
            file=queries,
            known=next(iter(known)),
        )
        raise ConfigError([f"{key}: {told}."])
    wanted = {document for query in relevant.keys() & known.keys() for document in relevant[query]}
    first = None
    for identifier in _ids(name, corpus):
        if identifier in wanted:
            return
        first = first or identifier
    if first is None:
        raise _incomplete(name, corpus.parent, f"{corpus.name} without a document that has an id")
    told = no_id_agrees(
        "relevant document", "corpus-id", judging=judging, unknown=min(wanted), file=corpus, known=first
    )
    raise ConfigError([f"{key}: {told}."])


def _ids(name: str, corpus: Path) -> Iterator[str]:
    """Of a corpus, which is read as far as they are asked for; rows that are broken have none."""
    columns = _columns(name, corpus)
    column = next((column for column in IDS if column in columns), None)
    if column is None:
        raise _incomplete(name, corpus.parent, f"{corpus.name} without a column {IDS[0]}")
    with _told(name, corpus):
        for _, row in opened(corpus).read([column]):
            if not isinstance(row, str) and row.get(column) not in (None, ""):
                yield str(row[column])


def _refuse_without_train(name: str, folder: Path) -> None:
    """The classes are learnt from it: without it the task would be missing after the training, and not before."""
    train = find_table(folder, ("train",))
    if train is None:
        raise _incomplete(name, folder, "test without train, of which the classes are learnt")
    missing = [column for column in ("text", "label") if column not in _columns(name, train)]
    if missing:
        raise _incomplete(name, folder, f"{train.name} without a column {' and '.join(missing)}")


def _incomplete(name: str, folder: Path, what: str) -> ConfigError:
    return ConfigError([f"evaluation.mteb.own.{name}={folder}: holds {what}; add it."])


def _columns(name: str, file: Path) -> list[str]:
    with _told(name, file):
        return list(opened(file).columns)


@contextmanager
def _told(name: str, file: Path) -> Iterator[None]:
    """Says of what cannot be read which file it is."""
    try:
        yield
    except UnreadableError as error:
        raise ConfigError([f"evaluation.mteb.own.{name}: {file}: {error}."]) from error


def tables_hash(folder: Path) -> str:
    """The sha256 of a folder's tables, in hex; what lies beside them, as a README, is no data.

    Tables that this process has read before, and that have since kept their size and time, are not read again.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    return _hash_of(folder, tuple((file, (found := file.stat()).st_mtime_ns, found.st_size) for file in files))


@cache
def _hash_of(folder: Path, tables: tuple[tuple[Path, int, int], ...]) -> str:
    """Of the tables of a folder, each with its time and size."""
    digest = hashlib.sha256()
    for file, *_ in tables:
        digest.update(str(file.relative_to(folder)).encode())
        add_to(digest, file)
    return digest.hexdigest()


def folder_of(settings_own: dict[str, str], task: Any) -> Path | None:
    """Where an own task's data is; None for MTEB's tasks."""
    found = settings_own.get(task.metadata.name)
    return expanded(found) if found is not None else None

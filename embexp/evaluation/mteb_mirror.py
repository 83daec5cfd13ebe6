"""MTEB's data from a local mirror: a folder for each task, in the hub's own layout, as parquet, jsonl, csv or tsv.

Classification: train, test with text and label. STS: test with sentence1, sentence2 and score (or label, 0 to 5).
Retrieval: corpus, queries and qrels_test (or qrels/test), BEIR's layout. A folder is called like the task or like its
data set on the hub: Banking77Classification or banking77.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.data.files.checking import label_word
from embexp.evaluation.tables import BLANK, add_to, find_table, read_columns
from embexp.home import expanded

# What data sets are also called: their names in other collections.
ALSO = {"stsbenchmark-sts": ("stsb", "stsbenchmark"), "sickr-sts": ("sickr",)}
# The hub's names of a task's splits, and how a mirror's file may be called.
FILES = {"train": ("train",), "test": ("test",), "validation": ("validation", "dev"), "dev": ("dev", "validation")}
# How a retrieval task's judgements of its test split may be called.
QRELS = ("qrels_test", "qrels/test", "qrels")
# How files call the columns of a query, of a document and of pairs.
IDS = ("_id", "id")
IDENTIFIED = {"id": IDS, "text": ("text",)}
DOCUMENTS = {**IDENTIFIED, "title": ("title",)}
PAIRS = {"sentence1": ("sentence1",), "sentence2": ("sentence2",), "score": ("score", "label")}
KEY = "evaluation.mteb.path"
# What the data of a person's own tasks is called, with the task's name after it.
OWN = "own/"

log = logging.getLogger(__name__)

# As Python writes it: 01 is another class than 1.
WHOLE = re.compile("0|-?[1-9][0-9]*")


def mirror_of(task: Any, path: str | None) -> Path | None:
    """The folder of the mirror that holds the task's data; None where there is none."""
    if path is None:
        return None
    repo = str(task.metadata.dataset["path"]).rpartition("/")[2]
    names = {name.lower() for name in (task.metadata.name, repo, *ALSO.get(repo.lower(), ()))}
    folders = sorted(folder for folder in expanded(path).iterdir() if folder.is_dir())
    return next((folder for folder in folders if folder.name.lower() in names), None)


def load_mirror(task: Any, folder: Path) -> str:
    """Gives the task the mirror's data; returns the sha256 of the files that it came from.

    Of a task in several languages it is the part that the task was cut to: the mirror says nothing of languages.

    Raises:
        ConfigError: a file is missing or broken, or tasks of this type cannot be read from files.
    """
    from mteb.abstasks import (
        AbsTaskClassification,
        AbsTaskMultilabelClassification,
        AbsTaskRegression,
        AbsTaskRetrieval,
        AbsTaskSTS,
    )

    if len(task.hf_subsets) > 1:
        raise ConfigError([f"{KEY}: {task.metadata.name} has several languages; a mirror is read of one only."])
    (subset,) = task.hf_subsets
    # What others published is scored as it is; in a person's own data an empty text is a mistake.
    empty = () if str(task.metadata.dataset["path"]).startswith(OWN) else ("text", "sentence1", "sentence2")
    if isinstance(task, AbsTaskRetrieval):
        used, data = _retrieval(task, folder, blank=empty)
    elif isinstance(task, AbsTaskClassification):
        splits = {task.train_split, *task.eval_splits}
        text = str(task.input_column_name)
        texts_and_classes = {text: ("text",), str(task.label_column_name): ("label",)}
        used, data = _splits(folder, splits, texts_and_classes, blank=[text] if empty else [])
    elif isinstance(task, AbsTaskSTS):
        used, data = _splits(folder, set(task.eval_splits), PAIRS, numbers=["score"], blank=empty)
    else:
        raise ConfigError([f"{KEY}: tasks of type {task.metadata.type} are not read from files."])
    # As MTEB has it when it comes from the hub.
    by_subset = task.metadata.is_multilingual or isinstance(task, AbsTaskRetrieval)
    task.dataset = {subset: data} if by_subset else data
    if not isinstance(task, AbsTaskRetrieval):
        task.dataset_transform()
    # Neither several labels of a text nor a number that is to be told is a class.
    others = AbsTaskMultilabelClassification, AbsTaskRegression
    if isinstance(task, AbsTaskClassification) and not isinstance(task, others):
        _number_classes(task.dataset[subset] if by_subset else task.dataset, task.label_column_name, folder)
    task.data_loaded = True
    digest = hashlib.sha256()
    for file in sorted(used):
        add_to(digest, file)
    return digest.hexdigest()


def _file(folder: Path, names: tuple[str, ...]) -> Path:
    found = find_table(folder, names)
    if found is None:
        raise ConfigError([f"{KEY}: {folder} has no {' or '.join(names)} (parquet, jsonl, csv or tsv)."])
    return found


def _splits(
    folder: Path,
    splits: set[str],
    columns: Mapping[str, Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    blank: Sequence[str] = (),
) -> tuple[list[Path], Any]:
    from datasets import Dataset, DatasetDict

    files = {split: _file(folder, FILES.get(split, (split,))) for split in sorted(splits)}
    lists = [column for column, names in columns.items() if "label" in names and column not in numbers]
    tables = {
        split: read_columns(file, columns, key=KEY, numbers=numbers, blank=blank, lists=lists)
        for split, file in files.items()
    }
    return list(files.values()), DatasetDict({split: Dataset.from_dict(values) for split, values in tables.items()})


def _number_classes(dataset: Any, label: str, folder: Path) -> None:
    """Puts each class's number in its place, in all splits alike; one that is a number stays it, so that scores are the hub's.

    Of two classes MTEB takes 1 for the positive one, and breaks where none is called so: in csv every label is a word.

    Raises:
        ConfigError: a label is several.
    """
    try:
        words = {split: [label_word(value) for value in rows[label]] for split, rows in dataset.items()}
    except ValueError as error:
        raise ConfigError([f"{KEY}: {folder}: {error}."]) from None
    classes = sorted({word for of_split in words.values() for word in of_split})
    number = {word: place for place, word in enumerate(classes)}
    if all(WHOLE.fullmatch(word) for word in classes):
        ordered = sorted(map(int, classes))
        are_kept = len(ordered) != 2 or 1 in ordered
        number = {str(whole): whole if are_kept else place for place, whole in enumerate(ordered)}
    if len(classes) == 2:
        positive = next((word for word, place in number.items() if place == 1), None)
        log.info(
            "%s: of its two classes %r is the positive one, of which precision and F1 are told", folder.name, positive
        )
    for split, of_split in words.items():
        numbers = [number[word] for word in of_split]
        dataset[split] = dataset[split].remove_columns(label).add_column(label, numbers)


def _retrieval(task: Any, folder: Path, *, blank: Sequence[str]) -> tuple[list[Path], Any]:
    from datasets import Dataset

    texts, of_split = [_file(folder, ("corpus",)), _file(folder, ("queries",))], {}
    corpus = read_columns(
        texts[0],
        DOCUMENTS,
        key=KEY,
        optional=["title"],
        blank=BLANK,
        one_of=() if blank else BLANK,
        unique=["id"],
    )
    queries = queries_of(texts[1], as_published=bool(blank))
    corpus = {key: ["" if value is None else str(value) for value in values] for key, values in corpus.items()}
    used = list(texts)
    for split in task.eval_splits:
        file = _file(folder, (f"qrels_{split}", f"qrels/{split}", "qrels"))
        used.append(file)
        relevant = judgements(file, as_published=bool(blank))
        kept = {key: text for key, text in queries.items() if key in relevant}
        of_split[split] = {
            "corpus": Dataset.from_dict(corpus),
            "queries": Dataset.from_dict({"id": list(kept), "text": list(kept.values())}),
            "relevant_docs": relevant,
            "top_ranked": None,
        }
    return used, of_split


def queries_of(file: Path, *, key: str = KEY, as_published: bool = False) -> dict[str, Any]:
    """The text of each query, by its id.

    Args:
        file: the table.
        key: of the config, that named it.
        as_published: whether a text may be empty.

    Raises:
        ConfigError: the file is broken, or has two queries of one id.
    """
    blank = ["text"] if as_published else []
    queries = read_columns(file, IDENTIFIED, key=key, blank=blank, unique=["id"])
    return dict(zip(map(str, queries["id"]), queries["text"], strict=True))


def judgements(file: Path, *, key: str = KEY, as_published: bool = False) -> dict[str, dict[str, int]]:
    """Of each query that a file judges the gain of each of its documents, by their ids; 1 where the file has no gains.

    Args:
        file: the table.
        key: of the config, that named it.
        as_published: whether a document may be judged twice and differently: of the hub's data MTEB takes the last.

    Raises:
        ConfigError: the file is broken, or judges a document twice and differently; or a gain is not whole: pytrec_eval, by
            which MTEB scores, takes whole ones only, and of 0.5 the hub's reader of MTEB makes an error too.
    """
    columns = {"query": ("query-id",), "document": ("corpus-id",), "gain": ("score",)}
    unique = () if as_published else ("query", "document")
    judged = read_columns(file, columns, key=key, optional=["gain"], numbers=["gain"], unique=unique)
    relevant: dict[str, dict[str, int]] = {}
    for query, document, gain in zip(*judged.values(), strict=True):
        if gain is not None and not gain.is_integer():
            raise ConfigError(
                [
                    f"{file}: document {document} of query {query} has score {gain:g}, and MTEB counts whole ones only; multiply all by "
                    "a number that makes them whole, or score by evaluation.retrieval.path, which takes them as they are."
                ]
            )
        relevant.setdefault(str(query), {})[str(document)] = 1 if gain is None else int(gain)
    return relevant

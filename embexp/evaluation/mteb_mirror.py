"""MTEB's data from a local mirror: a folder for each task, in the hub's own layout, as parquet, jsonl, csv or tsv.

Classification: train, test with text and label. STS: test with sentence1, sentence2 and score (or label, 0 to 5).
Retrieval: corpus, queries and qrels_test (or qrels/test), BEIR's layout. A folder is called like the task or like its
data set on the hub: Banking77Classification or banking77.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.evaluation.tables import find_table, read_columns

# What data sets are also called: their names in other collections.
ALSO = {"stsbenchmark-sts": ("stsb", "stsbenchmark"), "sickr-sts": ("sickr",)}
# The hub's names of a task's splits, and how a mirror's file may be called.
FILES = {"train": ("train",), "test": ("test",), "validation": ("validation", "dev"), "dev": ("dev", "validation")}
KEY = "evaluation.mteb.path"


def mirror_of(task: Any, path: str | None) -> Path | None:
    """The folder of the mirror that holds the task's data; None where there is none."""
    if path is None:
        return None
    repo = str(task.metadata.dataset["path"]).rpartition("/")[2]
    names = {name.lower() for name in (task.metadata.name, repo, *ALSO.get(repo.lower(), ()))}
    folders = sorted(folder for folder in Path(path).expanduser().iterdir() if folder.is_dir())
    return next((folder for folder in folders if folder.name.lower() in names), None)


def load_mirror(task: Any, folder: Path) -> str:
    """Gives the task the mirror's data; returns the sha256 of the files that it came from.

    Raises:
        ConfigError: a file is missing or broken, or tasks of this type cannot be read from files.
    """
    from mteb.abstasks import AbsTaskClassification, AbsTaskRetrieval, AbsTaskSTS

    if len(task.hf_subsets) > 1:
        raise ConfigError([f"{KEY}: {task.metadata.name} has several languages; a mirror is read of one only."])
    if isinstance(task, AbsTaskRetrieval):
        used, task.dataset = _retrieval(task, folder)
    elif isinstance(task, AbsTaskClassification):
        splits = {task.train_split, *task.eval_splits}
        used, task.dataset = _splits(
            folder, splits, {str(task.input_column_name): ("text",), task.label_column_name: ("label",)}
        )
    elif isinstance(task, AbsTaskSTS):
        columns = {"sentence1": ("sentence1",), "sentence2": ("sentence2",), "score": ("score", "label")}
        used, task.dataset = _splits(folder, set(task.eval_splits), columns)
    else:
        raise ConfigError([f"{KEY}: tasks of type {task.metadata.type} are not read from files."])
    if not isinstance(task, AbsTaskRetrieval):
        task.dataset_transform()
    task.data_loaded = True
    digest = hashlib.sha256()
    for file in sorted(used):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _file(folder: Path, names: tuple[str, ...]) -> Path:
    found = find_table(folder, names)
    if found is None:
        raise ConfigError([f"{KEY}: {folder} has no {' or '.join(names)} (parquet, jsonl, csv or tsv)."])
    return found


def _splits(folder: Path, splits: set[str], columns: dict[str, tuple[str, ...]]) -> tuple[list[Path], Any]:
    from datasets import Dataset, DatasetDict

    files = {split: _file(folder, FILES.get(split, (split,))) for split in sorted(splits)}
    tables = {}
    for split, file in files.items():
        values = read_columns(file, columns, key=KEY)
        if "score" in values:
            values["score"] = [_number(value, file) for value in values["score"]]
        tables[split] = Dataset.from_dict(values)
    return list(files.values()), DatasetDict(tables)


def _number(value: Any, file: Path) -> float:
    """The number that a cell holds: in csv and tsv every cell is text."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigError([f"{KEY}: {file}: {value!r} is no number."]) from None


def _retrieval(task: Any, folder: Path) -> tuple[list[Path], Any]:
    from datasets import Dataset

    texts, of_split = [_file(folder, ("corpus",)), _file(folder, ("queries",))], {}
    identifier = {"id": ("_id", "id"), "text": ("text",)}
    corpus = read_columns(texts[0], {**identifier, "title": ("title",)}, key=KEY, optional=["title"])
    queries = read_columns(texts[1], identifier, key=KEY)
    corpus = {key: [str(value or "") for value in values] for key, values in corpus.items()}
    used = list(texts)
    for split in task.eval_splits:
        file = _file(folder, (f"qrels_{split}", f"qrels/{split}", "qrels"))
        used.append(file)
        judged = read_columns(
            file, {"query": ("query-id",), "document": ("corpus-id",), "gain": ("score",)}, key=KEY, optional=["gain"]
        )
        relevant: dict[str, dict[str, int]] = {}
        for query, document, gain in zip(*judged.values(), strict=True):
            relevant.setdefault(str(query), {})[str(document)] = 1 if gain is None else int(_number(gain, file))
        kept = [(str(key), text) for key, text in zip(*queries.values(), strict=True) if str(key) in relevant]
        of_split[split] = {
            "corpus": Dataset.from_dict(corpus),
            "queries": Dataset.from_dict({"id": [key for key, _ in kept], "text": [text for _, text in kept]}),
            "relevant_docs": relevant,
            "top_ranked": None,
        }
    return used, {"default": of_split}

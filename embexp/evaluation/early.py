"""What is wrong with the files that evaluations read beside the pairs, told before anything is loaded: without torch.

Of small files it is what reading them would tell, but for what shows when pairs are made of their rows; of large ones what
their heads show; see `embexp.data.files.content.is_small`. The rest is told when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

from embexp.config import Classification, ConfigError, Evaluation, Retrieval
from embexp.data.files.content import is_small
from embexp.evaluation import classification, judged, mteb_own
from embexp.evaluation.named import Table
from embexp.evaluation.sets import what_is_wrong_with_a_set
from embexp.home import expanded


def what_is_wrong_with_files(evaluation: Evaluation, *, files: Iterable[str]) -> Sequence[str]:
    """The problems, each in a sentence.

    Args:
        evaluation: of which the files are.
        files: and folders that it names, all of which are there.
    """
    settings = evaluation.model_dump_json(include={"sets", "retrieval", "classification", "mteb"})
    return _problems(_Asked(evaluation, settings, tuple(_states(files))))


@dataclass(frozen=True)
class _Asked:
    """An evaluation and its files as they are now: the jobs of a sweep ask for the same, which need not be read again."""

    evaluation: Evaluation = field(compare=False)
    settings: str
    states: tuple[tuple[Path, int, int], ...]


def _states(files: Iterable[str]) -> Iterator[tuple[Path, int, int]]:
    """Of each file, by which it is seen that it has changed."""
    for each in files:
        path = expanded(each).absolute()
        # Tables lie in a folder itself, judgements perhaps in one of their own.
        there = [path] if path.is_file() else sorted([*path.glob("*.*"), *path.glob("qrels/*.*")])
        for file in filter(Path.is_file, there):
            found = file.stat()
            yield file, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=64)
def _problems(asked: _Asked) -> Sequence[str]:
    problems: list[str] = []
    for look in _looks(asked.evaluation):
        try:
            problems += look()
        except ConfigError as error:
            problems += error.problems
    return problems


def _looks(evaluation: Evaluation) -> Sequence[Callable[[], Sequence[str]]]:
    """What looks into the files of each evaluation, and gives their problems or raises ConfigError with them."""
    retrieval, probe, mteb = evaluation.retrieval, evaluation.classification, evaluation.mteb
    looks = [partial(what_is_wrong_with_a_set, name, file) for name, file in (evaluation.sets or {}).items()]
    if retrieval is not None and (retrieval.path or retrieval.queries):
        looks.append(partial(_of_retrieval, retrieval))
    if probe is not None and (probe.path or probe.train):
        looks.append(partial(_of_classification, probe))
    if mteb is not None:
        looks += [partial(_of_own_task, name, expanded(folder)) for name, folder in (mteb.own or {}).items()]
    return looks


def _of_retrieval(settings: Retrieval) -> Sequence[str]:
    tables = judged.tables_of(settings)
    return _of_tables(tables.values()) or _together(tables.values(), partial(judged.read_judged, tables))


def _of_classification(settings: Classification) -> Sequence[str]:
    tables = classification.tables_of(settings)
    return _of_tables(tables) or _together(tables, partial(classification.classification_evaluation, settings))


def _of_own_task(name: str, folder: Path) -> Sequence[str]:
    # Of a search its kind is not told by heads alone.
    if not all(map(is_small, mteb_own.searched_in(folder))):
        return []
    return _of_tables(mteb_own.tables_of(name, folder, kind=mteb_own.kind_of_own(name, folder)))


def _of_tables(tables: Iterable[Table]) -> Sequence[str]:
    return [problem for table in tables for problem in table.problems()]


def _together(tables: Collection[Table], read: Callable[[], object]) -> Sequence[str]:
    """What is wrong only between tables that are right by themselves: read once more, and all are small."""
    if all(is_small(table.path) for table in tables):
        read()
    return []

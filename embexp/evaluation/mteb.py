"""MTEB tasks: a person's own, by name, by type or as a benchmark, one by one; scores kept by the hash of model, data and version.

MTEB calls every local model by one name, and would give the second the first one's scores. Here a model's name and
revision are a hash of what it computes: weights, modules, tokenizer, prompts, as they are when it is scored.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from sentence_transformers import SentenceTransformer

from embexp.config import ConfigError, Mteb
from embexp.config.errors import first_line, nearest
from embexp.evaluation.mteb_mirror import load_mirror, mirror_of
from embexp.evaluation.mteb_own import folder_of, kind_of_own, own_task, tables_hash
from embexp.evaluation.parts import Part, one_line
from embexp.evaluation.tables import fingerprint_of
from embexp.home import expanded
from embexp.identity import code_of
from embexp.interrupts import LOADED, waiting_for_a_good_moment
from embexp.models import identity_of
from embexp.network import hub_is_reachable

log = logging.getLogger(__name__)

# Beside the main score, the metrics of a task that are logged where it has them.
LOGGED = ("accuracy", "f1", "cosine_spearman", "cosine_pearson", "ndcg_at_10", "mrr_at_10", "map_at_10", "v_measure")
# Of the languages of a task or a type, as many are told.
MOST_LANGUAGES = 10
# What MTEB is given of local files comes out of these.
READING = ("evaluation/mteb_mirror.py", "evaluation/tables.py", "data/files")


@dataclass
class MtebEvaluation:
    """See `embexp.evaluation.parts.Extra`; `record` has a task's revision, version, seconds and scores by its name."""

    settings: Mteb
    tasks: list[Any]
    name: ClassVar[str] = "mteb"
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def before(self) -> bool:
        return self.settings.before

    @property
    def fingerprint(self) -> str:
        """Of names and revisions, for what the hub holds under a revision does not change; of local files by content."""
        return fingerprint_of([self._identity(task) for task in self.tasks])

    @property
    def scored_on(self) -> Mapping[str, str]:
        """Task by task; of each the splits and languages that are asked for, too."""
        return {
            f"{self.name}/{task.metadata.name}": fingerprint_of(
                [*self._identity(task), sorted(task.eval_splits), sorted(task.hf_subsets)]
            )
            for task in self.tasks
        }

    def _identity(self, task: Any) -> tuple[str, str, str | None]:
        return task.metadata.name, str(task.metadata.dataset), self._contents[task.metadata.name]

    @cached_property
    def _contents(self) -> dict[str, str | None]:
        """Of each task, by its name, the hash of its local files as they are when the run is given its key."""
        return {task.metadata.name: self._content(task) for task in self.tasks}

    def _content(self, task: Any) -> str | None:
        folder = self._folder(task)
        return None if folder is None else tables_hash(folder)

    def _folder(self, task: Any) -> Path | None:
        return folder_of(self.settings.own or {}, task) or mirror_of(task, self.settings.path)

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """main_score of each task, and those of LOGGED that it has."""
        import mteb

        self.record["version"] = mteb.__version__
        with quiet_mteb():
            wrapped = wrap(model)
            for task in self.tasks:
                name = task.metadata.name
                try:
                    scores = self._score(wrapped, task)
                except Exception as error:  # a task's data or code: no reason to lose the others
                    logging.getLogger("traceback").info("mteb/%s broke", name, exc_info=error)
                    yield Part({}, name, one_line(error))
                else:
                    yield Part(scores, name)
                finally:
                    task.unload_data()

    def _score(self, model: Any, task: Any) -> dict[str, float]:
        import mteb
        from mteb.cache import ResultCache

        if self._content(task) != self._contents[task.metadata.name]:
            raise ConfigError(["its files have changed since the run began; give the same command again."])
        found = self._folder(task)
        origin = "hub" if found is None else load_mirror(task, found)
        # Another version of MTEB, other data under the same name, or the same that is read otherwise, has scores of its own.
        read_by = "" if found is None else f"-{code_of(*READING)[:16]}"
        cache = ResultCache(expanded(self.settings.cache) / f"{mteb.__version__}-{origin[:16]}{read_by}")
        known = cache.load_task_result(task.metadata.name, model.mteb_model_meta) is not None
        if found is None and not known:
            _refuse_absent(task)
        result = mteb.evaluate(
            model,
            task,
            cache=cache,
            co2_tracker=False,
            show_progress_bar=False,
            encode_kwargs={"batch_size": self.settings.batch_size, "show_progress_bar": False},
        )
        if result.exceptions:
            raise RuntimeError(result.exceptions[0].exception)
        # What was kept may be of more splits and languages than are asked for here.
        scored = result.task_results[0].validate_and_filter_scores(task)
        scores = _mean_scores(scored)
        self.record.setdefault("tasks", {})[task.metadata.name] = {
            "dataset": dict(task.metadata.dataset),
            "data": "the hub" if found is None else f"{found}, sha256 {origin}",
            "dataset_revision": scored.dataset_revision,
            "mteb_version": scored.mteb_version,
            "seconds": scored.evaluation_time,
            "from_cache": known,
            "model_revision": model.mteb_model_meta.revision,
            "scores": scores,
        }
        return scores


def _refuse_absent(task: Any) -> None:
    """Where the hub cannot be reached, told at once what is in its cache, instead of after minutes of trying."""
    if hub_is_reachable():
        return
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    repo = task.metadata.dataset["path"]
    try:
        cached = {found.repo_id for found in scan_cache_dir().repos if found.repo_type == "dataset"}
    except CacheNotFound:
        cached = set()
    if repo not in cached:
        raise ConfigError(
            [f"the hub cannot be reached, and {repo} is neither in its cache nor in evaluation.mteb.path."]
        )


def wrap(model: SentenceTransformer) -> Any:
    """The model as MTEB takes it, under a name and revision that no other model has."""
    from mteb.models import SentenceTransformerEncoderWrapper

    class Named(SentenceTransformerEncoderWrapper):
        mteb_model_meta: Any

    wrapped = Named(model)
    identity = identity_of(model)
    wrapped.mteb_model_meta = wrapped.mteb_model_meta.model_copy(
        update={"name": f"embexp/{identity[:16]}", "revision": identity}
    )
    return wrapped


def _mean_scores(result: Any) -> dict[str, float]:
    """Each metric's mean over the task's splits and languages."""
    parts = [part for parts in result.scores.values() for part in parts]
    return {
        key: sum(float(part[key]) for part in parts) / len(parts)
        for key in ("main_score", *LOGGED)
        if all(part.get(key) is not None for part in parts)
    }


def mteb_evaluation(settings: Mteb) -> MtebEvaluation:
    """A person's own tasks, those that are named, then those of the types, then those of the benchmark; each once.

    Raises:
        ConfigError: a task, a type or a benchmark that MTEB does not know; a task that is in none of the languages; an own
            folder that makes no task.
    """
    own = {name: expanded(folder) for name, folder in (settings.own or {}).items()}
    # Before MTEB, which takes seconds to import.
    kinds = {name: kind_of_own(name, folder) for name, folder in own.items()}
    with waiting_for_a_good_moment(LOADED):
        import mteb
        from mteb.abstasks import AbsTask
        from mteb.get_tasks import TASK_LIST

    with quiet_mteb():
        # The classes: to make a task seeds torch anew, and there are two thousand; a benchmark makes all of its own.
        listed = mteb.filter_tasks(TASK_LIST, exclude_private=True, exclude_beta=True)
        known = {task.metadata.name: task.metadata for task in listed}
        types = {metadata.type for metadata in known.values()}
        benchmarks = {benchmark.name for benchmark in mteb.get_benchmarks()} if settings.benchmark else set()
        problems = [
            f"evaluation.mteb.{key}={word}: MTEB {mteb.__version__} knows none of this name.{nearest(word, allowed)}"
            for key, words, allowed in (
                ("tasks", settings.tasks, known),
                ("types", settings.types, types),
                ("benchmark", [settings.benchmark] if settings.benchmark else [], benchmarks),
            )
            for word in words
            if word not in allowed
        ]
        problems += [
            f"evaluation.mteb.own.{name}: MTEB has a task of this name; give yours another."
            for name in own
            if name in known
        ]
        if problems:
            raise ConfigError(problems)
        chosen: list[AbsTask] = [own_task(name, folder, kind=kinds[name]) for name, folder in own.items()]
        chosen += _in_languages(settings, {name: known[name].languages for name in settings.tasks})
        if settings.benchmark is not None:
            chosen += mteb.get_benchmark(settings.benchmark).tasks
    unique: Mapping[str, AbsTask] = {task.metadata.name: task for task in reversed(chosen)}
    return MtebEvaluation(settings, [unique[name] for name in dict.fromkeys(task.metadata.name for task in chosen)])


def refuse_unknown_tasks(settings: Mteb) -> None:
    """What `mteb_evaluation` says of the tasks that are named; to make a type's, a benchmark's or own ones too would take long."""
    mteb_evaluation(settings.model_copy(update={"own": None, "types": [], "benchmark": None}))


def _in_languages(settings: Mteb, named: Mapping[str, Sequence[str]]) -> list[Any]:
    """The named tasks, then those of the types; of each the parts in the languages that are asked for.

    Args:
        settings: of which the languages and types are.
        named: tasks, and the languages of each.

    Raises:
        ConfigError: a task, or every one of a type, has none of these languages, or one of these is no language.
    """
    import mteb

    chosen, problems = [], []
    asked = f"evaluation.mteb.languages=[{','.join(settings.languages)}]"
    for name, languages in named.items():
        try:
            chosen.append(mteb.get_task(name, languages=settings.languages))
        except ValueError as error:
            problems.append(
                f"{asked}: MTEB gives no {name} ({first_line(error)}); it is in {_first_of(languages)}: name one of "
                "its own languages, or leave the task out."
            )
    if settings.types and not problems:
        wanted: Any = settings.types
        try:
            of_types = mteb.get_tasks(task_types=wanted, languages=settings.languages, modalities=["text"])
        except ValueError as error:
            problems.append(f"{asked}: {first_line(error)}; name languages by three letters, as eng or deu.")
        else:
            chosen += of_types
            found = {task.metadata.type for task in of_types}
            problems += [_none_of(kind, asked) for kind in dict.fromkeys(settings.types) if kind not in found]
    if problems:
        raise ConfigError(problems)
    return chosen


def _none_of(kind: str, asked: str) -> str:
    """What to say of a type of which no task is in the languages that are asked for."""
    import mteb
    from mteb.get_tasks import TASK_LIST

    wanted: Any = [kind]
    # As get_tasks chooses.
    there = mteb.filter_tasks(
        TASK_LIST,
        task_types=wanted,
        modalities=["text"],
        exclude_superseded=True,
        exclude_private=True,
        exclude_beta=True,
    )
    if not there:
        return f"evaluation.mteb.types: no task of type {kind} is one of texts; leave the type out."
    languages = Counter(language for task in there for language in task.metadata.languages)
    return (
        f"{asked}: MTEB has no task of type {kind} in these languages; most are in "
        f"{_first_of([language for language, _ in languages.most_common()])}: name one of these too, or leave the type out."
    )


def _first_of(languages: Sequence[str]) -> str:
    return f"{', '.join(languages[:MOST_LANGUAGES])}{', ...' if len(languages) > MOST_LANGUAGES else ''}"


@contextmanager
def quiet_mteb() -> Iterator[None]:
    """Keeps MTEB's and its libraries' notes off the terminal: superseded tasks, renamed methods, progress."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    loggers = [logging.getLogger(name) for name in ("mteb", "datasets")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if shown:
            enable_progress_bars()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

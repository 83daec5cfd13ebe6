"""The evaluations that are scored beside the pairs of dev and test: built together, run one by one, each for itself.

One that breaks is told in a line and costs no other, nor the training before it.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sentence_transformers import SentenceTransformer

from embexp.config import Config
from embexp.evaluation.dims import DimsEvaluation
from embexp.evaluation.parts import Extra, one_line
from embexp.evaluation.sts import Pairs, SetEvaluation, named_sets
from embexp.evaluation.tables import fingerprint_of
from embexp.prompts import prompts_of
from embexp.training.hardware import Hardware
from embexp.units import readable, without_unit

log = logging.getLogger(__name__)

# Metrics whose gain over step 0 is told.
HEADLINES = ("spearman_cosine", "ndcg_at_10", "accuracy", "macro_f1", "main_score")

Log = Callable[[Mapping[str, float]], None]


@dataclass
class Extras:
    """All that were chosen, in the order in which they are run.

    Attributes:
        missed: what could not be scored, and why in one line.
    """

    chosen: Sequence[Extra]
    before: dict[str, float] = field(default_factory=dict)
    missed: dict[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str | None:
        """Of all that is scored on; None where nothing was chosen."""
        return fingerprint_of([extra.fingerprint for extra in self.chosen]) if self.chosen else None

    @property
    def scored_on(self) -> dict[str, str]:
        """Of all that were chosen: see `Extra`."""
        return {name: found for extra in self.chosen for name, found in extra.scored_on.items()}

    def score_before(self, model: SentenceTransformer, log_metrics: Log) -> None:
        """Scores the untrained model where that was asked for: retrieval_before/ndcg_at_10, ..."""
        for extra in self.chosen:
            if extra.before:
                for _, _, scores, _ in self._scored(extra, model):
                    self.before |= scores
                    log_metrics({_before(key): value for key, value in scores.items()})

    def score_after(self, model: SentenceTransformer, log_metrics: Log) -> None:
        """Scores the model that was kept; logs each part when it is there, and its gain where that can be told."""
        for extra in self.chosen:
            for name, on, scores, seconds in self._scored(extra, model):
                gains = {
                    f"gain/{key}": value - self.before[key]
                    for key, value in scores.items()
                    if key in self.before and key.rpartition("/")[2] in HEADLINES
                }
                log_metrics({**scores, **gains, f"time/{name}_seconds": seconds})
                log.info("%s%s: %s (%.0f s)", name, f" on {on}" if on else "", told(scores, of=name), seconds)

    def write(self, path: Path) -> None:
        """What was scored on, under which conditions, and what was missed."""
        content = {"evaluations": {extra.name: extra.record for extra in self.chosen}, "missed": self.missed}
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    def _scored(self, extra: Extra, model: SentenceTransformer) -> Iterator[tuple[str, str, dict[str, float], float]]:
        """Of each part: its name, what it was scored on where that is to be told, its scores by full name, its seconds."""
        start = time.perf_counter()
        try:
            for part in extra.parts(model):
                name = f"{extra.name}/{part.task}" if part.task else extra.name
                if part.error is not None:
                    self._miss(name, part.error)
                wrong = [key for key, value in part.scores.items() if not math.isfinite(value)]
                if wrong:
                    self._miss(name, f"{', '.join(wrong)}: no number")
                good = {f"{name}/{key}": float(value) for key, value in part.scores.items() if key not in wrong}
                if good:
                    yield name, part.on, good, time.perf_counter() - start
                start = time.perf_counter()
        except Exception as error:  # whatever a library makes of data or model: the rest of the run is worth more
            self._miss(extra.name, one_line(error))
            logging.getLogger("traceback").info("%s broke", extra.name, exc_info=error)

    def _miss(self, name: str, reason: str) -> None:
        self.missed[name] = reason
        log.warning("%s: not scored: %s", name, reason)


def _before(key: str) -> str:
    group, _, rest = key.partition("/")
    return f"{group}_before/{rest}"


def told(metrics: Mapping[str, float], *, of: str) -> str:
    """The scores of a part that a person looks for first, in one line, without the part's name before each."""
    chosen = {k: v for k, v in metrics.items() if k.rpartition("/")[2] in HEADLINES} or dict(list(metrics.items())[:4])
    return ", ".join(f"{without_unit(k.removeprefix(f'{of}/'))} {readable(k, value)}" for k, value in chosen.items())


def build_extras(config: Config, hardware: Hardware, pairs: Mapping[str, Pairs]) -> Extras:
    """Reads the data of every evaluation that was chosen, so that what is missing is told before training.

    Args:
        config: its `evaluation` section is read, and its data where an evaluation is made of them.
        hardware: of the run; latency is measured there first of all.
        pairs: of dev and test.

    Raises:
        ConfigError: files, tasks or benchmarks that there are not.
    """
    # Here, because scikit-learn and MTEB take seconds to import.
    from embexp.evaluation.classification import classification_evaluation
    from embexp.evaluation.latency import LatencyEvaluation
    from embexp.evaluation.retrieval import retrieval_evaluation

    evaluation = config.evaluation
    how = evaluation.similarities, evaluation.batch_size, prompts_of(config.model)
    chosen: list[Extra] = [
        SetEvaluation(name, of_set, *how) for name, of_set in named_sets(evaluation.sets or {}).items()
    ]
    if dims := evaluation.dims or config.matryoshka_dims:
        chosen.append(DimsEvaluation(dims, pairs, *how))
    if evaluation.retrieval is not None:
        chosen.append(retrieval_evaluation(config, evaluation.retrieval))
    if evaluation.classification is not None:
        chosen.append(classification_evaluation(evaluation.classification))
    if evaluation.latency is not None:
        chosen.append(LatencyEvaluation(evaluation.latency, hardware))
    if evaluation.mteb is not None:
        from embexp.evaluation.mteb import mteb_evaluation

        chosen.append(mteb_evaluation(evaluation.mteb))
    return Extras(chosen)

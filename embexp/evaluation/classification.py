"""A linear probe: how well a logistic regression on frozen, standardised embeddings tells classes apart."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from embexp.config import Classification, ConfigError
from embexp.data.helpdesk import classes as helpdesk_classes
from embexp.data.rows import text_key
from embexp.evaluation.named import Table
from embexp.evaluation.parts import Part
from embexp.evaluation.tables import find_table, fingerprint_of
from embexp.home import expanded

if TYPE_CHECKING:
    # What is wrong with files is told without it: it takes seconds to import.
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)

HELPDESK_TEXTS = 960
BUILT_IN = "the built-in intents"


@dataclass(frozen=True)
class Labelled:
    """Texts and the class of each; `name` is what messages call them: "the built-in intents", "train.csv"."""

    name: str
    texts: list[str]
    labels: list[str]


@dataclass(frozen=True)
class ClassificationEvaluation:
    """See `embexp.evaluation.parts.Extra`."""

    settings: Classification
    train: Labelled
    test: Labelled
    on: str = ""
    name: ClassVar[str] = "classification"

    @property
    def before(self) -> bool:
        return self.settings.before

    @property
    def fingerprint(self) -> str:
        return fingerprint_of(self.train.texts, self.train.labels, self.test.texts, self.test.labels)

    @property
    def record(self) -> dict[str, Any]:
        return {
            "train_texts": len(self.train.texts),
            "test_texts": len(self.test.texts),
            "classes": len(set(self.train.labels)),
        }

    @property
    def scored_on(self) -> Mapping[str, str]:
        return {self.name: self.fingerprint}

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """See `score`."""
        yield Part(self.score(model), on=self.on)

    def score(self, model: SentenceTransformer) -> dict[str, float]:
        """accuracy, and macro_f1: the mean over classes of each one's F1."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import accuracy_score, f1_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        train, test = (self._embeddings(model, part.texts) for part in (self.train, self.test))
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(C=self.settings.regularization, max_iter=self.settings.iterations)
        )
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always", ConvergenceWarning)
            probe.fit(train, self.train.labels)
        for warning in raised:
            if not issubclass(warning.category, ConvergenceWarning):
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
        if any(issubclass(warning.category, ConvergenceWarning) for warning in raised):
            # Not scikit-learn's words, which name arguments that nobody typed.
            log.warning(
                "%s: the solver stopped before the optimum, and the score is that of the probe as it was then; raise "
                "evaluation.classification.iterations=%d",
                self.name,
                self.settings.iterations,
            )
        found = probe.predict(test)
        return {
            "accuracy": float(accuracy_score(self.test.labels, found)),
            "macro_f1": float(f1_score(self.test.labels, found, average="macro")),
        }

    def _embeddings(self, model: SentenceTransformer, texts: Sequence[str]) -> Any:
        return model.encode(list(texts), batch_size=self.settings.batch_size, show_progress_bar=False)


def classification_evaluation(settings: Classification) -> ClassificationEvaluation:
    """Reads the labelled texts, the built-in ones where no file is named.

    Raises:
        ConfigError: a file is missing or broken, there is one class only, or a class was never seen in training.
    """
    built_in = settings.path is None and settings.train is None
    if built_in:
        made = helpdesk_classes("test", count=2 * HELPDESK_TEXTS, seed=0)
        # One that is written in small letters too would be learnt from and scored.
        texts, labels = zip(*{text_key(text): (text, label) for text, label in made}.values(), strict=True)
        half = len(texts) // 2
        train = Labelled(f"{BUILT_IN} to learn from", list(texts[:half]), list(labels[:half]))
        test = Labelled(BUILT_IN, list(texts[half:]), list(labels[half:]))
    else:
        train, test = map(_labelled, tables_of(settings))
    unseen = sorted(set(test.labels) - set(train.labels))
    if unseen:
        raise ConfigError(
            [
                f"evaluation.classification: classes of test that train has not: {', '.join(unseen[:8])}; give both files all."
            ]
        )
    if len(set(train.labels)) < 2:
        raise ConfigError(["evaluation.classification: train has one class only; nothing can be told apart."])
    return ClassificationEvaluation(settings, train, test, on=BUILT_IN if built_in else "")


def tables_of(settings: Classification) -> list[Table]:
    """train and test: the files that are named, or those in the folder that is.

    Raises:
        ConfigError: one is not there.
    """
    how = {"columns": {"text": [settings.text], "label": [settings.label]}}
    return [Table(_file(settings, split), f"evaluation.classification.{split}", how) for split in ("train", "test")]


def _file(settings: Classification, split: str) -> Path:
    named = settings.train if split == "train" else settings.test
    path = expanded(named) if named else find_table(expanded(str(settings.path)), [split])
    if path is None:
        raise ConfigError(
            [f"evaluation.classification.path={settings.path}: no {split}.parquet, .jsonl, .csv or .tsv in it."]
        )
    return path


def _labelled(table: Table) -> Labelled:
    found = table.read()
    return Labelled(table.path.name, [str(text) for text in found["text"]], [str(label) for label in found["label"]])

"""The linear probe: scikit-learn's own scores, and classes that cannot be learnt are refused."""

from __future__ import annotations

import numpy as np
import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.evaluation.classification import classification_evaluation


def evaluation_of(*overrides: str):
    settings = compose(["evaluation=[own,classification]", *overrides]).evaluation.classification
    assert settings is not None
    return classification_evaluation(settings)


class Encoder:
    """Gives a text its number on a line, the odd ones far away, so that what can be told apart is known."""

    def encode(self, texts, **_):
        numbers = np.array([int(text) for text in texts])
        return np.stack([numbers % 2 * 10.0, numbers / 100], axis=1)


def write(folder, split, rows):
    (folder / f"{split}.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))


def test_what_can_be_told_apart_is_and_what_cannot_is_not(tmp_path):
    write(tmp_path, "train", [(n, "odd" if n % 2 else "even") for n in range(40)])
    # A tenth of the test labels is wrong on purpose: odd texts called even.
    labels = ["even" if n in (1, 3, 5, 7) else "odd" if n % 2 else "even" for n in range(40)]
    write(tmp_path, "test", enumerate(labels))
    scores = evaluation_of(f"evaluation.classification.path={tmp_path}").score(Encoder())
    assert scores["accuracy"] == pytest.approx(0.9)
    even, odd = 2 * 20 / (20 + 24), 2 * 16 / (20 + 16)  # F1 = 2 TP / (found + true)
    assert scores["macro_f1"] == pytest.approx((even + odd) / 2)


def test_the_built_in_intents_are_told_apart_better_than_by_chance(model):
    evaluation = evaluation_of()
    assert not set(evaluation.train.texts) & set(evaluation.test.texts)
    assert evaluation.score(model)["accuracy"] > 3 / evaluation.record["classes"]


def test_a_class_that_was_never_seen_in_training_is_refused(tmp_path):
    write(tmp_path, "train", [(0, "a"), (1, "b")])
    write(tmp_path, "test", [(2, "c")])
    with pytest.raises(ConfigError, match="classes of test that train has not: c"):
        evaluation_of(f"evaluation.classification.path={tmp_path}")


def test_a_folder_without_its_files_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no train\.parquet"):
        evaluation_of(f"evaluation.classification.path={tmp_path}")


def test_a_solver_that_stops_early_is_told(tmp_path, caplog):
    write(tmp_path, "train", [(n, "odd" if n % 3 else "even") for n in range(40)])
    write(tmp_path, "test", [(1, "odd")])
    given = f"evaluation.classification.path={tmp_path}"
    evaluation_of(given, "evaluation.classification.iterations=1").score(Encoder())
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("classification: the solver stopped before the optimum")
    assert "evaluation.classification.iterations=1" in warning
    caplog.clear()
    evaluation_of(given).score(Encoder())
    assert not caplog.records

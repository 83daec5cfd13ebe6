"""Words that Hydra cannot read: what is said of each, and that what else is wrong is told beside them."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from embexp.config import ConfigError
from embexp.config.composition import compose
from tests.config.conftest import refused


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("batch_size=choise(1,2)", "there is no function choise. Did you mean 'choice', as in choice(16,32,64)?"),
        ("batch_size=shufle(1,2)", "there is no function shufle. Did you mean 'shuffle'?"),
        (
            "learning_rate=tag(log, intervall(1e-5, 1e-3))",
            "there is no function intervall. Did you mean 'interval', as in interval(0, 0.3)?",
        ),
        (
            "learning_rate=log(interval(1e-5, 1e-3))",
            "there is no function log. Did you mean 'tag', as in tag(log, interval(1e-5, 1e-3))?",
        ),
        ("epochs=interval(1)", "missing a required argument: 'end'; it is written so: 'epochs=interval(0, 0.3)'."),
        (
            "tracker.experiment=faq)",
            "has not as many ( as ); write what is missing, or, of a text, 'tracker.experiment=",
        ),
        ("batch_size=choice(1,2", "has not as many ) as (; write what is missing, or, of a text, 'batch_size=\""),
    ],
)
def test_a_range_that_is_written_wrongly_is_told_with_how_it_is_written(typed, said):
    (problem,) = refused(typed)
    assert problem.startswith(f"{typed}: {said}")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ('Fräge, "x" 1.jsonl', 'Fräge, "x" 1.jsonl'),
        ('"Fräge, "x" 1.jsonl"', 'Fräge, "x" 1.jsonl'),
        ("'it's, mine.csv'", "it's, mine.csv"),
        ("Süß 'x' \"y\".csv", "Süß 'x' \"y\".csv"),
        ('Fräge "x"', 'Fräge "x"'),
        ('Er sagte "ja, gut"', 'Er sagte "ja, gut"'),
        ("Süß 'x'", "Süß 'x'"),
        ("'Hans' Süß.csv", "'Hans' Süß.csv"),
        ("C:\\Süß\\", "C:\\Süß\\"),
    ],
)
def test_a_text_that_cannot_be_read_is_told_as_a_shell_and_hydra_take_it(typed, meant):
    (told,) = refused(f"data.train={typed}")
    (word,) = shlex.split(told.partition("in two pairs of quotes: ")[2].removesuffix("."))
    assert OverridesParser.create().parse_override(word).value() == meant


def test_what_is_like_no_function_may_be_a_text():
    (problem,) = refused("tracker.experiment=faq(2)")
    assert problem.startswith(
        "tracker.experiment=faq(2): there is no function faq; what is swept is written choice(16,32,64)"
    )
    assert problem.endswith("and a text 'tracker.experiment=\"faq(2)\"'.")


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["loss=mnr", "batch_size=choise(1,2)", "wormup_ratio=0.1", "seed=x"],
            ["batch_size=choise(1,2)", "wormup_ratio", "seed=x"],
        ),
        (["max_steps", "trainer.device=gpu", "lss=mnr"], ["max_steps", "lss", "trainer.device=gpu"]),
        # Of a loss that is not known its keys are not, nor of an experiment what it chooses.
        (["loss=choise(mnr,tsdae)", "loss.deletion_ratio=2", "seed=x"], ["loss=choise(mnr,tsdae)", "seed=x"]),
        (["tsdae", "loss.deletion_ratio=0.5", "seed=x"], ["tsdae", "seed=x"]),
        (["experiment=book_cosin", "data.path=x", "loss.nothing=3", "seed=x"], ["experiment=book_cosin", "seed=x"]),
    ],
)
def test_what_else_is_wrong_is_told_beside_a_word_that_cannot_be_read(typed, told):
    assert [problem.split(": ")[0] for problem in refused(*typed)] == told
    with pytest.raises(ConfigError) as raised:
        compose(typed)
    assert [problem.split(": ")[0] for problem in raised.value.problems] == told


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["+foo=3", "~loss"], ["~loss", "foo"]),
        (["batchsize=3", "evaluation.similarities=[cosin]"], ["batchsize", "evaluation.similarities=cosin"]),
        (["batchsize=3", "+trainr.precision=fp32"], ["batchsize", "trainr"]),
        (["hydra/launcher=jobli", "hydra.launcher.n_jobs=2", "seed=x"], ["hydra/launcher=jobli", "seed=x"]),
        (["batchsize=3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], ["batchsize", "hydra.launcher.n_jobs=0"]),
        (
            ["batch_size=0", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            ["batch_size=0", "hydra.launcher.n_jobs=0"],
        ),
    ],
)
def test_what_is_added_listed_or_said_to_hydra_is_told_beside_what_nothing_reads(typed, told):
    assert [problem.split(": ")[0] for problem in refused(*typed)] == told

"""Words that stand without a =: what each may be, and how that is written."""

from __future__ import annotations

import pytest

from tests.config.conftest import refused


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("max_steps", "has no value; write KEY=VALUE: max_steps=..."),
        ("+loss.scale", "has no value; write KEY=VALUE: +loss.scale=..."),
        ("max_step", "nothing reads this key. Did you mean 'max_steps'?"),
        ("tsdae", "is an option; write loss=tsdae."),
        ("helpdesk", "is an option; write data=helpdesk or evaluation=helpdesk."),
        ("loss", "has no value; write loss=OPTION, which is one of angle, "),
        ("hydra/launcher", "has no value; write hydra/launcher=OPTION, which is one of "),
        ("joblib", "is an option; write hydra/launcher=joblib."),
        ("compare", "is a program of its own: python -m embexp.compare."),
        ("help", "is a flag: --help."),
        ("64", "has no value; write KEY=VALUE."),
    ],
)
def test_a_word_alone_is_told_how_it_is_written(word, said):
    (problem,) = refused(word)
    assert problem.startswith(f"{word}: {said}")


@pytest.mark.parametrize("chosen", ["loss=triplet", "loss=triplet,mnr"])
def test_a_key_without_its_value_is_known_by_the_options_beside_it(chosen):
    assert refused(chosen, "loss.triplet_margin") == [
        "loss.triplet_margin: has no value; write KEY=VALUE: loss.triplet_margin=..."
    ]

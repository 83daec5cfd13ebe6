"""The dimensions to which embeddings are cut: what goes together, and their order."""

from __future__ import annotations

import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.identity import settings_in_key


def test_the_order_in_which_dimensions_are_typed_makes_no_other_run():
    one = compose(["matryoshka_dims=[16,32]", "matryoshka_weights=[1.0,2.0]", "evaluation.dims=[8,16]"])
    other = compose(["matryoshka_dims=[32,16]", "matryoshka_weights=[2.0,1.0]", "evaluation.dims=[16,8]"])
    assert settings_in_key(one) == settings_in_key(other)
    swapped = compose(["matryoshka_dims=[32,16]", "matryoshka_weights=[1.0,2.0]", "evaluation.dims=[16,8]"])
    assert settings_in_key(swapped) != settings_in_key(other)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["matryoshka_dims=[32,32]"], "matryoshka_dims=[32, 32]: the same twice; name each once."),
        (["evaluation.dims=[8,8]"], "evaluation.dims=[8, 8]: the same twice; name each once."),
        (["matryoshka_dims=[0]"], "matryoshka_dims=0: must be at least 1."),
        (["matryoshka_dims=[]"], "matryoshka_dims=[]: must be a list of at least 1, or be left out."),
        (
            ["matryoshka_weights=[1.0]"],
            "matryoshka_weights=[1.0]: nothing reads them without matryoshka_dims; name these too, or leave them out.",
        ),
        (
            ["matryoshka_weights=[1.0]", "matryoshka_dims=[32,8]"],
            "matryoshka_weights=[1.0]: must be as many as matryoshka_dims, of which there are 2.",
        ),
        (
            ["matryoshka_dims=[33,16]"],
            "matryoshka_dims=[33, 16]: the model's embeddings have 32 dimensions, and no more.",
        ),
        (
            ["model=minilm", "evaluation.dims=[384,385]"],
            "evaluation.dims=[384, 385]: the model's embeddings have 384 dimensions, and no more.",
        ),
        (["matryoshka_dims=[32]", "loss=tsdae"], "loss=tsdae has weights of its own that read whole embeddings"),
    ],
)
def test_what_does_not_go_together_is_told_in_words(typed, said):
    with pytest.raises(ConfigError) as refused:
        compose(["model=tiny", *typed])
    assert said in "\n".join(refused.value.problems)

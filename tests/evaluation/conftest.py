"""The encoders that these tests share."""

from __future__ import annotations

import pytest

from embexp.models import tiny


@pytest.fixture(scope="session")
def build_model():
    def build(seed: int = 1, pooling: str = "mean"):
        made, _ = tiny(
            hidden_size=32, layers=1, vocabulary_size=500, pooling=pooling, max_length=32, dropout=0.0, seed=seed
        )
        return made.eval()

    return build


@pytest.fixture(scope="session")
def model(build_model):
    return build_model()

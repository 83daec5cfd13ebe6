"""A pinned revision is its own repository's."""

from __future__ import annotations

import pytest

from embexp.config.composition import compose
from embexp.config.sections import data_schema


@pytest.mark.parametrize("option", ["minilm", "mpnet", "bert"])
def test_an_option_s_own_model_has_its_revision_and_another_none(option):
    assert len(compose([f"model={option}"]).model.revision) == 40
    for path in ("intfloat/e5-small-v2", "BAAI/bge-small-en-v1.5"):
        assert compose([f"model={option}", f"model.path={path}"]).model.revision is None


def test_a_revision_that_is_typed_stays():
    words = ["model.path=intfloat/e5-small-v2", "model.revision=" + "a" * 40]
    assert compose(words).model.revision == "a" * 40


def test_the_same_holds_for_data_to_train_and_to_score_on():
    own = compose(["data=mnli", "evaluation=stsb"])
    other = compose(["data=mnli", "evaluation=stsb", "data.repo=me/nli", "evaluation.source.repo=me/sts"])
    assert len(own.data.arguments()["revision"]) == 40
    assert other.data.arguments()["revision"] is None
    assert len(data_schema(own.evaluation.source).arguments()["revision"]) == 40
    assert data_schema(other.evaluation.source).arguments()["revision"] is None

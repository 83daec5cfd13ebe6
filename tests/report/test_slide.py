"""The picture for a slide."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.image import imread

from embexp.config import ConfigError
from embexp.report import slide_of


def test_a_slide_is_full_hd_and_not_empty(runs):
    picture = imread(BytesIO(slide_of(runs, "png", title="A sweep")))
    assert picture.shape[:2] == (1080, 1920)
    assert 0.005 < np.mean(picture[:, :, :3].min(axis=2) < 0.7) < 0.3


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_a_slide_is_of_the_kind_that_is_asked_for(runs, kind, begins):
    assert slide_of(runs, kind, title="A sweep").startswith(begins)


def test_without_a_finished_run_there_is_nothing_to_draw(runs):
    with pytest.raises(ConfigError, match="no run has finished"):
        slide_of(runs[4:], "png", title="A sweep")

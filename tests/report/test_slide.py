"""The picture for a slide."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from embexp.config import ConfigError
from embexp.report import write_slide


def test_a_slide_is_full_hd_and_not_empty(runs, tmp_path):
    write_slide(runs, tmp_path / "slide.png", title="A sweep")
    picture = imread(tmp_path / "slide.png")
    assert picture.shape[:2] == (1080, 1920)
    assert 0.005 < np.mean(picture[:, :, :3].min(axis=2) < 0.7) < 0.3


def test_without_a_finished_run_there_is_nothing_to_draw(runs, tmp_path):
    with pytest.raises(ConfigError, match="no run has finished"):
        write_slide(runs[4:], tmp_path / "slide.png", title="A sweep")

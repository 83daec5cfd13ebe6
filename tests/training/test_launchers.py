"""What a launcher left in the environment decides nothing."""

from __future__ import annotations

import os

import pytest

from embexp.config.composition import compose
from embexp.experiment import run_experiment
from embexp.training.launchers import PREFIXES, launchers_unheard

LEFT_BY_TORCHRUN = {
    "RANK": "0",
    "LOCAL_RANK": "0",
    "WORLD_SIZE": "1",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29512",
}


def test_within_it_nothing_of_a_launcher_is_there_and_afterwards_all_is_as_it_was(monkeypatch):
    for name, value in {
        **LEFT_BY_TORCHRUN,
        "ACCELERATE_MIXED_PRECISION": "bf16",
        "OMPI_COMM_WORLD_SIZE": "2",
        "OTHER": "kept",
    }.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    with launchers_unheard():
        assert os.environ["OTHER"] == "kept"
        assert not [name for name in os.environ if name in LEFT_BY_TORCHRUN or name.startswith(PREFIXES)]
        os.environ["ACCELERATE_DYNAMO_BACKEND"] = "inductor"
        os.environ["RANK"] = "7"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "left", [{"ACCELERATE_MIXED_PRECISION": "bf16"}, LEFT_BY_TORCHRUN], ids=["accelerate", "torchrun"]
)
def test_a_run_computes_the_same_whatever_a_launcher_left(tmp_path, monkeypatch, left):
    words = [
        "model=tiny",
        "data.rows=1000",
        "data.evaluation_rows=100",
        "batch_size=16",
        "max_steps=3",
        "trainer.precision=fp32",
        "trainer.device=cpu",
        "tracker=none",
    ]
    config = compose(
        [*words, "evaluation.times=1", f"trainer.data_cache={tmp_path / 'data'}", "trainer.checkpoints=false"]
    )
    alone = run_experiment(config, folder=tmp_path / "alone")
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    launched = run_experiment(config, folder=tmp_path / "launched")
    assert launched.metrics["train/loss"] == alone.metrics["train/loss"]
    assert launched.metrics["best/dev/pearson_cosine"] == alone.metrics["best/dev/pearson_cosine"]

"""Every acceleration that is on by default leaves the losses of a run as they are, over 50 steps in fp32."""

from __future__ import annotations

import pytest
import torch

from benchmarks.bench.sides import LEVERS
from embexp import encoding
from embexp.config import compose
from embexp.denoising import SortedDenoisingLoss
from embexp.encoding import encode_unpadded
from embexp.training import run as run_module
from tests.training.test_trainer import SMALL, run

FIFTY = [*SMALL, "max_steps=50", "evaluation.times=1", "model.dropout=0.0", "trainer.logging_steps=1"]


def refuse(*_: object) -> None:
    raise AssertionError("taken")


def losses(folder, *overrides: str) -> list[float]:
    config = compose([*FIFTY, *overrides])
    _, _, record = run(config, folder)
    return [value for _, value in record.history["train/loss"]]


@pytest.mark.parametrize("loss", ["mnr", "cosine", "tsdae"])
@pytest.mark.parametrize("lever", sorted(set(LEVERS) - {"precision"}))
def test_the_losses_are_those_without_the_lever(tmp_path, loss, lever):
    with_it = losses(tmp_path / "on", f"loss={loss}")
    without = losses(tmp_path / "off", f"loss={loss}", f"trainer.{lever}={LEVERS[lever]}")
    assert len(with_it) == 50
    assert with_it == pytest.approx(without, abs=1e-4)


def test_every_lever_is_on_by_default():
    trainer = compose([]).trainer
    assert trainer.sort_by_length
    assert trainer.unpadded
    assert trainer.fast_dropout
    assert trainer.row_gradient
    assert trainer.data_cache
    assert trainer.precision == "auto"


@pytest.mark.parametrize("lever", ["fast_dropout", "row_gradient"])
def test_a_lever_that_is_off_leaves_the_model_to_torch(tmp_path, monkeypatch, lever):
    monkeypatch.setattr(run_module, "fast_dropout", refuse)
    monkeypatch.setattr(run_module, "RowGradient", refuse)
    other = ({"fast_dropout", "row_gradient"} - {lever}).pop()
    with pytest.raises(AssertionError, match=r"taken"):
        run(compose([*SMALL, "max_steps=1", f"trainer.{lever}=false"]), tmp_path / "other")
    run(compose([*SMALL, "max_steps=1", f"trainer.{lever}=false", f"trainer.{other}=false"]), tmp_path / "none")


@pytest.mark.parametrize(("unpadded", "steps"), [("true", 3), ("false", 0)])
def test_a_run_on_the_cpu_takes_the_way_without_padding_where_it_may(tmp_path, monkeypatch, unpadded, steps):
    taken = []

    def watched(model, columns, noise):
        taken.append(len(columns))
        return encode_unpadded(model, columns, noise)

    monkeypatch.setattr(encoding, "encode_unpadded", watched)
    run(compose([*SMALL, "max_steps=3", "evaluation.times=1", f"trainer.unpadded={unpadded}"]), tmp_path)
    assert len(taken) == steps


def test_a_decoder_computes_in_the_run_s_precision_as_its_encoder_does(tmp_path, monkeypatch):
    computed, whole = [], SortedDenoisingLoss.compute_sorted_loss

    def watched(loss, columns, encoder):
        head = loss.decoder.get_output_embeddings()
        with head.register_forward_hook(lambda module, inputs, output: computed.append(output.dtype)):
            return whole(loss, columns, encoder)

    monkeypatch.setattr(SortedDenoisingLoss, "compute_sorted_loss", watched)
    for precision in ("bf16", "fp32"):
        folder = tmp_path / precision
        run(compose([*SMALL, "loss=tsdae", "max_steps=1", f"trainer.precision={precision}"]), folder)
    assert computed == [torch.bfloat16, torch.float32]

"""Every acceleration that is on by default leaves the losses of a run as they are, over 50 steps in fp32."""

from __future__ import annotations

import re

import pytest
import torch

from benchmarks.bench.sides import LEVERS
from embexp import encoding
from embexp.config.composition import compose
from embexp.denoising import SortedDenoisingLoss
from embexp.encoding import encode_unpadded, vocabulary
from embexp.encoding.linear import can_be_fast
from embexp.training import accelerations
from tests.test_losses import rows_for
from tests.training.test_trainer import SMALL, run

# cuda_graphs: in test_gpu.py; precision: in test_hardware.py; row_gradient and, in bf16, fast_linear: below; fast_dropout draws
# otherwise: in tests/encoding/test_dropout.py; keep_memory, which computes nothing: in tests/test_pages.py.
OTHERWISE_TESTED = {"cuda_graphs", "precision", "fast_dropout", "fast_linear", "row_gradient", "keep_memory"}
FIFTY = [*SMALL, "max_steps=50", "evaluation.times=1", "model.dropout=0.0", "trainer.logging_steps=1"]


def refuse(*_: object) -> None:
    raise AssertionError("taken")


def losses(folder, *overrides: str) -> list[float]:
    config = compose([*FIFTY, *overrides])
    _, _, record = run(config, folder)
    return [value for _, value in record.history["train/loss"]]


# What does nothing for a loss.
WITHOUT_A_HEAD = {"fused_cross_entropy"}


@pytest.mark.parametrize(
    ("loss", "idle"),
    [
        ("mnr", WITHOUT_A_HEAD),
        ("cosine", WITHOUT_A_HEAD),
        ("tsdae", set()),
        pytest.param("batch_hard_triplet", WITHOUT_A_HEAD, marks=pytest.mark.slow),
    ],
)
def test_the_losses_are_those_without_each_lever(tmp_path, loss, idle):
    with_all = losses(tmp_path / "on", f"loss={loss}", *rows_for(loss))
    assert len(with_all) == 50
    for lever in sorted(set(LEVERS) - OTHERWISE_TESTED - idle):
        without = losses(tmp_path / lever, f"loss={loss}", *rows_for(loss), f"trainer.{lever}={LEVERS[lever]}")
        assert with_all == pytest.approx(without, abs=1e-4), lever


# With one look-up a backward, with several, with a first pass without gradients, and with an incomplete last group.
LOOK_UPS = {
    "one": ["loss=mnr"],
    "chunks": ["loss=mnr", "trainer.unpadded=false", "trainer.chunk_tokens=64"],
    "columns": ["loss=mnr", "trainer.sort_by_length=false"],
    "cached": ["loss=cached_mnr", "loss.mini_batch_size=3"],
    "tied": ["loss=tsdae"],
    "tied, chunks": ["loss=tsdae", "trainer.unpadded=false", "trainer.chunk_tokens=64"],
    "accumulated": ["loss=cosine", "trainer.accumulation_steps=3", "epochs=1", "max_steps=null", "data.limit=100"],
}


@pytest.mark.parametrize("more", LOOK_UPS.values(), ids=LOOK_UPS)
def test_the_losses_are_those_without_the_kept_gradient(tmp_path, more):
    with_it = losses(tmp_path / "on", "max_steps=8", *more)
    without = losses(tmp_path / "off", "max_steps=8", *more, "trainer.row_gradient=false")
    assert len(with_it) >= 4
    assert with_it == pytest.approx(without, abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("loss", ["mnr", "tsdae"])
def test_gradient_checkpointing_leaves_the_losses_as_they_are(tmp_path, recwarn, loss, precision):
    # Texts of several lengths: attention computes them in several groups.
    given = [f"loss={loss}", "max_steps=4", f"trainer.precision={precision}"]
    with_it = losses(tmp_path / "on", *given, "trainer.gradient_checkpointing=true")
    assert not [each for each in recwarn if "checkpointing" in str(each.message)]
    without = losses(tmp_path / "off", *given)
    assert with_it == pytest.approx(without, abs=1e-5)


@pytest.mark.skipif(not can_be_fast(), reason="needs a CPU on which oneDNN computes in bf16")
@pytest.mark.parametrize("loss", ["mnr", pytest.param("tsdae", marks=pytest.mark.slow)])
def test_in_bf16_fast_linear_layers_leave_the_losses_about_as_near_to_fp32s(tmp_path, loss):
    told = {
        way: losses(tmp_path / way, f"loss={loss}", *more)
        for way, more in {
            "fast": ["trainer.precision=bf16"],
            "plain": ["trainer.precision=bf16", "trainer.fast_linear=false"],
            "exact": ["trainer.precision=fp32"],
        }.items()
    }
    apart = {
        way: max(abs(one - other) for one, other in zip(told[way], told["exact"], strict=True))
        for way in ("fast", "plain")
    }
    # The first step's values are the same; gradients, and so later losses, are rounded elsewhere.
    assert told["fast"][0] == told["plain"][0]
    assert told["fast"] != told["plain"]
    assert 0 < apart["fast"] < 2 * apart["plain"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["trainer.precision=fp32"], "steps: without padding"),
        (["trainer.precision=bf16", "trainer.unpadded=false"], "steps: in chunks of 512 tokens, sorted by length"),
    ],
)
def test_linear_layers_are_torchs_in_fp32_and_in_chunks(tmp_path, monkeypatch, caplog, more, told):
    monkeypatch.setattr(accelerations, "fast_linear", refuse)
    with caplog.at_level("INFO"):
        run(compose([*SMALL, "max_steps=1", *more]), tmp_path)
    assert told in caplog.messages


@pytest.mark.skipif(not can_be_fast(), reason="this processor or torch has no bf16 of oneDNN's")
def test_how_many_linear_layers_are_onednns_is_told(tmp_path, caplog):
    with caplog.at_level("INFO"):
        run(compose([*SMALL, "max_steps=1", "trainer.precision=bf16"]), tmp_path)
    assert any(re.fullmatch(r"steps: without padding; \d+ linear layers by oneDNN", said) for said in caplog.messages)


def test_every_lever_is_on_by_default():
    trainer = compose([]).trainer
    assert trainer.sort_by_length
    assert trainer.unpadded
    assert trainer.cuda_graphs
    assert trainer.fast_dropout
    assert trainer.fast_linear
    assert trainer.row_gradient
    assert trainer.fused_cross_entropy
    assert trainer.keep_memory
    assert trainer.data_cache
    assert trainer.precision == "auto"


# What each does, by the name under which it is taken.
TAKEN_AS = {
    "fast_dropout": "fast_dropout",
    "fast_linear": "fast_linear",
    "row_gradient": "RowGradient",
    "keep_memory": "freed_memory_kept",
}


@pytest.mark.parametrize("lever", TAKEN_AS)
def test_a_lever_that_is_off_leaves_the_process_to_torch(tmp_path, monkeypatch, lever):
    monkeypatch.setattr(accelerations, TAKEN_AS[lever], refuse)
    given = [*SMALL, "max_steps=1", "trainer.precision=bf16"]
    with pytest.raises(AssertionError, match=r"taken"):
        run(compose(given), tmp_path / "on")
    run(compose([*given, f"trainer.{lever}=false"]), tmp_path / "off")


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
    computed, whole, fused = [], SortedDenoisingLoss.compute_sorted_loss, vocabulary.logits_of

    def watched(loss, columns, encoder):
        head = loss.decoder.get_output_embeddings()
        with head.register_forward_hook(lambda module, inputs, output: computed.append(output.dtype)):
            return whole(loss, columns, encoder)

    def watched_in_parts(hidden, weight, bias):
        computed.append(hidden.dtype)
        return fused(hidden, weight, bias)

    monkeypatch.setattr(SortedDenoisingLoss, "compute_sorted_loss", watched)
    monkeypatch.setattr(vocabulary, "logits_of", watched_in_parts)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        for in_parts in ("true", "false"):
            more = [f"trainer.precision={precision}", f"trainer.fused_cross_entropy={in_parts}"]
            run(compose([*SMALL, "loss=tsdae", "max_steps=1", *more]), tmp_path / f"{precision}-{in_parts}")
            assert set(computed) == {dtype}
            computed.clear()

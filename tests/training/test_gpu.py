"""On a GPU: the plain way's embeddings, gradients and losses: `make test-gpu`; skipped, by name, in any other run."""

from __future__ import annotations

import copy
import gc
import itertools
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import TrainerControl, TrainerState

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.encoding import OnGpu, can_be_packed
from embexp.encoding.unpadded import unpadded_attention
from embexp.experiment import run_experiment
from embexp.loss_plan import build_loss
from embexp.models import tiny
from embexp.training.graphs import Graphs, KeptGradients
from tests.training.test_trainer import Interrupted, run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(),
        reason="torch sees no GPU: here is none, or it is hidden from what is not make test-gpu",
    ),
]

TEXTS = [
    ["a short one", "somewhat longer than the first of them", "x", "the end"],
    ["another", "y z", "a very long text indeed, with many words that all become many pieces", "and so on and on"],
]
SMALL = [
    "model=tiny",
    "data.rows=1000",
    "data.evaluation_rows=100",
    "batch_size=8",
    "evaluation.times=2",
    "tracker=none",
]
FIFTY = [*SMALL, "max_steps=50", "model.dropout=0.0", "trainer.logging_steps=1", "trainer.checkpoints=false"]
# Of losses of about 2, in bf16, after fifty steps: rows of other sizes are multiplied by other kernels.
OF_BF16 = 0.03


def made(pooling: str) -> SentenceTransformer:
    model, _ = tiny(hidden_size=64, layers=2, vocabulary_size=500, pooling=pooling, max_length=64, dropout=0.0, seed=1)
    return model.to("cuda").train()


def losses(folder: Path, *overrides: str) -> list[float]:
    _, _, record = run(compose([*FIFTY, *overrides]), folder)
    return [value for _, value in record.history["train/loss"]]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_embeddings_and_gradients_are_those_of_the_plain_way(pooling):
    model = made(pooling)
    other = copy.deepcopy(model)
    assert can_be_packed(model, precision="bf16")
    columns = [model.preprocess(texts) for texts in TEXTS]
    on_gpu = [{k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in column.items()} for column in columns]
    exact = [model(dict(column))["sentence_embedding"] for column in on_gpu]
    with torch.autocast("cuda", torch.bfloat16), unpadded_attention(other):
        packed = OnGpu(other).encode(other, columns)
    for one, two in zip(exact, packed, strict=True):
        torch.testing.assert_close(one, two.float(), atol=0.02, rtol=0.02)
    MultipleNegativesRankingLoss(model).compute_loss_from_embeddings(exact, None).backward()
    MultipleNegativesRankingLoss(other).compute_loss_from_embeddings(packed, None).backward()
    one, two = (
        torch.cat([p.grad.flatten() for p in each.parameters() if p.grad is not None]) for each in (model, other)
    )
    assert len(one) == len(two)
    assert (one - two).norm() / one.norm() < 0.05


def test_tsdae_leaves_the_encoder_on_the_gpu():
    model = made("mean")
    loss = build_loss(compose(["model=tiny", "loss=tsdae"]).loss, model, seed=1).module
    assert {tensor.device.type for tensor in (*loss.parameters(), *loss.buffers())} == {"cuda"}
    assert model.device.type == "cuda"


@pytest.mark.parametrize("loss", ["mnr", "cosine", "tsdae"])
def test_the_losses_are_those_without_each_lever(tmp_path, loss):
    plain = losses(tmp_path / "plain", f"loss={loss}", "trainer.sort_by_length=false")
    for lever in ("trainer.unpadded=true", "trainer.unpadded=false", "trainer.cuda_graphs=false"):
        assert losses(tmp_path / lever, f"loss={loss}", lever) == pytest.approx(plain, abs=OF_BF16), lever
    half = losses(tmp_path / "fp16", f"loss={loss}", "trainer.precision=fp16")
    assert half[1:] == pytest.approx(plain[1:], abs=OF_BF16)


def test_a_graph_s_gradients_are_those_without_and_add_up():
    model = made("mean")
    loss, kept = MultipleNegativesRankingLoss(model), KeptGradients(model)
    columns = {
        "few": [model.preprocess(texts) for texts in TEXTS],
        "more": [model.preprocess(texts * 8) for texts in TEXTS],
    }

    def gradients(encoder: OnGpu, *shapes: str) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            for shape in shapes:
                loss.compute_loss_from_embeddings(encoder.encode(model, columns[shape]), None).backward()
        return torch.cat([p.grad.flatten().clone() for p in model.parameters() if p.grad is not None])

    with unpadded_attention(model):
        recording = Graphs(model, kept)
        for shapes in (["few", "more"], ["few", "more"], ["more", "few"], ["few", "few", "more"]):
            model.zero_grad()
            expected = gradients(OnGpu(model), *shapes)
            model.zero_grad()
            kept.on_step_begin(None, TrainerState(), TrainerControl())
            found = gradients(recording, *shapes)
            kept.on_pre_optimizer_step(None, TrainerState(), TrainerControl())
            assert (found - expected).norm() / expected.norm() < 0.02
    assert len(recording.recorded) == 2


def test_every_replay_draws_dropout_anew():
    model, _ = tiny(hidden_size=64, layers=2, vocabulary_size=500, pooling="mean", max_length=64, dropout=0.1, seed=1)
    model = model.to("cuda").train()
    kept = KeptGradients(model)
    columns = [model.preprocess(texts) for texts in TEXTS]
    with unpadded_attention(model), torch.autocast("cuda", torch.bfloat16):
        recording = Graphs(model, kept)
        drawn = []
        for _ in range(6):
            kept.on_step_begin(None, TrainerState(), TrainerControl())
            embeddings = torch.cat(recording.encode(model, columns))
            embeddings.sum().backward()
            kept.on_pre_optimizer_step(None, TrainerState(), TrainerControl())
            drawn.append(embeddings.detach().float())
    assert len(recording.recorded) == 1
    for one, other in itertools.pairwise(drawn):
        assert (one - other).abs().max() > 0.01


def test_a_model_that_cannot_be_recorded_costs_its_own_run_alone(tmp_path, monkeypatch):
    chosen = compose([*SMALL, "max_steps=12", "model.dropout=0.1"])
    with monkeypatch.context() as patched:
        patched.setattr(KeptGradients, "add", lambda kept, found: float(found[0].sum()))
        with pytest.raises(ConfigError, match=r"cuda_graphs=false"):
            run(chosen, tmp_path / "cannot")
    _, _, record = run(chosen, tmp_path / "can")
    assert record.history["train/loss"]


@pytest.mark.parametrize(("graphs", "error"), [("false", 1e-3), ("true", OF_BF16)])
def test_an_interrupted_run_ends_as_one_that_was_not(tmp_path, graphs, error):
    # Sums are added up in any order.
    chosen = [*SMALL, "max_steps=20", "loss=mnr", "evaluation.times=4", "trainer.logging_steps=1"]
    chosen += [f"trainer.cuda_graphs={graphs}", "model.dropout=0.1"]
    _, _, whole = run(compose(chosen), tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(compose(chosen), tmp_path / "cut", stop_at=10)
    _, _, resumed = run(compose(chosen), tmp_path / "cut")
    found, expected = dict(resumed.history["train/loss"]), dict(whole.history["train/loss"])
    assert sorted(found)[-1] == 20
    for step in (18, 19, 20):
        assert found[step] == pytest.approx(expected[step], abs=error)


def test_a_run_gives_the_gpu_s_memory_back(workplace):
    held = []
    for seed in (1, 2, 3):
        result = run_experiment(compose([*SMALL, "max_steps=12", f"seed={seed}"]), folder=workplace / str(seed))
        assert result.params["precision"] == "bf16"
        gc.collect()
        held.append((torch.cuda.memory_allocated(), torch.cuda.memory_reserved()))
    assert held[2][0] <= held[0][0] + 2**20
    assert held[2][1] <= held[0][1] + 4 * 2**20

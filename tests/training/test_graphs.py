"""What is recorded and when, and that gradients are kept: on the CPU, where running a pass again stands in for a graph."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.func import functional_call
from transformers import TrainerControl, TrainerState

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.encoding import OnGpu, StepEncoder, packed
from embexp.encoding.unpadded import unpadded_attention
from embexp.training import accelerations, graphs
from embexp.training.accelerations import Accelerations
from embexp.training.graphs import (
    Graphs,
    KeptGradients,
    _recording,
    can_be_recorded,
    filled_size,
    leaves_of,
    longest_text,
)
from tests.encoding.test_packed import attend
from tests.encoding.test_unpadded import TEXTS, made, of_type
from tests.training.test_trainer import SMALL, Interrupted, run

TOLD = None, TrainerState(), TrainerControl()


class RunAgain:
    """As `Recorded`: a replay reads what its inputs then hold, and leaves its results in the same places."""

    made = 0

    def __init__(self, model, kept, features, *, stream, pool):
        type(self).made += 1
        self.model, self.kept, self.features, self.open_since = model, kept, features, None
        self.embeddings = self.gradient = None
        self.forward = SimpleNamespace(replay=self._forward)
        self.backward = SimpleNamespace(replay=self._backward)

    def _forward(self):
        with torch.enable_grad():
            self.told = self.model(self.features())["sentence_embedding"]
        if self.embeddings is None:
            self.embeddings, self.gradient = torch.empty_like(self.told), torch.empty_like(self.told)
        self.embeddings = self.embeddings.detach().copy_(self.told.detach())

    def _backward(self):
        self.kept.add(torch.autograd.grad(self.told, self.kept.parameters, self.gradient, allow_unused=True))


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(packed, "flash_attention", attend)
    monkeypatch.setattr(graphs, "Recorded", RunAgain)
    monkeypatch.setattr(graphs, "_stream_to_record_on", lambda device: None)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(RunAgain, "made", 0)


@pytest.mark.parametrize("tokens", [2, 63, 64, 65, 1000, 1920, 4096, 4097, 30_001])
@pytest.mark.parametrize("longest", [8, 256, 512])
def test_rows_are_filled_up_to_few_sizes_with_texts_that_are_not_too_long(tokens, longest):
    size, texts = filled_size(tokens, longest=longest)
    more = size - tokens
    assert texts <= more <= texts * longest
    assert size % 64 == 0
    assert more <= max(64, tokens / 8) + texts
    sizes = {filled_size(each, longest=256)[0] for each in range(1024, 2049)}
    assert len(sizes) <= 10


def test_no_text_is_longer_than_there_are_positions(tmp_path):
    model = of_type("roberta", str(tmp_path))
    model.max_seq_length = 514
    assert longest_text(model) == model.transformers_model.config.max_position_embeddings - 1
    assert can_be_recorded(model)
    model.max_seq_length = 2
    assert not can_be_recorded(model)


def gradients(model, loss, *, encoder: OnGpu, times: int = 1) -> list[torch.Tensor]:
    """Of every parameter that has one, after so many backward passes."""
    columns = [model.preprocess(texts) for texts in TEXTS]
    for _ in range(times):
        loss.compute_loss_from_embeddings(encoder.encode(model, columns), None).backward()
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def test_gradients_are_those_without_graphs_in_every_step_and_accumulated():
    model = made()
    loss, kept = MultipleNegativesRankingLoss(model), KeptGradients(model)
    with unpadded_attention(model):
        recording = Graphs(model, kept)
        expected = gradients(model, loss, encoder=OnGpu(model))
        for step, times in enumerate((1, 1, 1, 3)):
            model.zero_grad()
            kept.on_step_begin(*TOLD)
            found = gradients(model, loss, encoder=recording, times=times)
            kept.on_pre_optimizer_step(*TOLD)
            assert RunAgain.made == (step > 0)
            torch.testing.assert_close(found, [times * each for each in expected], atol=1e-5, rtol=1e-4)


def test_what_is_encoded_before_a_backward_pass_has_come_is_not_written_over():
    model = made()
    loss, kept = MultipleNegativesRankingLoss(model), KeptGradients(model)
    columns, others = [model.preprocess(texts) for texts in TEXTS], [model.preprocess(texts[::-1]) for texts in TEXTS]
    with unpadded_attention(model):

        def both(encoder: OnGpu) -> list[torch.Tensor]:
            one, two = encoder.encode(model, columns), encoder.encode(model, others)
            (loss.compute_loss_from_embeddings(one, None) + 2 * two[0].sum()).backward()
            return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

        expected = both(OnGpu(model))
        recording = Graphs(model, kept)
        for _ in range(3):
            model.zero_grad()
            kept.on_step_begin(*TOLD)
            found = both(recording)
            kept.on_pre_optimizer_step(*TOLD)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert RunAgain.made == 1


def test_scores_between_the_steps_and_texts_that_are_too_long_are_recorded_by_nobody():
    model = made()
    kept = KeptGradients(model)
    columns = [model.preprocess(texts) for texts in TEXTS]
    with unpadded_attention(model):
        recording = Graphs(model, kept)
        gradients(model, MultipleNegativesRankingLoss(model), encoder=recording)
        kept.on_pre_optimizer_step(*TOLD)
        with torch.no_grad():
            for _ in range(3):
                recording.encode(model, columns)
        recording.longest = 3
        for _ in range(3):
            recording.encode(model, columns)
    assert RunAgain.made == 0


def test_an_encoder_that_is_not_trained_has_no_gradients_to_keep():
    model = made()
    kept = KeptGradients(model)
    kept.on_pre_optimizer_step(*TOLD)
    kept.on_step_begin(*TOLD)
    assert kept.parameters == []


def test_kept_gradients_are_zero_at_every_step_and_those_of_what_is_trained():
    model = made()
    kept = KeptGradients(model)
    kept.on_step_begin(*TOLD)
    model(model.preprocess(["a b", "c"]))["sentence_embedding"].sum().backward()
    used = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    kept.on_pre_optimizer_step(*TOLD)
    for step in range(2):
        model.zero_grad()
        kept.on_step_begin(*TOLD)
        found = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert found == used, step
        assert all(not gradient.any() for gradient in kept.gradients)
        assert all(gradient.data_ptr() % 16 == 0 for gradient in kept.gradients)
        kept.add([None, *(torch.ones_like(gradient) for gradient in kept.gradients[1:])])
        assert not kept.parameters[0].grad.any()
        assert all(bool((parameter.grad == 1).all()) for parameter in kept.parameters[1:])


def test_a_model_that_cannot_be_recorded_is_told_with_what_to_do(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphs, "Recorded", refuse)
    model = made()
    kept = KeptGradients(model)
    with unpadded_attention(model):
        recording = Graphs(model, kept)
        gradients(model, MultipleNegativesRankingLoss(model), encoder=recording)
        kept.on_pre_optimizer_step(*TOLD)
        with pytest.raises(ConfigError, match=r"not permitted .*use trainer.cuda_graphs=false"):
            gradients(model, MultipleNegativesRankingLoss(model), encoder=recording)


def test_of_a_recording_that_fails_the_first_error_is_told():
    class Graph:
        begun = False

        def capture_begin(self, **_: object) -> None:
            self.begun = True

        def capture_end(self) -> None:
            self.begun = False
            raise RuntimeError("operation failed due to a previous error during capture")

    graph = Graph()
    with pytest.raises(RuntimeError, match="stream is capturing"), _recording(graph, None):
        raise RuntimeError("operation not permitted when stream is capturing")
    assert not graph.begun
    with pytest.raises(RuntimeError, match="due to a previous error"), _recording(graph, None):
        pass


def test_leaves_of_their_own_get_the_gradients_of_the_model_s_and_are_no_part_of_a_graph_that_is_held():
    model = made().eval()
    features = model.preprocess(TEXTS[0])
    held = model(dict(features))["sentence_embedding"]
    held.sum().backward()
    met = [parameter for parameter in model.parameters() if parameter.grad is not None]
    leaves = leaves_of(model, met)
    embeddings = functional_call(model, leaves, (dict(features),))["sentence_embedding"]
    found = torch.autograd.grad(embeddings.sum(), list(leaves.values()))
    for parameter, leaf, gradient in zip(met, leaves.values(), found, strict=True):
        assert leaf.data_ptr() == parameter.data_ptr()
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("loss", ["mnr", "tsdae"])
def test_a_resumed_run_draws_the_dropout_that_it_would_have_drawn(tmp_path, monkeypatch, loss):
    def with_graphs(assignment, *_: object, **__: object) -> Accelerations:
        model = assignment.encoder.model
        kept = KeptGradients(model)
        return Accelerations(StepEncoder(512, unpadded=True, gpu=Graphs(model, kept)), (kept,))

    monkeypatch.setattr(accelerations, "_on_cpu", with_graphs)
    chosen = [
        *SMALL,
        f"loss={loss}",
        "max_steps=12",
        "evaluation.times=4",
        "trainer.logging_steps=1",
        "model.dropout=0.1",
    ]
    _, _, whole = run(compose(chosen), tmp_path / "whole")
    assert RunAgain.made >= 1
    with pytest.raises(Interrupted):
        run(compose(chosen), tmp_path / "cut", stop_at=6)
    _, _, resumed = run(compose(chosen), tmp_path / "cut")
    assert resumed.history["train/loss"][-1][0] == 12
    assert resumed.history["train/loss"][-3:] == whole.history["train/loss"][-3:]

"""The kept gradient of word embeddings: what a fresh one would be, in every step."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from embexp.config.composition import compose
from embexp.encoding import StepEncoder
from embexp.loss_plan import build_loss
from embexp.models import load_encoder
from embexp.training.row_gradient import RowGradient, row_gradient_of, sparse, tied_look_ups

STEPS = ([3, 1, 3, 7], [2, 2], [7, 9, 0], [4])


def fresh_and_kept() -> tuple[nn.Embedding, nn.Embedding, RowGradient]:
    torch.manual_seed(1)
    fresh = nn.Embedding(10, 4, padding_idx=0)
    kept = nn.Embedding(10, 4, padding_idx=0)
    kept.load_state_dict(fresh.state_dict())
    return fresh, kept, RowGradient(kept)


@pytest.mark.parametrize("parts", [1, 3])
def test_every_steps_gradient_is_what_a_fresh_one_would_be(parts):
    fresh, kept, gradient = fresh_and_kept()
    weights = torch.randn(10, 4)
    with gradient.kept():
        for rows in STEPS:
            gradient.on_step_begin(None, None, None)
            # What accumulates gradients looks up several times in a step.
            for _ in range(parts):
                for embeddings in (fresh, kept):
                    ids = torch.tensor([rows])
                    (embeddings(ids) * weights[ids]).sum().backward()
            assert kept.weight.grad is gradient.gradient
            torch.testing.assert_close(kept.weight.grad, fresh.weight.grad)
            # As clipping does.
            kept.weight.grad.mul_(0.5)
            kept.weight.grad, fresh.weight.grad = None, None
    assert not kept.sparse


def test_what_a_penalty_on_the_weights_leaves_in_other_rows_is_gone_in_the_next_step():
    fresh, kept, gradient = fresh_and_kept()
    with gradient.kept():
        for rows, penalty in ([3, 1], 1.0), ([2], 0.0), ([4], 0.5), ([5], 0.0):
            gradient.on_step_begin(None, None, None)
            for embeddings in (fresh, kept):
                loss = embeddings(torch.tensor([rows])).sum()
                (loss + penalty * embeddings.weight.pow(2).sum() if penalty else loss).backward()
            torch.testing.assert_close(kept.weight.grad, fresh.weight.grad)
            kept.weight.grad, fresh.weight.grad = None, None


def test_a_model_that_knows_no_word_embeddings_is_left_alone():
    class Hashed(nn.Module):
        def get_input_embeddings(self):
            raise NotImplementedError

    class Model:
        transformers_model = Hashed()

    assert row_gradient_of(Model(), nn.Identity()) is None


def test_texts_that_are_only_scored_are_not_noted():
    _, kept, gradient = fresh_and_kept()
    with gradient.kept(), torch.no_grad():
        kept(torch.tensor([1, 2]))
    assert gradient.rows == []


@pytest.mark.parametrize(("loss", "alone"), [("mnr", True), ("cosine", True), ("tsdae", False)])
def test_embeddings_that_a_decoder_shares_are_left_alone(loss, alone):
    config = compose(["model=tiny", f"loss={loss}"])
    encoder = load_encoder(config.model)
    plan = build_loss(config.loss, encoder.model, seed=1)
    found = row_gradient_of(encoder.model, plan.module)
    assert (found is encoder.model.transformers_model.get_input_embeddings()) == alone
    if alone:
        found.weight.requires_grad_(False)
    assert row_gradient_of(encoder.model, plan.module) is None


def test_the_look_ups_of_a_tied_decoder_add_their_rows_to_the_head_s_gradient():
    torch.manual_seed(1)
    config = compose(["model=tiny", "loss=tsdae", "model.dropout=0.0"])
    model = load_encoder(config.model).model
    loss = build_loss(config.loss, model, seed=1).module.eval()
    words = model.transformers_model.get_input_embeddings()
    look_ups = tied_look_ups(model, loss)
    assert {id(found) for found in look_ups} == {id(words), id(loss.decoder.get_input_embeddings())}
    columns = [
        model.preprocess(["order late", "refund"]),
        model.preprocess(["my order is late", "where is the refund"]),
    ]
    encoder, gradients, came = StepEncoder(64, unpadded=True, fused_cross_entropy=True), [], []
    words.weight.register_hook(lambda gradient: came.append(gradient.is_sparse))
    for chosen, head_in_place in (([], False), (look_ups, True), (look_ups, False)):
        with sparse(chosen), encoder.within(model):
            loss.compute_sorted_loss(columns, replace(encoder, head_in_place=head_in_place)).backward()
        gradients.append(words.weight.grad)
        words.weight.grad = None
    # What autograd brings: all of it, only the rows, and what falls back on it.
    assert came == [False, True, False]
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0])
    assert not any(found.sparse for found in look_ups)


@pytest.mark.parametrize("loss", ["mnr", "tsdae"])
def test_look_ups_are_sparse_only_where_the_head_s_gradient_is_certain_to_come(loss):
    config = compose(["model=tiny", f"loss={loss}"])
    encoder = load_encoder(config.model)
    module = build_loss(config.loss, encoder.model, seed=1).module
    if loss == "tsdae":
        # A head of its own.
        head = module.decoder.get_output_embeddings()
        head.weight = nn.Parameter(head.weight.detach().clone())
    assert tied_look_ups(encoder.model, module) == []

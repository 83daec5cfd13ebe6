"""TSDAE in sorted chunks: the plain loss and gradient, less padding."""

from __future__ import annotations

import pytest
import torch

from embexp.config.composition import compose
from embexp.encoding import StepEncoder
from embexp.loss_plan import build_loss
from embexp.models import load_encoder

NOISY = ["order", "where refund", "the parcel that long ago never came", "x"]
TEXTS = [
    "my order is late again",
    "where is the refund",
    "the parcel that I sent a long time ago never came to where it should have come",
    "x y",
]


@pytest.fixture
def built():
    config = compose(["model=tiny", "loss=tsdae", "model.dropout=0.0"])
    model = load_encoder(config.model).model
    module = build_loss(config.loss, model, seed=1).module
    # The cross-attention is new, and has dropout of its own.
    return model, module.eval()


@pytest.mark.parametrize(
    "encoder", [StepEncoder(1), StepEncoder(24), StepEncoder(100_000), StepEncoder(24, unpadded=True)]
)
def test_loss_and_gradient_are_those_of_the_plain_way(built, encoder):
    model, module = built
    found = []
    for compute in (
        lambda columns: module(columns, None),
        lambda columns: module.compute_sorted_loss(columns, encoder),
    ):
        module.zero_grad()
        with encoder.within(model):
            loss = compute([model.preprocess(NOISY), model.preprocess(TEXTS)])
        loss.backward()
        found.append((loss.detach(), {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}))
    (plain, of_plain), (sorted_, of_sorted) = found
    torch.testing.assert_close(plain, sorted_, atol=1e-5, rtol=1e-5)
    assert of_plain.keys() == of_sorted.keys()
    for name, gradient in of_plain.items():
        torch.testing.assert_close(gradient, of_sorted[name], atol=1e-5, rtol=1e-3)


def test_the_decoder_tells_hardly_more_than_the_tokens_that_there_are(built):
    model, module = built
    told = []
    module.decoder.register_forward_hook(lambda module, inputs, output: told.append(output.logits.shape[:2].numel()))
    texts = model.preprocess(TEXTS)
    module([model.preprocess(NOISY), texts], None)
    (padded,) = told
    module.compute_sorted_loss([model.preprocess(NOISY), model.preprocess(TEXTS)], StepEncoder(24))
    tokens = int(texts["attention_mask"].sum()) - len(TEXTS)
    assert sum(told[1:]) - tokens < (padded - tokens) / 2

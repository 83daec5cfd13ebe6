"""Losses: every shipped one builds, TSDAE leaves its encoder as it was, a person's own is checked."""

from __future__ import annotations

import pytest
import torch

from embexp.config import ConfigError, compose
from embexp.config.composition import conf_folder
from embexp.losses import build_loss
from embexp.models import load_encoder, weights_hash

LOSSES = sorted(path.stem for path in (conf_folder() / "loss").glob("*.yaml"))


def built(*overrides: str, config_dir=None):
    config = compose(["model=tiny", *overrides], config_dir=config_dir)
    encoder = load_encoder(config.model)
    return encoder.model, build_loss(config.loss, encoder.model, seed=1)


def features(model, *columns: list[str]):
    return [model.preprocess(texts) for texts in columns]


@pytest.mark.parametrize("name", LOSSES)
def test_every_shipped_loss_builds_and_gives_a_gradient_to_the_encoder(name):
    model, plan = built(f"loss={name}")
    texts = [["a first text", "a second one"], ["first text", "second one"], ["something else", "other words"]]
    columns = 3 if plan.view[0] == "triplets" else 2
    plan.module(features(model, *texts[:columns]), torch.tensor([1.0, 0.0])).backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("tied", ["true", "false"])
def test_tsdae_leaves_the_encoder_as_it_was_also_when_it_was_trained_before(tied, tmp_path):
    model = load_encoder(compose(["model=tiny"]).model).model
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    before = weights_hash(model)
    decoder = "null" if tied == "true" else model.transformers_model.config._name_or_path
    config = compose(["model=tiny", "loss=tsdae", f"loss.tie_encoder_decoder={tied}", f"loss.decoder={decoder}"])
    plan = build_loss(config.loss, model, seed=1)
    assert weights_hash(model) == before
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in plan.module.decoder.parameters()}
    assert bool(shared) is (tied == "true")


def test_tsdae_learns_to_tell_the_text():
    model, plan = built("loss=tsdae", "model.dropout=0.0")
    batch = features(model, ["order late", "refund"], ["my order is late again", "where is the refund"])
    optimizer = torch.optim.AdamW(plan.module.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = plan.module([dict(column) for column in batch], None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_tsdae_without_a_decoder_counterpart_names_the_encoders_that_have_one():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    model = load_encoder(compose(["model=tiny"]).model).model
    model.transformers_model.config.model_type = "mpnet"
    assert isinstance(model, SentenceTransformer)
    assert isinstance(model[0], Transformer)
    assert isinstance(model[1], Pooling)
    with pytest.raises(ConfigError, match=r"mpnet has no decoder counterpart.*bert"):
        build_loss(compose(["loss=tsdae"]).loss, model, seed=1)


def test_the_noise_of_tsdae_has_the_ratio_and_seed_of_the_run():
    _, plan = built("loss=tsdae", "loss.deletion_ratio=0.3")
    assert plan.noise is not None
    assert (plan.noise.ratio, plan.noise.seed) == (0.3, 1)


def own(folder, text: str) -> None:
    (folder / "loss").mkdir()
    (folder / "loss" / "own.yaml").write_text(text)


CONTRASTIVE = "_target_: sentence_transformers.sentence_transformer.losses.ContrastiveLoss\nview: scored\nmargin: 0.5\n"


def test_a_loss_of_ones_own_is_one_yaml(tmp_path):
    own(tmp_path, CONTRASTIVE)
    _, plan = built("loss=own", "loss.margin=0.3", config_dir=tmp_path)
    assert type(plan.module).__name__ == "ContrastiveLoss"
    assert plan.module.margin == 0.3


def test_an_argument_that_a_loss_does_not_take_is_told_with_the_nearest(tmp_path):
    own(tmp_path, CONTRASTIVE.replace("margin", "margn"))
    with pytest.raises(ConfigError, match="Did you mean 'margin'"):
        built("loss=own", config_dir=tmp_path)


def test_a_target_that_does_not_exist_is_told(tmp_path):
    own(tmp_path, "_target_: embexp.losses.nothing\nview: pairs\n")
    with pytest.raises(ConfigError, match=r"loss\._target_=embexp\.losses\.nothing"):
        built("loss=own", config_dir=tmp_path)

"""Matryoshka: the library's loss, computed in every way that its base is, and the scores of embeddings that are cut."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.evaluate import evaluate_model
from embexp.evaluation import evaluation_pairs, score_pairs
from embexp.evaluation.dims import DimsEvaluation
from embexp.experiment import run_experiment
from embexp.loss_plan import build_loss
from embexp.matryoshka import MatryoshkaOfEmbeddings
from embexp.models import load_encoder
from tests.test_experiment import SMALL
from tests.test_losses import features, rows_for
from tests.training.test_trainer import Penalised

DIMS, WEIGHTS = [8, 32, 16], [0.5, 1.0, 2.0]
TEXTS = [[f"{word} {n} {'again ' * (n % 4)}" for n in range(12)] for word in ("question", "answer", "other")]


def built(*overrides: str, dims=DIMS, weights=WEIGHTS):
    config = compose(["model=tiny", "model.dropout=0.0", *overrides])
    model = load_encoder(config.model).model
    return model, build_loss(config.loss, model, seed=1, dims=dims, weights=weights).module


def value_and_gradients(model, value):
    value.backward()
    return [value.detach(), *(p.grad for _, p in sorted(model.named_parameters()) if p.grad is not None)]


@pytest.mark.parametrize(
    ("loss", "columns", "labels"),
    [
        ("mnr", 3, None),
        ("cached_mnr", 3, None),
        ("cosine", 2, torch.linspace(0, 1, 12)),
        ("triplet", 3, None),
        ("batch_all_triplet", 1, torch.arange(12) % 4),
    ],
)
def test_it_has_the_loss_and_the_gradients_of_the_library_s(loss, columns, labels):
    # Left to the model, the margin of embeddings that are cut would be another.
    chosen = [f"loss={loss}", *rows_for(loss), *(["loss.triplet_margin=5.0"] if loss == "triplet" else [])]
    model, whole = built(*chosen, dims=None, weights=None)
    library = MatryoshkaLoss(model, whole, DIMS, WEIGHTS)
    expected = value_and_gradients(model, library(features(model, *TEXTS[:columns]), labels))
    model, module = built(*chosen)
    texts = features(model, *TEXTS[:columns])
    if isinstance(module, MatryoshkaOfEmbeddings):
        embeddings = [model(column)["sentence_embedding"] for column in texts]
        found = value_and_gradients(model, module.compute_loss_from_embeddings(embeddings, labels))
    else:
        found = value_and_gradients(model, module(texts, labels))
    assert len(found) == len(expected) > 10
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-3)


def test_a_loss_that_does_more_in_its_forward_is_not_computed_without_it(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text(f"_target_: {Penalised.__module__}.Penalised\nview: pairs\n")
    config = compose(["model=tiny", "loss=own"], config_dir=tmp_path)
    model = load_encoder(config.model).model
    module = build_loss(config.loss, model, seed=1, dims=DIMS).module
    assert type(module) is MatryoshkaLoss
    assert module(features(model, *TEXTS[:2]), None) > 100 * len(DIMS)


def test_a_loss_of_more_dimensions_than_there_are_is_refused():
    with pytest.raises(ConfigError, match=r"matryoshka_dims=\[64\]: the model's embeddings have 32 dimensions"):
        built("loss=mnr", dims=[64], weights=None)


def test_cut_embeddings_are_scored_as_the_library_cuts_them():
    config = compose([*SMALL, "model.seed=3"])
    pairs = {"dev": evaluation_pairs(config)["dev"]}
    model = load_encoder(config.model).model.eval()
    how = ["cosine", "dot"], 16, {}
    # In one part, whose time is that of encoding: no dimension has it to itself.
    (part,) = DimsEvaluation([32, 8], pairs, *how).parts(model)
    expected = {}
    for dim in (32, 8):
        model.truncate_dim = dim
        scores = score_pairs(model, pairs["dev"], similarities=how[0], batch_size=16)
        expected |= {f"{dim}/dev/{name}": value for name, value in scores.metrics.items()}
    assert part.scores == pytest.approx(expected, abs=1e-6)
    assert expected["32/dev/spearman_cosine"] != expected["8/dev/spearman_cosine"]


def test_a_run_is_scored_by_the_dimensions_that_it_is_trained_for_before_and_after(workplace, caplog):
    with_cuts = run_experiment(compose([*SMALL, "matryoshka_dims=[16,8]"]), folder=workplace / "run")
    for dim in (8, 16):
        name = f"dims/{dim}/dev/spearman_cosine"
        gain = with_cuts.metrics[name] - with_cuts.metrics[f"dims_before/{dim}/dev/spearman_cosine"]
        assert with_cuts.metrics[f"gain/{name}"] == pytest.approx(gain)
    assert [key for key in with_cuts.metrics if key.startswith("time/dims")] == ["time/dims_seconds"]
    assert "matryoshka_dims: 32 is none of them" in caplog.text
    others = run_experiment(compose([*SMALL, "evaluation.dims=[8]"]), folder=workplace / "other")
    assert "dims/8/test/pearson_cosine" in others.metrics
    assert "dims/16/dev/spearman_cosine" not in others.metrics
    assert others.key != with_cuts.key


@pytest.mark.parametrize("made", [run_experiment, evaluate_model])
def test_no_model_is_scored_by_more_dimensions_than_there_are(workplace, made):
    with pytest.raises(ConfigError, match=r"evaluation.dims=\[64\]: the model's embeddings have 32 dimensions"):
        made(compose([*SMALL, "evaluation.dims=[64]"]), folder=workplace / "run")


def test_a_loss_of_ones_own_with_weights_is_refused_before_it_is_computed(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text(
        "_target_: sentence_transformers.sentence_transformer.losses.SoftmaxLoss\n"
        "view: classes\nembedding_dimension: 32\nnum_labels: 3\n"
    )
    config = compose(["model=tiny", "loss=own"], config_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"matryoshka_dims=\[32, 8\]: SoftmaxLoss has weights of its own"):
        build_loss(config.loss, load_encoder(config.model).model, seed=1, dims=[32, 8])

"""What is said of data that would quietly spoil a run, and that nothing is said of other data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from datasets import Dataset
from scipy.stats import spearmanr
from sentence_transformers.sentence_transformer.modules import Normalize

from embexp.cautions import batches_of_all_rows, cautions
from embexp.config.composition import compose
from embexp.data.views import View
from embexp.evaluation import Pairs, score_pairs
from embexp.loss_plan import build_loss
from embexp.models import load_encoder
from embexp.prompts import NO_PROMPTS, Prompts

LENGTH = 16


@pytest.fixture(scope="module")
def model():
    return load_encoder(compose(["model=tiny", f"model.max_length={LENGTH}"]).model).model


def scored(*texts: str) -> View:
    rows = {"sentence1": list(texts), "sentence2": ["short"] * len(texts), "score": [1.0] * len(texts)}
    return View("scored", Dataset.from_dict(rows), {}, directed=False)


def told(
    view: View,
    model,
    *,
    pairs: int = 1_500,
    score: float = 0.8,
    prompts: Prompts = NO_PROMPTS,
    directed: bool = True,
) -> list[str]:
    dev = Pairs("dev", ["a"] * pairs, ["b"] * pairs, np.zeros(pairs), directed)
    return cautions(view, model, prompts=prompts, dev=dev, dev_score=score, metric="spearman_cosine")


@pytest.mark.parametrize(
    ("prompts", "directed", "is_told"),
    [
        ({"query": "ask: "}, False, True),
        ({"query": "ask: "}, True, False),
        ({"query": "ask: ", "default": ""}, False, False),
        (NO_PROMPTS, False, False),
    ],
)
def test_pairs_that_no_prompt_is_put_before_are_told_of(model, prompts, directed, is_told):
    said = told(scored("hello"), model, prompts=prompts, directed=directed)
    assert [each.startswith("dev: none of its texts is a query") for each in said] == [True] * is_told


@pytest.mark.parametrize(
    ("typed", "unit_length", "is_told"),
    [
        (["loss=triplet"], True, None),
        (["loss=triplet", "matryoshka_dims=[32,8]"], False, None),
        (["loss=triplet", "loss.triplet_margin=5.0"], False, None),
        (["loss=triplet", "loss.triplet_margin=5.0"], True, "this model's embeddings"),
        (["loss=triplet", "loss.triplet_margin=0.5"], True, None),
        (
            ["loss=triplet", "loss.triplet_margin=5.0", "matryoshka_dims=[32,8]"],
            False,
            "cut embeddings (matryoshka_dims)",
        ),
        (["loss=mnr", "matryoshka_dims=[32,8]"], True, None),
    ],
)
def test_a_margin_that_embeddings_of_length_one_never_have_is_told_of(typed, unit_length, is_told):
    config = compose(["model=tiny", *typed])
    model = load_encoder(config.model).model
    if unit_length:
        model.append(Normalize())
    loss = build_loss(config.loss, model, seed=1, dims=config.matryoshka_dims).module
    dev = Pairs("dev", ["a"] * 1_500, ["b"] * 1_500, np.zeros(1_500), True)
    said = cautions(
        scored("hello"), model, prompts=NO_PROMPTS, dev=dev, dev_score=0.8, metric="spearman_cosine", loss=loss
    )
    assert said == [] if is_told is None else said[0].startswith(f"loss.triplet_margin=5: {is_told} are of length one")


def test_texts_that_the_model_would_cut_are_counted(model):
    long = " ".join(["order"] * 40)
    assert len(model.tokenizer(long, truncation=False)["input_ids"]) > LENGTH
    (said,) = told(scored(long, "where is my order", "hello"), model)
    assert said.startswith("data: 1 of 6 texts that were looked at have more than the 16 tokens")


def test_a_text_of_just_the_length_and_one_in_many_are_not_told_of(model):
    fits = " ".join(["a"] * (LENGTH - 2))
    assert len(model.tokenizer(fits)["input_ids"]) == LENGTH
    assert told(scored(fits), model) == []
    assert told(scored(" ".join(["order"] * 40), *["hello"] * 200), model) == []


def test_a_prompt_that_leaves_a_text_too_little_room_is_counted_with_it(model):
    fits = scored(" ".join(["a"] * (LENGTH - 2)))
    (said,) = told(fits, model, prompts={"default": "a: "})
    assert said.startswith("data: 1 of 2 texts that were looked at, behind their prompts, have more than the 16 tokens")
    # Of two texts that could change places neither is a query.
    assert told(fits, model, prompts={"query": "a: "}) == []


def test_prompts_that_a_model_brings_and_that_training_leaves_out_are_told_of(model, monkeypatch):
    monkeypatch.setattr(model, "prompts", {"query": "", "search_query": "find: "})
    (said,) = told(scored("hello"), model)
    assert "(search_query: 'find: ', ...)" in said
    assert "training leaves out, and so do the scores of pairs" in said
    assert told(scored("hello"), model, prompts={"query": "find: "}) == []


def test_a_default_prompt_is_in_no_text_that_is_trained_on_and_in_all_pairs_that_are_scored_and_that_is_told(
    model, monkeypatch
):
    pairs = Pairs("dev", ["where is my order", "hello", "bye"], ["lost", "hi", "no"], np.array([0.0, 0.5, 1.0]))
    behind = Pairs(
        "dev", *([f"find: {t}" for t in side] for side in (pairs.sentences1, pairs.sentences2)), pairs.scores
    )
    as_if_written_in = score_pairs(model, behind, similarities=["cosine"], batch_size=4).similarities["cosine"]
    plain = model.preprocess(["hello"])["input_ids"].tolist()
    monkeypatch.setattr(model, "prompts", {"query": "ask: ", "ours": "find: "})
    monkeypatch.setattr(model, "default_prompt_name", "ours")
    (said,) = told(scored("hello"), model)
    assert "training leaves out, but pairs and classification are scored behind its default, 'find: '" in said
    found = score_pairs(model, pairs, similarities=["cosine"], batch_size=4).similarities["cosine"]
    assert found == pytest.approx(as_if_written_in, abs=1e-6)
    assert model.preprocess(["hello"])["input_ids"].tolist() == plain


def test_of_a_text_as_long_as_a_book_only_the_beginning_is_looked_at(model, monkeypatch):
    read, tokenized = [], type(model.tokenizer).__call__

    def watched(self, texts, **options):
        read.extend(map(len, texts))
        return tokenized(self, texts, **options)

    monkeypatch.setattr(type(model.tokenizer), "__call__", watched)
    (said,) = told(scored("order " * 100_000), model)
    assert said.startswith("data: 1 of 2 texts")
    assert max(read) == 20 * LENGTH


def test_of_many_rows_some_are_looked_at_from_end_to_end(model):
    rows = ["hello"] * 2_500 + [" ".join(["order"] * 40)] * 2_500
    (said,) = told(scored(*rows), model)
    assert said.startswith("data: 500 of 2000 texts")


@pytest.mark.parametrize(
    ("pairs", "score", "said"),
    [
        (2, 1.0, "dev: 2 pairs: scores on so few tell nothing"),
        (
            20,
            0.8,
            "dev: 20 pairs are few: a score of 0.80 on them, the model's before training, is known to about 0.21 up or down",
        ),
        (100, 0.3, "dev: 100 pairs are few"),
        (4, 1.0, "dev: 4 pairs are few"),
        (6, -0.99, "dev: 6 pairs are few"),
        (100, 0.85, None),
        (1_500, 0.0, None),
    ],
)
def test_few_pairs_are_told_of_with_how_little_they_tell(model, pairs, score, said):
    found = told(scored("hello"), model, pairs=pairs, score=score)
    assert [line[: len(said)] for line in found] == [said] if said else found == []


def test_the_width_is_that_of_simulated_scores(model):
    generator = np.random.default_rng(0)
    pairs, r = 50, 0.7
    x = generator.standard_normal((4_000, pairs))
    y = r * x + math.sqrt(1 - r**2) * generator.standard_normal((4_000, pairs))
    ranks = [each.argsort(axis=1).argsort(axis=1) - (pairs - 1) / 2 for each in (x, y)]
    drawn = (ranks[0] * ranks[1]).sum(axis=1) / (ranks[0] ** 2).sum(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    (said,) = told(scored("hello"), model, pairs=pairs, score=float(drawn.mean()))
    assert float(said.split("about ")[1].split()[0]) == pytest.approx((high - low) / 2, rel=0.15)


@pytest.mark.parametrize(
    ("right", "score", "metric", "is_told"),
    [
        (100, 0.865, "spearman_cosine", True),
        (100, 0.85, "spearman_cosine", False),
        (50, 0.749, "spearman_cosine", True),
        (100, 0.865, "pearson_cosine", False),
        (0, 0.9, "spearman_cosine", False),
    ],
)
def test_a_score_that_cannot_be_higher_is_told_of(model, right, score, metric, is_told):
    scores = np.array([1.0] * right + [0.0] * (200 - right))
    dev = Pairs("dev", ["a"] * 200, ["b"] * 200, scores)
    said = cautions(scored("hello"), model, prompts=NO_PROMPTS, dev=dev, dev_score=score, metric=metric)
    assert any("the highest Spearman that scores of two values allow" in each for each in said) == is_told


def test_the_highest_spearman_of_two_values_is_that_of_the_best_order():
    scores = np.array([1.0] * 60 + [0.0] * 140)
    best = spearmanr(scores, np.arange(200)[::-1]).statistic
    assert math.sqrt(3 * 60 * 140 / (200**2 - 1)) == pytest.approx(best)


def test_a_batch_size_that_the_rows_cannot_fill_is_told():
    assert batches_of_all_rows(270, 270) == []
    (told,) = batches_of_all_rows(270, 1_000)
    assert told.startswith("batch_size=1000: there are 270 rows to train on, so no batch is larger")

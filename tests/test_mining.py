"""Hard negatives: those that one would find by looking at every pair of texts."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset

from embexp import mining
from embexp.config import compose
from embexp.data.cache import cached_view
from embexp.data.negatives import Triplets
from embexp.data.rows import Rows, rows_from
from embexp.experiment import run_experiment
from embexp.mining import NEAREST, HardNegatives
from embexp.models import load_encoder
from embexp.prompts import NO_PROMPTS

ANCHORS = [f"question {n % 40} about {'tea' if n % 3 else 'rain'}" for n in range(90)]
POSITIVES = [f"answer {n % 50} on {'tea' if n % 2 else 'rain'}" for n in range(90)]
PAIRS = Dataset.from_dict({"anchor": ANCHORS, "positive": POSITIVES})


@pytest.fixture(scope="module")
def encoder():
    return load_encoder(compose(["model=tiny"]).model)


def miner(encoder, *, margin: float = 0.05, prompts=NO_PROMPTS) -> HardNegatives:
    return HardNegatives(encoder.model, prompts, margin, 16, {"margin": margin})


def by_every_pair(encoder, margin: float, prompts: dict[str, str]) -> list[str | None]:
    """Of each pair the nearest text below the bound that is none of the anchor's own."""
    normal = {"normalize_embeddings": True, "show_progress_bar": False}
    anchors, positives = (
        encoder.model.encode(texts, prompt=prompts.get(role, ""), **normal).astype(np.float64)
        for texts, role in ((ANCHORS, "query"), (POSITIVES, "document"))
    )
    similarities = anchors @ positives.T
    found: list[str | None] = []
    for anchor, row in zip(ANCHORS, similarities, strict=True):
        own = {POSITIVES[n] for n in range(90) if ANCHORS[n] == anchor}
        least = min(row[n] for n in range(90) if ANCHORS[n] == anchor)
        others = [
            (row[n], POSITIVES[n])
            for n in range(90)
            if row[n] < least - margin * abs(least) and POSITIVES[n] not in own
        ]
        found.append(max(others)[1] if others else None)
    return found


@pytest.mark.parametrize("prompts", [{}, {"query": "ask about rain: ", "document": "told of tea: "}])
@pytest.mark.parametrize("margin", [0.0, 0.002, 0.05])
def test_the_hardest_are_those_that_looking_at_every_pair_finds(encoder, monkeypatch, margin, prompts):
    monkeypatch.setattr(mining, "ANCHORS_AT_ONCE", 7)
    monkeypatch.setattr(mining, "POSITIVES_AT_ONCE", 11)
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    triplets = Triplets.of(rows, PAIRS, own=False, seed=0, miner=miner(encoder, margin=margin, prompts=prompts))
    expected = by_every_pair(encoder, margin, prompts)
    hard = [POSITIVES[n] for n in triplets.drawn]
    assert triplets.counts["hard_negative"] == sum(text is not None for text in expected)
    assert [mine for mine, text in zip(hard, expected, strict=True) if text is not None] == [
        text for text in expected if text is not None
    ]
    assert triplets.counts["dropped_no_negative"] == 0


def test_of_a_margin_that_none_keeps_all_are_drawn(encoder):
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    impossible = Triplets.of(rows, PAIRS, own=False, seed=3, miner=miner(encoder, margin=3.0))
    drawn = Triplets.of(rows, PAIRS, own=False, seed=3)
    assert impossible.counts == {"dropped_no_negative": 0, "own_contradiction": 0, "hard_negative": 0}
    assert impossible.drawn.tolist() == drawn.drawn.tolist()


def test_no_more_are_looked_at_than_are_said(encoder):
    found = miner(encoder).of(PAIRS, directed=True)
    assert found.shape == (90, NEAREST)


def view(cache: str | None, rows: Rows, found: HardNegatives, accepted: tuple[str, ...] = ("triplets", "pairs")):
    rules = {"positives": "entailment", "negatives": "hard", "threshold": 0.6, "seed": 1}
    return cached_view(cache, rows, accepted, miner=found, **rules)


def test_they_are_mined_once_for_a_model_and_a_margin(encoder, tmp_path, monkeypatch):
    asked = []
    whole = HardNegatives.of
    monkeypatch.setattr(HardNegatives, "of", lambda *args, **more: asked.append(1) or whole(*args, **more))
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    first, again, plain = (view(cache, rows, miner(encoder)) for cache in (str(tmp_path), str(tmp_path), None))
    assert len(asked) == 2
    assert first.name == "triplets"
    assert first.dataset.to_dict() == again.dataset.to_dict() == plain.dataset.to_dict()
    view(str(tmp_path), rows, miner(encoder, margin=0.5))
    assert len(asked) == 3


def test_a_loss_of_scored_pairs_gets_them_as_its_wrong_ones(encoder):
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    scored = view(None, rows, miner(encoder), ("scored",))
    triplets = view(None, rows, miner(encoder))
    wrong = {(a, n) for a, n, score in zip(*scored.dataset.to_dict().values(), strict=True) if score == 0}
    assert wrong == set(zip(triplets.dataset["anchor"][:], triplets.dataset["negative"][:], strict=True))


def test_a_run_is_trained_on_them_and_counts_them(workplace):
    small = ["model=tiny", "data.rows=1000", "max_steps=2", "evaluation.times=1", "tracker=none", "trainer.threads=1"]
    result = run_experiment(compose([*small, "data.negatives=hard"]), folder=workplace / "run")
    assert 0 < result.metrics["data/hard_negative"] <= result.metrics["data/kept"]

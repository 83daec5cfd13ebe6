"""Hard negatives: those that one would find by looking at every pair of texts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from embexp import mining
from embexp.config.composition import compose
from embexp.data.cache import cached_view
from embexp.data.negatives import Triplets
from embexp.data.rows import Rows, rows_from
from embexp.experiment import run_experiment
from embexp.inputs import kept_of_models
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


def test_nli_keeps_its_own_contradictions_and_where_all_have_one_nothing_is_mined(encoder):
    columns = {"premise": ["a", "a", "b"], "hypothesis": ["is a", "is not a", "is b"], "label": [0, 2, 0]}
    rows = rows_from("nli", columns, name="three", counts={})
    made = view(None, rows, miner(encoder, margin=0.0))
    assert made.dataset["negative"][:][0] == "is not a"
    assert made.counts["own_contradiction"] == 1

    class Unasked(HardNegatives):
        def of(self, *_, **__):
            raise AssertionError("asked")

    alone = rows_from("nli", {name: values[:2] * 2 for name, values in columns.items()}, name="two", counts={})
    one = Triplets.of(
        alone, Dataset.from_dict({"anchor": ["a"], "positive": ["is a"]}), own=True, seed=0,
        miner=Unasked(encoder.model, NO_PROMPTS, 0.05, 16, {}),
    )  # fmt: skip
    assert one.counts == {"dropped_no_negative": 0, "own_contradiction": 1, "hard_negative": 0, "drawn_negative": 0}


def test_of_a_margin_that_none_keeps_all_are_drawn(encoder):
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    impossible = Triplets.of(rows, PAIRS, own=False, seed=3, miner=miner(encoder, margin=3.0))
    drawn = Triplets.of(rows, PAIRS, own=False, seed=3)
    assert impossible.counts == {
        "dropped_no_negative": 0,
        "own_contradiction": 0,
        "hard_negative": 0,
        "drawn_negative": 90,
    }
    assert impossible.drawn.tolist() == drawn.drawn.tolist()


def test_no_more_are_looked_at_than_are_said(encoder):
    found = miner(encoder).of(PAIRS, directed=True)
    assert found.shape == (90, NEAREST)


def view(
    cache: str | None,
    rows: Rows,
    found: HardNegatives,
    accepted: tuple[str, ...] = ("triplets", "pairs"),
    *,
    seed: int = 1,
):
    rules = {"positives": "entailment", "negatives": "hard", "threshold": 0.6, "seed": seed}
    return cached_view(cache, rows, accepted, miner=found, **rules)


def test_they_are_mined_once_for_a_model_whatever_the_seed_and_the_loss(encoder, tmp_path, monkeypatch):
    asked = []
    whole = HardNegatives._mined
    monkeypatch.setattr(HardNegatives, "_mined", lambda *args, **more: asked.append(1) or whole(*args, **more))
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    kept = replace(miner(encoder), folder=tmp_path)
    first = view(str(tmp_path), rows, kept)
    for seed, accepted in ((1, ("triplets", "pairs")), (2, ("triplets", "pairs")), (1, ("scored",))):
        view(str(tmp_path), rows, kept, accepted, seed=seed)
    assert len(asked) == 1
    plain = view(None, rows, miner(encoder))
    assert len(asked) == 2
    assert first.name == "triplets"
    assert first.dataset.to_dict() == plain.dataset.to_dict()
    other = replace(miner(encoder, margin=0.5), folder=tmp_path)
    view(str(tmp_path), rows, other)
    assert len(asked) == 3


def test_a_loss_of_scored_pairs_gets_them_as_its_wrong_ones(encoder):
    rows = rows_from("pairs", {"anchor": ANCHORS, "positive": POSITIVES}, name="asked", counts={})
    scored = view(None, rows, miner(encoder), ("scored",))
    triplets = view(None, rows, miner(encoder))
    wrong = {(a, n) for a, n, score in zip(*scored.dataset.to_dict().values(), strict=True) if score == 0}
    assert wrong == set(zip(triplets.dataset["anchor"][:], triplets.dataset["negative"][:], strict=True))


@pytest.mark.parametrize(("margin", "mined"), [(0.0, True), (0.9, False)])
def test_a_run_is_trained_on_them_and_tells_where_most_are_drawn(workplace, caplog, margin, mined):
    lines = [f"question {n} about {n % 7},answer {n} of {n % 5}" for n in range(60)]
    (workplace / "faq.csv").write_text("\n".join(["question,answer", *lines]))
    small = ["model=tiny", "max_steps=2", "evaluation.times=1", "tracker=none", "trainer.threads=1", "batch_size=8"]
    data = ["data=files", "data.train=faq.csv", "data.negatives=hard", f"data.hard_margin={margin}"]
    result = run_experiment(compose([*small, *data]), folder=workplace / "run")
    hard, kept = (result.metrics[f"data/{name}"] for name in ("hard_negative", "kept"))
    assert (hard > kept / 2) == mined
    assert ("negatives that were looked for are drawn" in caplog.text) != mined


def test_what_a_model_of_ones_own_gives_is_not_kept_and_what_is_made_anew_neither(workplace):
    small = ["model=tiny", "trainer.data_cache=kept"]
    assert kept_of_models(compose(small)) == Path("kept")
    assert kept_of_models(compose([*small, "rerun=true"])) is None
    assert kept_of_models(compose(["model=tiny", "trainer.data_cache=null"])) is None
    own = compose(small)
    own = own.model_copy(update={"model": own.model.model_copy(update={"target": "mymodel.build"})})
    assert kept_of_models(own) is None

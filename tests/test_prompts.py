"""Prompts before texts: the same in training, in scores and for whoever encodes with the model."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data import build_source
from embexp.data.cache import cached_view
from embexp.evaluate import key_of
from embexp.evaluation import Extras, Pairs, evaluation_pairs, score_pairs
from embexp.experiment import run_experiment
from embexp.identity import run_key
from embexp.inputs import Inputs
from embexp.models import load_encoder
from embexp.prompts import NO_PROMPTS, prompts_of
from embexp.scoring import scores_before
from embexp.training import Hardware, column_prompts
from tests.training.test_trainer import SMALL, run

QUERY, DOCUMENT, DEFAULT = "query: ", "passage: ", "text: "
PROMPTS = f'model.prompts={{query: "{QUERY}", document: "{DOCUMENT}", default: "{DEFAULT}"}}'
RULES = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6, "seed": 1}
SENTENCES = [
    "where is my parcel",
    "it is on its way",
    "how do I pay",
    "by card or by cheque",
    "is it open",
    "until six",
]


def written(path: Path, head: list[str], rows: list[list[str]]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *rows])
    return str(path)


@pytest.fixture
def asked(tmp_path) -> Path:
    """A folder of faq.csv, and by_hand.csv: the same with the prompts in its texts."""
    pairs = [[f"{SENTENCES[i % 6]} {i}", f"{SENTENCES[(i + 1) % 6]} at {i}"] for i in range(40)]
    written(tmp_path / "faq.csv", ["question", "answer"], pairs)
    by_hand = [[QUERY + question, DOCUMENT + answer] for question, answer in pairs]
    written(tmp_path / "by_hand.csv", ["question", "answer"], by_hand)
    return tmp_path


@pytest.mark.parametrize(
    ("data", "view", "expected"),
    [
        ("faq", "pairs", {"anchor": QUERY, "positive": DOCUMENT}),
        ("faq", "triplets", {"anchor": QUERY, "positive": DOCUMENT, "negative": DOCUMENT}),
        ("faq", "scored", {"sentence1": QUERY, "sentence2": DOCUMENT}),
        ("faq", "noisy", {}),
        ("helpdesk", "triplets", {"anchor": DEFAULT, "positive": DEFAULT, "negative": DEFAULT}),
        ("helpdesk", "scored", {"sentence1": DEFAULT, "sentence2": DEFAULT}),
        ("helpdesk", "classes", {"sentence1": DEFAULT, "sentence2": DEFAULT}),
    ],
)
def test_what_asks_is_a_query_what_answers_a_document_and_what_could_change_places_neither(asked, data, view, expected):
    chosen = ["data=helpdesk", "data.rows=1000"]
    if data == "faq":
        chosen = ["data=files", f"data.train={asked / 'faq.csv'}"]
    config = compose([*chosen, PROMPTS])
    rows = build_source(config.data).load("train")
    for _ in ("made", "found"):
        found = cached_view(str(asked / "cache"), rows, [view], **RULES)
        assert column_prompts(found, prompts_of(config.model)) == expected
        assert column_prompts(found, NO_PROMPTS) == {}
        assert column_prompts(found, {"query": QUERY}) == {k: v for k, v in expected.items() if v == QUERY}


@pytest.mark.parametrize(
    ("loss", "way"), [("mnr", []), ("cosine", ["trainer.data_cache=null"]), ("mnr", ["trainer.sort_by_length=false"])]
)
def test_a_run_with_prompts_is_the_run_on_texts_that_have_them_written_in(asked, loss, way):
    words = [f"loss={loss}", *SMALL, "loss.batches=shuffled", "model.dropout=0.0", "trainer.logging_steps=1", *way]
    words = [word for word in words if not word.startswith("data.rows")]

    def losses(file: str, *more: str) -> list[float]:
        config = compose(
            [*words, "data=files", f"data.train={asked / file}", "data.dev_fraction=0", "evaluation=stsb", *more]
        )
        _, _, record = run(config, asked / f"{file}{len(more)}")
        return [value for _, value in record.history["train/loss"]]

    with_prompts = losses("faq.csv", PROMPTS)
    assert len(with_prompts) == 8
    assert with_prompts == pytest.approx(losses("by_hand.csv"), abs=1e-6)
    assert with_prompts != pytest.approx(losses("faq.csv"), abs=1e-3)


def test_pairs_are_scored_behind_their_prompts(asked):
    dev = [[s1, s2, "0.9" if i % 2 else "0.1"] for i, (s1, s2) in enumerate(pairwise(SENTENCES))]
    scored = written(asked / "dev.csv", ["sentence1", "sentence2", "score"], dev)
    same = written(
        asked / "same.csv", ["sentence1", "sentence2", "score"], [[DEFAULT + a, DEFAULT + b, s] for a, b, s in dev]
    )
    plain = load_encoder(compose(["model=tiny"]).model).model
    config = compose(["model=tiny", PROMPTS])
    model = load_encoder(config.model).model

    def similarities(of: SentenceTransformer, *evaluated: str, prompts=NO_PROMPTS):
        pairs = evaluation_pairs(compose(["model=tiny", *evaluated]))["dev"]
        return score_pairs(of, pairs, similarities=["cosine"], batch_size=4, prompts=prompts).similarities["cosine"]

    prompts = prompts_of(config.model)
    # Texts that could change places.
    files = ["evaluation=files", "evaluation.source.dev={}"]
    found = similarities(model, files[0], files[1].format(scored), prompts=prompts)
    assert found == pytest.approx(similarities(plain, files[0], files[1].format(same)), abs=1e-6)
    assert found != pytest.approx(similarities(plain, files[0], files[1].format(scored)), abs=1e-4)
    # Questions and answers.
    of_questions = {}
    for name in ("faq.csv", "by_hand.csv"):
        of_questions[name] = ["data=files", f"data.train={asked / name}", f"data.dev={asked / name}"]
    found = similarities(model, *of_questions["faq.csv"], prompts=prompts)
    assert sorted(found) == pytest.approx(sorted(similarities(plain, *of_questions["by_hand.csv"])), abs=1e-6)


def test_whoever_encodes_with_the_model_has_the_prompts_also_from_its_folder(tmp_path):
    plain = load_encoder(compose(["model=tiny"]).model).model
    model = load_encoder(compose(["model=tiny", PROMPTS]).model).model
    model.save_pretrained(str(tmp_path))
    for encoder in (model, SentenceTransformer(str(tmp_path), device="cpu")):
        for way, prompt in (
            (encoder.encode_query, QUERY),
            (encoder.encode_document, DOCUMENT),
            (encoder.encode, DEFAULT),
        ):
            assert way(SENTENCES) == pytest.approx(plain.encode([prompt + text for text in SENTENCES]), abs=1e-6)


def test_a_role_without_a_prompt_gets_no_other_role_s():
    model = load_encoder(compose(["model=tiny", f'model.prompts={{query: "{QUERY}"}}']).model).model
    plain = load_encoder(compose(["model=tiny"]).model).model
    for way in (model.encode_document, model.encode):
        assert way(SENTENCES) == pytest.approx(plain.encode(SENTENCES), abs=1e-6)


def pools_no_prompts() -> tuple[SentenceTransformer, str]:
    model = load_encoder(compose(["model=tiny", "model.dropout=0.0"]).model).model
    model[1].include_prompt = False
    return model, "tests"


def test_a_model_that_pools_no_prompts_is_trained_so(asked):
    """Which of a row's tokens are a prompt's is known column by column alone."""
    (asked / "model").mkdir()
    roles = f'{{query: "{QUERY}", document: "{DOCUMENT}"}}'
    (asked / "model" / "own.yaml").write_text(f"_target_: {__name__}.pools_no_prompts\nprompts: {roles}\n")

    def losses(*more: str) -> list[float]:
        words = ["data=files", f"data.train={asked / 'faq.csv'}", "loss.batches=shuffled", "trainer.logging_steps=1"]
        config = compose([*SMALL[2:], *words, *more], config_dir=asked)
        _, _, record = run(config, asked / f"{len(more)}_{len(more[0])}")
        return [value for _, value in record.history["train/loss"]]

    found = losses("model=own")
    assert found == pytest.approx(losses("model=own", "trainer.sort_by_length=false"), abs=1e-6)
    assert found != pytest.approx(losses("model=tiny", "model.dropout=0.0", f"model.prompts={roles}"), abs=1e-4)


def test_prompts_are_part_of_what_makes_a_run_the_same_run():
    def key(*more: str) -> str:
        return run_key(compose(["model=tiny", *more]), model="m", fingerprints={}, hardware={})

    assert len({key(), key(PROMPTS), key(f'model.prompts={{query: "{QUERY}"}}')}) == 3


def test_prompts_are_part_of_what_is_scored_before_training_and_without_any():
    encoder = load_encoder(compose(["model=tiny"]).model)
    hardware = Hardware("cpu", "fp32", 1, ())
    pairs = {"dev": Pairs("dev", ["a", "b"], ["c", "d"], np.array([0.0, 1.0]), directed=True)}
    keys, scored = set(), []
    for more in ([], [PROMPTS]):
        # A model that was kept with its prompts is the same with and without them being asked for.
        config = compose(["model=tiny", "trainer.data_cache=null", *more])
        keys.add(key_of(config, encoder, hardware, ["a"]))
        rows = SimpleNamespace(fingerprint="rows")
        inputs = Inputs(hardware, rows, pairs, Extras([]), encoder)
        scores_before(config, inputs, lambda name, which=tuple(more): scored.append(which))
    assert len(keys) == 2
    assert scored == [(), (PROMPTS,)]


def test_a_role_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"model\.prompts"):
        compose(['model.prompts={passage: "passage: "}'])


def test_an_experiment_with_prompts_is_the_same_with_kept_tokens_and_without(asked, monkeypatch):
    monkeypatch.chdir(asked)
    config = compose(
        [
            *("model=tiny", "data=files", f"data.train={asked / 'faq.csv'}", f"data.dev={asked / 'faq.csv'}", PROMPTS),
            *("batch_size=8", "evaluation.times=1", "tracker=none", "trainer.threads=1"),
        ]
    )
    found = run_experiment(config, folder=asked / "run")
    without = run_experiment(
        config.model_copy(update={"trainer": config.trainer.model_copy(update={"data_cache": None})}),
        folder=asked / "2",
    )
    assert found.history["train/loss"] == without.history["train/loss"]
    assert found.metrics["dev/spearman_cosine"] == without.metrics["dev/spearman_cosine"]
    assert torch.isfinite(torch.tensor(found.metrics["dev/spearman_cosine"]))

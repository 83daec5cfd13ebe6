"""Models with a Router: queries go one way, documents another, in scores as in training; what is neither is refused."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embexp import experiment, scoring
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.encoding import can_be_sorted
from embexp.evaluation import Pairs, score_pairs
from embexp.evaluation.latency import LatencyEvaluation
from embexp.evaluation.retrieval import search
from embexp.experiment import run_experiment
from embexp.models import identity_of, use_max_length
from embexp.record import Result
from embexp.training import Hardware
from tests.test_models import small

RUN = ["max_steps=2", "batch_size=8", "evaluation.times=1", "tracker=none", "trainer.threads=1", "model.dropout=null"]
TEXTS = [f"{word} {number}" for number in range(10) for word in ("red", "green", "blue", "a much longer one")]


def routed(query: list, document: list) -> SentenceTransformer:
    """The route of documents first: where a model is asked for its tokenizer or length, it is that route's that counts."""
    router = Router({"document": document, "query": query}, default_route="document")
    return SentenceTransformer(modules=[router], device="cpu").eval()


@pytest.fixture
def asymmetric() -> SentenceTransformer:
    """Queries by a table of words, documents by a small BERT."""
    torch.manual_seed(0)
    return routed([StaticEmbedding(small().tokenizer, embedding_dim=32)], [*small()])


def pairs(*, directed: bool) -> Pairs:
    scores = np.linspace(0, 1, 20)
    return Pairs("some", TEXTS[:20], TEXTS[20:], scores, directed)


def cosine(model: SentenceTransformer, found: Pairs) -> np.ndarray:
    return score_pairs(model, found, similarities=["cosine"], batch_size=7).similarities["cosine"]


def of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)


def test_directed_pairs_are_scored_as_queries_and_documents_and_others_by_the_default_route(asymmetric):
    queries, documents = asymmetric.encode_query(TEXTS[:20]), asymmetric.encode_document(TEXTS[20:])
    np.testing.assert_allclose(cosine(asymmetric, pairs(directed=True)), of(queries, documents), atol=1e-5)
    both = asymmetric.encode(TEXTS[:20]), asymmetric.encode(TEXTS[20:])
    np.testing.assert_allclose(cosine(asymmetric, pairs(directed=False)), of(*both), atol=1e-5)
    assert np.abs(of(queries, documents) - of(*both)).max() > 0.1


def test_a_model_without_routes_is_told_no_task_and_encodes_a_text_of_both_sides_once(monkeypatch):
    model, asked = small(), []
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda texts, **given: asked.append((texts, given)) or encode(texts, **given))
    same = Pairs("same", TEXTS[:20], TEXTS[1:21], np.linspace(0, 1, 20), directed=True)
    cosine(model, same)
    ((texts, given),) = asked
    assert texts == TEXTS[:21]
    assert "task" not in given


def test_pairs_that_a_router_has_no_route_for_are_told_of(asymmetric):
    router = Router({"query": [*small()], "passage": [*small()]}, allow_empty_key=False)
    without = SentenceTransformer(modules=[router], device="cpu")
    with pytest.raises(ConfigError, match="some: this model's Router has no route for a document: No route found"):
        cosine(without, pairs(directed=True))
    with pytest.raises(ConfigError, match="no route for a text that is neither query nor document"):
        cosine(without, pairs(directed=False))


def test_columns_of_different_routes_are_not_encoded_in_one_go():
    model = routed([*small()], [*small(seed=1)])
    query, document = (model.preprocess(TEXTS, task=task) for task in ("query", "document"))
    assert can_be_sorted([query, query])
    assert not can_be_sorted([query, document])


def test_another_tokenizer_of_either_route_is_another_model():
    def of_vocabulary(size: int) -> str:
        query = small(seed=1)
        query[0].processor = small(vocabulary_size=size).tokenizer
        return identity_of(routed([*query], [*small()]))

    assert of_vocabulary(500) == of_vocabulary(500)
    assert of_vocabulary(500) != of_vocabulary(400)


def trained(
    folder: Path, model: SentenceTransformer, *given: str, head: tuple[str, ...] = ("question", "answer")
) -> tuple[Result, SentenceTransformer]:
    """A run of two steps on questions and their answers, and the model that it kept."""
    model.save_pretrained(str(folder / "base"))
    with (folder / "rows.csv").open("w", newline="") as file:
        rows = [[f"where is {text}", f"it is at {text} as ever", number % 3] for number, text in enumerate(TEXTS)]
        csv.writer(file).writerows([head, *(row[: len(head)] for row in rows)])
    data = ["data=files", f"data.train={folder / 'rows.csv'}", f"data.dev={folder / 'rows.csv'}"]
    path = [f"model.path={folder / 'base'}", "model.max_length=null", "trainer.save_model=true", "learning_rate=0.01"]
    result = run_experiment(compose([*data, *path, *RUN, "loss=mnr", *given]), folder=folder / "run")
    return result, SentenceTransformer(str(folder / "run" / "model"), device="cpu")


@pytest.mark.parametrize("way", [[], ["trainer.sort_by_length=false"], ["loss=cosine"]])
def test_training_goes_both_routes_and_keeps_them(way, workplace, asymmetric):
    alike = routed([*small()], [*small(seed=1)])
    for name, model in (("asymmetric", asymmetric), ("alike", alike)):
        before = {key: value.clone() for key, value in model.state_dict().items()}
        result, kept = trained(workplace / name, model, *way)
        assert np.isfinite(result.metrics["best/dev/spearman_cosine"])
        moved = {key.split(".")[2] for key, value in kept.state_dict().items() if not torch.equal(value, before[key])}
        assert moved == {"query", "document"}


def test_sorted_or_not_the_routes_learn_the_same(workplace):
    found = []
    for name, way in (("sorted", []), ("plain", ["trainer.sort_by_length=false"])):
        model = routed([*small(dropout=0.0)], [*small(seed=1, dropout=0.0)])
        found.append(trained(workplace / name, model, *way)[1].state_dict())
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("head", "loss", "told"),
    [
        (("premise", "hypothesis", "label"), "mnr", "has nli rows, whose texts could change places"),
        (("question", "answer"), "tsdae", "loss=tsdae: learns from texts by themselves"),
        (("question", "answer"), "simcse", "loss=simcse: learns from texts by themselves"),
    ],
)
def test_what_is_neither_query_nor_document_is_not_trained_on_and_nothing_is_scored(
    head, loss, told, workplace, asymmetric, monkeypatch
):
    monkeypatch.setattr(scoring, "SCORED_BEFORE", {})
    monkeypatch.setattr(experiment, "score_pairs", lambda *_, **__: pytest.fail("scored"))
    with pytest.raises(ConfigError, match=told):
        trained(workplace, asymmetric, f"loss={loss}", head=head)


def test_a_length_that_a_route_cannot_be_given_is_refused(asymmetric):
    with pytest.raises(
        ConfigError, match=r"model\.max_length=8: this model, or a part of it, reads texts of any length"
    ):
        use_max_length(asymmetric, 8)


def test_retrieval_and_latency_take_the_routes(asymmetric):
    found = search(asymmetric, TEXTS[:3], TEXTS[20:], depth=3, batch_size=8, chunk=5)
    similarity = asymmetric.similarity(asymmetric.encode_query(TEXTS[:3]), asymmetric.encode_document(TEXTS[20:]))
    assert found == similarity.topk(3, dim=1).indices.tolist()
    settings = ["evaluation=[own,latency]", "evaluation.latency.seconds=0.02", "evaluation.latency.batch_sizes=[1]"]
    latency = LatencyEvaluation(compose(settings).evaluation.latency, Hardware("cpu", "fp32", 1, ()))
    calls = []
    asymmetric[0].sub_modules["query"][0].register_forward_pre_hook(lambda *_: calls.append("query"))
    assert latency.score(asymmetric)["p50_ms"] > 0
    assert latency.record["encoded_as"] == {"short": "query", "long": "document"}
    assert calls

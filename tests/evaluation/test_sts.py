"""STS scores: scipy's on the same embeddings, and what cannot be scored is refused."""

from __future__ import annotations

import csv

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import pearsonr, spearmanr

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data import build_source
from embexp.evaluation import Pairs, build_extras, evaluation_pairs, score_pairs, write_predictions
from embexp.evaluation.sts import named_sets
from embexp.training import Hardware

HARDWARE = Hardware("cpu", "fp32", 1, ())
SIMILARITIES = ("cosine", "manhattan", "euclidean", "dot")


@pytest.fixture(scope="module")
def pairs():
    return evaluation_pairs(compose(["data.rows=1000", "data.evaluation_rows=100"]))["dev"]


def test_pairs_are_known_by_what_is_scored_and_not_by_what_they_are_called():
    def of(name="a", second="d", score=1.0, directed=False):
        return Pairs(name, ["a", "b"], ["c", second], np.array([0.0, score]), directed).fingerprint

    assert of() == of(name="b")
    assert len({of(), of(second="e"), of(score=0.5), of(directed=True)}) == 4


def test_scores_are_scipy_s_on_the_same_embeddings(model, pairs):
    scores = score_pairs(model, pairs, similarities=SIMILARITIES, batch_size=16)
    unique = list(dict.fromkeys([*pairs.sentences1, *pairs.sentences2]))
    embedded = dict(zip(unique, model.encode(unique, batch_size=16).astype(np.float64), strict=True))
    first, second = (np.stack([embedded[text] for text in texts]) for texts in (pairs.sentences1, pairs.sentences2))
    expected = {
        "cosine": (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1),
        "manhattan": -np.abs(first - second).sum(1),
        "euclidean": -np.linalg.norm(first - second, axis=1),
        "dot": (first * second).sum(1),
    }
    for name, similarity in expected.items():
        pearson, spearman = scores.metrics[f"pearson_{name}"], scores.metrics[f"spearman_{name}"]
        assert pearson == pytest.approx(pearsonr(pairs.scores, similarity).statistic, abs=1e-6)
        assert spearman == pytest.approx(spearmanr(pairs.scores, similarity).statistic, abs=1e-6)
    assert scores.metrics["pearson_max"] == max(scores.metrics[f"pearson_{name}"] for name in SIMILARITIES)


def test_a_single_similarity_has_no_max(model, pairs):
    metrics = score_pairs(model, pairs, similarities=["cosine"], batch_size=16).metrics
    assert set(metrics) == {"pearson_cosine", "spearman_cosine"}


def test_constant_embeddings_have_no_score(model):
    same = Pairs("same", ["a", "a"], ["a", "a"], np.array([0.0, 1.0]))
    assert np.isnan(score_pairs(model, same, similarities=["cosine"], batch_size=2).metrics["spearman_cosine"])


def test_nli_rows_of_ones_own_are_scored_by_entailment(tmp_path):
    file = tmp_path / "nli.csv"
    rows = "".join(f"p {n},h {n},{label}\n" for n, label in enumerate(["entailment", "neutral", "contradiction"]))
    file.write_text("premise,hypothesis,label\n" + rows)
    pairs = evaluation_pairs(compose(["data=files", f"data.train={file}", f"data.dev={file}"]))
    assert sorted(pairs) == ["dev"]
    assert pairs["dev"].scores.tolist() == [1.0, 0.0, 0.0]


FROM = "evaluation=files evaluation.source.dev={}"


def test_pairs_that_all_have_one_score_are_refused(tmp_path):
    file = tmp_path / "nli.csv"
    file.write_text("premise,hypothesis,label\na,b,0\nc,d,0\n")
    for named in (["data=files", f"data.train={file}", f"data.dev={file}"], FROM.format(file).split()):
        with pytest.raises(ConfigError, match=r"every pair has the score 1; nothing can be told from that") as refused:
            evaluation_pairs(compose(named))
        assert "data." not in str(refused.value)


def test_of_a_part_of_train_that_has_one_score_it_is_said_how_to_set_another_aside(tmp_path):
    file = tmp_path / "scored.csv"
    file.write_text("sentence1,sentence2,score\n" + "".join(f"a {number},b {number},1\n" for number in range(200)))
    with pytest.raises(ConfigError, match=r"set aside; where train has other scores too: name data\.dev=FILE"):
        evaluation_pairs(compose(["data=files", f"data.train={file}"]))


def test_predictions_are_kept_pair_by_pair(model, pairs, tmp_path):
    scores = score_pairs(model, pairs, similarities=["cosine"], batch_size=16)
    write_predictions(tmp_path / "p.parquet", {"dev": pairs}, {"dev": scores}, {"dev": scores})
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["split", "sentence1", "sentence2", "score", "cosine_before", "cosine_after"]
    assert table["sentence1"].to_pylist() == pairs.sentences1
    assert len(table) == 100


def test_further_sets_are_scored_by_their_names(model, pairs, tmp_path):
    file = tmp_path / "mine.csv"
    lines = zip(pairs.sentences1, pairs.sentences2, pairs.scores, strict=True)
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows([("sentence1", "sentence2", "score"), *lines])
    extras = build_extras(compose([f"evaluation.sets={{mine: {file}}}"]), HARDWARE, {})
    logged: dict[str, float] = {}
    extras.score_before(model, logged.update)
    extras.score_after(model, logged.update)
    expected = score_pairs(model, pairs, similarities=["cosine"], batch_size=16).metrics["spearman_cosine"]
    assert logged["sts/mine/spearman_cosine"] == pytest.approx(expected, abs=1e-6)
    assert logged["sts_before/mine/spearman_cosine"] == logged["sts/mine/spearman_cosine"]
    assert logged["gain/sts/mine/spearman_cosine"] == 0


def test_a_further_set_is_told_of_by_the_key_that_was_typed(tmp_path, caplog):
    good, scaled = tmp_path / "good.csv", tmp_path / "scaled.csv"
    good.write_text("sentence1,sentence2,score\na,b,0\nc,d,1\n")
    scaled.write_text("sentence1,sentence2,score\na,b,0\nc,d,10\n")
    with caplog.at_level("INFO"):
        named_sets({"mine": str(good)})
    assert {record.getMessage().partition(": ")[0] for record in caplog.records} == {f"evaluation.sets.mine={good}"}
    with pytest.raises(ConfigError) as refused:
        named_sets({"mine": str(scaled)})
    first, second = refused.value.problems
    assert first.startswith(f"evaluation.sets.mine={scaled}: scores are from 0 to 10")
    assert second.startswith(
        "evaluation.sets.mine: a further set has no such keys; change the file, or score on it alone"
    )


def test_a_file_whose_dev_part_is_set_aside_is_read_and_told_of_once(tmp_path, caplog):
    file = tmp_path / "mine.csv"
    file.write_text("sentence1,sentence2,score\n" + "".join(f"left {n},right {n},{n % 6}\n" for n in range(60)))
    config = compose(["data=files", f"data.train={file}", f"trainer.data_cache={tmp_path / 'cache'}"])
    with caplog.at_level("INFO"):
        source = build_source(config.data, cache=config.trainer.data_cache)
        rows = source.load("train")
        pairs = evaluation_pairs(config, trained_on=source)
    assert len(rows.table) + len(pairs["dev"].scores) == 60
    told = [record.getMessage() for record in caplog.records]
    assert [sum(word in line for line in told) for word in ("read as", "set aside", "scores taken")] == [1, 1, 1]


def test_rows_that_give_no_pair_to_score_are_counted_with_why(tmp_path, caplog):
    file = tmp_path / "mine.csv"
    rows = [f"q{n},a{n}" for n in range(12)]
    file.write_text("\n".join(["question,answer", *rows, "same,same", "alike,alike", *rows[3:5]]))
    with caplog.at_level("INFO"):
        evaluation_pairs(compose(["data=files", f"data.train={file}", f"data.dev={file}"]))
    assert (
        "12 right pairs count 1, and 12 wrong ones, each with a text of another row, 0; left out: 2 rows with two equal texts, "
        "2 rows with what another row has"
    ) in caplog.text


@pytest.mark.parametrize(
    ("head", "row", "said"),
    [
        (
            "question,answer",
            "q{0},a{0}",
            "12 right pairs count 1, and 12 wrong ones, each with a text of another row, 0",
        ),
        ("anchor,positive,negative", "q{0},a{0},n{0}", "12 pairs with a positive count 1, and 12 with a negative 0"),
        ("premise,hypothesis,label", "q{0},a{0},{1}", "4 entailed pairs count 1, and 8 others 0"),
        ("sentence1,sentence2,score", "q{0},a{0},{1}", None),
    ],
)
def test_scores_that_nobody_gave_are_told_as_what_they_are(tmp_path, caplog, head, row, said):
    file = tmp_path / "mine.csv"
    file.write_text("\n".join([head, *(row.format(n, n % 3) for n in range(12))]))
    scale = ["data.score_scale=[0,2]"] if said is None else []
    with caplog.at_level("INFO"):
        pairs = evaluation_pairs(compose(["data=files", f"data.train={file}", f"data.dev={file}", *scale]))["dev"]
    told = [record.getMessage() for record in caplog.records if record.name == "embexp.evaluation.sts"]
    assert told == ([] if said is None else [f"dev: mine.csv: {said}"])
    if said is not None:
        assert (int(pairs.scores.sum()), len(pairs.scores)) == ((4, 12) if "entailed" in said else (12, 24))


@pytest.mark.slow
def test_plain_minilm_has_its_published_score_on_stsb(shared_data):
    from embexp.models import load_encoder

    config = compose(["evaluation=stsb", f"evaluation.path={shared_data / 'stsb'}"])
    found = evaluation_pairs(config)
    model = load_encoder(config.model).model.eval()
    assert {name: len(pairs.scores) for name, pairs in found.items()} == {"dev": 1500, "test": 1379}
    scores = {
        name: score_pairs(model, pairs, similarities=["cosine"], batch_size=64).metrics for name, pairs in found.items()
    }
    assert scores["test"]["spearman_cosine"] == pytest.approx(0.8203, abs=5e-5)
    assert scores["dev"]["spearman_cosine"] == pytest.approx(0.8672, abs=5e-5)

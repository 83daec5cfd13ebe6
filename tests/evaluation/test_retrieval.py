"""Search: exact whatever the chunk, read from BEIR's layout, and what cannot be searched is refused."""

from __future__ import annotations

import json

import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.evaluation import retrieval
from embexp.evaluation.judged import Judged
from embexp.evaluation.retrieval import retrieval_evaluation, search

QUERIES = {"q1": "where is my money", "q2": "the parcel is broken", "q3": "never judged"}
CORPUS = {
    "d1": ("Refunds", "money comes back in a week"),
    "d2": ("", "broken parcels are replaced"),
    "d3": ("Else", "closed"),
}


@pytest.fixture
def beir(tmp_path):
    queries = [{"_id": key, "text": text} for key, text in QUERIES.items()]
    corpus = [{"_id": key, "title": title, "text": text} for key, (title, text) in CORPUS.items()]
    for name, rows in (("queries", queries), ("corpus", corpus)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq2\tgone\t1\nq3\td3\t0\n"
    )
    return tmp_path


def evaluation_of(*overrides: str):
    config = compose(["evaluation=[own,retrieval]", *overrides])
    assert config.evaluation.retrieval is not None
    return retrieval_evaluation(config, config.evaluation.retrieval)


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_the_nearest_are_found_whatever_the_chunk(model, chunk):
    documents = [f"{a} {b} {n}" for n, (a, b) in enumerate((a, b) for a in "aeiou" for b in "bcdfg")]
    queries = ["a b", "u g 24", "o"]
    found = search(model, queries, documents, depth=6, batch_size=4, chunk=chunk)
    options = {"convert_to_tensor": True, "normalize_embeddings": True}
    similarity = model.encode(queries, **options) @ model.encode(documents, **options).T
    for nearest, row in zip(found, similarity, strict=True):
        assert [row[place].item() for place in nearest] == pytest.approx(row.topk(6).values.tolist(), abs=1e-6)
        assert len(set(nearest)) == 6


def test_beir_s_layout_is_read_and_scored_as_trec_eval_does(beir, model):
    evaluation = evaluation_of(f"evaluation.retrieval.path={beir}")
    judged = evaluation.judged
    assert judged.queries == [QUERIES["q1"], QUERIES["q2"]]
    assert judged.documents == ["Refunds money comes back in a week", "broken parcels are replaced", "Else closed"]
    assert judged.relevant == [{0: 2.0}, {1: 1.0, 3: 1.0}]  # 3: relevant, but not in the corpus
    assert evaluation.score(model)["recall_at_10"] == pytest.approx(0.75)


def test_a_query_that_is_a_document_too_is_not_looked_for_in_itself(beir, model):
    evaluation = evaluation_of(f"evaluation.retrieval.path={beir}")
    assert evaluation.judged.itself == [None, None]
    documents = [json.loads(line) for line in (beir / "corpus.jsonl").read_text().splitlines()]
    # Of the first the whole text, with a title; of the second an id that agrees by chance.
    longer = f"{QUERIES['q2']} and more"
    documents += [{"_id": "q1", "title": "Asked", "text": QUERIES["q1"]}, {"_id": "q2", "title": "", "text": longer}]
    (beir / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in documents))
    own = evaluation_of(f"evaluation.retrieval.path={beir}")
    assert own.judged.itself == [3, None]
    assert own.fingerprint != evaluation.fingerprint
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tq1\t1\n")
    assert evaluation_of(f"evaluation.retrieval.path={beir}").judged.itself == [None, None]


def test_what_is_the_query_itself_does_not_count(model, monkeypatch):
    judged = Judged(["a", "b"], ["a", "answer", "b", "other"], [{1: 1.0}, {3: 1.0}], [0, None], "f")
    monkeypatch.setattr(retrieval, "search", lambda *_, depth, **__: [[0, 1, 2, 3], [2, 3, 0, 1]])
    settings = evaluation_of("data.rows=1000", "data.evaluation_rows=100").settings
    scores = retrieval.RetrievalEvaluation(settings, judged).score(model)
    assert scores["mrr_at_10"] == pytest.approx((1 + 1 / 2) / 2)


def test_held_out_pairs_become_queries_and_documents(model):
    evaluation = evaluation_of("data.rows=1000", "data.evaluation_rows=100", "evaluation.retrieval.source=pairs")
    assert len(evaluation.judged.queries) == len(evaluation.judged.relevant) > 10
    assert 0 <= evaluation.score(model)["ndcg_at_10"] <= 1


@pytest.mark.parametrize(
    ("judged", "column", "said"),
    [
        ("x1\td1\t1\nx2\td2\t1\n", "query-id", r"no query .*test\.tsv is in .*queries\.jsonl: .* as q1, .* as x1;"),
        (
            "q1\tx1\t1\nq2\tx2\t1\nq9\td1\t1\n",
            "corpus-id",
            r"no relevant .*tsv is in .*corpus\.jsonl: .* as d1, .* as x1;",
        ),
        ("q1\td1\t0\n", "", r"test\.tsv: no score is above 0"),
    ],
)
def test_judgements_of_which_none_can_count_are_refused_with_an_id_of_both_files(beir, judged, column, said):
    (beir / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    with pytest.raises(ConfigError, match=said) as caught:
        evaluation_of(f"evaluation.retrieval.path={beir}")
    assert f"{column} of the one" in str(caught.value) or not column


def test_a_missing_column_is_named_with_those_that_are_there(beir):
    (beir / "qrels" / "test.tsv").write_text("query\tdoc\nq1\td1\n")
    with pytest.raises(ConfigError, match="no column query-id or query_id; it has query, doc"):
        evaluation_of(f"evaluation.retrieval.path={beir}")


def test_files_that_go_together_are_asked_for_together(beir):
    with pytest.raises(ConfigError, match="go together"):
        compose(["evaluation=[own,retrieval]", f"evaluation.retrieval.corpus={beir / 'corpus.jsonl'}"])


def test_other_texts_have_another_fingerprint(beir):
    first = evaluation_of(f"evaluation.retrieval.path={beir}").fingerprint
    (beir / "corpus.jsonl").write_text((beir / "corpus.jsonl").read_text().replace("week", "month"))
    assert evaluation_of(f"evaluation.retrieval.path={beir}").fingerprint != first


def test_an_index_that_pandas_wrote_is_neither_a_gain_nor_a_title(tmp_path):
    (tmp_path / "queries.csv").write_text(",_id,text\n0,q1,where is it\n1,q2,how much\n")
    (tmp_path / "corpus.csv").write_text(",_id,text\n0,d1,here\n1,d2,five\n")
    (tmp_path / "qrels.csv").write_text(",query-id,corpus-id\n0,q1,d1\n1,q2,d2\n")
    judged = evaluation_of(f"evaluation.retrieval.path={tmp_path}").judged
    assert judged.documents == ["here", "five"]
    assert judged.relevant == [{0: 1.0}, {1: 1.0}]


def test_a_document_may_have_a_title_only(beir):
    with (beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d4", "title": "Opening hours", "text": ""}\n')
    assert evaluation_of(f"evaluation.retrieval.path={beir}").judged.documents[-1] == "Opening hours"


@pytest.mark.parametrize(("name", "row"), [("queries", 4), ("corpus", 4)])
def test_a_row_with_another_s_id_is_told_and_not_taken_for_it(beir, name, row):
    file = beir / f"{name}.jsonl"
    identifier = {"queries": "q1", "corpus": "d1"}[name]
    with file.open("a") as opened:
        opened.write(f'{{"_id": "{identifier}", "text": "another"}}\n')
    with pytest.raises(ConfigError, match=rf"{name}\.jsonl row {row}: the id {identifier} is that of row 1"):
        evaluation_of(f"evaluation.retrieval.path={beir}")


@pytest.mark.parametrize("gain", ["inf", "nan", "high", ""])
def test_a_gain_that_is_none_is_told_with_its_row(beir, gain):
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write(f"q3\td2\t{gain}\n")
    with pytest.raises(ConfigError, match=r"test\.tsv row 6: score "):
        evaluation_of(f"evaluation.retrieval.path={beir}")


def test_a_document_without_text_and_title_is_told(beir):
    with (beir / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d4", "title": " ", "text": null}\n')
    with pytest.raises(ConfigError, match=r"corpus\.jsonl row 4: text and title are empty"):
        evaluation_of(f"evaluation.retrieval.path={beir}")


def test_judged_queries_and_relevant_documents_that_are_in_no_file_are_counted(beir, caplog):
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write("q9\td1\t1\nq8\td9\t0\n")
    evaluation_of(f"evaluation.retrieval.path={beir}")
    assert [message for message in caplog.messages if message.startswith("retrieval:")] == [
        "retrieval: 1 of 3 queries that have a relevant document are not in the queries' file, as q9; they are not scored",
        "retrieval: 1 of 3 relevant documents are not in the corpus, as gone; they count as not found",
    ]


def test_a_document_that_is_judged_twice_is_refused_where_the_gains_differ(beir):
    file = beir / "qrels" / "test.tsv"
    whole = file.read_text()
    file.write_text(f"{whole}q1\td1\t2.0\n")
    assert evaluation_of(f"evaluation.retrieval.path={beir}").judged.relevant[0] == {0: 2.0}
    file.write_text(f"{whole}q1\td1\t0\n")
    with pytest.raises(ConfigError) as refused:
        evaluation_of(f"evaluation.retrieval.path={beir}")
    assert refused.value.problems == [
        f"{file} row 6: query q1 and document d1 stand in row 2 too, with another score (2, here 0); leave one of them out."
    ]

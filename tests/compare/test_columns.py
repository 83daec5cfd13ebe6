"""The columns of scores and costs: which there are, and what they show."""

from __future__ import annotations

from dataclasses import replace

import pytest

from embexp.compare.columns import INTERVAL, beside, columns, least
from embexp.compare.runs import Run
from embexp.compare.table import to_markdown
from embexp.tracking import Status
from tests.compare.test_table import METRIC, drawn, run

FOUND = {
    "sts/mine/spearman_cosine": 0.81,
    "sts/mine/pearson_cosine": 0.82,
    "mteb/scifact/main_score": 0.63,
    "mteb/scifact/ndcg_at_10": 0.63,
    "retrieval/ndcg_at_10": 0.5151,
    "retrieval/mrr": 0.4,
    "classification/accuracy": 0.9,
    "latency/p50_ms": 7.1234,
    "latency/peak_memory_bytes": 1330483200.0,
    "gain/retrieval/ndcg_at_10": 0.1,
}
TITLES = ["mine Spearman", "MTEB scifact", "nDCG@10", "accuracy", "latency"]


def scored(score: float = 0.6, *, metrics=FOUND, **params):
    found = run(score, **params)
    return replace(found, metrics={**found.metrics, **metrics})


def titles_of(runs, metric: str = METRIC, *, judged: bool = False) -> list[str]:
    return [column.title for column in columns(runs, metric, judged=judged)]


def test_the_first_metric_of_every_evaluation_that_any_run_has_is_a_column():
    assert titles_of([run(0.5), scored()]) == ["dev Spearman", "gain", *TITLES]
    assert titles_of([run(0.5)]) == ["dev Spearman", "gain"]


def test_pairs_that_are_called_dev_have_a_title_of_their_own():
    found = scored(metrics={"sts/dev/spearman_cosine": 0.3, "sts/test/spearman_cosine": 0.4})
    assert titles_of([found]) == ["dev Spearman", "gain", "sts/dev Spearman", "sts/test Spearman"]


def test_equal_pairs_under_two_names_have_one_column():
    metrics = {f"sts/{name}/spearman_cosine": 0.3 for name in "abc"}
    runs = [
        replace(scored(metrics=metrics, batch_size=size), scored_on={"sts/a": "1", "sts/b": "1", "sts/c": "2"})
        for size in (16, 32)
    ]
    assert titles_of(runs)[2:] == ["a = b Spearman", "c Spearman"]
    # What they were scored on is not known of runs from before it was kept.
    assert titles_of([replace(each, scored_on={}) for each in runs])[2:] == ["a Spearman", "b Spearman", "c Spearman"]
    # Under each name other runs.
    other = replace(runs[1], metrics={"best/dev/spearman_cosine": 0.5, "sts/b/spearman_cosine": 0.3})
    assert titles_of([runs[0], other])[2:] == ["a Spearman", "b Spearman", "c Spearman"]


def test_what_was_scored_beside_the_pairs_stands_in_every_table():
    text = drawn([scored(batch_size=32), run(0.5, batch_size=64)])
    assert "0.5151" in text
    assert "7.12 ms" in text
    assert "latency: median of the calls" in text
    assert "latency: median" not in drawn([run(0.5)])
    assert f"| dev Spearman | gain | {' | '.join(TITLES)} |\n" in to_markdown([scored()])
    assert "| 0.5151 | 0.9000 | 7.12 ms |" in to_markdown([scored()])


@pytest.mark.parametrize(("tasks", "shown"), [(3, ["MTEB a", "MTEB b", "MTEB c"]), (4, ["MTEB, mean of 4"])])
def test_of_many_tasks_of_mteb_the_mean_is_shown(tasks, shown):
    found = {f"mteb/{name}/main_score": number / 10 for number, name in enumerate("abcd"[:tasks])}
    assert titles_of([scored(metrics=found)])[2:] == shown


def test_there_is_no_mean_of_tasks_of_which_one_was_missed():
    found = {f"mteb/{name}/main_score": number / 10 for number, name in enumerate("abcd")}
    whole, missed = scored(metrics=found), scored(metrics=dict(list(found.items())[1:]))
    mean = columns([whole, missed], METRIC, judged=False)[-1]
    assert mean.value(whole) == pytest.approx(0.15)
    assert mean.value(missed) is None


def test_what_is_ranked_by_comes_first_once_and_beside_its_interval():
    assert titles_of([scored()], "latency/p50_ms")[:2] == ["latency", "dev Spearman"]
    assert titles_of([scored()], "latency/p50_ms").count("latency") == 1
    assert titles_of([scored()], "retrieval/mrr")[0] == "retrieval/mrr"
    assert titles_of([scored()], judged=True)[:2] == ["dev Spearman", INTERVAL]
    assert "1269 MiB" in drawn([scored()], metric="latency/peak_memory_bytes")


def test_what_tells_least_goes_first_and_what_is_ranked_by_never():
    there = columns([scored()], METRIC, judged=True)
    assert least(there, METRIC) == ([*reversed(TITLES)], ["interval", "gain"])
    costs = scored(metrics={"time/training_seconds": 1.0, "test/spearman_cosine": 0.5, "test/pearson_cosine": 0.5})
    assert least(columns([costs], METRIC, judged=False), METRIC)[0] == ["time", "test Pearson", "test Spearman"]
    by_time = "time/training_seconds"
    assert least(columns([costs], by_time, judged=False), by_time)[0] == ["test Pearson", "test Spearman"]


def test_the_model_before_training_has_its_scores_beside_the_pairs_too():
    first, second = (
        scored(size / 100, base=0.5, batch_size=size, metrics={**FOUND, "retrieval_before/ndcg_at_10": 0.4141})
        for size in (60, 70)
    )
    text = drawn([first, second, run(0.8, base=0.5, batch_size=80)])
    (line,) = [line for line in text.splitlines() if "before training  " in line]
    assert "0.4141" in line
    # Of another corpus, by what it is called: which of both would it be?
    other = replace(second, metrics={**second.metrics, "retrieval_before/ndcg_at_10": 0.3})
    assert "0.4141" not in drawn([first, other])


def test_a_cut_that_costs_nothing_is_shown_as_any_other():
    scores = {"best/dev/spearman_cosine": 0.5, "dims/16/dev/spearman_cosine": 0.5, "dims/8/dev/spearman_cosine": 0.4}
    scored = Run("a", Status.FINISHED, None, metrics=scores)
    assert [column.title for column in beside([scored])] == ["16 dims", "8 dims"]


@pytest.mark.parametrize(
    ("given", "on"),
    [
        ({}, " on the built-in articles"),
        ({"evaluation.retrieval.path": "faq"}, " on faq"),
        ({"evaluation.retrieval.source": "pairs"}, ""),
        ({"experiment": "mine"}, ""),
        ({"evaluation": "own+mine"}, ""),
    ],
)
def test_the_line_below_says_what_data_a_metric_beside_the_pairs_is_of_as_far_as_the_settings_tell(given, on):
    params = {"loss": "mnr", "data": "files", "evaluation": "own+retrieval+classification", **given}
    text = " ".join(drawn([replace(scored(), params=params)]).split())
    assert f"nDCG@10: of retrieval{on}. accuracy: of classification" in text
    assert ("accuracy: of classification on the built-in intents." in text) == ("mine" not in str(given))


def test_where_the_data_of_a_metric_beside_the_pairs_differ_the_line_below_says_so():
    params = {"loss": "mnr", "data": "files", "evaluation": "own+retrieval"}
    runs = [replace(scored(), params=params, scored_on={"retrieval": f"fingerprint {number}"}) for number in (1, 2)]
    text = " ".join(drawn(runs).split())
    assert "nDCG@10: of retrieval, not on the same data in all rows." in text

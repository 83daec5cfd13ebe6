"""The page: what it tells, and that it needs nothing but itself."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq
import pytest

from embexp.compare.judge import judge
from embexp.compare.runs import Run
from embexp.report import card_of, report, write_report
from embexp.report.details import details_of
from embexp.report.entries import shown
from embexp.report.page import common_settings
from embexp.statistics import Difference
from embexp.tracking import Status
from tests.report.conftest import BASE, SCORES, leave_run

VOID = {"meta", "link", "br", "hr", "img", "input", "path", "polyline", "polygon"}


class Page(HTMLParser):
    """Tags, texts and headings of a page; complains of a tag that is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture
def page(runs) -> Page:
    return Page(report(runs, title="A sweep"))


LEAK = "dev and train: 55 of 60 rows of dev.csv hold only texts that train.csv holds too: its scores are too good"


def test_what_was_warned_of_when_runs_were_made_stands_beside_their_scores(tmp_path, page):
    assert "Warned of" not in page.text
    runs = [leave_run(tmp_path / f"w{size}", "mnr", size, cautions=[LEAK]) for size in (32, 16)]
    assert Page(report(runs, title="A sweep")).text.count(f"all rows : {LEAK}") == 1
    other = leave_run(tmp_path / "other", "cosine", 16, cautions=["dev: 30 pairs are few"])
    text = Page(report([other, *runs], title="A sweep")).text
    assert f"rows 1, 2 : {LEAK} row 3 : dev: 30 pairs are few" in text
    tied = replace(runs[0], params={**runs[0].params, "seed": "7"}, where=other.where)
    assert f"row 1 (seed 42) : {LEAK}" in Page(report([runs[0], tied], title="A sweep")).text
    assert f"- {LEAK}" in card_of(runs[0], details_of(runs[0]))


def test_a_best_run_that_cannot_be_told_apart_from_before_training_is_said_to_be_so_at_the_top(page, monkeypatch, runs):
    assert "from which it cannot be told apart" not in page.text
    monkeypatch.setattr(Difference, "is_real", property(lambda difference: False))
    assert "the model before training, from which it cannot be told apart." in Page(report(runs, title="A")).text


def test_of_many_runs_that_cannot_be_told_apart_from_the_best_the_first_are_named(runs, monkeypatch):
    monkeypatch.setattr(Difference, "is_real", property(lambda difference: False))
    said = "It cannot be told apart from mnr · bs 16, cosine · bs 16, cosine · bs 32"
    assert f"{said}. " in Page(report(runs, title="A")).text
    again = [replace(run, params={**run.params, "seed": "7"}) for run in runs[:4]]
    assert " and 4 more. " in Page(report([*runs, *again], title="A")).text


def test_the_page_is_whole_and_names_the_best_run_first(page):
    assert page.open == []
    best = SCORES["mnr", 32]
    assert f"mnr · bs 32 is ranked first with {best:.4f} [" in page.text
    assert f"{best - BASE:.4f} above the model before training" in page.text


def test_the_page_refers_to_nothing_outside_itself(runs, page):
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert name not in ("src", "href", "action", "xlink:href") or value == "data:,"
    text = report(runs, title="A sweep")
    assert not re.search(r"url\(|@import|https?:", text)
    assert "default-src 'none'" in text


def test_every_finished_run_has_its_row_its_curve_and_its_command(page):
    for label in ("mnr · bs 32", "mnr · bs 16", "cosine · bs 16", "cosine · bs 32"):
        assert label in page.text
    curves = [a for tag, a in page.tags if tag == "polyline"]
    assert len(curves) == 4 + 2  # four learning curves, and a line of batch sizes for each loss
    assert "python -m embexp loss=mnr batch_size=32 'model.path=my model'" in page.text


def test_what_failed_stands_apart_with_its_reason(page):
    assert "FAILED : train/loss is nan at step 7 <b>" in page.text
    assert "4 of 5" in page.text


def test_texts_of_the_data_cannot_become_markup(runs):
    text = report(runs, title="A <i>sweep</i>")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "<i>" not in text


def test_pairs_that_changed_most_are_shown_with_their_similarities(page):
    assert "Improved most" in page.text
    assert re.search(r"gold 0\.\d+ · similarity -?\d\.\d+ → -?\d\.\d+", page.text)


def test_every_picture_says_what_it_shows(page):
    pictures = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) > 10
    for attributes in pictures:
        assert attributes.get("aria-hidden") == "true" or (attributes["role"] == "img" and attributes["aria-label"])


def test_headings_go_down_one_level_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_latency_and_mteb_are_shown_only_where_they_were_measured(runs, page):
    assert "Quality against latency" not in page.text
    assert "MTEB, task by task" not in page.text
    extra = [
        replace(
            run,
            metrics={
                **run.metrics,
                "latency/p50_ms": 3.0 + n,
                "mteb/Banking77Classification/main_score": 0.7 + n / 100,
            },
        )
        for n, run in enumerate(runs[:4])
    ]
    text = Page(report(extra, title="A sweep")).text
    assert "Quality against latency" in text
    assert "Banking77Classification" in text
    assert "0.7300" in text


def test_latency_that_was_not_measured_alike_is_not_drawn_together(runs):
    places = ("a", "b", "a", "a")
    measured = [
        replace(run, metrics={**run.metrics, "latency/p50_ms": 3.0 + n}, scored_on={"latency": place})
        for n, (run, place) in enumerate(zip(runs[:4], places, strict=True))
    ]
    text = Page(report(measured, title="t")).text
    assert "Left out: 1 measured elsewhere or on other texts." in text
    apart = [replace(run, scored_on={"latency": str(n)}) for n, run in enumerate(measured)]
    assert "Quality against latency" not in report(apart, title="t")
    assert "Quality against latency" not in report(measured, title="t", metric="latency/p50_ms")


def test_scores_that_are_not_of_the_same_data_are_told_of_and_none_of_them_is_called_the_best(runs):
    def measured(*, sets: int) -> str:
        found = [
            replace(
                run,
                metrics=run.metrics
                | {"latency/p50_ms": 3.0 + n, "mteb/A/main_score": 0.7 + n / 100, "mteb/B/main_score": 0.5 + n / 100},
                scored_on={"latency": f"machine {n % sets}", "mteb/A": "v1", "mteb/B": f"v{n % sets}"},
            )
            for n, run in enumerate(runs[:4])
        ]
        return report(found, title="t")

    text, said = measured(sets=2), "not of the same data, or not measured alike, in all rows; --metric"
    assert (
        f"Cannot be compared in all rows: p50 ms : {said} latency/p50_ms ranks each by itself "
        f"B : {said} mteb/B/main_score ranks each by itself"
    ) in Page(text).text
    assert text.count(said) == 2
    assert re.search(r'<td class="number h5"><strong>0\.7300</strong>', text)
    assert '<td class="number">0.5300</td>' in text
    alike = measured(sets=1)
    assert "Cannot be compared" not in alike
    assert "<strong>0.5300</strong>" in alike


def test_a_run_that_finished_without_the_metric_is_said_to_have_finished(runs):
    timed = replace(runs[0], metrics={**runs[0].metrics, "retrieval/ndcg_at_10": 0.5})
    text = Page(report([timed, *runs[1:]], title="t", metric="retrieval/ndcg_at_10")).text
    assert "Runs finished 4 of 5" in text
    assert "Without a score" in text
    assert "Not finished" not in text


def test_runs_of_different_pairs_are_never_in_one_table(runs):
    other = replace(runs[3], evaluation="other", params={**runs[3].params, "data.rows": "5000"})
    text = Page(report([*runs[:3], other], title="Two sets")).text
    assert "Scored on helpdesk (set 1 of 2)" in text
    assert "Scored on helpdesk with data.rows=5000 (set 2 of 2)" in text
    assert "is ranked first" not in text


def test_without_a_finished_run_the_failures_are_still_told(runs):
    text = Page(report(runs[4:], title="A sweep")).text
    assert "No run has finished with dev Spearman." in text
    assert "train/loss is nan at step 7" in text


def test_a_run_without_files_or_baseline_still_has_its_row(tmp_path):
    bare = Run(
        "a run",
        Status.FINISHED,
        None,
        {"loss": "mnr"},
        {"dev/spearman_cosine": 0.5},
        "e",
        where=str(tmp_path / "run.log"),
    )
    assert "0.5000" in Page(report([bare], title="One")).text


def test_a_report_that_cannot_be_made_leaves_the_old_one(runs, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(runs, path, title="First")

    def broken(*_, **__):
        raise ValueError("no ink")

    monkeypatch.setattr("embexp.report.page.figures", broken)
    with pytest.raises(ValueError, match="no ink"):
        write_report(runs, path, title="Second")
    assert "First" in path.read_text()
    assert [p.name for p in tmp_path.glob("*report*")] == ["report.html"]


def test_intervals_and_verdicts_stand_beside_the_scores(runs, page):
    verdicts = judge(runs, metric="dev/spearman_cosine")
    labels = [attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"]
    assert len(verdicts) == 4
    for verdict in verdicts:
        assert verdict.words in page.text
        said = f"{verdict.interval.value:.4f}, 95 % interval {verdict.interval.low:.4f} to {verdict.interval.high:.4f}"
        assert said in labels
    whiskers = [a for tag, a in page.tags if tag == "path" and "whisker" in (a.get("class") or "")]
    assert len(whiskers) == 8  # in the table, and against the batch size


def test_of_one_model_that_was_only_scored_there_is_nothing_to_say_in_words(tmp_path):
    settings = {"loss": "none", "model": "minilm"}
    scored = [leave_run(tmp_path / str(size), "mnr", size, params=settings) for size in (16, 32)]
    assert "In words" not in report(scored[:1], title="t")
    assert "In words" in report(scored, title="t")


def test_what_all_runs_share_is_told_by_the_names_of_files(runs):
    read = [replace(run, params={**run.params, "data.train": "/home/me/faq.csv"}) for run in runs]
    assert ("data.train", "faq.csv") in common_settings(read)


def test_a_report_without_the_best_runs_pairs_is_written_and_says_what_it_lacks(runs, caplog):
    best = max(runs[:4], key=lambda each: each.metrics["best/dev/spearman_cosine"])
    best.predictions.write_bytes(best.predictions.read_bytes()[:200])
    with caplog.at_level(logging.WARNING):
        text = report(runs, title="t")
    assert "What training changed" not in text
    (said,) = caplog.messages
    assert said.startswith("row 1, mnr · bs 32: what training changed is left out: ")
    assert str(best.predictions) in said


def cut(path, rows: int) -> None:
    pq.write_table(pq.read_table(path).slice(0, rows), path)


def test_which_rows_have_predictions_of_other_pairs_stands_below_the_table_without_where_they_lie(runs, tmp_path, page):
    assert "predictions there" not in page.text
    best = max(runs[:4], key=lambda each: each.metrics["best/dev/spearman_cosine"])
    cut(best.predictions, 50)
    text = Page(report(runs[:4], title="t")).text
    said = "row 1: the predictions there are of other pairs, or of a part of these, so there is no interval and no verdict: "
    assert f"{said}predictions.parquet; with rerun=true such a run is made anew." in text
    assert str(tmp_path) not in text
    # The others' verdicts are there, and what the best one's pairs would be is not.
    assert "loss=mnr, batch_size=16: " in text
    assert "Improved most" not in text


def test_a_run_that_is_alone_is_told_to_lack_pairs_and_those_that_are_left_are_not_shown(runs, caplog):
    best = max(runs[:4], key=lambda each: each.metrics["best/dev/spearman_cosine"])
    best.predictions.with_name("inputs.json").write_text('{"rows": {"dev_pairs": 200}}')
    assert "Improved most" in report([best], title="t")
    cut(best.predictions, 50)
    text = Page(report([best], title="t")).text
    assert "row 1: the predictions there are of 50 dev pairs, and it was scored on 200, so there is no interval" in text
    assert "Improved most" not in text
    assert "what training changed is left out: " in caplog.text


def test_of_another_run_s_predictions_no_pairs_are_shown(runs, caplog):
    best, other = runs[1], runs[0]
    table = pq.read_table(best.predictions)
    pearson = float(np.corrcoef(table["score"], table["cosine_after"])[0, 1])
    scored = replace(best, metrics={**best.metrics, "best/dev/pearson_cosine": pearson})
    assert "Improved most" in report([scored], title="t")
    shutil.copy(other.predictions, best.predictions)
    assert "Improved most" not in report([scored], title="t")
    assert f"and {pearson:.4f} was logged" in caplog.text


def test_a_best_run_that_kept_step_0_is_as_the_model_before_training(tmp_path):
    metrics = {"best/dev/spearman_cosine": 0.5, "gain/dev/spearman_cosine": 0.0}
    runs = [leave_run(tmp_path / str(size), "mnr", size, metrics=metrics) for size in (16, 32)]
    text = " ".join(Page(report(runs, title="t")).text.split())
    assert ", as the model before training." in text
    assert "below the model" not in text


def test_paths_of_one_name_are_told_apart_and_no_more_of_them_is_shown(tmp_path):
    params = {"loss": "mnr", "batch_size": 16}
    runs = [
        leave_run(tmp_path / fold, "mnr", 16, params={**params, "evaluation.path": f"/data/{fold}/test"})
        for fold in ("fold1", "fold2")
    ]
    text = report(runs, title="t")
    assert "evaluation.path fold1/test" in text
    assert ">fold2/test<" in text
    assert "/data/" not in text


@pytest.mark.parametrize("key", ["data.train", "model"])
def test_of_any_file_no_more_is_shown_than_tells_it_from_others(tmp_path, key):
    params = {"loss": "mnr", "batch_size": 16}
    runs = [
        leave_run(tmp_path / fold, "mnr", 16, params={**params, key: f"/home/me/{fold}/kept"})
        for fold in ("fold1", "fold2")
    ]
    text = report(runs, title="t")
    assert "fold1/kept" in text
    assert "/home/me" not in text


def test_a_run_is_told_from_others_by_keys_as_they_are_typed():
    assert shown("learning_rate", "1e-05") == "learning_rate 1e-05"
    assert shown("batch_size", "64") == "bs 64"
    assert shown("loss", "mnr") == "mnr"

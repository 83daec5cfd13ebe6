"""The sets of pairs: what each is called beside the others, and what stands above its table."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from datetime import datetime

import pytest

from embexp.compare.ranking import by_evaluation
from embexp.compare.runs import Run
from embexp.compare.sets import names_of
from embexp.compare.table import to_csv, to_markdown
from embexp.tracking import Status
from tests.compare.test_table import METRIC, drawn, run

DEV, TRAIN = "data.dev", "data.train"
SOURCE, TEST = "evaluation.source.dev", "evaluation.source.test"


def of_files(evaluation: str, settings: dict[str, str]) -> Run:
    found = run(0.6, evaluation=evaluation, data="files")
    return replace(found, params={**found.params, **settings}, started=0.0)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ({DEV: "/x/a/dev.csv"}, {DEV: "/x/b/dev.csv"}, (" with data.dev=a/dev.csv", " with data.dev=b/dev.csv")),
        # Without a dev file they are a part of train.
        ({TRAIN: "t.csv", DEV: "d.csv"}, {TRAIN: "t.csv"}, (" with data.dev=d.csv", " with data.train=t.csv")),
        ({TRAIN: "t.csv"}, {TRAIN: "t.csv", "data.seed": "7"}, ("", " with data.seed=7")),
        # What is trained on is of no account where the pairs are other files'.
        (
            {"evaluation": "files", SOURCE: "d.csv", TEST: "a.csv", TRAIN: "1.csv"},
            {"evaluation": "files+latency", SOURCE: "d.csv", TEST: "b.csv", TRAIN: "2.csv"},
            (f" with {TEST}=a.csv", f" with {TEST}=b.csv"),
        ),
        # A file that was changed.
        ({TRAIN: "t.csv"}, {TRAIN: "t.csv"}, (" with data.train=t.csv", " with data.train=t.csv")),
    ],
)
def test_sets_of_one_name_are_told_apart_by_their_files_or_else_by_other_settings_of_the_pairs(first, second, told):
    runs = [of_files("one", first), of_files("two", second)]
    names = [f"files{words}" for words in told]
    assert names_of(by_evaluation(runs, METRIC)) == names
    assert [row["scored_on"] for row in csv.DictReader(io.StringIO(to_csv(runs)))] == names
    markdown, text = to_markdown(runs), drawn(runs)
    for number, name in enumerate(names, start=1):
        assert f"| {name} |" in markdown
        assert f"scored on {name} (set {number} of 2)" in text


def test_of_several_sets_those_that_can_are_told_apart_though_two_are_alike():
    runs = [of_files("one", {TRAIN: "a.csv"}), of_files("two", {TRAIN: "b.csv"}), of_files("changed", {TRAIN: "b.csv"})]
    assert names_of(by_evaluation(runs, METRIC)) == [
        "files with data.train=a.csv",
        "files with data.train=b.csv",
        "files with data.train=b.csv",
    ]


def test_of_a_file_that_was_changed_each_set_says_when_it_was_first_scored_on():
    days = [datetime(2026, 11, day, 9, 5).timestamp() for day in (3, 2, 4)]
    runs = [replace(of_files(e, {DEV: "d.csv"}), started=day) for e, day in zip("aab", days, strict=True)]
    assert names_of(by_evaluation(runs, METRIC)) == [
        "files with data.dev=d.csv, first on 2026-11-02 09:05",
        "files with data.dev=d.csv, first on 2026-11-04 09:05",
    ]


@pytest.mark.parametrize("names", ["latency+stsb", "stsb+latency", "mteb+stsb+retrieval"])
def test_pairs_are_known_by_their_option_wherever_it_stands(names):
    assert names_of([[replace(run(0.6), params={"evaluation": names, "data": "helpdesk"})]]) == ["stsb"]
    own = replace(run(0.6), params={"evaluation": "latency+own", "data": "helpdesk"})
    assert names_of([[own]]) == ["helpdesk"]


def test_sets_of_other_names_are_called_by_their_names_alone():
    runs = [of_files("one", {DEV: "d.csv"}), of_files("two", {"evaluation": "stsb", DEV: "e.csv"})]
    assert names_of(by_evaluation(runs, METRIC)) == ["files", "stsb"]
    assert names_of(by_evaluation(runs[:1], METRIC)) == ["files"]


def test_a_title_tells_how_many_of_the_runs_its_table_has():
    first, second, third = (run(0.5, evaluation=pairs, data=pairs, batch_size=n) for n, pairs in enumerate("aab"))
    failed = run(None, status=Status.FAILED, reason="broke", evaluation="a")
    assert "Runs · scored on a\n" in drawn([first, second])
    assert "Runs · 2 here, scored on a\n" in drawn([first, second, failed])
    text = drawn([first, second, third, failed])
    assert "Runs · 2 here, scored on a (set 1 of 2)\n" in text
    assert "Runs · 1 here, scored on b (set 2 of 2)\n" in text

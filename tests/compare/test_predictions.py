"""Predictions that were lost, cut off or emptied: what the tables say of them, and that the other runs keep their verdicts."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from embexp.compare.judge import judge
from embexp.compare.predictions import ELSEWHERE, what_is_lacking
from embexp.compare.table import draw
from tests.compare.test_judge import METRIC, run


def drawn(runs) -> str:
    text = io.StringIO()
    draw(runs, console=Console(file=text, width=200), title="Runs")
    return text.getvalue()


def damage(path, how: str) -> None:
    whole = path.read_bytes()
    footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    path.write_bytes(
        {
            "emptied": b"",
            "cut off": whole[: len(whole) // 2],
            "another's": b"{}",
            "overwritten": whole[:footer] + bytes(len(whole) - 8 - footer) + whole[-8:],
        }[how]
    )


@pytest.mark.parametrize("how", ["emptied", "cut off", "another's", "overwritten"])
def test_a_damaged_file_is_named_and_costs_the_other_runs_no_verdict(tmp_path, how):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0))]
    damage(runs[1].predictions, how)
    assert [verdict.run for verdict in judge(runs, resamples=50)] == [runs[0], runs[2]]
    text = drawn(runs)
    assert f"row 2 left no predictions on this machine that can be read: {runs[1].predictions}; with rerun=true" in text
    assert "   3   batch_size=64: better than before training" in text


def test_where_the_best_is_damaged_that_is_why_nothing_is_compared_with_it(tmp_path):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6))]
    damage(runs[0].predictions, "cut off")
    text = drawn(runs)
    assert f"row 1 left no predictions on this machine that can be read: {runs[0].predictions}; with rerun=true" in text
    assert "row 1 left no predictions of these pairs on this machine: nothing is compared with it" in text


def test_where_no_run_left_any_one_line_says_so_and_where_they_were_looked_for(tmp_path):
    runs = [
        replace(run(tmp_path, size, noise=1.0), predictions=tmp_path / "mlruns" / str(size) / "predictions.parquet")
        for size in (16, 32, 64)
    ]
    said = "predictions on this machine, so there is no interval and no verdict"
    where = f"they were looked for in the runs' folders in {tmp_path / 'mlruns'}"
    assert [line for line in drawn(runs).splitlines() if said in line] == [f"no row left {said}; {where}"]
    alone = f"row 1 left no {said}; they were looked for in {tmp_path / 'mlruns' / '16'}"
    assert what_is_lacking(runs[:1], [], METRIC) == [alone]


def test_where_a_server_keeps_the_runs_files_they_are_not_said_to_be_absent_for_nobody_looked(tmp_path):
    first, *others = (run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0)))
    kept_there = [replace(each, predictions=None) for each in (first, *others)]
    said = f"predictions were not looked for, so there is no interval and no verdict: {ELSEWHERE}"
    assert what_is_lacking(kept_there, [], METRIC) == [f"all rows: {said}"]
    assert what_is_lacking(kept_there[:1], [], METRIC) == [f"row 1: {said}"]
    lost = replace(others[1], predictions=tmp_path / "nowhere")
    gone = "row 3: no predictions on this machine, so no interval and no verdict"
    assert what_is_lacking([*kept_there[:2], lost], [], METRIC) == [f"rows 1, 2: {said}", gone]
    assert what_is_lacking([first, kept_there[1], lost], [first], METRIC) == [f"row 2: {said}", gone]
    assert "on this machine" not in drawn(kept_there)


def test_of_what_is_there_or_cannot_be_judged_by_pairs_nothing_is_lacking(tmp_path):
    one, other = run(tmp_path, 16, noise=1.0), replace(run(tmp_path, 32, noise=1.0), predictions=None)
    assert what_is_lacking([one], [], METRIC) == []
    assert what_is_lacking([other], [], "time/training_seconds") == []


def test_rows_without_predictions_among_those_that_have_them_are_named(tmp_path):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((8, 0.1), (16, 0.3), (32, 0.6), (64, 1.0))]
    lost = [
        replace(each, predictions=tmp_path / "nowhere") if number in (1, 3) else each
        for number, each in enumerate(runs)
    ]
    text = drawn(lost)
    assert "rows 2, 4: no predictions on this machine, so no interval and no verdict\n" in text
    assert "of the best 2" not in text


def test_a_file_that_is_damaged_below_the_last_row_with_a_verdict_is_named_too(tmp_path):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6))]
    damage(runs[1].predictions, "cut off")
    assert (
        f"row 2 left no predictions on this machine that can be read: {runs[1].predictions}; with rerun=true"
        in drawn(runs)
    )


@pytest.mark.parametrize("pairs", [200, 300])
def test_similarities_of_other_pairs_are_compared_with_none(tmp_path, pairs):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0))]
    table = pq.read_table(runs[1].predictions)
    pq.write_table(table.take(list(range(pairs))[::-1]), runs[1].predictions)
    assert [verdict.run for verdict in judge(runs, resamples=50)] == [runs[0], runs[2]]
    assert (
        "row 2: the predictions there are of other pairs, or of a part of these, so there is no interval and no verdict: "
        f"{runs[1].predictions}; with rerun=true such a run is made anew\n"
    ) in drawn(runs)


def test_of_many_damaged_files_the_first_are_named(tmp_path):
    runs = [run(tmp_path, size, noise=1.0) for size in range(1, 11)]
    for each in runs:
        each.predictions.write_bytes(b"")
    lines = what_is_lacking(runs, [], METRIC)
    assert len(lines) == 10
    assert lines[8] == "and 2 more rows likewise"


def cut(path, rows: int) -> None:
    pq.write_table(pq.read_table(path).slice(0, rows), path)


@pytest.mark.parametrize("rows", [0, 10, 50])
def test_where_the_best_run_s_file_was_cut_the_others_keep_their_verdicts(tmp_path, rows):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0))]
    cut(runs[0].predictions, rows)
    assert [verdict.run for verdict in judge(runs, resamples=50)] == runs[1:]
    text = drawn(runs)
    assert "row 1: the predictions there are of other pairs, or of a part of these" in text
    assert "row 1 left no predictions of these pairs on this machine: nothing is compared with it" in text
    # Of two the longer one is taken for whole.
    assert [verdict.run for verdict in judge(runs[:2], resamples=50)] == runs[1:2]


def test_of_rows_that_share_a_number_the_one_that_is_meant_is_told(tmp_path):
    runs = [run(tmp_path, size, noise=0.3) for size in (16, 32, 64)]
    alike = [replace(each, metrics=runs[0].metrics) for each in runs]
    cut(alike[1].predictions, 50)
    assert "row 1 (batch_size=32): the predictions there are of other pairs" in drawn(alike)
    damage(alike[1].predictions, "emptied")
    assert "row 1 (batch_size=32) left no predictions on this machine that can be read: " in drawn(alike)
    lost = [replace(alike[0], predictions=tmp_path / "nowhere"), *alike[1:]]
    text = drawn(lost)
    assert "row 1 (batch_size=16): no predictions on this machine" in text
    assert (
        "row 1 (batch_size=16) left no predictions of these pairs on this machine: nothing is compared with it" in text
    )


def test_files_that_were_cut_to_too_few_pairs_are_not_those_by_which_the_others_are_judged(tmp_path):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0))]
    for each in runs[:2]:
        cut(each.predictions, 0)
    assert [verdict.run for verdict in judge(runs, resamples=50)] == runs[2:]


def test_several_files_that_were_cut_alike_do_not_outvote_a_whole_one(tmp_path):
    runs = [run(tmp_path, size, noise=noise) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0))]
    for each in runs[:2]:
        cut(each.predictions, 50)
    assert [verdict.run for verdict in judge(runs, resamples=50)] == runs[2:]
    assert "rows 1, 2: the predictions there are of other pairs, or of a part of these" in drawn(runs)


def with_pearson(one, metric: str = "best/dev/pearson_cosine", *, similarity: str = "cosine"):
    """The run with what it logs beside Spearman, of the similarities in its file."""
    table = pq.read_table(one.predictions)
    pearson = float(np.corrcoef(table["score"], table[f"{similarity}_after"])[0, 1])
    return replace(one, metrics={**one.metrics, metric: pearson})


def test_a_file_that_was_taken_for_another_run_s_is_named_and_the_others_keep_their_verdicts(tmp_path):
    runs = [with_pearson(run(tmp_path, size, noise=noise)) for size, noise in ((16, 0.3), (32, 0.6), (64, 1.0))]
    assert [verdict.run for verdict in judge(runs, resamples=50)] == runs
    assert what_is_lacking(runs, runs, METRIC) == []
    shutil.copy(runs[2].predictions, runs[1].predictions)
    assert [verdict.run for verdict in judge(runs, resamples=50)] == [runs[0], runs[2]]
    there, logged = (each.metrics["best/dev/pearson_cosine"] for each in (runs[2], runs[1]))
    assert (
        f"row 2: the predictions there give a dev/pearson_cosine of {there:.4f}, and {logged:.4f} was logged, so there is no interval "
        f"and no verdict: {runs[1].predictions}; with rerun=true such a run is made anew\n"
    ) in drawn(runs)
    assert judge(runs[1:2], resamples=50) == []


def test_the_score_of_a_file_is_that_of_the_split_and_the_similarity_that_are_compared(tmp_path):
    table = pq.read_table((one := run(tmp_path, 16, noise=0.3)).predictions)
    names = [name.replace("cosine", "dot") for name in table.column_names]
    split = table.column_names.index("split")
    of_test = table.set_column(split, "split", [["test"] * len(table)]).rename_columns(names)
    pq.write_table(of_test, one.predictions)
    metric = "test/spearman_dot"
    logged = with_pearson(one, "test/pearson_dot", similarity="dot")
    logged = replace(
        logged, metrics={**logged.metrics, metric: 0.9, "best/dev/pearson_dot": 0.1, "test/pearson_cosine": 0.1}
    )
    assert len(judge([logged], metric=metric, resamples=50)) == 1
    other = replace(logged, metrics={**logged.metrics, "test/pearson_dot": 0.1})
    assert judge([other], metric=metric, resamples=50) == []
    (line,) = what_is_lacking([other], [], metric)
    assert line.startswith("row 1: the predictions there give a test/pearson_dot of 0.9")


@pytest.mark.parametrize("apart", [1e-1, 1e-3, 1e-6, 2e-7, 0.0])
def test_what_float32_makes_of_similarities_is_not_taken_for_another_run_s(tmp_path, apart):
    table = pq.read_table((one := run(tmp_path, 16, noise=0.3)).predictions)
    place = table.column_names.index("cosine_after")
    before = 0.99 + apart * np.asarray(table["cosine_after"])
    pearson = float(np.corrcoef(table["score"], before)[0, 1]) if apart else 0.5
    pq.write_table(table.set_column(place, "cosine_after", [before.astype(np.float32)]), one.predictions)
    logged = replace(one, metrics={**one.metrics, "best/dev/pearson_cosine": pearson})
    assert what_is_lacking([logged], [], METRIC) == []


def test_a_split_of_which_no_pair_is_left_has_no_score_that_could_be_another(tmp_path):
    one = with_pearson(run(tmp_path, 16, noise=0.3))
    cut(one.predictions, 0)
    assert what_is_lacking([one], [], METRIC) == []


def recorded(runs, *, pairs: int):
    """The runs, each in a folder of its own, with the number of dev pairs that it was scored on."""
    for each in runs:
        folder = each.predictions.with_suffix("")
        folder.mkdir()
        (folder / "inputs.json").write_text(f'{{"key": "k", "rows": {{"read": 9, "dev_pairs": {pairs}}}}}')
        each.predictions.rename(folder / "predictions.parquet")
    return [replace(each, predictions=each.predictions.with_suffix("") / "predictions.parquet") for each in runs]


def test_a_run_that_is_alone_is_not_judged_on_what_is_left_of_its_pairs(tmp_path):
    (one,) = recorded([run(tmp_path, 16, noise=0.3)], pairs=300)
    assert len(judge([one], resamples=50)) == 1
    cut(one.predictions, 50)
    assert judge([one], resamples=50) == []
    said = "row 1: the predictions there are of 50 dev pairs, and it was scored on 300, so there is no interval and no "
    assert what_is_lacking([one], [], METRIC) == [
        f"{said}verdict: {one.predictions}; with rerun=true such a run is made anew"
    ]
    lost = replace(one, predictions=tmp_path / "nowhere", metrics={f"best/{METRIC}": 0.1})
    assert what_is_lacking([one, lost], [], METRIC)[1:] == [
        "row 2: no predictions on this machine, so no interval and no verdict"
    ]


def test_of_files_of_more_or_other_pairs_those_count_that_a_run_has_recorded(tmp_path):
    whole, other = recorded([run(tmp_path, size, noise=noise) for size, noise in ((16, 0.6), (32, 0.9))], pairs=300)
    longer = [run(tmp_path, size, noise=0.3, pairs=400) for size in (64, 128)]
    assert [verdict.run for verdict in judge([*longer, whole], resamples=50)] == [whole]
    longer[0].predictions.replace(other.predictions)
    assert [verdict.run for verdict in judge([whole, other], resamples=50)] == [whole]
    assert "row 2: the predictions there are of 400 dev pairs, and it was scored on 300" in drawn([whole, other])

"""Runs that differ by their seed alone: one row, and what can be said of it."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from embexp.compare.predictions import ELSEWHERE
from embexp.compare.ranking import score_of
from embexp.compare.seeds import by_seed, draw_by_seed, rows_by_seed
from embexp.tracking import Status
from tests.compare.test_judge import METRIC
from tests.compare.test_judge import run as judged


def seeds(folder, batch_size: int, noises) -> list:
    runs = [judged(folder, batch_size * 100 + seed, noise=noise) for seed, noise in enumerate(noises)]
    return [
        replace(run, params={"loss": "mnr", "batch_size": str(batch_size), "seed": str(seed)})
        for seed, run in enumerate(runs)
    ]


def drawn(runs, **given) -> str:
    text = io.StringIO()
    draw_by_seed(runs, console=Console(file=text, width=150, no_color=True), title="Runs", **given)
    return text.getvalue()


def test_a_row_has_the_mean_and_the_standard_deviation_of_its_seeds(tmp_path):
    runs = [*seeds(tmp_path, 32, (1.0, 1.1, 1.2)), *seeds(tmp_path, 64, (0.5, 0.6))]
    first, second = by_seed(runs)
    assert [run.params["batch_size"] for run in first.runs] == ["64", "64"]
    scores = [score_of(run, METRIC) for run in runs[:3]]
    assert (second.spread.seeds, second.spread.mean) == (3, pytest.approx(np.mean(scores)))
    assert second.spread.sd == pytest.approx(np.std(scores, ddof=1))


def test_what_runs_were_warned_of_stands_under_the_table_with_the_rows_that_they_are_in(tmp_path):
    leaked = [replace(run, cautions=("dev and train: ...",)) for run in seeds(tmp_path, 32, (1.5, 1.6, 1.55))]
    others = seeds(tmp_path, 64, (0.4, 0.42, 0.41))
    assert "! row 2: dev and train: ...\n" in drawn([*leaked, *others])
    clean = [replace(run, cautions=()) for run in leaked[1:]]
    assert "! row 2 (seed=0): dev and train: ...\n" in drawn([leaked[0], *clean, *others])


def test_a_clear_difference_is_told(tmp_path):
    text = drawn([*seeds(tmp_path, 32, (1.5, 1.6, 1.55)), *seeds(tmp_path, 64, (0.4, 0.42, 0.41))])
    assert "batch_size=32: worse than the best (batch_size=64) by 0." in text


def test_where_seeds_differ_more_than_settings_it_is_told_how_many_more_are_needed(tmp_path):
    text = drawn([*seeds(tmp_path, 32, (0.3, 1.4, 0.8)), *seeds(tmp_path, 64, (0.25, 1.1, 0.6))])
    assert "batch_size=32: cannot be told apart from the best (batch_size=64); a difference of 0." in text
    assert "more seeds of each" in text


def with_gain(run, base: float):
    score = run.metrics[f"best/{METRIC}"]
    return replace(run, metrics={**run.metrics, f"gain/{METRIC}": score - base})


def test_a_row_has_the_gain_over_the_model_before_training_which_stands_below(tmp_path):
    runs = [with_gain(run, 0.5) for run in [*seeds(tmp_path, 32, (1.0, 1.1, 1.2)), *seeds(tmp_path, 64, (0.4,))]]
    gains = [run.metrics[f"gain/{METRIC}"] for run in runs]
    text = drawn(runs)
    assert f"{np.mean(gains[:3]):+.4f} ± {np.std(gains[:3], ddof=1):.4f}" in text
    # Of one seed there is no spread.
    assert re.search(rf"\+{gains[3]:.4f}  ", text)
    assert re.search(r"before training +0\.5000\n", re.sub(" +\n", "\n", text))


def test_of_several_models_before_training_each_is_named(tmp_path):
    runs = [
        replace(with_gain(run, base), params={**run.params, "model": model})
        for model, base, size in (("a", 0.5, 32), ("b", 0.4, 64))
        for run in seeds(tmp_path, size, (1.0, 1.1))
    ]
    text = drawn(runs)
    assert re.search(r"before training \(a\) +0\.5000", text)
    assert re.search(r"before training \(b\) +0\.4000", text)


def test_runs_that_know_of_no_gain_have_no_column_for_it(tmp_path):
    text = drawn(seeds(tmp_path, 32, (1.0, 1.1)))
    assert "gain" not in text
    assert "before training" not in text


def test_a_narrow_terminal_has_fewer_columns_and_whole_numbers(tmp_path):
    runs = [with_gain(run, 0.5) for run in seeds(tmp_path, 32, (1.0, 1.1))]
    text = io.StringIO()
    draw_by_seed(runs, console=Console(file=text, width=60, force_terminal=True, color_system=None), title="Runs")
    (group,) = by_seed(runs)
    assert f"{group.spread.mean:.4f}" in text.getvalue()
    assert f"± {group.spread.sd:.4f}" in text.getvalue()
    assert "no room for sd over pairs, sd over seeds" in text.getvalue()
    assert "…" not in text.getvalue()


@pytest.mark.parametrize(
    ("of_others", "of_best", "more"), [((1.0, 1.1), (0.5,), " of the best"), ((1.0,), (0.5, 0.6), "")]
)
def test_one_seed_is_told_to_say_nothing_and_whose_it_is(tmp_path, of_others, of_best, more):
    text = drawn([*seeds(tmp_path, 32, of_others), *seeds(tmp_path, 64, of_best)])
    assert f"one seed says nothing of the others; run more{more}: seed=1,2,3" in text


def test_what_is_said_of_many_settings_alike_is_said_once(tmp_path):
    runs = [run for number in range(1, 12) for run in seeds(tmp_path, number, (number / 4,))]
    lines = [line for line in drawn(runs).replace("\n", " ").split("   ") if "one seed says nothing" in line]
    (said,) = lines
    assert "rows 2, 3, 4, 5, 6, 7, 8, 9 and 2 more: cannot be compared with the best (batch_size=1): one seed" in said


def test_without_predictions_the_seeds_are_still_averaged(tmp_path):
    runs = [replace(run, predictions=None) for run in seeds(tmp_path, 32, (1.0, 1.1))]
    (group,) = by_seed(runs)
    assert group.spread.seeds == 2
    assert group.drawn is None


def test_a_difference_is_corrected_for_the_number_of_settings(tmp_path):
    runs = [run for size, noise in ((32, 1.0), (64, 0.8)) for run in seeds(tmp_path, size, (noise, noise, noise))]
    more = [run for size in (8, 16, 128) for run in seeds(tmp_path, size, (0.9, 0.9, 0.9))]
    alone, among = (
        next(row["p_against_best"] for row in rows_by_seed(of) if row["batch_size"] == "32")
        for of in (runs, [*runs, *more])
    )
    assert alone < among


def test_a_metric_that_no_pairs_judge_is_not_said_to_lack_predictions(tmp_path):
    runs = [*seeds(tmp_path, 32, (1.0, 1.1)), *seeds(tmp_path, 64, (0.5, 0.6))]
    timed = [replace(run, metrics={**run.metrics, "time/x": float(number)}) for number, run in enumerate(runs)]
    text = drawn(timed, metric="time/x")
    assert "no pairs are kept that judge time/x; what is known is how far seeds differ" in text
    away = [replace(run, predictions=None) for run in runs]
    said = f"its predictions were not looked for: {ELSEWHERE}; what is known is how far seeds differ"
    assert said in drawn(away).replace("\n", "")


def test_settings_that_were_scored_on_too_few_pairs_are_not_said_to_lack_predictions(tmp_path):
    few = [judged(tmp_path, number, noise=0.5, pairs=6) for number in range(4)]
    runs = [replace(run, params={"batch_size": str(n // 2), "seed": str(n % 2)}) for n, run in enumerate(few)]
    assert ": 6 dev pairs are too few for an interval or a verdict, which take 20 at least; what is known" in drawn(
        runs
    )


def test_settings_that_look_alike_are_told_apart_by_their_rows(tmp_path):
    runs = [*seeds(tmp_path, 32, (1.5, 1.6)), *seeds(tmp_path, 64, (0.4, 0.42))]
    alike = [replace(run, params={**run.params, "batch_size": "8"}, setting=run.params["batch_size"]) for run in runs]
    text = drawn(alike)
    assert "\n   2   loss=mnr, batch_size=8: worse than the best (row 1: loss=mnr, batch_size=8) by" in text
    assert "rows 1, 2 differ in nothing that a column shows" in text
    assert "differ in nothing" not in drawn(runs)


def test_the_rows_of_the_table_are_to_be_had_as_such(tmp_path):
    best, other = rows_by_seed([*seeds(tmp_path, 32, (1.5, 1.6, 1.55)), *seeds(tmp_path, 64, (0.4, 0.42, 0.41))])
    assert [(row["rank"], row["batch_size"], row["seeds"]) for row in (best, other)] == [(1, "64", 3), (2, "32", 3)]
    assert best["best/dev/spearman_cosine"] - other["best/dev/spearman_cosine"] == pytest.approx(-other["against_best"])
    assert best["against_best"] is None
    assert other["p_against_best"] < 0.05
    assert other["sd_over_seeds"] > 0
    assert "seed" not in best


def test_of_what_costs_less_is_better(tmp_path):
    runs = [*seeds(tmp_path, 32, (1.0, 1.1)), *seeds(tmp_path, 64, (0.5, 0.6))]
    timed = [
        replace(run, metrics={**run.metrics, "time/training_seconds": 10.0 * int(run.params["batch_size"]) + number})
        for number, run in enumerate(runs)
    ]
    first, second = by_seed(timed, metric="time/training_seconds")
    assert [first.spread.mean, second.spread.mean] == [320.5, 642.5]
    assert [run.metrics["time/training_seconds"] for run in first.runs] == [320.0, 321.0]
    text = drawn(timed, metric="time/training_seconds")
    assert "5m 20s" in text
    assert "0.71s" in text


def test_what_is_left_out_is_counted_by_its_reason(tmp_path):
    first, second, third, fourth = seeds(tmp_path, 32, (1.0, 1.1, 1.2, 1.3))
    failed, unscored = replace(second, status=Status.FAILED), replace(third, metrics={})
    again = replace(first, started=first.started + 1)
    text = drawn([first, failed, unscored, fourth, again])
    assert f"left out: 1 not finished, 1 without {METRIC}, 1 run anew since.\n" in text
    assert "Runs · 2 here, scored on own data\n" in text
    assert "left out: 1 not finished.\n" in drawn([failed])
    assert "left out" not in drawn([first, fourth])


def test_each_set_of_pairs_has_a_table_of_its_own(tmp_path):
    here = seeds(tmp_path, 32, (1.0, 1.1))
    there = [
        replace(run, evaluation="others", params={**run.params, "data": "stsb"})
        for run in seeds(tmp_path, 64, (0.4, 0.5, 0.6))
    ]
    text = drawn([*here, *there])
    assert "2 sets of runs were scored on" in text
    first, second = text.split("Runs · ")[1:]
    assert first.startswith("2 here, scored on own data (set 1 of 2)\n")
    assert second.startswith("3 here, scored on stsb (set 2 of 2)\n")
    for table, runs in ((first, here), (second, there)):
        assert f"{np.mean([score_of(run, METRIC) for run in runs]):.4f}" in table
    assert "left out" not in text
    assert "the best (" not in text


def test_the_score_has_the_title_that_it_has_in_the_other_table(tmp_path):
    runs = seeds(tmp_path, 32, (1.0, 1.1))
    assert "dev Spearman" in drawn(runs)
    assert METRIC not in drawn(runs)
    served = [replace(run, metrics={"latency/p50_ms": 7.1234}) for run in runs]
    text = drawn(served, metric="latency/p50_ms")
    assert "7.12 ms" in text
    assert "latency: median of the calls" in text
    gained = [with_gain(run, 0.5) for run in runs]
    gains = [run.metrics[f"gain/{METRIC}"] for run in gained]
    assert f"{np.mean(gains):.4f}" in drawn(gained, metric=f"gain/{METRIC}")


def test_a_run_that_was_made_anew_is_no_further_seed(tmp_path):
    first, second = seeds(tmp_path, 32, (1.0, 1.1))
    again = replace(first, started=first.started + 1, metrics={**first.metrics, f"best/{METRIC}": 0.123})
    (group,) = by_seed([first, second, again])
    assert group.spread.seeds == 2
    assert 0.123 in group.scores


def test_a_model_that_was_scored_anew_has_not_two_seeds(tmp_path):
    settings = {"loss": "none", "model": "minilm"}
    scored = replace(judged(tmp_path, 1, noise=1.0), params=settings, where="run 1", started=1.0)
    again = replace(scored, where="run 2", started=2.0)
    (group,) = by_seed([scored, again])
    assert group.runs == (again,)
    trained = seeds(tmp_path, 64, (0.4, 0.42, 0.41))
    text = drawn([scored, again, *trained])
    assert "one seed says nothing of the others" in text
    assert "left out: 1 run anew since.\n" in text


def test_runs_of_other_settings_are_no_seeds_of_each_other_even_where_their_names_are_alike(tmp_path):
    runs = seeds(tmp_path, 32, (1.0, 1.1))
    assert len(by_seed([replace(run, setting=str(number)) for number, run in enumerate(runs)])) == 2
    assert len(by_seed([replace(run, setting="one") for run in runs])) == 1


def test_why_a_setting_is_not_judged_is_the_true_reason(tmp_path, monkeypatch):
    best, other = seeds(tmp_path, 64, (0.3, 0.4)), seeds(tmp_path, 32, (1.0, 1.1))
    cannot = "batch_size=32: cannot be compared with the best (batch_size=64): "
    lost = [replace(run, predictions=tmp_path / "nowhere") for run in best]
    assert f"{cannot}the best's predictions are not on this machine;" in drawn([*lost, *other])
    damaged = other[0].predictions
    damaged.rename(tmp_path / "kept")
    assert f"{cannot}its predictions are not on this machine;" in drawn([*best, *other])
    damaged.write_bytes(b"")
    # Rich breaks what is long into lines.
    assert f"{cannot}its predictions cannot be read: {damaged};" in drawn([*best, *other]).replace("\n", "")
    (tmp_path / "kept").rename(damaged)
    whole = pq.read_table(damaged)
    pq.write_table(whole.slice(0, 50), damaged)
    text = drawn([*best, *other]).replace("\n", "")
    assert f"{cannot}its predictions are of other pairs, or of a part of these: {damaged}; with rerun=true" in text
    (tmp_path / "inputs.json").write_text('{"rows": {"dev_pairs": 300}}')
    text = drawn([*best, *other]).replace("\n", "")
    assert f"{cannot}its predictions are of 50 dev pairs, and it was scored on 300: {damaged};" in text
    pq.write_table(whole, damaged)
    others = replace(other[0], metrics={**other[0].metrics, "best/dev/pearson_cosine": 0.1234})
    text = drawn([*best, others, *other[1:]]).replace("\n", "")
    assert f"{cannot}its predictions give a dev/pearson_cosine of 0." in text
    assert f", and 0.1234 was logged: {damaged};" in text
    monkeypatch.setattr("embexp.compare.seeds.MOST_RUNS", 3)
    text = drawn([*best, *other])
    assert f"{cannot}pairs are resampled of the first 3 runs alone; name fewer, as loss=mnr;" in text


def test_of_more_runs_than_are_resampled_the_best_settings_keep_all_their_seeds(tmp_path, monkeypatch):
    # By their runs alone the second setting's better seed would come before the first one's worse one.
    runs = [*seeds(tmp_path, 64, (0.3, 0.6)), *seeds(tmp_path, 32, (0.5, 0.9)), *seeds(tmp_path, 16, (1.0, 1.2))]
    monkeypatch.setattr("embexp.compare.seeds.MOST_RUNS", 4)
    assert [group.drawn is not None for group in by_seed(runs, resamples=50)] == [True, True, False]
    assert [group.drawn is not None for group in by_seed(runs[2:], resamples=50)] == [True, True]

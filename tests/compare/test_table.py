"""The table: what is ranked, what is told apart, and that its files hold what it shows."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from embexp.compare.filters import filtered
from embexp.compare.ranking import differing, ranked
from embexp.compare.runs import Run, read_runs, runs_of, with_rows
from embexp.compare.table import as_json, draw, rows_of, to_csv, to_markdown
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.naming import run_params
from embexp.statistics import Difference
from embexp.tracking import Status
from embexp.tracking.local import StoredRun
from tests.compare.test_judge import run as judged

METRIC = "dev/spearman_cosine"


def run(
    score: float | None, *, base: float = 0.5, status=Status.FINISHED, reason=None, evaluation="e", **params
) -> Run:
    metrics = {} if score is None else {f"best/{METRIC}": score, f"gain/{METRIC}": score - base}
    settings = {"loss": "mnr", "batch_size": "32", **{key: str(value) for key, value in params.items()}}
    return Run("a run", status, reason, settings, metrics, evaluation, {"parent": 1.0}, 1.0, "run 1")


def drawn(runs, **given) -> str:
    text = io.StringIO()
    draw(runs, console=Console(file=text, width=100), title="Runs", **given)
    return text.getvalue()


def test_the_best_comes_first_and_equal_scores_share_a_rank():
    order = ranked([run(0.6), run(0.8), run(0.6), run(0.5)], METRIC)
    assert [rank for rank, _ in order] == [1, 2, 2, 4]


def test_a_failed_run_is_told_apart_with_its_reason_even_if_it_has_a_score():
    text = drawn([run(0.6), run(0.9, status=Status.FAILED, reason="train/loss is nan at step 7")])
    assert "0.6000" in text
    assert "0.9000" not in text
    assert "train/loss is nan at step 7" in text


def test_the_model_before_training_stands_below_and_gains_are_signed():
    text = drawn([run(0.6, base=0.7, batch_size=64), run(0.75, base=0.7)])
    assert "before training" in text
    assert "0.7000" in text
    assert "-0.1000" in text
    assert "+0.0500" in text


def test_where_no_cosine_stands_in_a_table_none_is_spoken_of():
    other = replace(run(None), metrics={"best/dev/spearman_manhattan": 0.5})
    assert "cosine similarity" not in drawn([other], metric="dev/spearman_manhattan")
    assert "cosine similarity" in drawn([run(0.6)])


def test_columns_are_what_differs():
    assert differing([run(0.5, batch_size=32), run(0.5, batch_size=64)]) == ["batch_size"]
    with_scale = Run("a", Status.FINISHED, None, {"loss": "mnr", "loss.scale": "20"}, {})
    assert differing([with_scale, Run("b", Status.FINISHED, None, {"loss": "cosine"}, {})]) == ["loss"]


def test_of_the_precision_that_was_asked_for_and_the_one_that_it_became_the_latter_is_shown():
    bf16, fp32 = (run(0.5, precision=name, **{"trainer.precision": name}) for name in ("bf16", "fp32"))
    assert differing([bf16, fp32]) == ["precision"]
    alike = run(0.5, precision="bf16", **{"trainer.precision": "auto"})
    assert differing([bf16, alike]) == ["trainer.precision"]
    assert differing([bf16, alike, fp32]) == ["precision", "trainer.precision"]


def test_what_was_typed_for_one_run_differs_from_the_default_of_the_others():
    assert differing([run(0.5), run(0.6, **{"trainer.weight_decay": 0.1})]) == ["trainer.weight_decay"]
    assert differing([run(0.5), run(0.6, max_steps=7)]) == ["max_steps"]
    assert differing([run(0.5, device="cpu"), run(None, status=Status.FAILED, reason="broke early")]) == []
    only_scored = run(0.4, loss="none")
    assert differing([only_scored, run(0.6, **{"trainer.weight_decay": 0.1})]) == ["loss"]


def test_runs_scored_on_different_pairs_are_not_ranked_together():
    text = drawn([run(0.6, evaluation="one"), run(0.9, evaluation="two")])
    assert "set 1 of 2" in text
    assert "set 2 of 2" in text
    assert "2 sets of runs were scored on other data, or measured otherwise; scores of one say nothing beside" in text
    assert to_markdown([run(0.6, evaluation="one"), run(0.9, evaluation="two")]).startswith("2 sets of runs were")
    assert "sets of runs" not in drawn([run(0.6, evaluation="one"), run(0.9, evaluation="one")])


def beside(score: float, on: str, value: float, **params) -> Run:
    found = run(score, **params)
    metrics = {**found.metrics, "retrieval/ndcg_at_10": value}
    return replace(found, metrics=metrics, scored_on={"retrieval": on, "mteb/A": "a"})


def test_runs_that_were_scored_beside_the_pairs_on_other_data_are_ranked_by_it_apart():
    runs = [beside(0.6, "v1", 0.5, batch_size=8), beside(0.7, "v2", 0.4, batch_size=16), beside(0.8, "v1", 0.3)]
    text = drawn(runs, metric="retrieval/ndcg_at_10")
    assert "2 sets of runs were scored on" in text
    assert [row["rank"] for row in rows_of(runs, "retrieval/ndcg_at_10")] == [1, 2, 1]
    assert "2 sets" not in drawn(runs, metric="mteb/A/main_score") + drawn(runs)


def test_a_column_of_scores_that_are_not_of_the_same_data_is_told_of():
    said = "! nDCG@10: not of the same data, or not measured alike, in all rows; --metric retrieval/ndcg_at_10 ranks"
    mixed = [beside(0.6, "v1", 0.5, batch_size=8), beside(0.7, "v2", 0.4)]
    assert said in drawn(mixed)
    assert f"- {said}" in to_markdown(mixed)
    assert "not of the same data" not in drawn([beside(0.6, "v1", 0.5, batch_size=8), beside(0.7, "v1", 0.4)])


def test_where_the_best_left_no_predictions_it_is_told(tmp_path):
    judged_runs = [judged(tmp_path, size, noise=1.0) for size in (32, 64)]
    text = drawn([run(0.99, evaluation="e"), *judged_runs])
    assert "row 1 left no predictions of these pairs on this machine: nothing is compared with it" in text
    assert "cannot be told apart from the best" not in text


def test_of_one_model_that_was_only_scored_its_name_is_shown():
    text = drawn([run(0.6, loss="none", model="minilm")])
    assert "minilm" in text
    assert "none" not in text
    assert to_csv([run(0.6, loss="none", model="minilm")]).splitlines()[0].split(",")[6] == "model"
    assert "| rank | model | scored on |" in to_markdown([run(0.6, loss="none", model="minilm")])


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_score_is_cut_off_whatever_the_width(width):
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=True)
    draw([run(0.6123, batch_size=n) for n in (32, 64)], console=console, title="Runs")
    assert "0.6123" in text.getvalue()
    assert "+0.1123" in text.getvalue()


def test_csv_and_json_hold_every_run():
    runs = [run(0.6), run(None, status=Status.KILLED, reason="interrupted")]
    rows = list(csv.DictReader(io.StringIO(to_csv(runs))))
    assert [row["status"] for row in rows] == ["FINISHED", "KILLED"]
    assert rows[0][f"best/{METRIC}"] == "0.6"
    assert json.loads(as_json(rows_of(runs)))[1]["reason"] == "interrupted"
    assert "KILLED: a run: interrupted" in to_markdown(runs)


def test_the_markdown_shows_what_it_is_ranked_by_beside_its_own_gain():
    def scored(dot: float, cosine: float, **params) -> Run:
        found = run(cosine, base=0.4, **params)
        by_dot = {"best/dev/spearman_dot": dot, "gain/dev/spearman_dot": dot - 0.25}
        return replace(found, metrics={**found.metrics, **by_dot})

    runs = [scored(0.5, 0.9, batch_size=32), scored(0.6, 0.8, batch_size=64)]
    failed = replace(run(None, status=Status.FAILED, reason="broke"), metrics={"test/spearman_cosine": 0.9})
    head, _, *rows = to_markdown([*runs, failed], "dev/spearman_dot").split("\n\n")[0].splitlines()
    assert head == "| rank | batch_size | scored on | dev/spearman_dot | dev Spearman | gain |"
    assert rows == [
        "| 1 | 64 | own data | 0.6000 | 0.8000 | 0.3500 |",
        "| 2 | 32 | own data | 0.5000 | 0.9000 | 0.2500 |",
    ]


def test_filters_choose_by_setting_and_by_sweep():
    runs = [run(0.5, batch_size=32), run(0.6, batch_size=64)]
    assert filtered(runs, ["batch_size=64"]) == runs[1:]
    assert filtered(runs, ["sweep=last"]) == runs
    assert filtered(runs, ["sweep=par"]) == runs


def test_of_a_cost_the_least_is_the_best():
    runs = [replace(run(0.5), metrics={"time/training_seconds": seconds}) for seconds in (3.0, 1.0, 2.0)]
    assert [found.metrics["time/training_seconds"] for _, found in ranked(runs, "time/training_seconds")] == [1, 2, 3]


def test_runs_of_other_pairs_are_ranked_apart_in_every_form():
    runs = [run(0.9, evaluation="a", data="one"), run(0.5, evaluation="b", data="two")]
    assert [row["rank"] for row in csv.DictReader(io.StringIO(to_csv(runs)))] == ["1", "1"]
    assert [row["scored_on"] for row in rows_of(runs)] == ["one", "two"]
    assert to_markdown(runs).count("| 1 |") == 2


def test_of_several_models_before_training_each_is_named():
    text = drawn([run(0.6, base=0.5, model="a"), run(0.7, base=0.4, model="b")])
    assert "before training (a)" in text
    assert "before training (b)" in text


def test_the_last_sweep_has_the_runs_that_it_found_finished_too():
    first, second = run(0.5, seed=1), replace(run(0.6, seed=2), sweeps={"later": 2.0})
    found = replace(first, sweeps={"parent": 1.0, "later": 2.0})
    assert filtered([found, second], ["sweep=last"]) == [found, second]
    assert filtered([found, second], ["sweep=parent"]) == [found]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["batchsize=64"], "Did you mean 'batch_size'?"),
        (["loss=mrn"], "loss=mrn: no run has this. Did you mean 'mnr'? There are: cosine, mnr."),
        (["loss=mrn,cosin"], "Did you mean 'mnr'? Did you mean 'cosine'? There are: cosine, mnr."),
        (["loss=mnr", "seed=7"], "seed=7: none of the 1 that are left has this. There are: 1."),
        (["status=done"], "There are: finished."),
        (["mnr"], "Did you mean 'loss=mnr'?"),
        (["sweep=lst"], "Did you mean 'last'?"),
        (["sweep=,"], "sweep=,: no run has this. There are: latersom, parentof."),
        (["loss=mnr", "loss.scale=5"], "Keys: "),
        (["sweep=zzz"], "sweep=zzz: no run has this. There are: latersom, parentof."),
        (["loss=mnr", "sweep=last"], "sweep=last: none of the 1 that are left has this. There are: parentof."),
    ],
)
def test_a_filter_that_finds_nothing_says_what_there_is(words, said):
    first = replace(run(0.5, loss="mnr", seed=1), sweeps={"parentofthefirst": 1.0})
    second = replace(run(0.6, loss="cosine", seed=2), sweeps={"latersomebody": 2.0})
    with pytest.raises(ConfigError) as refused:
        filtered([first, second], words)
    assert said in str(refused.value)


@pytest.mark.parametrize("typed", ["2e-5", "0.00002", "5e-4,2e-5"])
def test_in_place_of_a_number_that_no_run_has_those_are_told_that_there_are_and_none_that_is_written_alike(
    typed, capsys
):
    runs = [run(0.5, learning_rate="5e-05"), run(0.6, learning_rate="1e-05")]
    with pytest.raises(ConfigError) as refused:
        filtered(runs, [f"learning_rate={typed}"])
    assert str(refused.value) == f"learning_rate={typed}: no run has this. There are: 1e-05, 5e-05."
    assert filtered(runs, [f"learning_rate=1e-5,{typed}"]) == runs[1:]
    assert capsys.readouterr().err == f"learning_rate={typed}: no run has this. There are: 1e-05, 5e-05.\n"


def test_a_sweep_whose_id_begins_with_digits_is_suggested_though_these_are_a_number():
    swept = replace(run(0.5), sweeps={"12345678": 1.0})
    with pytest.raises(ConfigError, match="Did you mean '12345678'"):
        filtered([swept], ["sweep=12345677"])


def test_the_values_that_there_are_are_told_as_they_are_typed():
    runs = [run(0.5, epochs="1.0"), run(0.6, epochs="0.5"), run(0.6, epochs="-2.0"), run(0.6, epochs="v2.0")]
    with pytest.raises(ConfigError, match=r"epochs=3: no run has this\..* There are: v2\.0, -2, 0\.5, 1\."):
        filtered(runs, ["epochs=3"])


@pytest.mark.parametrize("typed", ["{anchor: frage, positive: antwort}", "{anchor:frage,positive:antwort}"])
def test_a_filter_finds_a_dictionary_as_a_run_and_as_a_sweep_s_job_keeps_it(typed):
    runs = [run(0.5, columns="{anchor: frage, positive: antwort}"), run(0.6, columns="{anchor:frage,positive:antwort}")]
    assert filtered([*runs, run(0.7, columns="{anchor: frage, positive: andere}")], [f"columns={typed}"]) == runs


def test_a_filter_takes_several_values_and_one_that_holds_a_comma():
    listed = run(0.5, **{"loss.directions": "[a,b]"})
    other = run(0.6, loss="cosine", batch_size=64)
    assert filtered([listed, other], ["loss.directions=[a,b]"]) == [listed]
    kept = replace(listed, params={"matryoshka_dims": "[32, 8]"})
    assert filtered([kept, other], ["matryoshka_dims=[32,8]"]) == [kept]
    assert filtered([listed, other], ["loss=cosine,mnr", "batch_size=64,128"]) == [other]
    for added in ("+", "++"):
        assert filtered([listed, other], [f"{added}batch_size=64,128"]) == [other]
    assert filtered([listed, other], ["status=FAILED,Finished"]) == [listed, other]


def test_a_filter_says_how_many_runs_have_no_such_setting_but_its_default(capsys):
    typed, untyped = run(0.5, **{"trainer.precision": "fp32"}), run(0.6, **{"loss.scale": "20"})
    assert filtered([typed, untyped], ["loss.scale=20"]) == [untyped]
    assert capsys.readouterr().err == ""
    assert filtered([typed, untyped], ["trainer.precision=fp32"]) == [typed]
    said = "trainer.precision=fp32: 1 run is left out for which it was not typed, and whose config is not at hand\n"
    assert capsys.readouterr().err == said


def test_of_many_runs_without_a_score_the_latest_are_named_and_the_others_counted():
    failed = [run(None, status=Status.FAILED, reason=f"broke {number}") for number in range(30)]
    text = drawn([run(0.6), *failed], most_unranked=20)
    named = [int(found) for found in re.findall(r"broke (\d+)", text)]
    assert named == list(range(10, 30))
    assert "10 earlier runs without a score are not named here" in text
    assert drawn([run(0.6), *failed]).count("FAILED") == 30


def test_runs_without_a_score_of_which_the_same_is_said_are_told_together():
    failed = [
        replace(run(None, status=Status.FAILED, reason="out of memory"), name=f"bs {size}", where=f"run {size}")
        for size in range(8)
    ]
    runs = [run(0.6), *failed, run(None, status=Status.KILLED, reason="out of memory")]
    for most in (None, 20):
        text = drawn(runs, most_unranked=most)
        assert text.count("out of memory") == 2
        assert "FAILED 8 runs: out of memory\n" in text
        assert "KILLED a run: out of memory\n" in text
    # Of a sweep's own table, in which all of them are, none is left out.
    assert re.findall(r"^    (run \d)  bs \d$", drawn(runs), re.MULTILINE) == [f"run {n}" for n in range(8)]
    assert re.findall(r"^    (run \d)  (bs \d)$", text, re.MULTILINE) == [(f"run {n}", f"bs {n}") for n in range(3, 8)]
    assert "    and 3 earlier: --csv FILE tells of all.\n" in text


def test_the_folder_of_a_run_without_a_score_is_told_from_where_one_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    killed = replace(
        run(None, status=Status.KILLED, reason="interrupted"), where=str(tmp_path / "multirun" / "run.log")
    )
    assert "\n    multirun/run.log\n" in drawn([killed, Run.lost("job 2", Path("multirun/1"))])


def test_an_attempt_whose_setting_has_a_score_since_is_counted_but_not_named_among_all():
    def of(setting, started, *, score=None, seed=1):
        status = Status.FAILED if score is None else Status.FINISHED
        made = run(score, status=status, reason=None if score else f"broke at {started}", seed=seed)
        return replace(made, setting=setting, started=float(started))

    tried_again, later_broken, other_seed, unknown = of("a", 1), of("a", 3), of("a", 1.5, seed=2), of(None, 0)
    scored = of("a", 2, score=0.5)
    runs = [unknown, tried_again, other_seed, scored, later_broken]
    text = drawn(runs, most_unranked=20)
    assert re.findall(r"broke at (\S+)", text) == ["0", "1.5", "3"]
    assert "1 run without a score was tried again, and the same setting has a score now: --csv FILE" in text
    assert drawn(runs).count("broke at") == 4
    # However the sets are ordered in which it was scored; and what still runs is what one looks for.
    elsewhere = replace(of("a", 4, score=0.9), evaluation="other")
    still = replace(of("a", 0.5), status=Status.RUNNING)
    text = drawn([*runs, elsewhere, still], most_unranked=20)
    assert re.findall(r"broke at (\S+)", text) == ["0", "1.5", "0.5"]
    assert "2 runs without a score were tried again" in text
    assert "broke at" not in drawn(runs, most_unranked=0)


def test_a_value_in_quotation_marks_is_the_value():
    typed = run(0.5, **{"data.train": "rein, neu.csv"})
    assert filtered([typed], ["data.train='rein, neu.csv'"]) == [typed]
    assert filtered([typed], ["loss='cosine','mnr'"]) == [typed]


def test_rows_of_other_scores_that_look_the_same_are_told_with_the_latest_of_them():
    def at(score, started, **params):
        return replace(run(score, **params), started=float(started))

    text = drawn([at(0.5, 1, seed=2), at(0.6, 3, seed=2), at(0.7, 2, seed=1), at(0.7, 4, seed=1)])
    assert "rows 3, 4 differ in nothing that a column shows: in versions, code," in text
    assert "; the latest is row 3." in text
    # Of one score they are one run that was trained twice.
    assert text.count("differ in nothing") == 1
    assert "differ in nothing" not in drawn([at(0.5, 1, seed=2), at(0.6, 3, seed=1)])


def test_a_file_is_found_by_the_end_of_its_path_which_is_what_a_table_shows():
    runs = [run(0.5, **{"data.train": path}) for path in ("../data/faq.csv", "old/faq.csv", "../data/my.csv", "my.csv")]
    assert filtered(runs, ["data.train=faq.csv"]) == runs[:2]
    assert filtered(runs, ["data.train=data/faq.csv"]) == runs[:1]
    assert filtered(runs, ["data.train=my.csv"]) == runs[3:]
    assert filtered(runs, ["data.train=my.csv,old/faq.csv"]) == [runs[1], runs[3]]
    for typed in ("q.csv", "./faq.csv", "/faq.csv", "../faq.csv"):
        with pytest.raises(ConfigError, match=rf"data\.train={typed}: no run has this"):
            filtered(runs, [f"data.train={typed}"])
    odd = run(0.5, **{"data.train": "data/rein, neu.csv"})
    assert filtered([odd, *runs], ["data.train='rein, neu.csv'"]) == [odd]
    of_set = run(0.5, **{"evaluation.sets.mine": "data/faq.csv"})
    assert filtered([of_set, *runs], ["evaluation.sets.mine=faq.csv"]) == [of_set]


def test_the_end_of_a_path_is_no_other_s_name_whatever_filter_stands_before_it():
    option, trained = run(0.5, model="minilm", loss="cosine"), run(0.6, model="out/minilm", loss="mnr")
    for filters in (["model=minilm", "loss=mnr"], ["loss=mnr", "model=minilm"]):
        with pytest.raises(ConfigError, match="none of the 1 that are left has this"):
            filtered([option, trained], filters)
    assert filtered([option, trained], ["model=minilm"]) == [option]
    with pytest.raises(ConfigError, match="model=minilm: no run has this"):
        filtered([trained], ["model=minilm"])
    with_exact = [
        run(0.5, **{"data.train": path}, loss=loss) for path, loss in (("my.csv", "mnr"), ("a/my.csv", "tsdae"))
    ]
    with pytest.raises(ConfigError, match="none of the 1 that are left has this"):
        filtered(with_exact, ["loss=tsdae", "data.train=my.csv"])


def test_runs_of_one_name_are_told_apart_by_their_rows_and_only_then(tmp_path):
    def on(rows: int, **settings) -> Run:
        found = run(0.5, **settings)
        return replace(found, params=with_rows(found.params, {"data/kept": float(rows)}))

    assert differing([on(61), on(25)]) == ["rows"]
    assert differing([on(61, seed=1), on(25, seed=1), on(61, seed=2)]) == ["seed", "rows"]
    assert differing([on(61, seed=1), on(25, seed=2)]) == ["seed"]
    assert differing([on(61), on(61)]) == []
    assert differing([on(10, seed=1), on(20, seed=2), on(20, seed=2)]) == ["seed"]


def test_an_empty_store_is_told_as_such():
    with pytest.raises(ConfigError, match="no run; train one"):
        filtered([], [])


def test_of_models_that_were_only_scored_nothing_is_said_of_training(tmp_path):
    settings = {"loss": "none", "batch_size": "–"}
    scored = [
        replace(judged(tmp_path, size, noise=noise), params={**settings, "model": model})
        for size, noise, model in ((32, 1.0, "a"), (64, 9.0, "b"))
    ]
    text = drawn(scored)
    assert "model=a: the best; it was not trained" in text
    assert re.search(r"model=b: worse than the best \(model=a\) by 0\.", text)
    assert "training" not in text
    assert "gain" not in text.split()
    assert all(rows_of(scored)[row]["p_against_base"] is None for row in (0, 1))
    both = drawn([*scored, run(0.7, base=0.4, loss="mnr", model="b")])
    assert both.count("before training") == 2  # of the one that was trained, and what gain means


def test_of_one_model_there_is_no_verdict_where_there_is_nothing_to_compare_it_with(tmp_path):
    scored = judged(tmp_path, 32, noise=1.0)
    text = drawn([replace(scored, params={"loss": "none", "model": "minilm"})])
    assert "the best" not in text
    assert "[low, high]: 95 % interval over the choice of pairs.\n" in text
    assert "better than before training" in drawn([scored])


def test_what_is_said_in_words_begins_with_its_row_and_tells_of_the_best_eight(tmp_path):
    runs = [judged(tmp_path, size, noise=size / 4) for size in range(1, 11)]
    text = drawn(runs)
    told = re.findall(r"^ +(\d+)   batch_size=(\d+): \w", text, re.MULTILINE)
    rows = re.findall(r"^[ =]+(\d+) +(\d+) +0\.\d{4} ", text, re.MULTILINE)
    assert len(rows) == 10
    assert told == rows[:8]
    assert "       of the next 2 in words: the report (compare --html FILE)\n" in text
    assert "in words" not in drawn(runs[:8])


def test_what_is_said_of_many_rows_alike_is_said_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Difference, "is_real", property(lambda difference: False))
    runs = [judged(tmp_path, size, noise=size / 4) for size in range(1, 13)]
    lines = [line for line in drawn(runs).splitlines() if "apart from before training" in line]
    best, others = (line.partition(": ") for line in lines)
    assert best == ("   1   batch_size=1", ": ", "cannot be told apart from before training")
    assert others[0] == "       rows 2, 3, 4, 5, 6, 7, 8, 9 and 3 more"
    assert others[2] == f"{best[2]}; cannot be told apart from the best (batch_size=1)"


def test_what_runs_were_warned_of_stands_under_the_table_with_the_runs_that_it_is_of():
    few, leak = "dev: 30 pairs are few", "dev and train: 30 of 30 rows of [dev].csv ..."
    others = [replace(run(0.5 - n / 100, batch_size=n), cautions=(few,)) for n in range(10)]
    runs = [replace(run(0.6, batch_size=64), cautions=(few, leak)), replace(run(0.8), cautions=(few,)), *others]
    for text in (drawn(runs), to_markdown(runs)):
        assert [line.lstrip("- ") for line in text.splitlines() if "! " in line] == [
            f"! all rows: {few}",
            f"! row 2: {leak}",
        ]
    text = drawn([replace(run(0.9), cautions=(leak,)), *runs[:1], *runs[1:2], *others])
    assert f"! rows 2, 3, 4, 5, 6, 7, 8, 9 and 4 more: {few}" in text
    assert next(csv.DictReader(io.StringIO(to_csv(runs[:1]))))["cautions"] == f"{few}; {leak}"
    assert "!" not in drawn([run(0.8)])


def test_of_runs_that_share_a_rank_those_that_were_warned_are_told_by_what_differs_among_them():
    first, second, third = (run(score, batch_size=n) for score, n in ((0.8, 8), (0.6, 16), (0.6, 32)))
    warned_of = ("leak",)
    one = [first, second, replace(third, cautions=warned_of)]
    assert "! row 2 (batch_size=32): leak\n" in drawn(one)
    assert "- ! row 2 (batch_size=32): leak\n" in to_markdown(one)
    assert "! row 2: leak\n" in drawn([first, replace(second, cautions=warned_of), one[2]])
    assert "! rows 1, 2 (batch_size=32): leak\n" in drawn([replace(first, cautions=warned_of), *one[1:]])
    # Nothing in the table tells them apart either.
    assert "! row 2: leak\n" in drawn([first, third, one[2]])


def test_intervals_and_what_cannot_be_told_apart_stand_in_the_table(tmp_path):
    runs = [judged(tmp_path, 32, noise=1.0), judged(tmp_path, 64, noise=1.05), judged(tmp_path, 128, noise=9.0)]
    text = drawn(runs)
    first, second, third = (line for line in text.splitlines() if re.match(r"\s*(= )?\d +\d", line))
    assert "= 2" in second
    assert "=" not in first + third
    assert all(re.search(r"\[-?0\.\d{3}, 0\.\d{3}\]", line) for line in (first, second, third))
    assert "batch_size=128: worse than before training by 0." in text
    assert re.search(r"worse than the best \(batch_size=(32|64)\) by 0\.", text)
    row = rows_of(runs)[2]
    assert row["interval_low"] < row[f"best/{METRIC}"] < row["interval_high"]
    assert row["p_against_best"] < 0.05


def test_of_too_few_pairs_the_table_has_no_intervals_and_says_why(tmp_path):
    text = drawn([judged(tmp_path, size, noise=0.2, pairs=6) for size in (32, 64)])
    assert "[" not in text
    assert "6 dev pairs are too few for an interval or a verdict, which take 20 at least.\n" in text
    assert "worse than" not in text
    # What they were warned of is the same, and more.
    few = "dev: 6 pairs are few: a score of 0.50 on them is known to about 0.80 up or down (95 %)"
    warned = drawn([replace(judged(tmp_path, size, noise=0.2, pairs=6), cautions=(few,)) for size in (32, 64)])
    assert f"! all rows: {few}\n" in warned
    assert "too few" not in warned


def test_true_and_false_are_one_value_however_a_sweep_or_a_person_writes_them():
    swept = with_rows({"trainer.unpadded": "False", "loss.tie": True, "data": "Falsehood"}, {})
    typed = with_rows({"trainer.unpadded": "false", "loss.tie": "true", "data": "Falsehood"}, {})
    assert swept == typed == {"trainer.unpadded": "false", "loss.tie": "true", "data": "Falsehood"}
    runs = [replace(run(0.5), params=swept), replace(run(0.6), params=typed)]
    assert filtered(runs, ["trainer.unpadded=False"]) == filtered(runs, ["trainer.unpadded=false"]) == runs


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("learning_rate=1e-5", "1e-05"),
        ("learning_rate=0.00001", "1e-05"),
        ("learning_rate=2", "2.0"),
        ("learning_rate=['query_to_doc']", "[query_to_doc]"),
        ("learning_rate=[query_to_doc]", "['query_to_doc']"),
        ("learning_rate=[1e-5, 2]", "['1e-05', 2.0]"),
        ("learning_rate={text: a}", "{'text': 'a'}"),
    ],
)
def test_a_filter_finds_a_value_as_it_is_typed_for_training(typed, stored):
    one, other = run(0.5, learning_rate=stored), run(0.6, learning_rate="3e-05")
    assert filtered([one, other], [typed]) == [one]


def test_a_filter_takes_other_values_for_other_values():
    runs = [run(0.5, learning_rate=value) for value in ("1e-05", "[a, b]", "{a: b}", "mnr")]
    for typed in ("1e-4", "[a]", "[a, b", "{a: c}", "nan"):
        with pytest.raises(ConfigError, match="no run has this"):
            filtered(runs, [f"learning_rate={typed}"])


def test_a_bar_or_a_line_s_end_in_a_setting_breaks_no_row_of_the_markdown():
    runs = [run(0.5, prompt="a|b\nc"), run(0.6, prompt="d\\\\|")]
    table = to_markdown(runs).split("\n\n")[0].splitlines()
    assert len(table) == 4
    bars = [len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table]
    assert len(set(bars)) == 1
    assert r"| a\|b c |" in table[3]


def test_paths_of_one_name_are_told_apart_in_the_table():
    runs = [
        replace(run(score), params={**run_params(compose(), [f"evaluation.path=/data/{fold}/test"])})
        for score, fold in ((0.5, "fold1"), (0.6, "fold2"))
    ]
    text = drawn([replace(each, params={k: str(v) for k, v in each.params.items()}) for each in runs])
    assert "fold1/test" in text
    assert "fold2/test" in text
    assert "/data" not in text


@pytest.mark.parametrize("uri", ["runs", "posgresql://host/db"])
def test_what_is_no_store_is_told_as_training_tells_it(uri):
    with pytest.raises(ConfigError) as refused:
        read_runs(uri, experiment="embexp")
    said = "MLflow keeps no runs in a plain folder any more; name a database, as sqlite:///mlflow.db."
    of_kind = "MLflow has no store of this kind; it is one of "
    assert str(refused.value).startswith(f"{uri}: {said if uri == 'runs' else of_kind}")


def test_a_run_that_another_program_has_scheduled_has_not_begun():
    row = StoredRun("1", "a run", "SCHEDULED", 0, "", {}, {}, {})
    (found,) = runs_of([row])
    assert (found.status, found.reason) == (Status.NOT_BEGUN, "the store says that it is SCHEDULED")

"""Scoring without training: the same table, the same store, once."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from argparse import Namespace
from contextlib import closing

import pyarrow.parquet as pq
import pytest
from filelock import FileLock, Timeout

from embexp import evaluate
from embexp.compare.runs import read_result, read_runs
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.evaluate import evaluate_model, params_of, run_command
from embexp.evaluation import Extras
from embexp.experiment import run_experiment
from embexp.interrupts import Terminated
from embexp.tracking import FoundRun, NullTracker, Status

SMALL = ["model=tiny", "data.rows=1000", "data.evaluation_rows=100"]


def test_an_untrained_model_stands_in_the_table_as_a_trained_one_does(workplace):
    result = evaluate_model(compose([*SMALL, "tracker=none"]), folder=workplace / "run")
    metrics = result.metrics
    assert result.status is Status.FINISHED
    assert metrics["best/dev/spearman_cosine"] == metrics["dev/spearman_cosine"]
    assert not [key for key in metrics if key.startswith(("gain/", "test_before/"))]
    assert result.params["loss"] == "none"
    assert len(pq.read_table(workplace / "run" / "predictions.parquet")) == 200


def test_few_pairs_are_told_of(workplace, caplog):
    evaluate_model(compose([*SMALL, "tracker=none"]), folder=workplace / "run")
    assert "dev: 100 pairs are few" in caplog.text


def test_its_step_0_is_that_of_the_same_model_in_training(workplace):
    from embexp import run_experiment

    scored = evaluate_model(compose([*SMALL, "tracker=none"]), folder=workplace / "scored")
    trained = run_experiment(compose([*SMALL, "tracker=none", "max_steps=1"]), folder=workplace / "trained")
    step, score = trained.history["dev/spearman_cosine"][0]
    assert step == 0
    assert score == pytest.approx(scored.metrics["dev/spearman_cosine"], abs=1e-9)


def test_the_same_model_is_scored_once_and_other_settings_anew(with_store):
    first = evaluate_model(compose(SMALL), folder=with_store / "1")
    again = evaluate_model(compose(SMALL), folder=with_store / "2")
    other = evaluate_model(compose([*SMALL, "model.seed=1"]), folder=with_store / "3")
    assert (first.skipped, again.skipped, other.skipped) == (False, True, False)
    assert again.metrics["test/spearman_cosine"] == pytest.approx(first.metrics["test/spearman_cosine"])
    with closing(sqlite3.connect(with_store / "mlflow.db")) as database:
        assert len(database.execute("SELECT run_uuid FROM runs").fetchall()) == 2
    runs = read_runs(None, experiment="embexp")
    assert len({run.evaluation for run in runs}) == 1


def test_what_was_warned_of_is_known_from_the_store_and_of_a_run_that_is_not_made_again(with_store):
    rows = "".join(f"left {n},right {n},{n % 6}\n" for n in range(12))
    (with_store / "dev.csv").write_text(f"sentence1,sentence2,score\n{rows}")
    words = ["model=tiny", "evaluation=files", *(f"evaluation.source.{split}=dev.csv" for split in ("dev", "test"))]
    for number in range(2):
        result = evaluate_model(compose(words), folder=with_store / str(number))
        assert result.skipped == bool(number)
        cautions = read_result(with_store / str(number) / "result.json").cautions
        assert [said.partition(":")[0] for said in cautions] == ["test and dev", "dev"]
    (run,) = read_runs(None, experiment="embexp")
    assert run.cautions == cautions


def test_what_was_missed_is_tried_again_by_the_same_command(with_store, monkeypatch):
    from embexp.evaluation.latency import LatencyEvaluation

    settings = [*SMALL, "evaluation=[own,latency]", "evaluation.latency.batch_sizes=[1]", "evaluation.latency.calls=1"]
    settings += ["evaluation.latency.seconds=0.01"]
    with monkeypatch.context() as patched:
        patched.setattr(LatencyEvaluation, "parts", lambda self, model: (_ for _ in ()).throw(OSError("not now")))
        first = evaluate_model(compose(settings), folder=with_store / "1")
    again = evaluate_model(compose(settings), folder=with_store / "2")
    third = evaluate_model(compose(settings), folder=with_store / "3")
    assert ("latency/p50_ms" in first.metrics, "latency/p50_ms" in again.metrics) == (False, True)
    assert (first.skipped, again.skipped, third.skipped) == (False, False, True)
    assert first.run_id == again.run_id == third.run_id
    assert third.metrics["latency/p50_ms"] == pytest.approx(again.metrics["latency/p50_ms"])


LATENCY = ["evaluation=[own,latency]", "evaluation.latency.batch_sizes=[1]", "evaluation.latency.calls=1"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("this broke")])
def test_what_had_finished_and_breaks_when_what_it_missed_is_tried_again_stays_finished(workplace, monkeypatch, error):
    ended, tags, begun = [], {}, []

    def find_run(self, key, **_):
        return FoundRun("7", Status.FINISHED, {"best/dev/spearman_cosine": 0.5}, "", missed="latency: not now")

    def breaks(self, path):
        begun.append(path.name)
        raise error

    monkeypatch.setattr(NullTracker, "find_run", find_run)
    monkeypatch.setattr(NullTracker, "set_tags", lambda self, more: tags.update(more))
    monkeypatch.setattr(NullTracker, "end", lambda self, *how, hurried: ended.append((*how, hurried)))
    # The last before it is told what was missed.
    monkeypatch.setattr(Extras, "write", breaks)
    with pytest.raises(type(error)):
        evaluate_model(compose([*SMALL, *LATENCY, "tracker=none"]), folder=workplace / "run")
    assert begun == ["evaluations.json"]
    ((status, reason, hurried),) = ended
    assert status is Status.FINISHED
    # Who told it to go is not to wait for what is not sent yet.
    assert hurried is isinstance(error, KeyboardInterrupt)
    assert reason.startswith("finished before; what it had missed (latency: not now) was tried again: ")
    assert "embexp.missed" not in tags
    told = read_result(workplace / "run" / "result.json")
    assert (told.status, told.metrics) == (Status.FINISHED, {"best/dev/spearman_cosine": 0.5})


def test_what_breaks_while_its_end_is_told_hides_no_interruption_and_keeps_it_from_no_end(
    workplace, monkeypatch, caplog
):
    ended = []

    def interrupted(*_):
        raise KeyboardInterrupt

    def full(*_):
        raise OSError(28, "No space left on device")

    found = FoundRun("7", Status.FINISHED, {}, "", missed="latency: not now")
    monkeypatch.setattr(NullTracker, "find_run", lambda *_, **__: found)
    monkeypatch.setattr(NullTracker, "end", lambda self, status, reason, *, hurried: ended.append(status))
    monkeypatch.setattr(evaluate, "score", interrupted)
    monkeypatch.setattr("embexp.experiment.take_over", full)
    with pytest.raises(KeyboardInterrupt):
        evaluate_model(compose([*SMALL, "tracker=none"]), folder=workplace / "run")
    assert ended == [Status.FINISHED]
    assert "its end is not told whole: OSError" in caplog.text


def test_of_what_is_interrupted_before_it_began_there_is_no_run_beside_that_of_the_same_command(
    with_store, monkeypatch
):
    def interrupted(*_):
        raise Terminated

    with monkeypatch.context() as patched:
        patched.setattr("embexp.evaluate.key_of", interrupted)
        patched.setattr("embexp.experiment.keys_of", interrupted)
        for make in (evaluate_model, run_experiment):
            with pytest.raises(Terminated):
                make(compose(SMALL), folder=with_store / make.__name__)
            assert read_result(with_store / make.__name__ / "result.json").status is Status.KILLED
    evaluate_model(compose(SMALL), folder=with_store / "again")
    with closing(sqlite3.connect(with_store / "mlflow.db")) as database:
        assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)]


def test_files_of_one_name_in_two_folders_are_told_apart():
    found = [params_of(compose(["model=tiny"]), [f"evaluation.path=/a/{fold}/test"]) for fold in ("fold1", "fold2")]
    assert [params["evaluation.path"] for params in found] == ["/a/fold1/test", "/a/fold2/test"]


def test_of_a_key_that_was_typed_twice_the_last_value_is_told_without_a_plus():
    typed = [
        "+evaluation.path=a",
        "model.path=other",
        "++evaluation.path='b c'",
        "++model.path=mine",
        "trainer.threads=1",
    ]
    params = params_of(compose(["model=tiny"]), typed)
    assert params == {
        "loss": "none",
        "model": "mine",
        "data": "helpdesk",
        "evaluation": "own",
        "evaluation.path": "b c",
    }


def test_no_other_process_scores_the_same_meanwhile(workplace, monkeypatch):
    asked = []

    def find_run(self, key, *, place, folder):
        lock = FileLock(workplace / "multirun" / "checkpoints" / f"{key}.lock")
        with pytest.raises(Timeout):
            lock.acquire(timeout=0)
        asked.append((place, folder))
        return FoundRun("7", Status.FINISHED, {}, "")

    monkeypatch.setattr(NullTracker, "find_run", find_run)
    assert evaluate_model(compose([*SMALL, "tracker=none"]), folder=workplace / "run").skipped
    ((_, folder),) = asked
    assert folder == workplace / "run"
    assert not list((workplace / "multirun" / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [(KeyboardInterrupt, 130, "interrupted (Ctrl-C)"), (Terminated, 143, "terminated (SIGTERM)")],
)
def test_that_it_was_interrupted_is_said_in_a_line_and_what_comes_then_ends_it_at_once(
    monkeypatch, capsys, error, code, told
):
    def interrupted(_):
        raise error

    handlers = {}
    monkeypatch.setattr(evaluate, "run_command", interrupted)
    monkeypatch.setattr("sys.argv", ["evaluate", "model=tiny"])
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    with pytest.raises(SystemExit) as ended:
        evaluate.main()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"{told}; the same command again scores what is missing\n"
    assert handlers == {signal.SIGINT: signal.SIG_DFL, signal.SIGTERM: signal.SIG_DFL}


@pytest.mark.parametrize("error", [KeyboardInterrupt, Terminated])
@pytest.mark.parametrize(
    ("tracker", "said"),
    [
        ("tracker.uri=sqlite:///x.db", "its table: python -m embexp.compare --uri sqlite:///x.db"),
        ("tracker=none", "its scores: multirun/"),
    ],
)
def test_who_interrupts_the_table_is_told_that_the_scoring_had_ended(workplace, monkeypatch, error, tracker, said):
    def interrupted(*_, **__):
        raise error

    monkeypatch.setattr(evaluate, "evaluate_model", lambda *_, **__: None)
    monkeypatch.setattr(evaluate, "log_to", lambda folder: None)
    monkeypatch.setattr(evaluate, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(evaluate, "ask_for_large_pages", lambda: None)
    monkeypatch.setattr("embexp.compare.table.draw", interrupted)
    with pytest.raises(error) as told:
        run_command(Namespace(overrides=["model=tiny", tracker], config_dir=None))
    assert str(told.value).startswith(f"the scoring had ended; {said}")


def test_a_model_without_a_score_does_not_finish(workplace, monkeypatch):
    from embexp import models

    def constant(**arguments):
        model, origin = models.tiny(**arguments)
        for parameter in model.parameters():
            parameter.data.zero_()
        return model, origin

    monkeypatch.setattr(models, "constant", constant, raising=False)
    with pytest.raises(ConfigError, match="finds every dev pair equally alike"):
        evaluate_model(
            compose([*SMALL, "model._target_=embexp.models.constant", "tracker=none"]), folder=workplace / "1"
        )


def test_what_only_training_reads_is_refused(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "embexp.evaluate", "model=tiny", "loss=cosine"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "loss=cosine: nothing is trained here" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["+data.negatives=hard", "data.hard_margin=0.1", "trainer.early_stopping=2"])
def test_of_what_is_read_here_a_key_that_only_training_reads_is_refused(workplace, word):
    with pytest.raises(ConfigError, match=f"^{re.escape(word)}: nothing is trained here; leave it out"):
        run_command(Namespace(overrides=["model=tiny", word], config_dir=None))


@pytest.mark.parametrize(
    "files",
    [["data.train=intents.csv"], ["data.train=notes.txt", "data.dev=pairs.csv"]],
    ids=["labelled", "texts_beside_pairs"],
)
def test_pairs_are_scored_on_whatever_the_loss_could_be_fed_of_the_rows_beside_them(workplace, monkeypatch, files):
    monkeypatch.setattr(evaluate, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(evaluate, "log_to", lambda folder: None)
    rows = range(60)
    (workplace / "intents.csv").write_text("text,label\n" + "".join(f"how to {n},{n % 3}\n" for n in rows))
    (workplace / "notes.txt").write_text("".join(f"note {n}\n" for n in rows))
    pairs = "".join(f"left {n},right {n},{n % 6}\n" for n in rows)
    (workplace / "pairs.csv").write_text(f"sentence1,sentence2,score\n{pairs}")
    words = ["model=tiny", "tracker=none", "data=files", *files]
    assert run_command(Namespace(overrides=words, config_dir=None)) == 0
    (result,) = workplace.glob("multirun/*/*/0/result.json")
    assert "best/dev/spearman_cosine" in read_result(result).metrics


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_is_made(workplace, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="cannot be written to, and runs are kept there"):
        run_command(Namespace(overrides=[*SMALL, "tracker=none"], config_dir=None))
    assert not list(workplace.iterdir())


def test_a_file_that_stands_where_runs_are_kept_is_told(workplace):
    (workplace / "multirun").touch()
    with pytest.raises(ConfigError, match="is a file, and runs are kept in a folder of this name"):
        run_command(Namespace(overrides=[*SMALL, "tracker=none"], config_dir=None))


def test_why_the_only_model_was_not_scored_is_told_once(workplace, monkeypatch, capsys):
    said: list[str] = []
    monkeypatch.setattr("embexp.job.tell_failure", lambda error: said.append(str(error)))
    monkeypatch.setattr(evaluate, "raise_on_sigterm", lambda: None)
    monkeypatch.setattr(evaluate, "log_to", lambda folder: None)
    rows = "".join(f"a {number},b {number},1\n" for number in range(30))
    (workplace / "const.csv").write_text(f"sentence1,sentence2,score\n{rows}")
    pairs = ["evaluation=files", "evaluation.source.dev=const.csv", "tracker=none"]
    assert run_command(Namespace(overrides=["model=tiny", *pairs], config_dir=None)) == 1
    assert len(said) == 1
    printed = capsys.readouterr().out
    assert "every pair has the score" not in printed
    assert printed.startswith("Log: multirun/")
    assert printed.endswith("/0/run.log\n")

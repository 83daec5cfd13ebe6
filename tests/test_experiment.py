"""One experiment as a function: what it scores, and how often."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from embexp import experiment, scoring
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data.tokens import Tokens
from embexp.experiment import library_folder, run_experiment, verdict
from embexp.interrupts import Preempted
from embexp.models import load_encoder, use_pooling
from embexp.naming import run_name
from embexp.record import Record
from embexp.tracking import FoundRun, NullTracker, Status
from embexp.tracking.background import Background
from embexp.training import TrainingDiverged, collation

SMALL = [
    "model=tiny",
    "data.rows=1000",
    "data.evaluation_rows=100",
    "max_steps=2",
    "evaluation.times=2",
    "tracker=none",
    "trainer.threads=1",
]


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def scored(monkeypatch, tmp_path):
    """The names of the sets that are scored, in order."""
    names: list[str] = []
    original = experiment.score_pairs

    def watched(model, pairs, **arguments):
        names.append(pairs.name)
        return original(model, pairs, **arguments)

    monkeypatch.setattr(experiment, "score_pairs", watched)
    monkeypatch.setattr(scoring, "SCORED_BEFORE", {})
    monkeypatch.chdir(tmp_path)
    return names


def test_the_second_job_of_a_sweep_has_its_step_0_from_the_first(tmp_path, scored):
    first = run_experiment(compose([*SMALL, "batch_size=8"]), folder=tmp_path / "1")
    of_first = list(scored)
    second = run_experiment(compose([*SMALL, "batch_size=16"]), folder=tmp_path / "2")
    assert len(scored[len(of_first) :]) == len(of_first) - 2
    assert second.history["dev/spearman_cosine"][0] == first.history["dev/spearman_cosine"][0]
    assert second.metrics["test_before/pearson_dot"] == first.metrics["test_before/pearson_dot"]


def test_another_process_has_its_step_0_from_the_first_too_where_data_is_kept(tmp_path, scored, monkeypatch):
    runs, counts = [], []
    for number, more in enumerate(([], ["loss=cosine", "seed=1"], ["model.max_length=6"], ["trainer.data_cache=null"])):
        monkeypatch.setattr(scoring, "SCORED_BEFORE", {})
        before = len(scored)
        runs.append(run_experiment(compose([*SMALL, *more]), folder=tmp_path / str(number)))
        counts.append(len(scored) - before)
    first, cosine, *_ = runs
    assert [count - counts[0] for count in counts] == [0, -2, 0, 0]
    at_step_0 = [{name: values[0] for name, values in run.history.items() if name.startswith("dev/")} for run in runs]
    assert at_step_0[0] == at_step_0[1] == at_step_0[3] != at_step_0[2]
    assert first.metrics["test_before/pearson_dot"] == cosine.metrics["test_before/pearson_dot"]
    paired = [pq.read_table(tmp_path / str(number) / "predictions.parquet") for number in (0, 1, 3)]
    of_before = [table.select([name for name in table.column_names if "before" in name]) for table in paired]
    assert of_before[0].num_columns
    assert of_before[0].equals(of_before[1])
    assert of_before[0].equals(of_before[2])


def test_what_is_made_anew_is_scored_anew_before_training_too(tmp_path, scored, monkeypatch):
    run_experiment(compose(SMALL), folder=tmp_path / "1")
    first = len(scored)
    monkeypatch.setattr(scoring, "SCORED_BEFORE", {})
    run_experiment(compose([*SMALL, "rerun=true"]), folder=tmp_path / "2")
    assert len(scored) == 2 * first


def test_runs_that_read_all_their_rows_share_tokens_and_tokenise_nothing_in_their_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found: list[bool] = []
    find, make = Tokens.find, collation.cached_tokens

    def watched(tokens, texts, *, padding):
        found.append(find(tokens, texts, padding=padding) is not None)
        return find(tokens, texts, padding=padding)

    made: list[int] = []

    def counted(folder, dataset, tokenise, **arguments):
        def counting(texts):
            made.append(len(texts))
            return tokenise(texts)

        return make(folder, dataset, counting, **arguments)

    monkeypatch.setattr(Tokens, "find", watched)
    monkeypatch.setattr(collation, "cached_tokens", counted)
    epoch = [*SMALL, "max_steps=null", "data.limit=100", "evaluation.times=1"]
    run_experiment(compose([*epoch, "batch_size=32"]), folder=tmp_path / "1")
    texts = sum(made)
    assert texts > 100
    run_experiment(compose([*epoch, "batch_size=50", "seed=2"]), folder=tmp_path / "2")
    assert sum(made) == texts
    assert all(found)
    steps = len(found)
    assert steps > 3 * 2
    # Of what reads less than all rows, no text is tokenised that is not trained on.
    run_experiment(compose([*epoch, "max_steps=1"]), folder=tmp_path / "3")
    run_experiment(compose([*epoch, "trainer.data_cache=null"]), folder=tmp_path / "4")
    assert sum(made) == texts
    assert len(found) == steps


def test_another_model_or_other_pairs_are_scored_before_training_anew(tmp_path, scored):
    once = [*SMALL, "max_steps=1", "evaluation.times=1"]
    run_experiment(compose(once), folder=tmp_path / "0")
    of_first = len(scored)
    others = ("model.seed=7", "model.max_length=8", "evaluation.batch_size=5", "data.seed=9")
    for number, other in enumerate(others, start=1):
        run_experiment(compose([*once, other]), folder=tmp_path / str(number))
        assert len(scored) == (1 + number) * of_first, other


def test_the_best_step_is_not_scored_on_dev_twice(tmp_path, scored):
    result = run_experiment(compose(SMALL), folder=tmp_path)
    assert scored.count("helpdesk dev") == 1 + 2
    best = dict(result.history["dev/spearman_cosine"])[int(result.metrics["best/step"])]
    assert result.metrics["best/dev/spearman_cosine"] == best


def test_texts_that_are_cut_and_few_pairs_are_told_of_before_the_training(tmp_path, monkeypatch, caplog):
    def train(*_, **__):
        raise TrainingDiverged("it would begin now")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "train", train)
    with pytest.raises(TrainingDiverged, match="it would begin now"):
        run_experiment(compose([*SMALL, "model.max_length=8"]), folder=tmp_path)
    assert "more than the 8 tokens that the model reads" in caplog.text
    assert "dev: 100 pairs are few" in caplog.text


def test_what_is_warned_of_is_kept_with_the_run_but_not_where_nothing_could_be_kept(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    run_experiment(compose([*SMALL, "model.max_length=8", "trainer.data_cache=file"]), folder=tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "result.json").read_text())["cautions"]
    assert [said.partition(":")[0] for said in kept] == ["data", "dev"]
    assert "not kept there" in caplog.text
    # Another run's are its own.
    run_experiment(compose(SMALL), folder=tmp_path / "other")
    kept = json.loads((tmp_path / "other" / "result.json").read_text())["cautions"]
    assert [said.partition(":")[0] for said in kept] == ["dev"]


def test_the_same_weights_with_another_pooling_are_another_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [*SMALL[1:], "model=minilm_base", "model.max_length=null", "model.pooling=null"]
    mean, cls = (
        run_experiment(compose([*settings, f"model.path={folder}"]), folder=tmp_path / f"run_{folder}")
        for folder in saved()
    )
    assert mean.key != cls.key


def saved() -> list[str]:
    """Two folders in the working folder: the same weights, one pooled by its mean, one by its first token."""
    model = load_encoder(compose(["model=tiny"]).model).model
    model.save_pretrained("mean")
    use_pooling(model, "cls")
    model.save_pretrained("cls")
    return ["mean", "cls"]


def test_runs_of_the_library_have_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = {run_experiment(compose([*SMALL, f"seed={seed}"])).folder for seed in (1, 2)}
    assert len(folders) == 2


@pytest.mark.parametrize(
    "typed",
    [
        "evaluation.sets={a: ../../data/x.csv}",
        "evaluation.mteb.own={tickets: /data/tickets}",
        f"data.columns={{text: {'文' * 200}}}",
    ],
)
def test_a_run_of_the_library_has_one_folder_of_its_own_whatever_was_typed(workplace, typed):
    folders = [library_folder(run_name(compose(), [f"seed={seed}", typed])) for seed in (1, 2)]
    for folder in folders:
        folder.mkdir(parents=True)
    assert set(Path("multirun", "library").glob("*/*")) == set(folders)


def test_a_run_is_refused_in_a_folder_that_holds_the_weights_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "train", lambda *_, **__: pytest.fail("it was trained"))
    (tmp_path / "fixed" / "model").mkdir(parents=True)
    left = {
        "inputs.json": '{"key": "of another seed"}',
        "result.json": '{"status": "FINISHED"}',
        "config.yaml": "seed: 7",
    }
    for name, text in left.items():
        (tmp_path / "fixed" / name).write_text(text)
    with pytest.raises(ConfigError, match=r"^fixed/model: is there already, and not from this run"):
        run_experiment(compose(SMALL), folder=tmp_path / "fixed")
    found = {path.name: path.read_text() for path in (tmp_path / "fixed").iterdir() if path.is_file()}
    assert found == left


@pytest.mark.parametrize("save", ["trainer.save_model=false", "trainer.save_model=true"])
def test_a_folder_called_model_of_a_person_s_own_stays_as_it_is_however_often_a_run_is_made_there(
    tmp_path, monkeypatch, save
):
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "fixed" / "model"
    own.mkdir(parents=True)
    for name in ("README.md", "config.json"):
        (own / name).write_text("a person's")
    assert run_experiment(compose(SMALL), folder=tmp_path / "fixed").model is None
    with suppress(ConfigError):
        run_experiment(compose([*SMALL, save]), folder=tmp_path / "fixed")
    assert {path.name: path.read_text() for path in own.iterdir()} == dict.fromkeys(
        ("README.md", "config.json"), "a person's"
    )


def test_a_run_ends_once(tmp_path):
    record = Record(NullTracker(), tmp_path, "a run", {})
    record.end(Status.FINISHED)
    record.end(Status.KILLED, "interrupted while it ended")
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "FINISHED"


def test_what_interrupts_the_end_of_a_run_while_its_tracker_is_waited_for_does_not_change_how_it_ended(tmp_path):
    ended = []

    class Slow(NullTracker):
        def settle(self):
            raise KeyboardInterrupt

        def end(self, status, reason=None, *, hurried=False):
            ended.append((status, hurried, (tmp_path / "result.json").exists()))

    record = Record(Slow(), tmp_path, "a run", {})
    record.start(tags={}, parent=None)
    with pytest.raises(KeyboardInterrupt):
        record.end(Status.FINISHED)
    record.end(Status.KILLED, "interrupted")
    assert ended == [(Status.FINISHED, True, True)]
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("at", "folder", "is_certain"),
    [
        # While it is sent, where the next command looks for it and elsewhere; before it is written.
        ("embexp.tracking.background.Background.finish", "multirun/run", True),
        ("embexp.tracking.background.Background.finish", "run", False),
        ("embexp.tracking.MLflowTracker.end", "multirun/run", False),
    ],
)
def test_a_run_whose_end_is_interrupted_says_that_it_had_finished_and_loses_its_checkpoints_where_that_end_will_be_found(
    with_store, monkeypatch, at, folder, is_certain
):
    monkeypatch.setattr(experiment, "train_and_score", lambda *_: None)
    monkeypatch.setattr(at, interrupted)
    small = [word for word in SMALL if word != "tracker=none"]
    with pytest.raises(KeyboardInterrupt) as told:
        run_experiment(compose(small), folder=with_store / folder)
    assert told.value.args == (("the run had finished",) if is_certain else ())
    result = json.loads((with_store / folder / "result.json").read_text())
    assert result["status"] == "FINISHED"
    assert (with_store / "multirun" / "checkpoints" / result["key"]).exists() != is_certain
    # Else it would look for its store half a minute later, in the folder of another test.
    for thread in threading.enumerate():
        if isinstance(thread, Background):
            thread.stop()


def test_a_run_without_a_tracker_that_is_interrupted_before_its_result_is_written_goes_on_from_its_checkpoint(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(Record, "_conclude", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(compose(SMALL), folder=tmp_path / "run")
    with caplog.at_level("INFO"):
        run_experiment(compose(SMALL), folder=tmp_path / "again")
    assert "goes on from its checkpoint" in caplog.text


def test_the_result_has_the_id_that_the_tracker_gave_last_of_all(tmp_path):
    class Late(NullTracker):
        run_id = None

        def end(self, status, reason=None, *, hurried=False):
            self.run_id = "given"

    record = Record(Late(), tmp_path, "a run", {})
    record.start(tags={}, parent=None, run_id="that it goes on with")
    assert record.run_id == "that it goes on with"
    assert record.end(Status.FINISHED).run_id == "given"
    assert json.loads((tmp_path / "result.json").read_text())["run_id"] == "given"


def test_a_run_that_breaks_hands_its_traceback_to_the_tracker(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def broken(*_, **__):
        raise RuntimeError("this broke")

    handed = []
    monkeypatch.setattr(experiment, "train", broken)
    monkeypatch.setattr(Record, "end", lambda self, *_, **__: handed.append((tmp_path / "run.log").read_text()))
    handler = logging.FileHandler(tmp_path / "run.log")
    logger = logging.getLogger("traceback")
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    try:
        with pytest.raises(RuntimeError):
            run_experiment(compose(SMALL), folder=tmp_path)
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert "Traceback" in handed[0]
    assert "this broke" in handed[0]


def test_a_model_that_was_not_kept_is_told_when_it_is_asked_for(with_store, caplog):
    tracked = [word for word in SMALL if word != "tracker=none"]
    run_experiment(compose(tracked), folder=with_store / "1")
    again = run_experiment(compose([*tracked, "trainer.save_model=true"]), folder=with_store / "2", label="seed=1")
    assert again.skipped
    assert "seed=1: its model was not kept then; with rerun=true" in caplog.text


def test_where_the_model_of_a_run_is_that_had_finished_before_is_told(with_store, caplog):
    tracked = [word for word in SMALL if word != "tracker=none"]
    first = run_experiment(compose([*tracked, "trainer.save_model=true"]), folder=with_store / "1")
    with caplog.at_level("INFO"):
        again = run_experiment(compose(tracked), folder=with_store / "2", label="seed=1")
    assert again.skipped
    assert again.model == with_store / "mlruns" / str(first.run_id) / "artifacts" / "model"
    assert first.model == with_store / "1" / "model"
    assert f"seed=1: its model is in mlruns/{first.run_id}/artifacts/model" in caplog.text


def test_what_is_trained_anew_goes_on_where_it_was_interrupted(with_store, monkeypatch, caplog):
    anew = [*(word for word in SMALL if word != "tracker=none"), "max_steps=4", "evaluation.times=2", "rerun=true"]
    first = run_experiment(compose(anew), folder=with_store / "1")
    with monkeypatch.context() as patched:
        patched.setattr(experiment, "log_outcome", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(compose(anew), folder=with_store / "2")
    caplog.clear()
    with caplog.at_level("INFO"):
        third = run_experiment(compose(anew), folder=with_store / "3")
    assert "goes on from its checkpoint" in caplog.text
    assert third.run_id != first.run_id
    killed = json.loads((with_store / "2" / "result.json").read_text())
    assert (killed["status"], killed["run_id"]) == ("KILLED", third.run_id)
    assert third.metrics["best/dev/spearman_cosine"] == first.metrics["best/dev/spearman_cosine"]


def test_a_run_that_diverged_leaves_no_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def breaks(*_, **given):
        (given["folder"] / "checkpoint-1").mkdir(parents=True)
        raise TrainingDiverged("train/loss is nan at step 2")

    monkeypatch.setattr(experiment, "train", breaks)
    with pytest.raises(TrainingDiverged):
        run_experiment(compose(SMALL), folder=tmp_path / "run")
    assert not list((tmp_path / "multirun" / "checkpoints").glob("*/checkpoint-1"))


def test_a_run_from_python_is_recorded_with_what_its_config_was_composed_of(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    typed = [*SMALL, "data.seed=5", "max_steps=1"]
    result = run_experiment(compose(typed))
    assert result.params["data.seed"] == "5"
    assert "data.seed=5" in result.name
    assert yaml.safe_load((result.folder / "overrides.yaml").read_text()) == typed
    changed = compose(typed).model_copy(update={"seed": 3})
    again = run_experiment(changed)
    assert again.params["seed"] == 3
    assert not (again.folder / "overrides.yaml").exists()


def test_the_traceback_of_what_failed_while_a_run_was_told_to_go_is_kept(monkeypatch, tmp_path, caplog):
    monkeypatch.chdir(tmp_path)

    def breaks(*_, **__):
        raise KeyboardInterrupt from RuntimeError("out of memory")

    monkeypatch.setattr(experiment, "train", breaks)
    with caplog.at_level(logging.INFO), pytest.raises(KeyboardInterrupt):
        run_experiment(compose(SMALL), folder=tmp_path / "run")
    (kept,) = [record for record in caplog.records if record.name == "traceback"]
    assert "out of memory" in str(kept.exc_info[1])


def test_a_skipped_run_has_the_fingerprints_of_what_its_scores_are_of(tmp_path):
    record = Record(NullTracker(), tmp_path, "run", params={}, scored_on={"latency/p50_ms": "here"})
    found = FoundRun("id", Status.FINISHED, {"latency/p50_ms": 7.0}, "", scored_on={"latency/p50_ms": "there"})
    experiment.take_over(found, record)
    assert record.scored_on == {"latency/p50_ms": "there"}


def test_a_run_that_was_told_to_go_and_then_failed_says_both():
    told = KeyboardInterrupt()
    told.__cause__ = TrainingDiverged("the disk is full")
    assert verdict(told) == (Status.KILLED, "interrupted (Ctrl-C), as it failed: the disk is full")
    assert verdict(Preempted()) == (Status.KILLED, "pre-empted: its queue told it to go")


def test_a_checkpoint_folder_that_cannot_be_written_to_is_told_by_its_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file, where a folder is to be")
    with pytest.raises(
        ConfigError, match=r"trainer\.checkpoint_folder=taken: cannot be written to: .*; name another folder"
    ):
        run_experiment(compose([*SMALL, "trainer.checkpoint_folder=taken"]), folder=tmp_path / "run")


def test_a_model_that_finds_all_pairs_alike_is_told_before_it_is_trained(tmp_path, scored, monkeypatch):
    original = experiment.score_pairs

    def alike(*given, **named):
        found = original(*given, **named)
        same = {name: values * 0 + 1 for name, values in found.similarities.items()}
        return replace(found, metrics={name: float("nan") for name in found.metrics}, similarities=same)

    monkeypatch.setattr(experiment, "score_pairs", alike)
    monkeypatch.setattr(experiment, "train", lambda *_, **__: pytest.fail("it was trained"))
    with pytest.raises(
        ConfigError, match="no number for the model as it is, before any training: it finds every dev pair"
    ):
        run_experiment(compose(SMALL), folder=tmp_path / "run")


def test_scores_are_computed_in_float32_whatever_the_run_s_precision_is(workplace, monkeypatch):
    computed: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    whole = experiment.load_inputs

    def watched(*given):
        inputs = whole(*given)
        layer = next(part for part in inputs.encoder.model.modules() if isinstance(part, torch.nn.Linear))
        layer.register_forward_hook(lambda layer, told, found: computed[torch.is_grad_enabled()].add(found.dtype))
        return inputs

    monkeypatch.setattr(experiment, "load_inputs", watched)
    run_experiment(
        compose([*SMALL, "trainer.precision=bf16", "evaluation.times=2", "tracker=none"]), folder=workplace / "run"
    )
    assert computed == {True: {torch.bfloat16}, False: {torch.float32}}


def test_a_margin_that_was_left_to_the_model_is_recorded(workplace):
    result = run_experiment(compose([*SMALL, "loss=triplet"]), folder=workplace / "run")
    assert result.metrics["loss/triplet_margin"] == 5.0

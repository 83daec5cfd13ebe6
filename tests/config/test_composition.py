"""Composing a command: what is refused, what is named, and that nothing of torch is needed for it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.errors import HydraException
from hydra.types import RunMode

from embexp.config import Config, ConfigError
from embexp.config.composition import _loader, check_command, compose, for_multirun, is_sweep
from embexp.config.overrides import FREE, composed_with, without_hydra
from embexp.config.ranges import parse
from embexp.data.rows import COLUMNS
from embexp.shipped import conf_folder

EXPERIMENTS = sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml"))


def problems_of(*overrides: str, config_dir: Path | None = None, trains: bool = True) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        compose(list(overrides), config_dir=config_dir, trains=trains)
    return refused.value.problems


def test_the_defaults_are_a_valid_config():
    config = compose()
    assert isinstance(config, Config)
    assert config.names["loss"] == "mnr"
    assert config.loss.target == "embexp.losses.mnr"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes(name, tmp_path):
    for folder in ("mnli", "stsb"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.parquet").touch()
    config = compose([f"experiment={name}", f"data.path={tmp_path}/mnli", f"evaluation.path={tmp_path}/stsb"])
    assert config.names["experiment"] == name
    assert config.warmup_steps == 100


GROUPS = [
    (path.parent.name, path.stem)
    for path in sorted(conf_folder().glob("*/*.yaml"))
    if path.parent.name not in ("hydra", "experiment")
]
GROUPS += [
    (f"hydra/{group}", path.stem)
    for group in ("launcher", "sweeper")
    for path in sorted((conf_folder() / "hydra" / group).glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_every_shipped_option_opens_with_what_it_is_and_its_command(group, option):
    opening = []
    for line in (conf_folder() / group / f"{option}.yaml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        opening.append(line)
    assert len(opening) >= 2
    assert any("python -m embexp" in line for line in opening)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batchsize=32", "Did you mean 'batch_size'?"),
        ("loss.scal=3", "Did you mean 'loss.scale'?"),
        ("wormup=1", "wormup: nothing reads this key. Did you mean 'warmup_steps'?"),
        ("+wormup=1", "wormup: nothing reads this key. Did you mean 'warmup_steps'?"),
        ("loss.temperature=0.05", "Did you mean 'loss.scale', which is 1/temperature?"),
        ("temperature=0.05", "Did you mean 'loss.scale', which is 1/temperature?"),
        ("+loss.temperature=0.05", "Did you mean 'scale', which is 1/temperature?"),
        ("loss=mrn", "Did you mean 'mnr'?"),
        ("loss=32", "there is no such option"),
        (
            "model=intfloat/e5-small",
            "tiny. A folder with a model, or a model of the hub, is model.path=intfloat/e5-small.",
        ),
        ("data=faq/pairs.csv", "A file is data=files data.train=faq/pairs.csv"),
        ("evaluation=/dev/null", "is evaluation=files evaluation.source.dev=/dev/null."),
        ("trainer.precision=bf61", "Did you mean 'bf16'?"),
        ("trainer.device=gpu", "Did you mean 'cuda'?"),
        ("evaluation.similarities=[cosin]", "evaluation.similarities=cosin: must be one of"),
        ("+loss.bogus=1", "loss.bogus: nothing reads this key"),
        ("+bogus=1", "bogus: nothing reads this key"),
        ("experiment=null", "experiment=null: there is none where none is named; leave it out."),
    ],
)
def test_a_misspelt_word_is_refused_with_the_nearest_right_one(override, said):
    (problem,) = problems_of(override)
    assert said in problem


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("batch_size=abc", "batch_size=abc: must be a whole number"),
        ("batch_size=0", "batch_size=0: must be at least 1"),
        ("learning_rate=-1", "learning_rate=-1: must be greater than 0"),
        ("seed=1.5", "seed=1.5: must be a whole number"),
        ("rerun=2", "rerun=2: must be true or false"),
        ("trainer.gradient_checkpointing=2", "must be true or false"),
        (
            "model.prompts={querry: x}",
            "model.prompts.querry: nothing reads this key. Did you mean 'query'? Keys here: query, document, default.",
        ),
        ("loss.scale=high", "loss.scale=high: must be a number"),
        ("model.dropout=1.5", "model.dropout=1.5: must be less than 1"),
        ("data.rows=10", "data.rows=10: must be at least 1000"),
        ("evaluation.select_by=spearman_cosin", "Did you mean 'spearman_cosine'?"),
        ("evaluation.select_by=sperman", "Did you mean 'spearman_cosine'?"),
        ("evaluation.select_by=pearson", "Did you mean 'pearson_cosine'?"),
        ("loss.directions=[doc_to_query]", "must contain query_to_doc"),
        ("trainer.accumulation_steps=4", "accumulation adds no in-batch negatives"),
        ("batch_size=1", "must be at least 2"),
        ("devices=0", "devices=0: must be at least 1"),
        ("devices=33", "devices=33 share the rows of a batch; batch_size must be at least 33"),
        ("trainer.precision=fp16", "needs a CUDA GPU"),
        ("tracker.uri=foo://bar", "no store of this kind"),
        ("tracker.uri=htpp://me:secret@host", "tracker.uri=htpp://host: MLflow"),
        ("tracker.uri=mlruns", "no runs in a plain folder any more; name a database"),
        ("tracker.uri=htpp://host", "Did you mean 'http'?"),
        ("evaluation.mteb.tasks=[STS12]", "without evaluation=mteb; choose it beside others: evaluation=[own,mteb]"),
        ("+trainr.precision=fp32", "trainr: nothing reads this section. Did you mean 'trainer'?"),
        ("+names.x=1", "names: nothing reads this section"),
        (
            "+experiment.epochs=1",
            "nothing reads this section. The first line of a file in experiment/ is: # @package _global_",
        ),
        ("loss.hardness_strength=5.0", "nothing reads it without a loss.hardness_mode"),
        ("trainer.early_stopping=4", "of evaluation.times=4 evaluations never"),
        ("evaluation=files", "evaluation.source.dev=null: name a file of scored pairs"),
        (
            "evaluation.source.dev=x.csv",
            "without evaluation=files; choose it as well: evaluation=files evaluation.source.dev=x.csv",
        ),
        ("batch_size=1,2", "add -m to run them all"),
        ("batch_size", "write KEY=VALUE"),
        ("data.train=/x/Süß Ordner/qa.csv", 'data.train="/x/Süß Ordner/qa.csv"\'.'),
        ("data.path=a=b", "mismatched input"),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_allowed(override, said, monkeypatch):
    monkeypatch.setattr("embexp.config.rules.has_cuda", lambda: False)
    assert any(said in problem for problem in problems_of(override))


def test_unlabelled_text_goes_with_scored_pairs_of_its_own(tmp_path):
    from embexp.evaluation import evaluation_pairs

    notes, pairs = tmp_path / "notes.csv", tmp_path / "dev.csv"
    notes.write_text("text\na\nb\n")
    pairs.write_text("sentence1,sentence2,score\na,b,0\nc,d,1\n")
    given = ["loss=tsdae", "data=files", f"data.train={notes}", "evaluation=own"]
    config = compose([*given, f"data.dev={pairs}"])
    assert list(evaluation_pairs(config)["dev"].scores) == [0, 1]
    assert any("brings no scored pairs" in problem for problem in problems_of(*given))
    stated = problems_of(*given, f"data.dev={pairs}", "data.kind=texts")
    assert any("brings no scored pairs" in problem for problem in stated)


def test_an_empty_delimiter_is_refused():
    (problem,) = problems_of("data=files", "data.train=x.csv", "data.delimiter=")
    assert problem.startswith("data.delimiter=")
    assert "at least 1 character" in problem


PAIRS_BESIDE = ["evaluation=[helpdesk,retrieval]", "evaluation.retrieval.source=pairs"]


def test_more_than_half_of_the_rows_may_be_set_aside_but_not_all(tmp_path):
    file = tmp_path / "faq.csv"
    file.write_text("question,answer\n" + "".join(f"question {n},answer {n}\n" for n in range(40)))
    assert compose(["data=files", f"data.train={file}", "data.dev_fraction=0.99"]).data.dev_fraction == 0.99
    assert problems_of("data=files", f"data.train={file}", "data.dev_fraction=1") == [
        "data.dev_fraction=1: must be less than 1."
    ]


def test_nothing_to_score_on_is_told_by_the_fraction_that_makes_it_so(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("anchor,positive\na,b\n")
    (problem,) = problems_of("data=files", f"data.train={file}", "data.dev_fraction=0")
    assert problem.startswith(
        "data.dev_fraction=0: with evaluation=own there is nothing to score on; name data.dev=FILE"
    )


def test_the_losses_that_are_recommended_are_fed_what_they_are_recommended_for():
    from embexp.config.feeding import LOSS_FED

    for view, loss in LOSS_FED.items():
        rows = ["data.kind=labelled"] if view == "labelled" else []
        assert view in compose([f"loss={loss}", *rows]).loss.view


def test_texts_that_a_loss_cannot_be_fed_are_answered_with_the_loss_that_can(tmp_path):
    notes = tmp_path / "notes.csv"
    notes.write_text("text\na\nb\n")
    (problem, *_) = problems_of("data=files", f"data.train={notes}", "evaluation=helpdesk")
    assert (
        "cannot be made from texts rows; a loss that they can feed: loss=tsdae, loss=simcse; data that would do"
        in problem
    )
    # Where nothing is scored either, one answer says what to choose; who has a file is not sent to data=files.
    (problem,) = problems_of("data=files", f"data.train={notes}")
    assert "a loss that they can feed: loss=tsdae, loss=simcse, scored on other pairs (evaluation=stsb, " in problem
    assert "data that would do: helpdesk, mnli, allnli, another file, stsb (rows of" in problem


@pytest.mark.parametrize(
    ("chosen", "fraction"),
    [
        (["evaluation=own"], None),
        (["evaluation=helpdesk"], 0.0),
        (["evaluation=helpdesk", "data.dev_fraction=0.2"], 0.2),
        ([*PAIRS_BESIDE, "evaluation.retrieval.split=dev"], None),
        ([*PAIRS_BESIDE, "evaluation.retrieval.split=test", "data.test={file}"], 0.0),
    ],
)
def test_rows_to_train_on_are_set_aside_only_where_they_are_scored(tmp_path, chosen, fraction):
    from embexp.data import build_source

    file = tmp_path / "pairs.csv"
    file.write_text("anchor,positive\n" + "".join(f"question {n},answer {n}\n" for n in range(40)))
    config = compose(["data=files", f"data.train={file}", *(word.format(file=file) for word in chosen)])
    assert config.data.dev_fraction == fraction
    assert len(build_source(config.data).load("train").table) == {None: 36, 0.0: 40, 0.2: 32}[fraction]


@pytest.mark.parametrize("given", [[], ["data.dev=nowhere.csv"], ["data.dev=nowhere.csv", "data.kind=pairs"]])
def test_a_file_to_train_on_must_be_named(given):
    problem = problems_of("data=files", *given)[0]
    assert problem.startswith("data.train=null: name a file: data.train=FILE.csv")


def test_what_would_help_is_told_by_the_key_of_its_section(tmp_path):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("sentence1;sentence2;score\na;b;0\n")
    (problem,) = problems_of("evaluation=files", f"evaluation.source.dev={pairs}")
    assert "name yours with evaluation.source.columns" in problem
    assert "set 'evaluation.source.delimiter=\";\"'" in problem
    (problem,) = problems_of("evaluation=files", f"evaluation.source.dev={pairs}", 'evaluation.source.delimiter=";;"')
    assert "evaluation.source.delimiter=';;' must be one character" in problem


@pytest.mark.parametrize("override", ["hydra.sweep.dir=elsewhere", "hydra.sweep.subdir=x"])
def test_a_sweep_has_its_folder_from_embexp(override):
    (problem,) = problems_of(override)
    assert "a sweep lies in multirun/DATE/TIME" in problem


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["loss=tsdae", "trainer.sort_by_length=false"], "loss=tsdae is shared only with trainer.sort_by_length=true"),
        (["trainer.device=mps"], "trainer.device=mps is one GPU"),
    ],
)
def test_what_several_devices_cannot_share_is_refused(overrides, said):
    assert any(said in problem for problem in problems_of("devices=2", *overrides))


def test_what_a_gpu_is_wanted_for_may_be_sent_to_slurm_from_a_machine_without(monkeypatch):
    monkeypatch.setattr("embexp.config.rules.has_cuda", lambda: False)
    monkeypatch.setattr("embexp.config.launching.shutil.which", lambda program: program)
    asked = ["trainer.device=cuda", "trainer.precision=fp16", "batch_size=32,64"]
    assert len(check_command([*asked, "hydra/launcher=submitit_slurm"], multirun=True).jobs) == 2
    with pytest.raises(ConfigError, match="no NVIDIA driver"):
        check_command([*asked, "hydra/launcher=submitit_local"], multirun=True)


def test_a_database_in_a_folder_that_is_not_there_is_refused_and_the_folder_is_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for uri, folder in (("sqlite:////nonexistent/x.db", "/nonexistent"), ("sqlite:///runs/x.db?timeout=9", "runs")):
        told = problems_of(f"tracker.uri={uri}" if "?" not in uri else f"tracker.uri='{uri}'")
        assert told == [
            f"tracker.uri={uri}: there is no folder {folder}; make it, or name a database in one that is there."
        ]
    assert not list(tmp_path.iterdir())
    for uri in ("null", "sqlite:///x.db", f"sqlite:///{tmp_path}/x.db", "sqlite:///:memory:"):
        compose([f"tracker.uri={uri}"])


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("sqlite://m.db", "sqlite:///m.db"),
        ("sqlite://runs/m.db?timeout=9", "sqlite:///runs/m.db?timeout=9"),
        ("sqlite+pysqlite://m.db", "sqlite:///m.db"),
        ("sqlite://me:secret@m.db", "sqlite:///m.db"),
        ("sqlite://", "sqlite:///mlflow.db"),
    ],
)
def test_a_database_behind_two_slashes_is_refused_with_what_is_to_be_written(uri, meant):
    (told,) = problems_of(f"tracker.uri='{uri}'")
    assert told.endswith(f": names no file, which stands behind three slashes; write {meant}")
    assert "secret" not in told


def test_a_database_that_cannot_be_written_to_and_a_file_that_is_none_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlflow.db").touch()
    compose()
    another = "name another file, which is made where there is none."
    for text in ("abc", "no database, but a text of more than sixteen letters"):
        (tmp_path / "text.db").write_text(text)
        assert problems_of("tracker.uri=sqlite:///text.db") == [
            f"tracker.uri=sqlite:///text.db: is no SQLite database; {another[:-1]}, or move it away, and fill a new one "
            "with what is in this folder: python -m embexp.tracking sync --anew"
        ]
    with closing(sqlite3.connect(tmp_path / "other.db")) as database, database:
        database.execute("CREATE TABLE customers (name TEXT)")
        database.executemany("INSERT INTO customers VALUES (?)", [["x" * 100]] * 1000)
    assert problems_of("tracker.uri=sqlite:///other.db") == [
        f"tracker.uri=sqlite:///other.db: is a database of something else, with customers; {another}"
    ]
    os.truncate(tmp_path / "other.db", 5000)
    (damaged,) = problems_of("tracker.uri=sqlite:///other.db")
    assert "is damaged (database disk image is malformed); move it away" in damaged
    (tmp_path / "a folder").mkdir()
    assert problems_of("tracker.uri=sqlite:///a%20folder") == [
        "tracker.uri=sqlite:///a%20folder: is a folder; name a file in it, as a folder/mlflow.db, which is made where there is none."
    ]
    # As for whoever is not root, or on a disk that is read only.
    monkeypatch.setattr("embexp.tracking.named.os.access", lambda path, mode: str(path) != f"{tmp_path}/mlflow.db")
    assert problems_of() == [
        f"tracker.uri=sqlite:///{tmp_path}/mlflow.db: it, or its folder, cannot be written to; name another database, or use tracker=none."
    ]
    (tmp_path / "shut").mkdir()
    monkeypatch.setattr("embexp.tracking.named.os.access", lambda path, mode: path.name != "shut")
    assert problems_of("tracker.uri=sqlite:///shut/new.db") == [
        "tracker.uri=sqlite:///shut/new.db: its folder cannot be written to; name a database in another, or use tracker=none."
    ]


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("=3", "=3: a key stands before the =, without blanks: batch_size=64."),
        ("", "'': a key stands before the =, without blanks: batch_size=64."),
        ("batch_size=32,", "batch_size=32,: a value stands after every comma, without a blank: loss=mnr,cosine."),
        ("learning_rate=1e400", "learning_rate=inf: must be a finite number."),
        ("trainer.threads=100000", "trainer.threads=100000: must be at most 1024."),
    ],
)
def test_what_no_number_or_key_can_be_is_told_at_once(typed, told):
    assert problems_of(typed) == [told]


def test_a_store_may_be_named_with_its_driver_and_by_its_path_where_mlflow_allows_it(monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for uri in ("postgresql+psycopg2://me@host/runs", "sqlite:///mlflow.db", "mlruns", "databricks"):
        assert compose([f"tracker.uri={uri}"]).tracker.uri == uri


@pytest.mark.parametrize(
    "typed",
    [
        [],
        ["loss=cosine", "batch_size=64", "trainer.weight_decay=0.1", "batch_size=128"],
        ["experiment=book_tsdae", "model=tiny", "data.path='a b'", "loss.deletion_ratio=0.5"],
        ["evaluation=[own,latency]", "evaluation.similarities=[cosine,dot]"],
        ["hydra/launcher=joblib", "hydra.launcher.n_jobs=3", "tracker.uri=${oc.env:HOME}"],
        ["data=files", "data.train=x.csv", "data.columns={anchor: a, positive: 'b, c'}", "++data.limit=7"],
        ["seed=null", "hydra.searchpath=[]"],
    ],
)
def test_a_job_is_composed_as_hydra_composes_it(typed):
    with _loader(None) as loader:
        found, expected = composed_with(loader, parse(typed)), hydra_compose("config", typed, return_hydra_config=True)
        assert without_hydra(found) == without_hydra(expected)
        assert (found.hydra.launcher, found.hydra.runtime.choices) == (
            expected.hydra.launcher,
            expected.hydra.runtime.choices,
        )
        # What is set on a copy is in no other job.
        assert without_hydra(composed_with(loader, parse([]))) == without_hydra(hydra_compose("config", []))
        with pytest.raises(HydraException):
            composed_with(loader, parse(["trainer.nothing=1"]))


def test_all_problems_are_told_at_once():
    problems = problems_of("batch_size=0", "learning_rate=fast", "loss.scale=-1", "trainer.device=tpu")
    assert len(problems) == 4


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["batchsize=3", "epochs=-1"], ["batchsize: ", "epochs=-1: "]),
        (["loss=mnrr", "trainer.foo=1", "seed=x"], ["loss=mnrr: ", "trainer.foo: ", "seed=x: "]),
        (["batchsize=3", "evaluation.select_by=foo"], ["batchsize: ", "evaluation.select_by=foo: "]),
        (["lss=mnr", "evaluation=helpdesk", "evaluation.source.rows=1"], ["lss: ", "evaluation.source.rows=1: "]),
        # Of a loss that is not known, neither its keys nor what goes with it can be judged.
        (["loss=cosin", "loss.margin=3", "batch_size=1"], ["loss=cosin: "]),
    ],
)
def test_a_wrong_value_is_told_beside_a_misspelt_word(overrides, told):
    for words, multirun in ((overrides, False), ([*overrides, "warmup_steps=1,2"], True)):
        with pytest.raises(ConfigError) as refused:
            check_command(words, multirun=multirun)
        assert [f"{problem.split(': ')[0]}: " for problem in refused.value.problems] == told


def test_what_does_not_go_together_is_told_beside_what_is_wrong_in_itself_as_far_as_it_is_known():
    typed = ["batch_size=0", "devices=33", "evaluation.select_by=foo", "loss.directions=[doc_to_query]"]
    # Of a batch size that is none it cannot be told whether 33 devices share it.
    assert [problem.partition(": ")[0] for problem in problems_of(*typed)] == [
        "evaluation.select_by=foo",
        "batch_size=0",
        "loss.directions=['doc_to_query']",
    ]
    typed = ["evaluation=helpdesk", "evaluation.source.rows=1", "evaluation.times=0", "trainer.early_stopping=4"]
    assert [problem.partition(": ")[0] for problem in problems_of(*typed)] == [
        "evaluation.times=0",
        "evaluation.source.rows=1",
    ]


def test_a_rule_that_breaks_is_not_taken_for_one_that_lacks_what_is_wrong(monkeypatch):
    monkeypatch.setattr("embexp.config.checks.RULES", (lambda config: iter([config.nothing]),))
    for typed in ([], ["batch_size=0"]):
        with pytest.raises(AttributeError, match="nothing"):
            compose(typed)


def test_a_rule_s_own_mistake_is_no_lack_of_what_is_wrong_though_the_names_are_alike(monkeypatch):
    monkeypatch.setattr("embexp.config.checks.RULES", (lambda config: iter([config.trainer.seed]),))
    with pytest.raises(AttributeError, match="seed"):
        compose(["seed=-1"])


def test_no_rule_sees_a_wrong_value_however_it_is_told(monkeypatch):
    monkeypatch.setattr("embexp.config.sections._message", lambda *_: "One row makes the smallest batch.")
    assert problems_of("batch_size=0", "devices=33") == ["One row makes the smallest batch."]


def test_what_is_wrong_in_itself_is_told_before_the_network_is_asked_or_rows_are_read(tmp_path, monkeypatch):
    from embexp import model_paths
    from embexp.data.files import FileSource

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("waited for")

    monkeypatch.setattr(model_paths, "hub_is_reachable", refuse)
    monkeypatch.setattr(FileSource, "bad_rows", refuse)
    monkeypatch.setattr(FileSource, "kinds", refuse)
    monkeypatch.chdir(tmp_path)
    rows = tmp_path / "rows.csv"
    rows.write_text("anchor,positive\na,b\n,d\n")
    files = ["data=files", f"data.train={rows}", "evaluation=helpdesk"]
    typed = [*files, "model.path=word", "loss.directions=[doc_to_query]", "batch_size=0"]
    # What asks nobody is told beside it, a file that is not there too.
    assert [problem.partition("=")[0] for problem in problems_of(*typed)] == ["batch_size", "loss.directions"]
    typed = [*typed, "data.train=nowhere.csv"]
    assert "data.train=nowhere.csv: there is no such file." in problems_of(*typed)
    for wait in (["model.path=word"], files):
        with pytest.raises(AssertionError, match="waited for"):
            compose(wait)


def test_a_loss_whose_view_the_data_cannot_give_names_the_data_that_would_do(tmp_path):
    texts = tmp_path / "notes.csv"
    texts.write_text("text\na first note\na second note\n")
    problems = problems_of("data=files", f"data.train={texts}", "loss=mnr", "evaluation=helpdesk")
    assert any("triplets or pairs" in problem and "helpdesk" in problem for problem in problems)


def test_data_without_scored_pairs_needs_an_evaluation(tmp_path):
    texts = tmp_path / "notes.csv"
    texts.write_text("text\na first note\na second note\n")
    problems = problems_of("data=files", f"data.train={texts}", "loss=tsdae")
    assert any("brings no scored pairs" in problem for problem in problems)


def test_every_job_of_a_sweep_is_checked_before_the_first():
    with pytest.raises(ConfigError) as refused:
        check_command(["batch_size=32,0", "loss=mnr,cosine", "learning_rate=1e-5,-1"], multirun=True)
    assert sorted(problem.split(":")[0] for problem in refused.value.problems) == [
        "batch_size=0",
        "learning_rate=-1",
    ]


def test_a_sweep_becomes_one_job_a_combination():
    jobs = check_command(["batch_size=32,64", "loss=mnr,cosine"], multirun=True).jobs
    assert len(jobs) == 4


@pytest.mark.parametrize("typed", ["hydra.sweeper.params={seed: '1,2'}", "+hydra.sweeper.params.seed='1,2'"])
def test_what_only_an_experiment_file_can_sweep_is_told_how_it_is_typed(typed):
    for words, multirun in (([], False), ([], True), (["experiment=book_batch_size"], True)):
        with pytest.raises(ConfigError, match="what is swept stands by itself: batch_size=16,32 -m"):
            check_command([typed, *words], multirun=multirun)


def test_a_sweep_without_an_experiment_may_say_so_by_hydra_s_sign_alone():
    assert check_command(["~experiment", "seed=1,2"], multirun=True).jobs
    with pytest.raises(ConfigError, match="experiment=null: there is none"):
        check_command(["experiment=null,book_cosine"], multirun=True)


def test_a_key_of_one_loss_is_not_a_key_of_another():
    (problem,) = problems_of("loss=mnr", "loss.deletion_ratio=0.5")
    assert problem == "loss.deletion_ratio: nothing reads this key here; it is a key of loss=tsdae."
    (problem,) = problems_of("hydra.launcher.n_jobs=2")
    assert "it is a key of hydra/launcher=joblib" in problem


def test_the_key_of_a_section_that_was_typed_without_it_is_named_before_one_that_looks_alike():
    (problem,) = problems_of("data=files", "train=p.csv")
    assert problem == "train: nothing reads this key. Did you mean 'data.train'? See them all with --cfg job."
    (problem,) = problems_of("train=p.csv")
    assert problem == "train: nothing reads this key; data.train does, with data=files: data=files data.train=p.csv."
    (problem,) = problems_of("scale=30")
    assert "Did you mean 'loss.scale'?" in problem


def test_a_key_is_known_by_its_last_words_though_they_are_misspelt():
    (problem,) = problems_of("loss=triplet", "margn=0.5")
    assert "Did you mean 'loss.triplet_margin'?" in problem
    (problem,) = problems_of("loss=triplet", "loss.margn=0.5")
    assert "Did you mean 'loss.triplet_margin'? See them all" in problem
    (problem,) = problems_of("loss.margn=0.5")
    assert "Did you mean 'loss.triplet_margin', a key of " in problem
    (problem,) = problems_of("loss=cosine", "loss.temperature=0.05")
    assert "Did you mean 'loss.scale', which is 1/temperature, a key of loss=angle and of " in problem
    (problem,) = problems_of("evaluation.sise=8")
    assert "Did you mean 'evaluation.batch_size'? See" in problem


def test_a_key_of_another_option_of_the_group_is_named_before_one_of_another_section():
    (problem,) = problems_of("loss.margin=0.5")
    assert "Did you mean 'loss.triplet_margin', a key of " in problem
    assert "loss=triplet?" in problem
    (problem,) = problems_of("model=tiny", "model.pth=x")
    assert "Did you mean 'model.path', a key of model=" in problem
    (problem,) = problems_of("trainer.sede=3")
    assert "Did you mean 'seed'?" in problem


def test_what_can_be_added_is_told_with_the_plus_that_adds_it():
    (problem,) = problems_of("data=allnli", "data.splits.dev=dev")
    assert (
        problem == "data.splits.dev=dev: is not there yet; what is added has a plus before it: '+data.splits.dev=dev'."
    )
    assert compose(["data=allnli", "+data.splits.dev=dev", "evaluation=stsb"]).data.splits["dev"] == "dev"
    (problem,) = problems_of("data=stsb", "data.columns.scor=c")
    assert "Did you mean 'data.columns.score'?" in problem
    assert set(FREE["columns"]) == {name for names in COLUMNS.values() for name in names}
    (problem,) = problems_of("data=stsb", "data.columns={sentence1: a, score: c}")
    assert "'+data.columns.sentence1=...'" in problem


def test_a_column_may_be_called_by_a_number(tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("0,1\n" + "".join(f"question {n},answer {n}\n" for n in range(40)))
    data = compose(["data=files", f"data.train={rows}", "data.columns={anchor: 0, positive: 1}"]).data
    assert data.columns == {"anchor": "0", "positive": "1"}


def test_rows_of_the_hub_are_of_a_kind_that_is_named():
    (problem,) = problems_of("data=mnli", "data.kind=auto")
    assert problem.startswith("data.kind=auto: must be one of ")


def test_no_key_is_named_for_one_that_is_like_none():
    assert problems_of("model.foo=3") == ["model.foo: nothing reads this key. See them all with --cfg job."]
    assert problems_of("trainr.precision=fp32") == [
        "trainr.precision: nothing reads this key. Did you mean 'trainer.precision'? See them all with --cfg job."
    ]


def test_a_named_sweep_is_a_sweep_by_itself(tmp_path):
    assert is_sweep(["experiment=book_batch_size"])
    assert not is_sweep(["experiment=book_mnr"])


def test_checking_a_command_imports_no_torch():
    script = (
        "import sys; from embexp.config.composition import check_command;"
        "check_command(['loss=mnr,triplet', 'batch_size=32,64'], multirun=True);"
        "sys.exit(int('torch' in sys.modules or 'mlflow' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_key_that_only_swept_options_have_is_taken_by_hydra_and_set_job_by_job(tmp_path):
    (tmp_path / "train.parquet").touch()
    typed = ["data=mnli,stsb", f"data.path={tmp_path}", "evaluation=helpdesk", "batch_size=8", "loss=cosine"]
    given = for_multirun(typed)
    assert given == ["data=mnli,stsb", f"data.path=choice({tmp_path})", *typed[2:]]
    with _loader(None) as loader:
        with pytest.raises(HydraException, match=r"data\.path"):
            loader.load_configuration("config", typed, RunMode.MULTIRUN)
        loader.load_configuration("config", given, RunMode.MULTIRUN)
    assert BasicSweeper.split_arguments(parse(given), None)[0] == check_command(typed, multirun=True).jobs


def test_a_text_in_place_of_a_list_is_told():
    with pytest.raises(ConfigError, match=r"compose\(\['loss=mnr'\]\)"):
        compose("loss=mnr")

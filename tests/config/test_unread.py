"""What is told of a command that is right: keys that none of its jobs reads, and jobs whose scores cannot be compared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from embexp import command
from embexp.config.composition import check_command
from embexp.shipped import conf_folder

ROWS = {
    "pairs": ("question,answer", "question {0},answer {0}"),
    "nli": ("premise,hypothesis,label", "premise {0},hypothesis {0},entailment"),
    "scored": ("sentence1,sentence2,score", "one {0},other {0},0.5"),
    "texts": ("text", "text {0}"),
}


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    """One of each kind."""
    made = {kind: tmp_path / f"{kind}.csv" for kind in ROWS}
    for kind, (head, row) in ROWS.items():
        made[kind].write_text("\n".join([head, *(row.format(number) for number in range(40))]) + "\n")
    return made


def told(files: dict[str, Path], *typed: str, **given) -> list[str]:
    words = [word.format(**files) for word in typed]
    return check_command(["data=files", *words], multirun=True, **given).cautions


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["data.train={pairs}", "data.threshold=0.9"], "data.threshold=0.9: nothing reads it, for pairs rows have no scores"),
        (["data.train={pairs}", "data.score_scale=[0,5]"], "data.score_scale=[0.0, 5.0]: nothing reads it, for no file"),
        (["data.train={pairs}", "data.labels={{a: neutral}}"], "data.labels={'a': 'neutral'}: nothing reads it, for no file"),
        (["data.train={pairs}", "data.negatives=shuffled"], "data.negatives=shuffled: nothing reads it, for pairs rows bring no"),
        (["data.train={pairs}", "data.dev={scored}", "data.dev_fraction=0.2"], "data.dev_fraction=0.2: nothing reads it, for nothing"),
        (["data.train={nli}", "data.negatives=shuffled", "loss=cosine"], "data.negatives=shuffled: nothing reads it, for loss=cosine is"),
        (["data.train={nli}", "data.positives=all", "loss=cosine"], "data.positives=all: nothing reads it, for loss=cosine is fed"),
        (["data.train={pairs}", "data.positives=all"], "data.positives=all: nothing reads it, for pairs rows say nothing"),
        (["data.train={pairs}", "data.dev={scored}", "data.seed=7"], "data.seed=7: nothing reads it, for nothing is set aside"),
        (["data.train={scored}", "data.threshold=0.9", "loss=cosine"], "data.threshold=0.9: nothing reads it, for loss=cosine is"),
        (
            ["data.train={texts}", "data.dev={scored}", "loss=tsdae", "data.labels={{a: neutral}}"],
            "data.labels={'a': 'neutral'}: nothing reads it, for no file has NLI labels",
        ),
        (
            ["data.train={pairs}", "evaluation=files", "evaluation.source.dev={pairs}", "evaluation.source.score_scale=[0,5]"],
            "evaluation.source.score_scale=[0, 5]: nothing reads it, for no file has scores",
        ),
        (
            ["data.train={pairs}", "evaluation=helpdesk", "data.dev_fraction=0.2"],
            "data.dev_fraction=0.2: the rows that it sets aside are neither trained on nor scored, for evaluation=helpdesk names",
        ),
        (["data.train={pairs}", "evaluation=helpdesk,own", "data.dev_fraction=0.2"], None),
        (["data.train={pairs}", "data.dev={scored},null", "data.dev_fraction=0.2"], None),
        (["data.train={scored}", "data.threshold=0.9"], None),
        (["data.train={scored}", "data.score_scale=[0,1]"], None),
        (["data.train={nli}", "data.negatives=shuffled"], None),
        (["data.train={pairs}", "data.dev={scored}", "data.score_scale=[0,1]"], None),
        (["data.train={pairs}", "data.seed=7"], None),
        # Read of the rows that are searched, which are not those that the loss is fed.
        (
            ["data.train={scored}", "data.threshold=0.9", "loss=cosine", "evaluation=[own,retrieval]",
             "evaluation.retrieval.source=pairs", "evaluation.retrieval.split=dev"],
            None,
        ),
        (["data.train={pairs}", "evaluation=helpdesk"], None),
        # One of the jobs reads it.
        (["data.train={pairs},{scored}", "evaluation=helpdesk", "data.threshold=0.9"], None),
        (["data.train={scored}", "data.threshold=0.9", "loss=cosine,mnr"], None),
    ],
)  # fmt: skip
def test_a_key_that_no_job_reads_of_the_rows_that_there_are_is_told(files, typed, said):
    cautions = told(files, *typed)
    assert len(cautions) == (said is not None)
    if said is not None:
        assert cautions[0].startswith(said)
        assert cautions[0].endswith("; leave it out.")


def test_a_key_of_an_experiment_file_is_told_as_one_that_is_typed(files, tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\ndata: {threshold: 0.8}\n")
    (said,) = told(files, "data.train={pairs}", "experiment=mine", config_dir=tmp_path)
    assert said.startswith("data.threshold=0.8: nothing reads it")


@pytest.mark.parametrize("name", [path.stem for path in (conf_folder() / "experiment").glob("*.yaml")])
def test_a_shipped_experiment_sets_nothing_that_nothing_reads(name):
    assert check_command([f"experiment={name}"], multirun=False).cautions == []


def test_jobs_with_reasons_of_their_own_are_told_none():
    (said,) = check_command(["loss=cosine", "data=helpdesk,stsb", "data.threshold=0.9"], multirun=True).cautions
    assert said == "data.threshold=0.9: none of these jobs reads it; leave it out."


def test_of_data_of_ones_own_no_key_is_told_for_all_must_stand_there(tmp_path):
    (tmp_path / "data").mkdir()
    shipped = (conf_folder() / "data" / "helpdesk.yaml").read_text().replace("threshold: 0.6", "threshold: 0.5")
    (tmp_path / "data" / "mine.yaml").write_text(shipped)
    assert check_command(["data=mine"], multirun=False, config_dir=tmp_path).cautions == []


@pytest.mark.parametrize("typed", ["data=mine", "data=mine,files"])
def test_of_files_in_an_option_of_ones_own_none_is_told_either(files, tmp_path, typed):
    (tmp_path / "data").mkdir()
    own = (conf_folder() / "data" / "files.yaml").read_text().replace("train: null", f"train: {files['pairs']}")
    (tmp_path / "data" / "mine.yaml").write_text(own)
    both = [f"data.train={files['pairs']}"] if "," in typed else []
    assert check_command([typed, *both], multirun=True, config_dir=tmp_path).cautions == []


def test_of_a_learning_rate_without_warm_up_the_steps_that_were_typed_are_told():
    given = ["trainer.scheduler=constant", "warmup_steps=100"]
    (said,) = check_command(given, multirun=False).cautions
    assert said.startswith("warmup_steps=100: nothing reads it, for trainer.scheduler=constant")
    assert check_command(given[:1], multirun=False).cautions == []
    assert check_command(["trainer.scheduler=constant_with_warmup", given[1]], multirun=False).cautions == []


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["evaluation=[own,retrieval]"], " Did you mean 'evaluation.retrieval.path'?"),
        (["evaluation=[helpdesk,mteb,latency]"], " Did you mean 'evaluation.mteb.path'?"),
        (
            ["evaluation=[own,retrieval,classification]"],
            " Did you mean 'evaluation.retrieval.path' or 'evaluation.classification.path'?",
        ),
        (["evaluation=own,helpdesk"], ""),
        (["evaluation=[own,mteb]", "evaluation.mteb.path=."], ""),
    ],
)
def test_a_mirror_of_no_pairs_that_are_scored_on_is_told_with_the_key_that_may_be_meant(typed, meant):
    (said,) = check_command([*typed, "evaluation.path=scifact"], multirun=True).cautions
    assert said == f"evaluation.path=scifact: nothing reads it without evaluation=stsb; leave it out.{meant}"


@pytest.mark.parametrize(
    "typed",
    [
        ["evaluation=[stsb,retrieval]"],
        ["evaluation=stsb,helpdesk"],
        ["evaluation=[own,mteb]", "evaluation.mteb.path=${evaluation.path}/mteb"],
        ["evaluation=mine"],
    ],
)
def test_of_a_mirror_that_a_job_reads_or_an_option_of_ones_own_nothing_is_told(tmp_path, typed):
    (tmp_path / "validation.parquet").touch()
    for name in ("mteb", "evaluation"):
        (tmp_path / name).mkdir()
    (tmp_path / "evaluation" / "mine.yaml").write_text("sets: {}\n")
    words = [*typed, f"evaluation.path={tmp_path}"]
    assert check_command(words, multirun=True, config_dir=tmp_path).cautions == []


def test_rows_that_are_built_in_have_keys_that_nothing_reads_too():
    (said,) = check_command(["loss=mnr", "data.threshold=0.9"], multirun=False).cautions
    assert said == "data.threshold=0.9: nothing reads it, for nli rows have no scores; leave it out."


def test_what_is_told_is_told_on_stderr_before_the_run(files, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "run_hydra", lambda: print("the run"))
    monkeypatch.setattr(sys, "argv", ["embexp", "data=files", f"data.train={files['pairs']}", "data.threshold=0.8"])
    assert command.run_command() == 0
    said = capsys.readouterr()
    assert said.err == "data.threshold=0.8: nothing reads it, for pairs rows have no scores; leave it out.\n"
    assert said.out == "the run\n"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["data.limit=20,30"],
            "data.limit=20,30: without a dev file each job takes its dev set from the rows that it reads",
        ),
        (["data.limit=20,null"], "data.limit=20,null: without a dev file"),
        (["data.train={pairs},{scored}"], "data.train={pairs},{scored}: without a dev file"),
        (["data.train={pairs},{scored}", "evaluation=helpdesk"], None),
        (["data.dev_fraction=0.1,0.2"], "data.dev_fraction=0.1,0.2: without a dev file"),
        (["data.limit=20,30", "data.dev={scored}"], None),
        (["data.limit=20,30", "evaluation=helpdesk"], None),
        (["data.limit=20", "batch_size=8,16"], None),
    ],
)
def test_jobs_that_would_be_scored_on_dev_sets_of_their_own_are_told_before_the_first(files, typed, said):
    cautions = told(files, "data.train={pairs}", *typed)
    assert len(cautions) == (said is not None)
    assert said is None or cautions[0].startswith(said.format(**files))

"""What a command is refused for before anything is made."""

from __future__ import annotations

import os
import sys

import pytest

from embexp import command
from embexp.command import UsageError
from embexp.config import ConfigError, Mteb
from embexp.identity import COMMAND


@pytest.fixture
def given(monkeypatch, tmp_path):
    """Gives a command in an empty folder, up to where it would be begun."""

    def give(*typed: str) -> int:
        monkeypatch.setattr(sys, "argv", ["embexp", *typed])
        return command.run_command()

    def begin(*_) -> int:
        (tmp_path / "multirun").mkdir()
        return 0

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(COMMAND, os.environ.get(COMMAND, ""))
    for name in ("raise_on_sigterm", "ask_for_large_pages"):
        monkeypatch.setattr(command, name, lambda: None)
    for name in ("run_hydra", "run_sweep"):
        monkeypatch.setattr(command, name, begin)
    return give


@pytest.fixture
def asked_for(monkeypatch) -> list[list[str]]:
    """The tasks that MTEB is asked for; it knows none that begins with No, and breaks at Broken."""
    asked = []

    def refuse(settings: Mteb) -> None:
        asked.append(settings.tasks)
        if unknown := [name for name in settings.tasks if name.startswith("No")]:
            raise ConfigError([f"{name}: no such task" for name in unknown])
        if "Broken" in settings.tasks:
            raise ImportError("libtorch.so: cannot open shared object file")

    monkeypatch.setattr("embexp.evaluation.mteb.refuse_unknown_tasks", refuse)
    return asked


BESIDE = "evaluation=[own,mteb]"


@pytest.mark.parametrize(
    "tasks", [["evaluation.mteb.tasks=[NoSuch]"], ["evaluation.mteb.tasks=[STS12],[NoSuch]", "-m"]]
)
def test_a_task_that_mteb_does_not_know_is_refused_before_a_folder_is_made(tmp_path, given, asked_for, tasks):
    with pytest.raises(ConfigError, match="NoSuch: no such task"):
        given(BESIDE, *tasks)
    assert not list(tmp_path.iterdir())


def test_mteb_is_asked_once_for_the_tasks_that_many_jobs_share(given, asked_for):
    given(BESIDE, "evaluation.mteb.tasks=[STS12],[STS13]", "batch_size=8,16,32", "-m")
    assert asked_for == [["STS12"], ["STS13"]]


def test_mteb_is_asked_for_the_same_tasks_in_each_language(given, asked_for):
    given(BESIDE, "evaluation.mteb.tasks=[STS12]", "evaluation.mteb.languages=[deu],[eng]", "-m")
    assert asked_for == [["STS12"], ["STS12"]]


def test_mteb_is_asked_for_the_same_tasks_in_the_languages_of_each_option(tmp_path, given, asked_for):
    (tmp_path / "own" / "evaluation").mkdir(parents=True)
    (tmp_path / "own" / "evaluation" / "deu.yaml").write_text("defaults: [mteb]\nmteb: {languages: [deu]}\n")
    swept = "evaluation=[own,mteb],[own,deu]"
    given("--config-dir", str(tmp_path / "own"), swept, "evaluation.mteb.tasks=[STS12]", "-m")
    assert asked_for == [["STS12"], ["STS12"]]


def test_mteb_is_asked_for_a_lone_run_whatever_launcher_is_named(given, asked_for):
    with pytest.raises(ConfigError, match="NoSuch: no such task"):
        given(BESIDE, "evaluation.mteb.tasks=[NoSuch]", "hydra/launcher=joblib")
    given(BESIDE, "evaluation.mteb.tasks=[STS12],[STS13]", "hydra/launcher=basic", "-m")
    assert asked_for == [["NoSuch"], ["STS12"], ["STS13"]]


def test_what_else_breaks_in_mteb_is_left_to_the_run(tmp_path, given, asked_for):
    assert given(BESIDE, "evaluation.mteb.tasks=[Broken]") == 0
    assert asked_for == [["Broken"]]
    assert (tmp_path / "multirun").exists()


def test_mteb_is_not_loaded_for_jobs_in_processes_of_their_own(given, asked_for):
    given(BESIDE, "evaluation.mteb.tasks=[NoSuch],[STS12]", "hydra/launcher=joblib", "-m")
    assert asked_for == []


def test_mteb_is_not_asked_where_none_of_its_tasks_is_typed(given, asked_for):
    given(BESIDE)
    assert asked_for == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--multrun", "seed=1,2"], "--multrun: there is no such flag. Did you mean '--multirun'?"),
        (["--group-by", "seed"], "--group-by: there is no such flag. It is a flag of python -m embexp.compare"),
        (["--rerun"], "--rerun: there is no such flag. Keys and groups stand without dashes: rerun=..."),
        (["--experiment=book_cosine"], "Keys and groups stand without dashes: experiment=book_cosine."),
        (["--loss", "mnr"], "--loss: there is no such flag. Keys and groups stand without dashes: loss=..."),
        (["--multi"], "--multi: there is no such flag. Did you mean '--multirun'?"),
    ],
)
def test_a_flag_that_there_is_not_is_told_with_what_was_meant(monkeypatch, typed, said):
    monkeypatch.setattr(sys, "argv", ["embexp", *typed])
    with pytest.raises(UsageError) as refused:
        command.run_command()
    (problem,) = refused.value.problems
    assert said in problem

"""The command line as a person meets it: exit codes, statuses, folders, in processes of their own."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from tests import warm

SMALL = [
    "model=tiny",
    "data.rows=1000",
    "data.evaluation_rows=100",
    "tracker=none",
    "max_steps=2",
    "evaluation.times=1",
]


def embexp(*arguments: str, cwd: Path, seconds: float = 200) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "embexp", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def warm_embexp(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The same where the start itself is not what is looked at: it is forked from a process that has torch already."""
    return warm.run(["-m", "embexp", *arguments], cwd=cwd)


def results(folder: Path) -> list[dict]:
    paths = sorted(folder.glob("multirun/**/result.json"))
    return [json.loads(path.read_text()) for path in paths]


def processor_seconds(*arguments: str, cwd: Path) -> float:
    """What a command costs, however busy the machine is."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    embexp(*arguments, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_names_the_groups_and_is_quick(tmp_path):
    done = embexp("--help", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("batch_size", "loss: ", "python -m embexp loss=mnr batch_size=32,64,128 -m"):
        assert word in done.stdout
    # With Hydra it would be 1, with torch 5.
    assert processor_seconds("--help", cwd=tmp_path) < 0.5
    # Which Hydra is asked for, where anything stands beside it.
    assert embexp("--help", "batch_size=32", cwd=tmp_path).stdout == done.stdout
    own = tmp_path / "loss" / "own.yaml"
    own.parent.mkdir()
    own.write_text("")
    with_own = embexp("-h", "--config-dir", ".", cwd=tmp_path).stdout
    assert "mnr, own, simcse" in with_own
    assert embexp("--config-dir", str(tmp_path), "batch_size=32", "--help", cwd=tmp_path).stdout == with_own


@pytest.mark.parametrize("asked", [["--help"], ["--help", "seed=1"], ["--cfg", "job"]])
def test_who_reads_the_first_line_alone_of_what_is_told_gets_no_traceback(tmp_path, asked):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "embexp", *asked]
    done = subprocess.run(command, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("named", ["taken/run", "taken", "taken/${now:%H}/x"])
def test_a_run_s_folder_that_cannot_be_made_is_told_in_one_sentence_and_nothing_is_loaded(tmp_path, named):
    (tmp_path / "taken").write_text("")
    done = embexp(*SMALL, f"hydra.run.dir={named}", cwd=tmp_path)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"hydra.run.dir={named}: cannot be written to: ")
    assert said.endswith("; name another folder.")


def test_the_version_is_embexp_s(tmp_path):
    assert embexp("--version", cwd=tmp_path).stdout.startswith(f"embexp {version('embexp')}, Hydra 1.")


def test_a_typo_is_refused_in_one_message_with_exit_1_and_leaves_nothing(tmp_path):
    done = embexp("batchsize=32", cwd=tmp_path)
    assert done.returncode == 1
    assert "Did you mean 'batch_size'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "said"), [([], "python -m embexp devices=2"), (["-m"], "start one process for a sweep")]
)
def test_inside_torchrun_the_command_is_refused_with_what_to_do_instead(tmp_path, monkeypatch, flags, said):
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = embexp("batch_size=8", *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert said in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_given_with_dashes_is_told_how_it_is_written(tmp_path):
    done = embexp("--loss=mnr", "--nope", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    first, second = done.stderr.splitlines()
    assert first.startswith("--loss=mnr: there is no such flag. Keys and groups stand without dashes: loss=mnr.")
    assert second.startswith("--nope: there is no such flag.")


def test_a_run_of_a_file_ends_with_its_table_its_folder_and_a_model_whose_card_tells_how_it_was_scored(tmp_path):
    rows = "".join(f"how do I reset number {n},press the button {n}\n" for n in range(120))
    (tmp_path / "faq.csv").write_text(f"question,answer\n{rows}")
    typed = ["data=files", "data.train=faq.csv", "trainer.save_model=true"]
    done = warm_embexp(*[word for word in SMALL if not word.startswith("data.")], *typed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = results(tmp_path)
    score = run["metrics"]["best/dev/spearman_cosine"]
    assert [line for line in done.stdout.splitlines() if f"{score:.4f}   [" in line]
    folder = Path(run["folder"]).relative_to(tmp_path)
    assert f"Folder: {folder}\nModel:  {folder}/model\n" in done.stdout
    assert "over step 0" not in done.stderr
    assert "over step 0" in Path(run["log"]).read_text()
    counted = "12 right pairs count 1, and 12 wrong ones, each with a text of another row, 0"
    assert f"\ndev: faq.csv (dev part): {counted}\n" in done.stderr
    assert counted.replace("12 ", "") in (tmp_path / folder / "model" / "README.md").read_text()


LOSSES = ("mnr", "cosine", "tsdae")
# Python imports it by itself; at its end the process tells how many objects the collector leaves alone.
TELLS_WHAT_IS_FROZEN = """
import atexit, gc
atexit.register(lambda: print("frozen", gc.get_freeze_count()))
"""


def test_jobs_that_diverge_and_that_break_fail_alone_and_the_exit_code_says_so(tmp_path):
    (tmp_path / "own" / "loss").mkdir(parents=True)
    (tmp_path / "own" / "loss" / "broken.yaml").write_text(
        "_target_: sentence_transformers.sentence_transformer.losses.MSELoss\nview: pairs\n"
    )
    typed = ["--config-dir", "own", "learning_rate=1e30,1e-5", "loss=mnr,broken", *SMALL, "max_steps=4", "-m"]
    done = warm_embexp(*typed, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    diverged, broken, finished, broken_too = results(tmp_path)
    assert (diverged["status"], finished["status"]) == ("FAILED", "FINISHED")
    assert "step" in diverged["reason"]
    assert diverged["reason"] in done.stdout
    for run in (broken, broken_too):
        assert run["status"] == "FAILED"
        assert "Traceback" in Path(run["log"]).read_text()


def test_a_sweep_is_trained_scored_ranked_and_kept_as_a_parent_with_children_and_not_trained_twice(
    tmp_path, monkeypatch
):
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "sitecustomize.py").write_text(TELLS_WHAT_IS_FROZEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start"), prepend=os.pathsep)
    arguments = [f"loss={','.join(LOSSES)}", "model.seed=3", "-m", *[word for word in SMALL if word != "tracker=none"]]
    done = embexp(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for run in results(tmp_path):
        assert [step for step, _ in run["history"]["dev/spearman_cosine"]] == [0, 2]
        assert run["metrics"]["gain/dev/spearman_cosine"] == pytest.approx(
            run["metrics"]["best/dev/spearman_cosine"] - run["history"]["dev/spearman_cosine"][0][1]
        )
        assert "test/spearman_max" in run["metrics"]
    for loss in LOSSES:
        assert loss in done.stdout
    assert "before training" in done.stdout
    # What the jobs have in common: on the terminal once, in each one's log.
    assert done.stderr.count("device: ") == 1
    logs = [Path(run["log"]).read_text() for run in results(tmp_path)]
    assert [log.count("device: ") for log in logs] == [1, 1, 1]
    # By which each is called: what all jobs share need not be read three times of each.
    assert [f"{number} of 3: loss={loss}" in done.stderr for number, loss in enumerate(LOSSES, start=1)] == [True] * 3
    assert [f"loss={loss}: dev spearman_cosine 0." in done.stderr for loss in LOSSES] == [True] * 3
    assert "model.seed" not in done.stderr
    # What the imports made, the libraries of training among them.
    assert int(done.stdout.rpartition("frozen ")[2]) > 300_000
    # The command asked torch for them before it was imported.
    told = [json.loads(file.read_text()) for file in tmp_path.glob("multirun/**/environment.json")]
    assert told
    assert all(environment["large_pages"] for environment in told)
    stored = statuses(tmp_path)
    assert sorted(stored.values()) == ["FINISHED"] * 4
    assert all(run["run_id"] in stored for run in results(tmp_path))

    again = warm_embexp(*arguments, cwd=tmp_path)
    assert again.returncode == 0
    assert [again.stderr.count(f"\nloss={loss}: trained before, not again") for loss in LOSSES] == [1, 1, 1]
    assert len(statuses(tmp_path)) == 5  # only the second sweep's parent is new
    for asked in ([], ["sweep=last"]):
        told = warm.run(["-m", "embexp.compare", *asked], cwd=tmp_path).stdout
        assert told.startswith("\n3 runs")


def statuses(folder: Path) -> dict[str, str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return dict(database.execute("SELECT run_uuid, status FROM runs").fetchall())


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [pytest.param(signal.SIGTERM, 143, "SIGTERM", marks=pytest.mark.slow), (signal.SIGINT, 130, "Ctrl-C")],
)
def test_a_signal_ends_the_second_of_three_jobs_killed_and_the_sweep_with_it(tmp_path, number, code, reason):
    arguments = [*SMALL, "max_steps=2,100000,99999", "epochs=100000", "evaluation.times=10000", "-m"]
    process = warm.start(["-m", "embexp", *arguments], cwd=tmp_path)
    # The second job's: the first one ends at step 2.
    wait_for(lambda: list(tmp_path.glob("multirun/checkpoints/*/checkpoint-10")))
    os.kill(process.pid, number)
    try:
        _, told = process.communicate(timeout=60)
    finally:
        process.kill()
    assert "the same command again goes on from here" in told
    assert process.returncode == code
    first, second = results(tmp_path)
    assert (first["status"], second["status"]) == ("FINISHED", "KILLED")
    assert reason in second["reason"]
    # What it had learnt until then is told.
    assert len(second["history"]["dev/spearman_cosine"]) > 1


def wait_for(condition, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)

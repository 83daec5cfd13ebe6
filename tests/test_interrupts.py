"""What a signal does, and when: at once, or when the step is over; and which of two outweighs the other."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from embexp import command, interrupts, launch
from embexp.config.composition import compose
from embexp.evaluation.mteb import mteb_evaluation
from embexp.interrupts import (
    LOADED,
    Preempted,
    Terminated,
    end_at_once_from_now_on,
    ended_in_one_line,
    leave_on_interrupt,
    leave_on_sigterm,
    raise_on_notice,
    raise_on_sigterm,
    waiting_for_a_good_moment,
)
from tests.test_launch import job_of

NOTICE = signal.SIGUSR2


@pytest.fixture(autouse=True)
def of_a_queue():
    """A process that a queue started; afterwards the signals are as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, NOTICE)}
    raise_on_sigterm()
    raise_on_notice(NOTICE)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def test_a_notice_outside_training_is_obeyed_at_once_and_what_comes_after_it_disturbs_nothing():
    with pytest.raises(Preempted):
        send(NOTICE)
    send(NOTICE, signal.SIGTERM)


def test_a_notice_that_comes_after_sigterm_does_not_disturb_the_end_of_the_run():
    with pytest.raises(Terminated):
        send(signal.SIGTERM)
    send(NOTICE)


@pytest.mark.parametrize("sent", [(NOTICE,), (signal.SIGTERM, NOTICE), (NOTICE, signal.SIGTERM, NOTICE)])
def test_a_notice_while_training_waits_for_the_step_and_outweighs_sigterm(sent):
    done = []

    def train() -> None:
        with waiting_for_a_good_moment() as preemption:
            send(*sent)
            done.append(preemption.asked)

    with pytest.raises(Preempted):
        train()
    assert done == [Preempted]
    send(NOTICE, signal.SIGTERM)  # the run's record is being closed


@pytest.mark.parametrize(
    ("sent", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated), (NOTICE, Preempted)]
)
def test_who_is_told_to_go_and_fails_before_the_step_has_ended_goes(sent, raised):
    def train() -> None:
        with waiting_for_a_good_moment():
            send(sent)
            raise OSError("no room for a checkpoint")

    with pytest.raises(raised) as gone:
        train()
    assert str(gone.value.__cause__) == "no room for a checkpoint"


def test_what_fails_where_nobody_was_told_to_go_fails():
    with pytest.raises(OSError, match="no room"), waiting_for_a_good_moment():
        raise OSError("no room")


def test_training_that_nobody_disturbed_leaves_the_notice_as_it_was():
    with waiting_for_a_good_moment() as preemption:
        assert preemption.asked is None
    with pytest.raises(Preempted):
        send(NOTICE)


def test_a_program_that_knows_no_queue_keeps_its_own_way_with_the_signal():
    heard = []
    signal.signal(NOTICE, lambda number, frame: heard.append(number))
    with waiting_for_a_good_moment() as preemption:
        send(NOTICE)
    assert (heard, preemption.asked) == ([NOTICE], None)


# As numpy's C code does, whatever was raised in what it imports.
TAKEN_FOR_ANOTHER = """
import importlib.abc, os, signal, sys

class Interrupting(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {!r}:
            try:
                os.kill(os.getpid(), signal.{})
            except BaseException:
                raise ImportError("initialization failed")

sys.meta_path.insert(0, Interrupting())
"""


def told_to_go(number: signal.Signals, imported: str, *program: str, at: Path) -> subprocess.CompletedProcess[str]:
    """A program that is sent a signal when it imports a module."""
    (at / "sitecustomize.py").write_text(TAKEN_FOR_ANOTHER.format(imported, number.name))
    return subprocess.run(
        [sys.executable, "-m", *program],
        cwd=at,
        env={**os.environ, "PYTHONPATH": str(at)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("program", "imported", "number"),
    [
        ("embexp.compare --help", "yaml", signal.SIGINT),
        ("embexp.compare --help", "embexp.statistics", signal.SIGINT),
        ("embexp.reproduce --help", "yaml", signal.SIGINT),
        ("embexp.export --help", "embexp.compare.runs", signal.SIGINT),
        ("embexp.evaluate --help", "yaml", signal.SIGINT),
        ("embexp batch_size=none", "embexp.command", signal.SIGINT),
        # The process of a sweep's job.
        ("embexp.launch", "hydra", signal.SIGINT),
        ("embexp.launch", "hydra", signal.SIGTERM),
    ],
)
def test_who_interrupts_a_program_while_it_is_loaded_sees_no_traceback(tmp_path, program, imported, number):
    done = told_to_go(number, imported, *program.split(), at=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


@pytest.mark.parametrize(
    ("program", "number", "said"),
    [
        ("embexp", signal.SIGTERM, "terminated (SIGTERM); the same command again goes on from here\n"),
        ("embexp.evaluate", signal.SIGINT, "interrupted (Ctrl-C); the same command again scores what is missing\n"),
    ],
)
def test_a_signal_ends_a_run_that_is_being_loaded_whatever_an_import_makes_of_exceptions(
    tmp_path, program, number, said
):
    done = told_to_go(number, "embexp.job", program, "model=tiny", "tracker=none", at=tmp_path)
    assert (done.returncode, done.stderr) == (128 + number, said)


@pytest.fixture
def sent_while_loaded(monkeypatch):
    """Puts modules in the place of others: who imports something from one is sent a signal, and numpy's kind of error."""

    def send_from(number: int, *names: str) -> None:
        def imported(asked: str) -> object:
            if asked.startswith("__"):
                raise AttributeError(asked)
            try:
                signal.raise_signal(number)
            except BaseException:
                raise ImportError("initialization failed") from None
            return lambda *_: pytest.fail("it was run")

        for name in names:
            module = ModuleType(name)
            module.__getattr__ = imported
            monkeypatch.setitem(sys.modules, name, module)

    return send_from


OF_A_JOB = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated), (NOTICE, Preempted)]


@pytest.mark.parametrize(("number", "raised"), OF_A_JOB)
def test_a_job_in_the_sweep_s_process_that_is_told_to_go_while_it_is_loaded_goes_when_it_is(
    monkeypatch, sent_while_loaded, number, raised
):
    monkeypatch.setattr(command.HydraConfig, "get", lambda: OmegaConf.create({"mode": RunMode.MULTIRUN}))
    sent_while_loaded(number, "embexp.job")
    with pytest.raises(raised):
        command.job(OmegaConf.create())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_job_in_a_process_of_its_own_ends_at_once_while_it_is_loaded(
    tmp_path, monkeypatch, sent_while_loaded, number
):
    left = []

    def leave(code: int) -> None:
        left.append(code)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(launch, "Thread", lambda **_: SimpleNamespace(start=lambda: None))
    monkeypatch.setattr(sys, "argv", sys.argv)
    given = BytesIO(pickle.dumps((job_of(tmp_path), ["embexp"])))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=given))
    # As it begins.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    leave_on_interrupt()
    leave_on_sigterm()
    sent_while_loaded(number, "embexp.job")
    with pytest.raises(ImportError):
        launch.main()
    assert left == [128 + number]


@pytest.mark.parametrize(("number", "raised"), OF_A_JOB)
def test_who_is_told_to_go_while_mteb_is_loaded_goes_when_it_is(sent_while_loaded, number, raised):
    sent_while_loaded(number, "mteb", "mteb.abstasks")
    with pytest.raises(raised):
        mteb_evaluation(compose(["evaluation=[own,mteb]"]).evaluation.mteb)


@pytest.mark.parametrize("loaded", ["embexp.command", "embexp.job"])
def test_a_job_that_its_queue_ends_while_it_is_loaded_is_queued_again(tmp_path, monkeypatch, sent_while_loaded, loaded):
    submission = pytest.importorskip("embexp.submission", reason="the extra slurm is not installed")
    monkeypatch.setattr(submission, "comes_back", lambda *, noticed: noticed)
    monkeypatch.setattr(sys, "argv", sys.argv)
    queued = []
    # As submitit sets it before it calls the job.
    signal.signal(NOTICE, lambda number, frame: queued.append(number))
    sent_while_loaded(NOTICE, loaded)
    submission.Work(job_of(tmp_path), ["embexp"], None)()
    assert queued == [NOTICE]


@pytest.mark.parametrize(
    ("until", "said"),
    [((), "with this step, and saves a checkpoint"), ((LOADED,), "when what it needs is loaded")],
)
def test_who_presses_ctrl_c_at_a_terminal_is_told_when_it_is_obeyed(monkeypatch, until, said):
    told = []
    terminal = {"isatty": lambda descriptor: True, "write": lambda descriptor, text: told.append(text.decode())}
    monkeypatch.setattr(interrupts, "os", SimpleNamespace(**terminal))
    with pytest.raises(KeyboardInterrupt), waiting_for_a_good_moment(*until):
        send(signal.SIGINT)
    assert told == [f"\ninterrupted: it ends {said}; again to end it at once\n"]


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [(KeyboardInterrupt, 130, "interrupted (Ctrl-C)\n"), (Terminated, 143, "terminated (SIGTERM)\n")],
)
def test_a_program_that_is_told_to_go_ends_with_one_line(capsys, raised, code, said):
    @ended_in_one_line()
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code, capsys.readouterr().err) == (code, said)


def test_what_is_loaded_is_interrupted_at_once_and_what_works_by_an_exception():
    # In a process that hears Ctrl-C: in the background of a shell none does.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    leave_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    with pytest.raises(SystemExit):
        ended_in_one_line()(send)(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    leave_on_interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


SAID = """
import os, signal
from embexp.interrupts import end_at_once_from_now_on, raise_on_sigterm
raise_on_sigterm()
print("all")
end_at_once_from_now_on()
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_what_was_said_before_all_is_over_is_written_though_a_signal_comes_then():
    done = subprocess.run([sys.executable, "-c", SAID], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "all\n", "")


def test_a_reader_that_has_left_is_no_reason_to_fail(monkeypatch):
    def left() -> None:
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", SimpleNamespace(flush=left))
    end_at_once_from_now_on()

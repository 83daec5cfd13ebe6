"""A stand-in for Slurm's commands: sbatch, srun, sacct, squeue, scontrol and scancel on this machine, as far as submitit
and embexp use them. It runs every task at once, as a process; the time limit is left out.

`install(folder)` writes the commands into a folder, to be put first in PATH. State: a folder a task, `<job>_<task>`; as
long as there is a file `slow`, sbatch does not return.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "sacct", "squeue", "scontrol", "scancel")


def install(folder: Path) -> None:
    folder.mkdir()
    for name in COMMANDS:
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(__file__)} {name} "$@"\n')
        script.chmod(0o755)


def tasks() -> list[Path]:
    return sorted(path for path in (Path(os.environ["STAND_IN"])).glob("*_*") if path.is_dir())


def state(task: Path) -> str:
    return (task / "state").read_text()


def called(job: str) -> list[Path]:
    """The tasks of a job, by its number, a task's own, or the raw number that SLURM_JOB_ID gives."""
    return [task for task in tasks() if job in (task.name, task.name.split("_")[0], task.name.replace("_", "00"))]


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    array = re.search(r"--array=0-(\d+)", text)
    job = len({task.name.split("_")[0] for task in tasks()}) + 1
    for number in range(int(array[1]) + 1 if array else 1):
        task = Path(os.environ["STAND_IN"]) / f"{job}_{number}"
        task.mkdir()
        (task / "script").write_text(text)
        (task / "state").write_text("PENDING")
        words = {"SLURM_JOB_ID": f"{job}00{number}" if array else str(job), "SLURM_NTASKS": "1"}
        if array:
            words |= {"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": str(number)}
        subprocess.Popen(
            [sys.executable, __file__, "run", str(task)],
            env={**os.environ, **words},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    while Path(os.environ["STAND_IN"], "slow").exists():
        time.sleep(0.1)
    print(f"Submitted batch job {job}")


def run(folder: str) -> None:
    """What Slurm's daemons do with one task: start it, and start it again as long as somebody asks for it."""
    task = Path(folder)
    while True:
        with subprocess.Popen(["bash", str(task / "script")]) as process:
            (task / "state").write_text("RUNNING")
            code = process.wait()
        (task / "starts").open("a").write("x")
        if not (task / "requeue").exists():
            break
        (task / "requeue").unlink()
    if state(task) == "RUNNING":
        (task / "state").write_text("COMPLETED" if code == 0 else "FAILED")


def srun(*arguments: str) -> None:
    words = list(arguments)
    files: dict[str, str] = {}
    while words[0].startswith("--"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            files[option] = words.pop(0)
    number, task = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}" if task else number
    for descriptor, option in ((1, "--output"), (2, "--error")):
        path = files[option].replace("%A_%a", name).replace("%j", name).replace("%t", "0")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), descriptor)
    (called(number)[0] / "pid").write_text(str(os.getpid()))
    os.execvp(words[0], words)


def sacct(*_: str) -> None:
    print("JobID|State|NodeList")
    for task in tasks():
        single = "SLURM_ARRAY" not in (task / "script").read_text() and "--array" not in (task / "script").read_text()
        print(f"{task.name.split('_')[0] if single else task.name}|{state(task)}|here")


def squeue(*arguments: str) -> None:
    for task in called(arguments[-1]):
        print(state(task))


def scontrol(_: str, job: str) -> None:
    for task in called(job):
        (task / "requeue").touch()


def scancel(job: str) -> None:
    for task in called(job):
        if state(task) == "RUNNING":
            (task / "state").write_text("CANCELLED by 0")
            os.kill(int((task / "pid").read_text()), signal.SIGTERM)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])

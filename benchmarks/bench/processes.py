"""Starts processes and says what each took: wall clock, processor time, peak memory, and the time of its steps."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

from embexp.pages import LARGE_PAGES

# Seconds between two looks at a process's memory: a look takes a ten thousandth of a second.
LOOK_EVERY = 0.1
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def without_large_pages() -> Iterator[None]:
    """Within it processes are started that do not ask for them, whichever side they are."""
    before = os.environ.get(LARGE_PAGES)
    os.environ[LARGE_PAGES] = "0"
    try:
        yield
    finally:
        del os.environ[LARGE_PAGES]
        if before is not None:
            os.environ[LARGE_PAGES] = before


@dataclass(frozen=True)
class Finished:
    """A process that ended.

    Attributes:
        out: what it printed.
        wall: seconds of wall clock, from start to end.
        processor: seconds of processor, of all its threads and of its children that ended.
        memory: bytes of resident memory at its peak; of the largest process, where it started others.
        code: its exit code.
        own: of the memory what is mapped from no file, at its peak as far as Linux tells it: the system takes back the rest where
            it is short.
    """

    out: str
    wall: float
    processor: float
    memory: int
    code: int
    own: int = 0


@dataclass(frozen=True)
class Steps:
    """The optimiser steps of a process, the first two apart.

    The first allocates what the others use again; in the time of the second, which counts from the end of the first, embexp has the
    import of MLflow, that it puts off until then.

    Attributes:
        seconds: of each step after the second, of wall clock.
        processor: the same in processor seconds.
        first: seconds from the start of the process to the end of its first step.
        tokens, computed, flops: a step's mean of the tokens of the texts, of the tokens that were computed, padding
            included, and of floating-point operations; nothing but zero where they were not counted.
    """

    seconds: tuple[float, ...]
    processor: tuple[float, ...]
    first: float
    tokens: float
    computed: float
    flops: float

    @property
    def mean(self) -> float:
        """Seconds a step."""
        return statistics.mean(self.seconds)


def start(words: Sequence[str], *, folder: Path, allowed: Sequence[int] = (0,)) -> Finished:
    """Runs `python <words>` in a folder to its end, with this checkout's packages.

    Raises:
        RuntimeError: it ended with a code that is not allowed; with the end of what it said.
    """
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    begun = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=out, stderr=err, env=environment)
        try:
            with highest_memory(process.pid) as seen:
                _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode not in allowed:
            raise RuntimeError(f"python {' '.join(words)} ended with {process.returncode}:\n{err.read()[-3000:]}")
        memory = max(used.ru_maxrss * 1024, seen["VmHWM"])
        processor = used.ru_utime + used.ru_stime
        return Finished(out.read(), wall, processor, memory, process.returncode, seen["RssAnon"])


@contextmanager
def highest_memory(pid: int) -> Iterator[dict[str, int]]:
    """Holds, afterwards, the most bytes of memory that the process had within it, by Linux' names: VmHWM, RssAnon.

    What the system says at its end is the peak since the process itself last set it back, as embexp does before it trains.
    """
    status, over, seen = Path(f"/proc/{pid}/status"), Event(), {"VmHWM": 0, "RssAnon": 0}

    def look() -> None:
        while not over.wait(LOOK_EVERY):
            with suppress(OSError):
                for line in status.read_text().splitlines():
                    name, _, value = line.partition(":")
                    if name in seen:
                        seen[name] = max(seen[name], int(value.split()[0]) * 1024)

    watcher = Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def start_probed(words: Sequence[str], *, folder: Path, count: bool = False) -> tuple[Finished, Steps]:
    """Runs a script or a module to its end under `benchmarks.bench.probe`."""
    with tempfile.TemporaryDirectory() as notes:
        out = Path(notes) / "steps.json"
        how = ["-m", "benchmarks.bench.probe", str(out), *(["--count"] if count else [])]
        finished = start([*how, *words], folder=folder)
        return finished, read_steps(json.loads(out.read_text(encoding="utf-8")))


def start_profiled(words: Sequence[str], *, folder: Path, steps: int) -> dict[str, float]:
    """Seconds of a step by kind of operator, over so many steps after the first: `benchmarks.bench.where`."""
    with tempfile.TemporaryDirectory() as notes:
        out = Path(notes) / "where.json"
        start(["-m", "benchmarks.bench.where", str(out), str(steps), *words], folder=folder)
        shares: dict[str, float] = json.loads(out.read_text(encoding="utf-8"))["shares"]
        return shares


def read_steps(notes: Sequence[dict[str, float]]) -> Steps:
    """What the probe wrote, sums since the process began, as the cost of single steps.

    Raises:
        ValueError: there are fewer than three steps, so that none is left without the first two.
    """
    if len(notes) < 3:
        raise ValueError(
            f"{len(notes)} optimiser steps were seen; at least 3 are needed, for the first two are not timed."
        )

    def each(name: str) -> tuple[float, ...]:
        return tuple(after[name] - before[name] for before, after in pairwise(notes[1:]))

    return Steps(
        each("wall"),
        each("processor"),
        notes[0]["wall"],
        statistics.mean(each("tokens")),
        statistics.mean(each("computed")),
        statistics.mean(each("flops")),
    )

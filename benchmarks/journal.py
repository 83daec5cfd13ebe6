"""What logging costs a training: the call itself, and what the sending thread computes, at one log a step of 100 ms.

    python -m benchmarks.journal                          # a sqlite store, a server that is down, one that is silent
    python -m benchmarks.journal http://127.0.0.1:5000    # a server that answers

A training shares the interpreter with the sending thread, so that at the very worst, on one core, it loses all that
the thread computes. Call and thread together, over the step, are therefore a bound; and unlike the ratio of two
trainings' times, it can be measured on a machine that does other things.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from embexp.tracking import MLflowTracker, Status

STEPS, STEP_SECONDS = 600, 0.1
VALUES = {"train/loss": 0.123456789, "train/learning_rate": 2e-5, "train/grad_norm": 1.23456789}


def main(servers: list[str]) -> None:
    """Measures each kind of store, and prints a line for each."""
    os.chdir(tempfile.mkdtemp())
    if servers:
        for uri in servers:
            measure("server", uri)
        return
    with socket.socket() as closed, socket.socket() as silent:
        closed.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        # Takes connections and never answers.
        silent.listen()
        measure("sqlite", None)
        measure("server-down", f"http://127.0.0.1:{closed.getsockname()[1]}")
        measure("server-silent", f"http://127.0.0.1:{silent.getsockname()[1]}")


def measure(name: str, uri: str | None) -> None:
    """Prints what logging to one store costs."""
    tracker = MLflowTracker(uri, "benchmark", system_metrics=False)
    tracker.start(name, folder=Path(name), params={}, tags={}, parent=None)
    time.sleep(2)
    before = sender_seconds()
    calls = [log_after_a_step(tracker, step) for step in range(STEPS)]
    sender = (sender_seconds() - before) / STEPS
    tracker.end(Status.KILLED)
    call, tail = statistics.mean(calls), sorted(calls)[int(0.99 * STEPS)]
    print(
        f"{name:14} a call: mean {1e6 * call:.0f} µs, 99th percentile {1e6 * tail:.0f} µs · "
        f"sender {1e6 * sender:.0f} µs of CPU a step · together at most {(call + sender) / STEP_SECONDS:.3%}",
        flush=True,
    )


def log_after_a_step(tracker: MLflowTracker, step: int) -> float:
    """How long the call took, in seconds."""
    time.sleep(STEP_SECONDS)
    begun = time.perf_counter()
    tracker.log_metrics(VALUES, step)
    return time.perf_counter() - begun


def sender_seconds() -> float:
    """What the sending thread that was started last has computed so far; to 10 ms."""
    (*_, sender) = (thread for thread in threading.enumerate() if thread.name == "embexp-sender")
    times = {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}
    return float(times[sender.native_id or 0])


if __name__ == "__main__":
    main(sys.argv[1:])

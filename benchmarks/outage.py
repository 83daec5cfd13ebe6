"""Whether a training is slower while its MLflow server is gone: one log a step, the server away for the middle third.

    python -m benchmarks.outage --pairs 3

The same training is made in turns with the server up and with the server killed and, for the last third, started again;
beside the one whose server is up another server starts then, for a start computes for seconds. Told are the ratios of the
seconds of each third, gone / up, and how many of the journal's values the server holds at the end.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from mlflow import MlflowClient

from tests.tracking.servers import MlflowServer, mlflow_server

TRAINING = ("data.rows=4000", "batch_size=16", "trainer.logging_steps=1", "evaluation.times=1", "trainer.threads=1")
LEAST_STEPS = 30


def main() -> None:
    """Measures pairs of trainings, every second one the other way round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    if options.steps < LEAST_STEPS:
        parser.error(f"--steps: at least {LEAST_STEPS}, that a third can be timed")
    ratios = []
    with tempfile.TemporaryDirectory() as home, mlflow_server(Path(home)) as server:
        for pair in range(options.pairs):
            order = (False, True) if pair % 2 == 0 else (True, False)
            seconds = {gone: trained(Path(home) / f"{pair}-{gone}", server, options.steps, gone) for gone in order}
            ratios.append([gone / up for gone, up in zip(seconds[True], seconds[False], strict=True)])
            print("gone / up, by third: " + ", ".join(f"{ratio:.3f}" for ratio in ratios[-1]), flush=True)
    medians = [median(of_third) for of_third in zip(*ratios, strict=True)]
    print("medians: " + ", ".join(f"{ratio:.3f}" for ratio in medians))


def trained(folder: Path, server: MlflowServer, steps: int, gone: bool) -> list[float]:
    """The seconds of each third of one training."""
    command = [sys.executable, "-m", "embexp", *TRAINING, f"max_steps={steps}", f"tracker.uri={server.uri}"]
    # With one seed, all would be the same run, and made once; rerun tells them apart.
    command += ["rerun=true", "trainer.checkpoints=false", f"hydra.run.dir={folder}"]
    with (folder.parent / f"{folder.name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        another = MlflowServer(folder)
        try:
            wait_for(steps // 3, folder, process)
            if gone:
                server.kill()
            wait_for(2 * steps // 3, folder, process)
            (server if gone else another).start()
            if process.wait():
                raise SystemExit(Path(log.name).read_text())
        finally:
            process.kill()
            another.kill()
    entries = read(folder)
    times = {entry["step"]: entry["time"] / 1000 for entry in entries if "train/loss" in entry["values"]}
    tell_what_is_there(entries, server)
    ends = [1, steps // 3, 2 * steps // 3, steps]
    return [times[end] - times[start] for start, end in pairwise(ends)]


def read(folder: Path) -> list[dict[str, Any]]:
    """The journal's metrics; what is half written is left out."""
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return [entry for entry in entries if entry["kind"] == "metrics"]


def wait_for(step: int, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the training has logged this step."""
    while process.poll() is None and not any(entry["step"] >= step for entry in read(folder)):
        time.sleep(0.1)


def tell_what_is_there(entries: list[dict[str, Any]], server: MlflowServer) -> None:
    """Prints how many of the journal's values the server holds, by name, step and value."""
    client = MlflowClient(server.uri)
    (experiment,) = client.search_experiments(filter_string="name = 'embexp'")
    (run,) = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)
    logged = {(name, entry["step"], value) for entry in entries for name, value in entry["values"].items()}
    names = {name for name, *_ in logged}
    held = {
        (name, each.step, each.value) for name in names for each in client.get_metric_history(run.info.run_id, name)
    }
    print(f"{run.info.status}: {len(logged & held)} of {len(logged)} values are there, {len(held - logged)} others")


if __name__ == "__main__":
    main()

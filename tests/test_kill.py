"""A sweep whose process is killed again and again ends like one that nobody disturbed."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

KILLS = 20
COMMAND = [
    sys.executable, "-m", "embexp", "loss=mnr,cosine,tsdae", "-m", "model=tiny", "data.rows=1000",
    "data.evaluation_rows=100", "max_steps=60", "batch_size=16", "evaluation.times=6", "trainer.precision=fp32",
    "trainer.threads=1", "trainer.save_model=true",
]  # fmt: skip
# What a clock or the machine decides.
VARYING = ("time/", "throughput/", "memory/", "system/")


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    """Every run of the store but the sweeps': by its loss, each of which may be there but once."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        rows = database.execute(
            "SELECT p.value, r.run_uuid, r.status, r.artifact_uri FROM runs r JOIN params p USING (run_uuid) "
            "JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'embexp.key' WHERE p.key = 'loss'"
        ).fetchall()
        assert len({loss for loss, *_ in rows}) == len(rows), "a run stands there twice"
        found: dict[str, dict[str, Any]] = {}
        for loss, run_id, status, artifacts in rows:
            values = database.execute(
                "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY key, step", (run_id,)
            ).fetchall()
            weights = Path(artifacts.removeprefix("file://")) / "model" / "model.safetensors"
            found[loss] = {
                "status": status,
                "metrics": [value for value in values if not value[0].startswith(VARYING)],
                "weights": hashlib.sha256(weights.read_bytes()).hexdigest(),
            }
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_sweep_killed_twenty_times_ends_like_an_undisturbed_one(tmp_path):
    straight, disturbed = tmp_path / "straight", tmp_path / "disturbed"
    for folder in (straight, disturbed):
        folder.mkdir()
    began = time.perf_counter()
    subprocess.run(COMMAND, cwd=straight, capture_output=True, check=True)
    seconds = time.perf_counter() - began

    draw, kills = random.Random(20), 0
    for _ in range(3 * KILLS):
        with subprocess.Popen(
            COMMAND, cwd=disturbed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            try:
                process.wait(draw.uniform(0.05, 0.25) * seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
        if kills == KILLS:
            break
    assert kills == KILLS
    done = subprocess.run(COMMAND, cwd=disturbed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(f"{kills} kills; undisturbed {seconds:.0f} s")
    assert stored(disturbed) == stored(straight)
    assert {run["status"] for run in stored(disturbed).values()} == {"FINISHED"}
    with closing(sqlite3.connect(disturbed / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone() == (0,)
    assert not list((disturbed / "multirun" / "checkpoints").iterdir())
    assert not list(disturbed.rglob("*.partial"))

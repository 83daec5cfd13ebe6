"""A sweep's folder as `embexp.record` leaves it, without any training: four finished runs and a failed one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from embexp.compare import Run, read_result

BASE = 0.60
SCORES = {("mnr", 16): 0.66, ("mnr", 32): 0.72, ("cosine", 16): 0.64, ("cosine", 32): 0.58}
MARKUP = "<script>alert('a pair')</script>"


def predictions(path: Path, gain: float) -> None:
    random = np.random.default_rng(3)
    score = random.choice([0.1, 0.3, 0.5, 0.7, 0.9], size=200)
    noise = random.normal(0, 0.2, size=200)
    columns = {
        "split": ["dev"] * 200,
        "sentence1": [f"first text {n} {MARKUP}" for n in range(200)],
        "sentence2": [f"second text {n}" for n in range(200)],
        "score": score,
        "cosine_before": (score + noise).astype(np.float32),
        "cosine_after": (score + noise * (1 - gain)).astype(np.float32),
    }
    pq.write_table(pa.table(columns), path)


def leave_run(folder: Path, loss: str, size: int, **changed: object) -> Run:
    folder.mkdir(parents=True)
    score = SCORES[loss, size]
    content = {
        "status": "FINISHED",
        "reason": None,
        "skipped": False,
        "name": f"{loss} · bs {size} · minilm · helpdesk",
        "key": None,
        "run_id": None,
        "evaluation": "e",
        "params": {"loss": loss, "batch_size": size, "model": "minilm", "data": "helpdesk", "seed": 42},
        "metrics": {
            "best/dev/spearman_cosine": score,
            "dev/spearman_cosine": score,
            "gain/dev/spearman_cosine": score - BASE,
            "time/training_seconds": 83.0,
            "best/step": 20,
        },
        "history": {"dev/spearman_cosine": [[0, BASE], [10, (BASE + score) / 2], [20, score]]},
        "folder": str(folder),
        "log": str(folder / "run.log"),
        **changed,
    }
    (folder / "result.json").write_text(json.dumps(content))
    (folder / "overrides.yaml").write_text(
        yaml.safe_dump([f"loss={loss}", f"batch_size={size}", "model.path=my model"])
    )
    predictions(folder / "predictions.parquet", score - BASE)
    return read_result(folder / "result.json")


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    found = [leave_run(tmp_path / str(n), *key) for n, key in enumerate(SCORES)]
    broken = {"status": "FAILED", "reason": "TrainingDiverged: train/loss is nan at step 7 <b>", "metrics": {}}
    return [*found, leave_run(tmp_path / "4", "mnr", 16, **broken)]

"""A sweep's folder as `embexp.record` leaves it, without any training: four finished runs and a failed one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from scipy.stats import spearmanr

from embexp.compare.runs import Run, read_result

RANDOM = np.random.default_rng(3)
GOLD = RANDOM.choice([0.1, 0.3, 0.5, 0.7, 0.9], size=200)
NOISE = RANDOM.normal(0, 0.3, size=200)
# How much of the base model's noise each run has left: below 1 it is the better one.
LEFT = {("mnr", 16): 0.8, ("mnr", 32): 0.5, ("cosine", 16): 0.9, ("cosine", 32): 1.2}
SCORES = {key: float(spearmanr(GOLD, GOLD + NOISE * left).statistic) for key, left in LEFT.items()}
BASE = float(spearmanr(GOLD, GOLD + NOISE).statistic)
MARKUP = "<script>alert('a pair')</script>"


def predictions(path: Path, left: float) -> None:
    columns = {
        "split": ["dev"] * 200,
        "sentence1": [f"first text {n} {MARKUP}" for n in range(200)],
        "sentence2": [f"second text {n}" for n in range(200)],
        "score": GOLD,
        "cosine_before": GOLD + NOISE,
        "cosine_after": GOLD + NOISE * left,
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
    predictions(folder / "predictions.parquet", LEFT[loss, size])
    return read_result(folder / "result.json")


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    found = [leave_run(tmp_path / str(n), *key) for n, key in enumerate(SCORES)]
    broken = {"status": "FAILED", "reason": "train/loss is nan at step 7 <b>", "metrics": {}}
    return [*found, leave_run(tmp_path / "4", "mnr", 16, **broken)]

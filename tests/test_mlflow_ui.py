"""What a person sees in the MLflow UI, in a real browser: the sweep, its runs side by side, the report."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from embexp.report import report
from embexp.tracking import MLflowTracker, Status
from tests.report.browser import chromium, open_page
from tests.report.conftest import BASE, SCORES

pytestmark = pytest.mark.slow
EXPERIMENT = "1"


@pytest.fixture(scope="module")
def ui(tmp_path_factory):
    """The address of an MLflow UI over a sweep of four runs, the id of its parent, and those of its children."""
    chromium()
    folder = tmp_path_factory.mktemp("ui")
    before = Path.cwd()
    os.chdir(folder)
    try:
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        parent = MLflowTracker(uri, "embexp", False)
        parent.start(
            "sweep loss=mnr,cosine",
            folder=folder,
            params={"loss": '["mnr", "cosine"]'},
            tags={"embexp.sweep": "x"},
            parent=None,
        )
        children = [child(folder, parent.run_id, *key) for key in SCORES]
        (folder / "report.html").write_text(report([], title="The report of this sweep"))
        parent.log_artifact(folder / "report.html")
        parent.end(Status.FINISHED)
    finally:
        os.chdir(before)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port), "--workers", "1"]
    log = (folder / "ui.log").open("w")
    server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        yield wait_for(f"http://127.0.0.1:{port}"), parent.run_id, children
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def child(folder: Path, parent: str | None, loss: str, size: int) -> str:
    tracker = MLflowTracker(f"sqlite:///{folder / 'mlflow.db'}", "embexp", False)
    tracker.start(
        f"{loss} · bs {size} · minilm",
        folder=folder / f"{loss}{size}",
        params={"loss": loss, "batch_size": size},
        tags={},
        parent=parent,
    )
    for step in (0, 10, 20):
        tracker.log_metrics({"dev/spearman_cosine": BASE + (SCORES[loss, size] - BASE) * step / 20}, step)
    tracker.end(Status.FINISHED)
    assert tracker.run_id is not None
    return tracker.run_id


def wait_for(address: str) -> str:
    until = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=2).close()
            return address
        except OSError:
            assert time.monotonic() < until, "the MLflow UI does not answer"
            time.sleep(0.5)


def test_the_experiment_shows_the_sweep(ui):
    address, *_ = ui
    assert "sweep loss=mnr,cosine" in open_page(f"{address}/#/experiments/{EXPERIMENT}/runs").dom


def test_three_runs_side_by_side_show_names_parameters_metrics_and_a_chart(ui):
    address, _, children = ui
    chosen = quote(json.dumps(children[:3]))
    dom = open_page(f"{address}/#/compare-runs?runs={chosen}&experiments={quote(json.dumps([EXPERIMENT]))}").dom
    for word in (
        "Comparing 3 Runs",
        "mnr · bs 16 · minilm",
        "cosine · bs 16 · minilm",
        "batch_size",
        "dev/spearman_cosine",
        f"{SCORES['mnr', 32]:.3f}".rstrip("0"),
    ):
        assert word in dom
    assert "js-plotly-plot" in dom


def test_dev_spearman_over_steps_is_drawn_for_all_runs_of_the_sweep(ui):
    address, _, children = ui
    metric = "dev/spearman_cosine"
    asked = {
        "runs": children,
        "metric": metric,
        "experiments": [EXPERIMENT],
        "plot_metric_keys": [metric],
        "plot_layout": {},
    }
    query = "&".join(f"{key}={quote(json.dumps(value))}" for key, value in asked.items())
    shown = open_page(f"{address}/#/metric?{query}&x_axis=step")
    assert "js-plotly-plot" in shown.dom
    for loss, size in SCORES:
        assert f"{loss} · bs {size} · minilm" in shown.dom


def test_the_report_opens_as_an_artifact_of_the_sweep(ui):
    address, parent, _ = ui
    dom = open_page(f"{address}/#/experiments/{EXPERIMENT}/runs/{parent}/artifacts/report.html").dom
    assert re.search(r'<iframe src="blob:[^>]*sandbox="allow-scripts" class="mlflow-html-iframe"', dom)

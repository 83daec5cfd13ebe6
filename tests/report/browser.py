"""A real browser without a window: chromium, started by a test, that reports what a page did.

    shown = open_page(path, dark=True, width=390)
    shown.dom, shown.console, shown.requests

The browser's own log of the network says who began a request: a page's are told, the browser's own are not. None of them
gets further than a proxy that is not there; only this machine is asked without it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

# Whom the log names as the beginner of what the browser asks for on its own account.
THE_BROWSER = "not an origin"


@dataclass(frozen=True)
class Shown:
    """What a page became: its DOM after scripts, the console's lines, the requests that it made."""

    dom: str
    console: list[str]
    requests: list[str]


def chromium() -> str:
    """The browser; the test is skipped where there is none."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no chromium is installed here")
    return found


def open_page(page: Path | str, *, dark: bool = False, width: int = 1200, picture: Path | None = None) -> Shown:
    """Opens a file or an address, lets its scripts run for ten seconds of its own time, and tells what happened."""
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.json"
        done = subprocess.run(
            [
                chromium(),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
                "--enable-logging=stderr",
                f"--log-net-log={network}",
                f"--user-data-dir={folder}/profile",
                "--proxy-server=127.0.0.1:9",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}",
                f"--window-size={width},1600",
                "--virtual-time-budget=10000",
                *([f"--screenshot={picture}"] if picture is not None else ["--dump-dom"]),
                page if isinstance(page, str) else page.resolve().as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        log = json.loads(network.read_text())
    asked = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    # A request that fails at once has an end of the same type.
    begins = log["constants"]["logEventPhase"]["PHASE_BEGIN"]
    begun = [event["params"] for event in log["events"] if (event["type"], event["phase"]) == (asked, begins)]
    requests = [each["url"] for each in begun if each["initiator"] != THE_BROWSER]
    return Shown(done.stdout, re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", done.stderr), requests)

"""A real browser without a window: chromium, started by a test, that reports what a page did.

    shown = open_page(path, dark=True, width=390)
    shown.dom, shown.console, shown.requests

Every request goes through a proxy of this machine that answers none of them, and so is seen.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

# What a browser asks for on its own account, whatever the page.
QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--disable-domain-reliability",
    "--no-first-run",
    "--no-pings",
    "--gaia-url=http://127.0.0.1:9",
    "--google-apis-url=http://127.0.0.1:9",
    "--disable-features=OptimizationHints,MediaRouter,Translate,NetworkTimeServiceQuerying,AutofillServerCommunication",
)
# No switch keeps it from looking for updates of itself.
OF_BROWSER = "update.googleapis.com"


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
    requests: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            if OF_BROWSER not in self.path:
                requests.append(self.path)
            self.send_error(502)

        do_GET = do_POST = do_HEAD = do_CONNECT = refuse  # noqa: N815

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                chromium(),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--enable-logging=stderr",
                *QUIET,
                f"--user-data-dir={profile}",
                f"--proxy-server=127.0.0.1:{server.server_address[1]}",
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
    server.shutdown()
    server.server_close()
    return Shown(done.stdout, re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", done.stderr), requests)

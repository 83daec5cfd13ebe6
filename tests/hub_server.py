"""A small hub on this machine: serves folders as models and data sets the way the real one does.

    with HubServer(home=tmp_path / "home", models={"org/name": folder}, datasets={"org/name": folder}) as hub:
        done = hub.run("from sentence_transformers import SentenceTransformer; ...")
        assert done.returncode == 0, done.stderr

The real clients read HF_ENDPOINT and HF_HOME when they are imported, so what is to meet this hub runs in a process of
its own, with the cache `home`. Every repository has one commit, `revision`, which is also its main branch; any other
is answered as the hub answers an unknown one. `hub.requests` are the paths that were asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

API = re.compile(r"^/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?$")
TREE = re.compile(r"^/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?$")
FILE = re.compile(r"^/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
REVISION = "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Starts on entering, on a free port of the loopback interface; stops on leaving."""

    def __init__(
        self,
        *,
        home: Path,
        models: Mapping[str, Path] | None = None,
        datasets: Mapping[str, Path] | None = None,
        revision: str = REVISION,
    ) -> None:
        self.home = home
        self.revision = revision
        self.folders = {"models": dict(models or {}), "datasets": dict(datasets or {})}
        self.requests: list[str] = []

    def __enter__(self) -> HubServer:
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on nobody answers."""
        self.server.shutdown()
        self.server.server_close()

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Runs Python code in a process that knows no other hub and has a cache of its own."""
        strange = ("HF_", "HUGGINGFACE", "TRANSFORMERS_OFFLINE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(strange)}
        own = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }
        command = [sys.executable, "-c", script]
        return subprocess.run(command, env={**kept, **own}, capture_output=True, text=True, check=False, timeout=240)


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server_hub.requests.append(path)
        for pattern, answer in ((TREE, self._tree), (API, self._repo), (FILE, self._file)):
            if found := pattern.match(path):
                if found[3] not in (None, "main", self.server_hub.revision):
                    self._send(404, b"{}", body, {"X-Error-Code": "RevisionNotFound"})
                    return
                answer(found, body)
                return
        self._send(404, b"{}", body, {"X-Error-Code": "EntryNotFound"})

    def _folder(self, kind: str | None, repo: str) -> Path | None:
        return self.server_hub.folders[kind or "models"].get(repo)

    def _repo(self, found: re.Match[str], body: bool) -> None:
        folder = self._folder(found[1], found[2])
        if folder is None:
            self._send(404, b"{}", body, {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [{"rfilename": str(p.relative_to(folder))} for p in sorted(folder.rglob("*")) if p.is_file()]
        content = {
            "id": found[2],
            "sha": self.server_hub.revision,
            "siblings": siblings,
            "tags": [],
            "private": False,
            "gated": False,
        }
        self._send(200, json.dumps(content).encode(), body)

    def _tree(self, found: re.Match[str], body: bool) -> None:
        folder = self._folder(found[1], found[2])
        start = folder / (found[4] or "") if folder else None
        if folder is None or start is None or not start.is_dir():
            self._send(404, b"[]", body, {"X-Error-Code": "EntryNotFound"})
            return
        deep = "recursive=true" in self.path.lower()
        entries = [
            {
                "type": "directory" if path.is_dir() else "file",
                "path": str(path.relative_to(folder)),
                "size": path.stat().st_size,
                "oid": _etag(path),
            }
            for path in sorted(start.rglob("*") if deep else start.iterdir())
        ]
        self._send(200, json.dumps(entries).encode(), body)

    def _file(self, found: re.Match[str], body: bool) -> None:
        folder = self._folder(found[1], found[2])
        path = folder / found[4] if folder else None
        if path is None or not path.is_file():
            self._send(404, b"", body, {"X-Error-Code": "EntryNotFound" if folder else "RepoNotFound"})
            return
        content, status, headers = (
            path.read_bytes(),
            200,
            {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": self.server_hub.revision},
        )
        if wanted := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), int(wanted[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._send(status, content, body, headers)

    def _send(self, status: int, content: bytes, body: bool, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes() if path.is_file() else b"").hexdigest()

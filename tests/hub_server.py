"""A small hub on this machine: serves folders as models and data sets the way the real one does.

    with HubServer(home=tmp_path / "home", models={"org/name": folder}, datasets={"org/name": folder}) as hub:
        done = hub.run("from sentence_transformers import SentenceTransformer; ...")
        assert done.returncode == 0, done.stderr

The real clients read HF_ENDPOINT and HF_HOME when they are imported, so what is to meet this hub runs in a process of
its own, with the cache `home`. Every repository has one commit, `revision`, which is also its main branch; any other
is answered as the hub answers an unknown one. `hub.requests` are the paths that were asked for.

Whoever brings the token `TOKEN` may also make model repositories and commit to them; what they push lies in the
folder `pushed` beside the home. Weights go the way of git LFS, as at the real hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests import warm

API = re.compile(r"^/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?$")
TREE = re.compile(r"^/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?$")
FILE = re.compile(r"^/(?:(datasets)/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
UPLOAD = re.compile(r"^/api/models/([^/]+/[^/]+)/(preupload|commit)/main$")
LFS = re.compile(r"^/([^/]+/[^/]+)\.git/info/lfs/objects/batch$")
TOKEN = "hf_of_a_test"
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
        self.objects: dict[str, bytes] = {}

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
        return warm.run(["-c", script], cwd=Path.cwd(), env={**kept, **own}, of=warm.PLAIN)


class _Handler(BaseHTTPRequestHandler):
    server_hub: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        path, content = unquote(urlsplit(self.path).path), self._content()
        self.server_hub.requests.append(path)
        if path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, b"{}", True, {"X-Error-Message": "Invalid username or password."})
        elif path == "/api/repos/create":
            self._create(json.loads(content))
        elif LFS.match(path):
            self._offer(json.loads(content)["objects"])
        elif (found := UPLOAD.match(path)) and self._folder("models", found[1]) is not None:
            (self._preupload if found[2] == "preupload" else self._commit)(found[1], content)
        else:
            self._send(404, b"{}", True, {"X-Error-Code": "RepoNotFound"})

    def do_PUT(self) -> None:
        self.server_hub.objects[self.path.removeprefix("/objects/")] = self._content()
        self._send(200, b"", True)

    def _content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _create(self, wanted: Mapping[str, str]) -> None:
        repo = f"{wanted['organization']}/{wanted['name']}"
        folder = self.server_hub.home.with_name("pushed") / repo
        status = 409 if folder.exists() else 200
        folder.mkdir(parents=True, exist_ok=True)
        self.server_hub.folders["models"][repo] = folder
        self._send_json({"url": f"{self.server_hub.endpoint}/{repo}", "name": repo}, status)

    def _preupload(self, _: str, content: bytes) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(content)["files"]
        ]
        self._send_json({"files": modes})

    def _offer(self, objects: list[dict[str, object]]) -> None:
        offers = [
            {**one, "actions": {"upload": {"href": f"{self.server_hub.endpoint}/objects/{one['oid']}"}}}
            for one in objects
        ]
        self._send_json({"transfer": "basic", "objects": offers})

    def _commit(self, repo: str, content: bytes) -> None:
        folder = self.server_hub.folders["models"][repo]
        for line in map(json.loads, content.splitlines()):
            if line["key"] not in ("file", "lfsFile"):
                continue
            path = folder / line["value"]["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "file":
                path.write_bytes(base64.b64decode(line["value"]["content"]))
            else:
                path.write_bytes(self.server_hub.objects[line["value"]["oid"]])
        revision = self.server_hub.revision
        self._send_json({"commitUrl": f"{self.server_hub.endpoint}/{repo}/commit/{revision}", "commitOid": revision})

    def _send_json(self, content: object, status: int = 200) -> None:
        self._send(status, json.dumps(content).encode(), True, {"Content-Type": "application/json"})

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
            self._send(404, b"{}", body, {"X-Error-Code": "EntryNotFound"})
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
        if path is None:
            self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})
            return
        if not path.is_file():
            self._send(404, b"", body, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.server_hub.revision})
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

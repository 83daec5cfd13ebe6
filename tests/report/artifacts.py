"""Files of runs that a store has elsewhere than on this machine: served over HTTP as MLflow's own server does it."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

ADDRESS = "/api/2.0/mlflow-artifacts/artifacts"


@contextmanager
def served_instead(database: Path, folder: Path) -> Iterator[list[str]]:
    """Has the runs of a store keep their files at a server, which has them from `folder`; yields what is asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            where = urlsplit(self.path)
            name = unquote(where.path.removeprefix(ADDRESS)).strip("/")
            path = folder / (name or parse_qs(where.query)["path"][0])
            if name:
                asked.append(name)
                self._answer(path.read_bytes() if path.is_file() else None)
            else:
                below = path.iterdir() if path.is_dir() else ()
                files = [{"path": each.name, "is_dir": each.is_dir()} for each in below]
                self._answer(json.dumps({"files": files}).encode())

        def _answer(self, content: bytes | None) -> None:
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "UPDATE runs SET artifact_uri = ? || run_uuid || '/artifacts'",
            (f"http://127.0.0.1:{server.server_port}{ADDRESS}/",),
        )
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()

"""Real servers on loopback ports: `mlflow server` over HTTP, and PostgreSQL from Debian's package."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class MlflowServer:
    """`mlflow server` in a folder; it can be killed and started again at the same address."""

    def __init__(self, folder: Path, backend: str | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.backend = backend or f"sqlite:///{folder}/server.db"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        arguments = ["--backend-store-uri", self.backend, "--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *arguments, "--port", str(self.port), "--workers", "1"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).read()
                return
            except OSError:
                assert time.monotonic() < end, (self.folder / "server.log").read_text()[-2000:]
                assert self.process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)

    def kill(self) -> None:
        """Ends it at once, with its workers, as a power cut would."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@contextmanager
def mlflow_server(folder: Path, backend: str | None = None) -> Iterator[MlflowServer]:
    server = MlflowServer(folder, backend)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """The URI of a database of its own, with a password; the test is skipped, by name, where there is no PostgreSQL."""
    programs = postgresql_programs()
    pytest.importorskip("psycopg", reason="psycopg is not installed: make test-services installs it")
    user = database_user()
    data, password, port = folder / "data", folder / "password", free_port()
    password.write_text("pa55word\n")
    if user is not None:
        for path in (folder, password):
            shutil.chown(path, user)
        for parent in folder.parents:
            # pytest's folders are closed to all but their owner.
            if parent.owner() == "root" and parent != Path(parent.anchor) and not parent.stat().st_mode & 0o001:
                parent.chmod(parent.stat().st_mode | 0o011)

    def call(*command: str) -> None:
        subprocess.run(command, cwd=folder, user=user, check=True, stdout=subprocess.DEVNULL, timeout=60)

    call(str(programs / "initdb"), "-D", str(data), "-U", "me", "-A", "scram-sha-256", "--pwfile", str(password))
    control = (str(programs / "pg_ctl"), "-D", str(data), "-w")
    call(*control, "-l", str(folder / "log"), "-o", f"-p {port} -k {folder} -c listen_addresses=127.0.0.1", "start")
    try:
        yield f"postgresql://me:pa55word@127.0.0.1:{port}/postgres"
    finally:
        call(*control, "-m", "immediate", "stop")


def postgresql_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent if found else Path(str(on_path)).parent


def database_user() -> str | None:
    """Who the database runs as: it refuses root."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")

"""Processes that need not import torch again, which takes nine seconds: each is forked from one that has.

    done = run(["-m", "embexp", "model=tiny"], cwd=tmp_path)      # as subprocess.run([sys.executable, "-m", "embexp", ...])
    started = start(["-m", "embexp", "model=tiny"], cwd=tmp_path)  # as subprocess.Popen

What is forked has the libraries and no module of embexp: it imports those itself, as a process of its own would, and has its
own command, folder, environment and files. What asks for more, as what a start takes or imports, starts Python itself.

They hash texts alike: PYTHONHASHSEED is read at a start. Where nothing can be forked, Python is started.

All of a session's workers share two such parents, which the first that asks starts, and which end with pytest. PLAIN has none
of what reads HF_HOME and HF_ENDPOINT at its import, and so serves processes that have their own.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

PLAIN, ALL = "plain", "all"
LIBRARIES = {
    PLAIN: [
        "hydra", "matplotlib", "pandas", "pyarrow.parquet", "pydantic", "scipy.stats", "sklearn.metrics", "torch", "torch._dynamo",
        "torch.distributed.tensor",
    ],
    ALL: ["mlflow.store.tracking.sqlalchemy_store", "sentence_transformers"],
}  # fmt: skip
# Threads that what is forked can do without: jemalloc sees to a fork itself, and of polars nothing is used.
IDLE = ("jemalloc_bg_thd", "polars-ooc-clea")
# A process that was forked after its parent asked torch for a GPU can use none.
CAN_FORK = hasattr(os, "pidfd_open") and not Path("/dev/nvidiactl").exists()
# Before any test has changed it.
ENVIRONMENT = dict(os.environ)
# The one of pytest that started the workers; without workers this one.
SESSION = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


class Forked:
    """What is asked of it is as of a `subprocess.Popen`."""

    def __init__(self, connection: socket.socket, files: Sequence[object]) -> None:
        self._connection, self._files = connection, files
        told = connection.recv(64)
        if not told:
            raise ConnectionResetError
        self.pid = int(told)
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = int(self._connection.recv(64))
            except TimeoutError:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from None
            self._connection.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        for file in self._files:
            file.seek(0)
        out, err = (file.read() for file in self._files)
        return out, err

    def kill(self) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def start(
    command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, of: str = ALL
) -> Forked | subprocess.Popen:
    """Starts Python with these arguments: -m and a module, or -c and its code, and then those of the program."""
    env = dict(os.environ if env is None else env)
    # A parent ends at once that would lose threads by forking, or cannot import what it should.
    with suppress(ConnectionError):
        if CAN_FORK:
            return _forked(command, cwd, env, of)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What starts the tests in the background ignores SIGINT, and so would the child.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def _forked(command: list[str], cwd: Path, env: Mapping[str, str], of: str) -> Forked:
    files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115  # read when it has ended
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(_address(of))
    asked = json.dumps([command, str(cwd), env]).encode()
    socket.send_fds(connection, [asked], [file.fileno() for file in files])
    return Forked(connection, files)


def run(
    command: list[str], *, cwd: Path, env: Mapping[str, str] | None = None, of: str = ALL, timeout: float = 200
) -> subprocess.CompletedProcess[str]:
    """Starts it and waits for its end."""
    process = start(command, cwd=cwd, env=env, of=of)
    try:
        out, err = process.communicate(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _address(of: str) -> str:
    """Where the parent listens; the parents are started where none of this session are there yet."""
    addresses = {name: f"\0embexp-tests-{SESSION}-{name}" for name in LIBRARIES}
    with open(Path(tempfile.gettempdir()) / f"embexp-tests-{os.getuid()}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            try:
                listening.bind(addresses[PLAIN])
            except OSError:
                return addresses[of]
            listening.listen()
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
                other.bind(addresses[ALL])
                other.listen()
                told = [str(listening.fileno()), str(other.fileno()), str(SESSION)]
                subprocess.Popen(
                    [sys.executable, "-m", "tests.warm", *told],
                    cwd=Path(__file__).parents[1],
                    env=ENVIRONMENT,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[listening.fileno(), other.fileno()],
                    start_new_session=True,
                )
    return addresses[of]


def _serve(listening: socket.socket, session: int) -> list[str] | None:
    """Forks a process for each that asks. Returns in each of those, with its command; in the parent at the session's end."""
    # Their objects stay, and are looked through neither while they are made nor later.
    gc.freeze()
    gc.enable()
    names = [task.joinpath("comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    assert [name for name in names if name not in IDLE] == [names[0]], f"what is forked would lose a thread: {names}"
    with selectors.DefaultSelector() as selector:
        selector.register(os.pidfd_open(session), selectors.EVENT_READ, "session")
        selector.register(listening, selectors.EVENT_READ, "asked")
        while True:
            for key, _ in selector.select():
                if key.data == "session":
                    return None
                if key.data == "asked":
                    connection, _ = listening.accept()
                    asked, files, *_ = socket.recv_fds(connection, 2**20, 2)
                    if (pid := os.fork()) == 0:
                        break
                    for file in files:
                        os.close(file)
                    _tell(connection, pid)
                    selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                else:
                    pid, connection = key.data
                    selector.unregister(key.fileobj)
                    os.close(key.fd)
                    _tell(connection, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    connection.close()
            else:
                continue
            break
    # In what was forked.
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
    os.closerange(3, 2**12)
    return _become(*json.loads(asked))


def _tell(connection: socket.socket, number: int) -> None:
    # A test that ran out of time asks no more.
    with suppress(OSError):
        connection.send(str(number).encode())


def _become(command: list[str], folder: str, environment: dict[str, str]) -> list[str]:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not sys.flags.safe_path:
        sys.path[0] = folder
    return command


def main() -> None:
    """Loads the libraries and serves; each process that is forked leaves here as the program that it was asked to be."""
    plain, whole, session = (int(word) for word in sys.argv[1:])
    gc.disable()
    for name in LIBRARIES[PLAIN]:
        importlib.import_module(name)
    assert "huggingface_hub" not in sys.modules
    of, other = (plain, whole) if os.fork() else (whole, plain)
    os.close(other)
    if of == whole:
        for name in LIBRARIES[ALL]:
            importlib.import_module(name)
    command = _serve(socket.socket(fileno=of), session)
    if command is None:
        return
    flag, program, *arguments = command
    sys.argv = [flag, *arguments]
    if flag == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()

"""The MLflow store: where it is, made once under a lock, and what its errors mean."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from embexp.config import ConfigError
from embexp.tracking.moved import ARTIFACTS, take_artifacts_along
from embexp.tracking.secrets import without_secrets

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

# Where runs are looked for, where nothing is said of it: as in conf/tracker/mlflow.yaml.
EXPERIMENT = "embexp"
DATABASE = "mlflow.db"
SQLITE = "sqlite:///"
GONE = "its process is gone"
# A run's own id, and that of the sweep whose job trains it at present: a run that is continued keeps its first parent.
ID, TRAINED_BY = "embexp.id", "embexp.trained_by"
# MLflow's words for what may pass; a refused connection is an INTERNAL_ERROR to it.
AWAY = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED")
CAUSE = re.compile(
    r"Connection refused|timed out|Name or service not known|too many 5\d\d error responses|"
    r"Connection reset by peer|Connection aborted"
)

# What a process that was killed in the midst of making a database has left, where that was made in place.
HALF_MADE = re.compile(r"table \S+ already exists|Online migration expected|found version None")
OF_ANOTHER_VERSION = re.compile(r"out-of-date database schema|Can't locate revision")
# Drivers whose packages are called otherwise.
PACKAGES = {"MySQLdb": "mysqlclient", "psycopg2": "psycopg2-binary"}

Answer = TypeVar("Answer")


def store_uri(uri: str | None) -> str:
    """The store that is meant: `uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the current folder."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or uri_of(Path.cwd() / DATABASE)


def database_file(where: str) -> Path:
    """The file that a sqlite store is, as SQLAlchemy reads its URI: %20 is a blank, and what follows a question mark is no path."""
    return Path(unquote(where.removeprefix(SQLITE).partition("?")[0]))


def uri_of(database: Path) -> str:
    """The counterpart of `database_file`."""
    return f"{SQLITE}{str(database).replace('%', '%25').replace('?', '%3F')}"


def absolute(where: str) -> str:
    """A store as it is called from any folder."""
    return at(where, database_file(where).resolve()) if is_local(where) else where


def at(where: str, database: Path) -> str:
    """The URI of a sqlite store that is opened in the same way, and is that file."""
    _, query, options = where.partition("?")
    return f"{uri_of(database)}{query}{options}"


def is_local(where: str) -> bool:
    """Whether the store is a file of this machine."""
    return where.startswith(SQLITE)


def open_store(uri: str | None, *, experiment: str) -> str:
    """The id of the experiment; store and experiment are made, under a lock, where they are not there yet.

    Two processes would make the experiment twice, so all but one wait.

    Raises:
        ExperimentIsDeleted: somebody deleted it.
        Exception: what MLflow raised, where the store cannot be reached or opened; see `is_away` and `cannot_open`.
    """
    where, client = store_uri(uri), client_of(uri)
    with _lock_beside(where):
        if is_local(where):
            _follow_a_move(where)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            folder = (Path.cwd() / ARTIFACTS).as_uri() if is_local(where) else None
            return str(client.create_experiment(experiment, artifact_location=folder))
        if found.lifecycle_stage == "deleted":
            # To restore it would bring back every run that was ever deleted in it.
            raise ExperimentIsDeleted(experiment, str(found.experiment_id))
        return str(found.experiment_id)


def _follow_a_move(where: str) -> None:
    database = database_file(where)
    # What cannot be read or written is told of by MLflow, where it matters.
    with suppress(sqlite3.Error):
        if left := take_artifacts_along(database):
            log.info(
                "tracker: %s was moved here from %s; the files of its runs are where they are now",
                database.name,
                left.parent,
            )


def _make_database(where: str) -> None:
    """Makes the file of a sqlite store, whole or not at all, where it is not there yet.

    MLflow makes its tables in dozens of steps. A process that is killed between them would leave a database under its name
    that nothing can open any more.
    """
    database = database_file(where)
    if database.exists() or "?" in where or database.name == ":memory:":
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    partial = database.with_name(f".{database.name}.partial")
    for left in (partial, partial.with_name(f"{partial.name}-journal")):
        left.unlink(missing_ok=True)
    with _unsynchronised(partial):
        store = SqlAlchemyStore(uri_of(partial), (Path.cwd() / ARTIFACTS).as_uri())
        store.engine.dispose()
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, database)


def _lock_beside(where: str) -> AbstractContextManager[object]:
    """The lock of a store that is a file; none for a server, which takes care of itself, or where nothing can be written anyway.

    Raises:
        FileNotFoundError: its folder is not there.
    """
    if not is_local(where):
        return nullcontext()
    from filelock import FileLock

    database = database_file(where)
    if not database.parent.is_dir():
        # The lock would make it.
        raise FileNotFoundError(f"there is no folder {database.parent}")
    return FileLock(f"{database}.lock") if os.access(database.parent, os.W_OK) else nullcontext()


@contextmanager
def _unsynchronised(database: Path) -> Iterator[None]:
    """Lets what is written to a database in the block wait for no disk: sixty steps, each to be safe, take 5 s more."""
    from sqlalchemy import Engine, event

    def opened(connection: object, _: object) -> None:
        # Every connection of this process comes by, those of other threads to other stores too.
        if not isinstance(connection, sqlite3.Connection):
            return
        files = [Path(file) for *_, file in connection.execute("PRAGMA database_list") if file]
        if database.resolve() in (file.resolve() for file in files):
            connection.execute("PRAGMA synchronous=OFF")

    event.listen(Engine, "connect", opened)
    try:
        yield
    finally:
        event.remove(Engine, "connect", opened)


def client_of(uri: str | None) -> MlflowClient:
    """A client of the store, quiet and not patient.

    It makes the tables of a file that is not there yet, and changes those of an older MLflow: processes that do so at the same time
    crash each other, so all but one wait.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # It would draw a bar for each small file of a run.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It would print the server's address at a run's end, with the password that is in it.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # MLflow would try an unreachable server for four minutes, and a request that it repeats after an unsure answer
    # can make a run twice. The sender tries again by itself, in order, and looks first at what has arrived.
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    _hush()
    import mlflow

    where = store_uri(uri)
    with _lock_beside(where):
        if is_local(where):
            _make_database(where)
        client = mlflow.MlflowClient(tracking_uri=where)
    if (
        is_local(where)
        and (made := Path(where.removeprefix(SQLITE).partition("?")[0]).parent) != database_file(where).parent
    ):
        # MLflow takes %25 in a folder's name for what it is called, and makes it.
        with suppress(OSError):
            made.rmdir()
    return client


def _hush() -> None:
    """What MLflow says of its own database is of no use to a person."""
    # Its import sets its own logger, and no other.
    import mlflow  # noqa: F401

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)


def is_away(error: BaseException) -> bool:
    """Whether the store may well answer later, as when a server is down; else the store that was named is wrong."""
    if HALF_MADE.search(str(error)) or OF_ANOTHER_VERSION.search(str(error)):
        return False
    code = getattr(error, "error_code", None)
    if code is not None:
        return code in AWAY
    # SQLAlchemy's word for a database that is down, locked or full.
    return isinstance(error, OSError) or type(error).__name__ == "OperationalError"


def told(error: BaseException) -> str:
    """An error in a few words, without secrets: the cause at the bottom of what MLflow wraps around it."""
    text = without_secrets(str(error).splitlines()[0] if str(error) else "")
    causes = CAUSE.findall(text)
    return causes[-1] if causes else f"{type(error).__name__}: {text[:200]}"


class ExperimentIsDeleted(Exception):
    """Somebody deleted the experiment; MLflow keeps its name.

    Attributes:
        name, id: of the experiment.
    """

    def __init__(self, name: str, id: str) -> None:
        self.name, self.id = name, id
        super().__init__(f"the experiment {name!r} was deleted")


def cannot_open(uri: str | None, error: BaseException) -> ConfigError:
    """The message for a person whose store cannot be used."""
    if isinstance(error, ExperimentIsDeleted):
        where = without_secrets(store_uri(uri))
        return ConfigError(
            [
                f"tracker.experiment={error.name}: was deleted in {where}; name another, or restore it, with all that was deleted in it: "
                f"MLFLOW_TRACKING_URI={where} mlflow experiments restore --experiment-id {error.id}"
            ]
        )
    shown = f"tracker.uri={without_secrets(store_uri(uri))}"
    if HALF_MADE.search(str(error)):
        return ConfigError(
            [
                f"{shown}: its tables are half made. Another program, as mlflow ui, may be making them at this moment: try again. If it "
                "stays so, one was killed in the midst of it: move the file away. What runs in this folder had logged is in their folders; "
                "to fill a new one with it: python -m embexp.tracking sync --anew"
            ]
        )
    if OF_ANOTHER_VERSION.search(str(error)):
        where = without_secrets(store_uri(uri))
        return ConfigError(
            [
                f"{shown}: was made by another version of MLflow. If by an older one, keep a copy and then: mlflow db upgrade {where}; "
                "or name another store."
            ]
        )
    if isinstance(error, ModuleNotFoundError):
        package = PACKAGES.get(str(error.name), error.name)
        return ConfigError([f"{shown}: needs the Python package {package}; install it beside embexp."])
    return ConfigError([f"{shown}: cannot be opened: {told(error)}; name another store, or use tracker=none."])


def patience(uri: str | None) -> float:
    """For how many seconds a run waits for its store, at its start only.

    A new database of one's own takes seconds to make on a busy machine, and others that start beside it wait for it.
    """
    return 120 if is_local(store_uri(uri)) else 10


def within(seconds: float, task: Callable[[], Answer]) -> Answer:
    """What the task answers; it is left alone, in a thread of its own, when it takes longer.

    Raises:
        TimeoutError: no answer in time.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            answers.append(task())
        except BaseException as error:
            errors.append(error)

    worker = Thread(target=work, daemon=True, name="embexp-ask")
    worker.start()
    worker.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        raise TimeoutError(f"no answer in {seconds:.0f} s")
    return answers[0]

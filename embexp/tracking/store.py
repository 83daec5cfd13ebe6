"""The MLflow store: where it is, made once under a lock, and the runs in it whose process is gone."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from embexp.config import ConfigError
from embexp.tracking.protocol import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlruns"


def store_uri(uri: str | None) -> str:
    """The store that is meant: `uri`, else MLFLOW_TRACKING_URI, else mlflow.db in the current folder."""
    return uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path.cwd() / DATABASE}"


def prepare_store(uri: str | None, *, experiment: str) -> str:
    """The id of the experiment; store and experiment are made, under a lock, where they are not there yet.

    Processes that make an MLflow database at the same time crash each other, so all but one wait.

    Raises:
        ConfigError: the store cannot be reached or opened.
    """
    from filelock import FileLock

    where = store_uri(uri)
    local = where.startswith("sqlite:///")
    try:
        # The lock lies beside the database; a server takes care of itself.
        with FileLock(f"{where.removeprefix('sqlite:///')}.lock") if local else nullcontext():
            client = client_of(uri)
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return str(
                    client.create_experiment(
                        experiment, artifact_location=(Path.cwd() / ARTIFACTS).as_uri() if local else None
                    )
                )
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
    except Exception as error:
        reason = without_secrets(str(error).splitlines()[0])
        raise ConfigError(
            [
                f"tracker.uri={without_secrets(where)}: cannot be opened: {reason}; name another store, or use tracker=none."
            ]
        ) from error


def reap_dead_runs(uri: str | None, *, experiment: str) -> int:
    """Closes as KILLED the runs of this machine that say RUNNING though their process is gone; returns how many."""
    experiment_id = prepare_store(uri, experiment=experiment)
    client = client_of(uri)
    dead = [
        run
        for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=1000)
        if is_dead(run.data.tags)
    ]
    for run in dead:
        client.set_tag(run.info.run_id, "embexp.reason", "its process is gone")
        client.set_terminated(run.info.run_id, status=Status.KILLED.value)
    return len(dead)


def without_secrets(uri: str) -> str:
    """The URI without user name and password."""
    return re.sub(r"//[^/@]+@", "//", uri)


def client_of(uri: str | None) -> MlflowClient:
    """A client of the store, quiet and not too patient."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # An unreachable server would be tried for four minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    # What it says of its own database is of no use to a person.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=store_uri(uri))


def is_dead(tags: Mapping[str, str]) -> bool:
    """Whether the process that made a run of this machine is gone; its number may be another's by now."""
    if tags.get("embexp.host") != socket.gethostname() or "embexp.pid" not in tags:
        return False
    return started_at(int(tags["embexp.pid"])) != tags.get("embexp.pid_started")


def started_at(pid: int) -> str:
    """When a process of this machine was started; "gone" where there is none of this number."""
    import psutil

    try:
        return str(psutil.Process(pid).create_time())
    except psutil.Error:
        return "gone"

"""Runs as the table needs them, from an MLflow store or from a run's result.json."""

from __future__ import annotations

import json
import math
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embexp.config import ConfigError
from embexp.run_folder import PREDICTIONS
from embexp.tracking import Status, cautions_of, param_text, scored_on_of, scored_on_tags, store_uri, without_secrets
from embexp.tracking.kept import RUNS, has_runs_of
from embexp.tracking.local import StoredRun, database_of, runs_in, stored
from embexp.tracking.moved import local_path
from embexp.tracking.named import what_is_wrong_with
from embexp.tracking.processes import is_dead
from embexp.tracking.store import GONE, client_of, told

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Nobody types it and it is not kept as a setting: it comes from what a run logged of its data.
ROWS = "rows"
# The loss of what was only scored, by `python -m embexp.evaluate`.
UNTRAINED = "none"
# Tags of a sweep's run: the ids of its jobs' runs; one that an earlier sweep began stays that one's child. They are called
# as in stores that have but the runs that had finished before.
RUNS_OF_SWEEP = "embexp.found"
# A tag of a sweep's run, by which it is known: its folder.
OF_A_SWEEP = "embexp.sweep"
# What stands before the id of a run of the store, where a run is told from others.
OF_STORE = "run "
# In the folder of a job, what kept its run from its beginning.
NEVER_BEGAN = "never_began.txt"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        params: by short names, as text.
        metrics: the last value of each; NaN and infinite ones are left out.
        evaluation: the fingerprint of the pairs it was scored on; only runs of one evaluation can be ranked together.
        scored_on: by the beginning of metrics' names, a fingerprint of what was scored beside these pairs.
        sweeps: the run ids of the sweeps that it is a job of, each with its start: its parent, and those that found it
            finished or went on with it.
        started: in seconds since 1970.
        where: what to open for more: its run id, or its log.
        predictions: where the file of its similarities, pair by pair, is to be; None where the store has it elsewhere than in a folder.
        setting: what runs share that differ by their seed alone; None where it was not recorded.
        cautions: what was warned of its data and model when it was made.
    """

    name: str
    status: Status
    reason: str | None
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    evaluation: str | None = None
    sweeps: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    where: str = ""
    predictions: Path | None = None
    setting: str | None = None
    cautions: tuple[str, ...] = ()
    scored_on: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def lost(cls, name: str, folder: Path) -> Run:
        """A job that left no result in the folder that Hydra makes when it starts it, but perhaps the reason."""
        if not folder.is_dir():
            return cls(name, Status.NOT_BEGUN, "left no result", where=str(folder))
        if (reason := folder / NEVER_BEGAN).is_file():
            return cls(name, Status.FAILED, reason.read_text(encoding="utf-8"), where=str(folder))
        why = "left no result: stopped before its run began, or its process was killed"
        return cls(name, Status.KILLED, why, where=str(folder))

    @property
    def is_trained(self) -> bool:
        """Whether it is a training; else a model that was only scored."""
        return self.params.get("loss") != UNTRAINED

    def step0(self, metric: str) -> float | None:
        """The score before training, of a metric like "dev/spearman_cosine"."""
        trained = self.metrics.get(f"best/{metric}", self.metrics.get(metric))
        gain = self.metrics.get(f"gain/{metric}")
        return None if trained is None or gain is None else trained - gain


def with_rows(params: Mapping[str, Any], metrics: Mapping[str, float | None]) -> dict[str, str]:
    """A run's settings, as text, and the number of rows that it was trained on: files change under one name."""
    found = {key: param_text(value) for key, value in params.items()}
    kept = metrics.get("data/kept")
    return found if kept is None else {**found, ROWS: f"{kept:.0f}"}


def read_result(path: Path) -> Run:
    """The run that a result.json tells of.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return _run_of(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError([f"{path}: cannot be read as the result of a run ({type(error).__name__})."]) from error


def _run_of(content: Mapping[str, Any], path: Path) -> Run:
    return Run(
        name=content["name"],
        status=Status(content["status"]),
        reason=content["reason"],
        params=with_rows(content["params"], content["metrics"]),
        metrics={key: value for key, value in content["metrics"].items() if value is not None},
        setting=content.get("setting"),
        evaluation=content["evaluation"],
        where=content["log"],
        predictions=path.parent / PREDICTIONS,
        cautions=tuple(content.get("cautions", ())),
        # As the store has it, whose runs it may be ranked with.
        scored_on=scored_on_of(scored_on_tags(content.get("scored_on", {}))),
    )


def read_runs(uri: str | None, *, experiment: str) -> list[Run]:
    """All runs of an experiment, sweeps' parents left out.

    Raises:
        ConfigError: there is no such store or experiment.
    """
    return runs_of(read_rows(uri, experiment=experiment))


def read_rows(uri: str | None, *, experiment: str) -> list[StoredRun]:
    """All that a store has of an experiment, sweeps' parents too.

    A local database is read directly: importing MLflow takes longer than all the rest.

    Raises:
        ConfigError: there is no such store or experiment.
    """
    path = database_of(uri)
    if path is None:
        refuse_what_is_no_store(uri)
        return _from_client(store_uri(uri), experiment)
    if not path.is_file():
        refuse_what_is_no_store(uri)
        where_from = (
            "fill one with the runs of this folder: python -m embexp.tracking sync --anew"
            if has_runs_of(uri, RUNS)
            else "train something first: python -m embexp"
        )
        raise ConfigError([f"{path}: there is no store yet; {where_from}"])
    try:
        found = runs_in(path, experiment=experiment)
    except sqlite3.Error as error:
        # What a process that was killed while it wrote has left is put right by whoever may write.
        if any(path.with_name(f"{path.name}{end}").exists() for end in ("-journal", "-wal")):
            return _from_client(store_uri(uri), experiment)
        refuse_what_is_no_store(uri)
        raise ConfigError(
            [f"{path}: cannot be read as an MLflow store ({error}); name the store with --uri."]
        ) from None
    if found is None:
        raise _no_experiment(str(path), experiment)
    return found


def run_called(run_id: str, runs: Sequence[Run]) -> Run:
    """The run whose id is, or begins with, `run_id`.

    Raises:
        ConfigError: there is none, or there are several.
    """
    found = [run for run in runs if run.where.removeprefix(OF_STORE).startswith(run_id)]
    if len(found) == 1:
        return found[0]
    others = found or [run for run in runs if run.status == Status.FINISHED]
    known = ", ".join(f"{run.where.removeprefix(OF_STORE)} ({run.name})" for run in others[-5:]) or "none"
    said = "no run of the store begins so" if not found else f"{len(found)} runs begin so; write more of it"
    raise ConfigError([f"{run_id}: {said}. {'Some of them' if found else 'The last that finished'}: {known}."])


def refuse_what_is_no_store(uri: str | None) -> None:
    """Says of a store what training says of it, before MLflow does at length.

    Raises:
        ConfigError: no runs can be in it.
    """
    if problems := [f"{without_secrets(store_uri(uri))}: {problem}" for problem in what_is_wrong_with(uri)]:
        raise ConfigError(problems)


def _from_client(uri: str, experiment: str) -> list[StoredRun]:
    try:
        return _rows_of(client_of(uri), without_secrets(uri), experiment)
    except ConfigError:
        raise
    except Exception as error:  # whatever MLflow makes of a server that is down or denies: it would show the password
        raise ConfigError(
            [f"{without_secrets(uri)}: cannot be read: {told(error)}; name the store with --uri."]
        ) from None


def _rows_of(client: MlflowClient, shown: str, experiment: str) -> list[StoredRun]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        raise _no_experiment(shown, experiment)
    rows: list[StoredRun] = []
    token = None
    while True:
        page = client.search_runs([found.experiment_id], max_results=1000, page_token=token)
        rows += [stored(run) for run in page]
        token = page.token
        if not token:
            return rows


def runs_of(rows: Sequence[StoredRun]) -> list[Run]:
    """The runs of a store's rows, the first begun first; sweeps' own left out."""
    sweeps: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        for name, value in row.tags.items():
            if name.startswith(RUNS_OF_SWEEP):
                for found in value.split():
                    sweeps[found][row.run_id] = row.started
    started_at = {row.run_id: row.started for row in rows}
    for row in rows:
        parent = row.tags.get("mlflow.parentRunId")
        if parent is not None:
            sweeps[row.run_id][parent] = started_at.get(parent, 0.0)
    runs = [
        Run(
            name=row.name,
            **how_it_stands(row.status, row.tags),
            params=with_rows(row.params, row.metrics),
            metrics={key: value for key, value in row.metrics.items() if math.isfinite(value)},
            setting=row.tags.get("embexp.setting"),
            evaluation=row.tags.get("embexp.evaluation"),
            sweeps=sweeps.get(row.run_id, {}),
            started=row.started / 1000,
            where=f"{OF_STORE}{row.run_id}",
            predictions=local_predictions(row.artifacts),
            cautions=cautions_of(row.tags),
            scored_on=scored_on_of(row.tags),
        )
        for row in rows
        if OF_A_SWEEP not in row.tags
    ]
    return sorted(runs, key=lambda run: run.started)


def how_it_stands(stored: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Its status and reason: of a run that was killed before it could say so those with which the next start closes it."""
    if stored not in list(Status):
        # MLflow's SCHEDULED, with which other programs begin runs.
        return {"status": Status.NOT_BEGUN, "reason": f"the store says that it is {stored}"}
    status = Status(stored)
    if status is Status.RUNNING and is_dead(tags):
        return {"status": Status.KILLED, "reason": GONE}
    return {"status": status, "reason": tags.get("embexp.reason")}


def local_predictions(artifacts: str | None) -> Path | None:
    """The predictions among a run's artifacts, where these are files of this machine."""
    folder = local_path(artifacts or "")
    return None if folder is None else folder / PREDICTIONS


def _no_experiment(where: str, experiment: str) -> ConfigError:
    return ConfigError([f"{where}: holds no experiment {experiment!r}; name it with --experiment."])

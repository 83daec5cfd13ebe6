"""The tracker over an MLflow store. Logging writes to the run's journal; a thread takes it from there to the store."""

from __future__ import annotations

import logging
import math
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embexp.tracking.background import Background
from embexp.tracking.journal import Journal, in_order, journals_in, journals_under
from embexp.tracking.kept import RUNS, is_to_go_on, last_of
from embexp.tracking.local import StoredRun, holds, is_ready, ready_runs, stored
from embexp.tracking.processes import is_dead, owner_tags
from embexp.tracking.protocol import PLACE, FoundRun, Status, Tracker, cautions_of, param_text, scored_on_of
from embexp.tracking.secrets import without_secrets
from embexp.tracking.sender import RunIsGone, Sender, close_if_dead
from embexp.tracking.store import (
    TRAINED_BY,
    absolute,
    cannot_open,
    client_of,
    is_away,
    is_local,
    open_store,
    patience,
    store_uri,
    told,
    within,
)

log = logging.getLogger(__name__)

MOST_PARAMS = 40
LONGEST_PARAM, LONGEST_TAG = 6_000, 5_000
NOT_IN_NAMES = re.compile(r"[^\w\-. :/]")
# How long the end of a run waits for the rest to be sent. A process that was told to go has little time.
WAIT_SECONDS, HURRIED_SECONDS = 20.0, 3.0
# How long a store that is known to be ready is not written to, unless it is told to `settle` before: the import of MLflow, of
# seconds, would make the first step late.
HOLD_SECONDS = 30.0
# And how long that is waited for.
SETTLE_SECONDS = 20.0


@dataclass
class MLflowTracker(Tracker):
    """Runs in an MLflow store.

    Attributes:
        uri: of the store; None: MLFLOW_TRACKING_URI where it is set, else mlflow.db in the current folder.
        experiment: its name; made where it is not there.
        system_metrics: whether MLflow samples CPU, memory and GPU while the run lasts.
    """

    uri: str | None
    experiment: str
    system_metrics: bool
    _journal: Journal | None = None
    _background: Background | None = None
    _held: bool = False
    _monitor: Any = None
    _names: dict[str, str] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)

    @property
    def run_id(self) -> str | None:
        """See `Tracker`."""
        return None if self._background is None else self._background.sender.run_id

    @property
    def reference(self) -> str | None:
        """See `Tracker`: the path of the journal, which is there whether or not the server is."""
        return None if self._journal is None else str(self._journal.path)

    @property
    def keeps_end(self) -> bool:
        """See `Tracker`: it is in the store, or in a journal where every command of this working folder looks."""
        if self._journal is None or self._background is None:
            return False
        path = self._journal.path
        is_looked_at = path.is_file() and path.is_relative_to(RUNS.resolve())
        return self._background.done or (is_looked_at and self._journal.end() is not None)

    def start(
        self,
        name: str,
        *,
        folder: Path,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None,
        run_id: str | None = None,
    ) -> None:
        """See `Tracker`. Waits for the server's first answer, for a bounded time; not for a file that is ready to be written to.

        Raises:
            ConfigError: there can be no such store. One that is away is no error.
        """
        if len(params) > MOST_PARAMS:
            raise ValueError(f"{len(params)} params, at most {MOST_PARAMS} can be compared at a glance")
        journal = Journal.create(folder)
        every_tag = {**tags, **_owner(parent)}
        journal.append(
            "start",
            id=uuid.uuid4().hex,
            home=str(Path.cwd()),
            folder=str(journal.path.parent),
            uri=absolute(store_uri(self.uri)),
            experiment=self.experiment,
            name=name,
            params={key: param_text(value)[:LONGEST_PARAM] for key, value in params.items()},
            tags={key: value[:LONGEST_TAG] for key, value in every_tag.items()},
            parent=_reference(parent),
            continues=self._gone_on_with(run_id, tags, folder),
        )
        self._held = is_ready(self.uri, experiment=self.experiment)
        background = Background(Sender(journal, self.uri), hold=HOLD_SECONDS if self._held else 0.0)
        # What interrupts the wait finds a run that can be ended.
        self._journal, self._background = journal, background
        background.start()
        if not self._held:
            background.wait_for_first_try(patience(self.uri))
        if background.failure is not None and not is_away(background.failure):
            self._journal = self._background = None
            background.stop()
            journal.discard()
            raise cannot_open(self.uri, background.failure) from background.failure
        if self.system_metrics:
            from embexp.tracking.system import SystemMetrics

            self._monitor = SystemMetrics(self.log_metrics, began=self._began.get(run_id or "", time.time()))
            self._monitor.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """See `MetricLogger`. What is no number is not logged."""
        if self._journal is None:
            return
        values = {self._fit(name): float(value) for name, value in metrics.items() if math.isfinite(value)}
        if values:
            self._journal.append("metrics", step=step, values=values)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """See `Tracker`. The file is read when it is sent."""
        if self._journal is None:
            return
        full, home = path.resolve(), self._journal.path.parent
        named = full.relative_to(home) if full.is_relative_to(home) else full
        self._journal.append("artifact", path=str(named), folder=folder)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """See `Tracker`."""
        if self._journal is not None:
            self._journal.append("tags", tags={key: value[:LONGEST_TAG] for key, value in tags.items()})

    def settle(self) -> None:
        """See `Tracker`."""
        if self._background is not None and self._held:
            self._background.begin()
            self._background.wait_for_first_try(SETTLE_SECONDS)
            self._held = False

    def end(self, status: Status, reason: str | None = None, *, hurried: bool = False) -> None:
        """See `Tracker`. The end is in the journal first; then what is missing is sent, for a bounded time."""
        if self._journal is None or self._background is None:
            return
        journal, background = self._journal, self._background
        if self._monitor is not None:
            # What it is sampling comes after the end, and so is not written.
            self._monitor.finish()
        seconds = HURRIED_SECONDS
        try:
            journal.append("end", status=status.value, reason=None if reason is None else reason[:LONGEST_TAG])
            if not hurried and status is not Status.KILLED:
                seconds = WAIT_SECONDS
        finally:
            journal.close()
            self._send_the_rest(journal, background, seconds)

    def _send_the_rest(self, journal: Journal, background: Background, seconds: float) -> None:
        try:
            background.finish(seconds)
        finally:
            self._tell_what_is_left(journal, background)

    def _tell_what_is_left(self, journal: Journal, background: Background) -> None:
        lines = 0 if background.done else sum(1 for _ in journal.entries(journal.sent().bytes))
        if lines:
            failure = background.failure
            log.warning(
                "tracker: %s not sent yet (%s); to send them: python -m embexp.tracking sync %s",
                "1 line is" if lines == 1 else f"{lines} lines are",
                told(failure) if failure is not None else self._why_not_yet(),
                _shown(journal.path.parent),
            )
        elif owed := [entry["path"] for entry in journal.sent().owed]:
            log.warning(
                "tracker: the server did not take %s; python -m embexp.tracking sync %s  tries again",
                ", ".join(owed),
                _shown(journal.path.parent),
            )

    def _why_not_yet(self) -> str:
        """Why something is left where nothing broke."""
        # A file is not slow: making it, or MLflow's import before it, was not over.
        return "there was no time" if self._held or is_local(store_uri(self.uri)) else "the server is slow"

    def find_run(
        self, key: str, *, finished: bool = True, place: str | None = None, folder: Path | None = None
    ) -> FoundRun | None:
        """See `Tracker`. Where the server is away, the journals under multirun/ and in the caller's folder are all that can be asked.

        Raises:
            ConfigError: there can be no such store.
        """
        try:
            found = within(patience(self.uri), lambda: self._asked(key, finished, place, folder))
        except Exception as error:
            if not is_away(error):
                raise cannot_open(self.uri, error) from error
            found = last_of(self._journals(key, folder), finished=finished)
            log.warning(
                "tracker: %s cannot be reached (%s): whether this run was made before could not be looked up there; %s",
                without_secrets(store_uri(self.uri)),
                told(error),
                "it was made here" if found else "it is trained",
            )
        if found is not None:
            self._began[found.run_id] = found.began
        return found

    def _asked(self, key: str, finished: bool, place: str | None, folder: Path | None) -> FoundRun | None:
        # What was cut off before it was sent comes first: the store knows only half of it.
        journals = self._journals(key, folder)
        # What was begun before one that finished is not to be gone on with in its stead.
        removed = [journal for journal in journals if finished and self._is_removed(journal)]
        for journal in journals:
            sender = Sender(journal, self.uri)
            # Of one that is gone on with, the store must have what was logged before, though it was removed since.
            if close_if_dead(journal) and (
                journal.unsent() or (is_to_go_on(journal) and not removed and sender.is_lost())
            ):
                try:
                    sender.deliver()
                except Exception as error:
                    # One that was deleted is none to go on with, and no other reason but a server that is away refuses a new run.
                    if is_away(error) and not isinstance(error, RunIsGone):
                        raise
                    log.warning("tracker: %s was not sent (%s)", journal.path, told(error))
        # A run that is still being made elsewhere is left to whoever makes it.
        runs = [
            run
            for run in self._runs_of(key)
            if run.status != Status.RUNNING or is_dead(run.tags) or (place is not None and run.tags.get(PLACE) == place)
        ]
        runs = [run for run in runs if finished or run.status != Status.FINISHED]
        runs.sort(key=lambda run: run.status != Status.FINISHED)
        if removed and not any(run.status == Status.FINISHED for run in runs):
            kept_in = _shown(removed[-1].path.parent)
            log.warning(
                "tracker: %s had finished, and is not in the store any more; python -m embexp.tracking sync --anew %s  "
                "brings it back, and it need not be trained again",
                kept_in,
                kept_in,
            )
        if not runs:
            return None
        run = runs[0]
        return FoundRun(
            run.run_id,
            Status(run.status),
            dict(run.metrics),
            str(run.artifacts),
            run.tags.get("embexp.missed"),
            cautions_of(run.tags),
            scored_on_of(run.tags),
            run.started / 1000,
        )

    def _is_removed(self, journal: Journal) -> bool:
        """Whether its run had finished, in a store that is a file and has it no more."""
        end, run_id = journal.end(), journal.sent().run_id
        finished = end is not None and end["status"] == Status.FINISHED
        return finished and run_id is not None and holds(self.uri, run_id) is False

    def _runs_of(self, key: str) -> list[StoredRun]:
        """Those of the store, the last begun first."""
        runs = ready_runs(self.uri, experiment=self.experiment, tag=("embexp.key", key))
        if runs is not None:
            return runs
        found = client_of(self.uri).search_runs(
            [open_store(self.uri, experiment=self.experiment)],
            f"tags.`embexp.key` = '{key}'",
            order_by=["attributes.start_time DESC"],
            max_results=100,
        )
        return [stored(run) for run in found]

    def _gone_on_with(self, run_id: str | None, tags: Mapping[str, str], folder: Path) -> dict[str, str] | None:
        reference = _reference(run_id)
        # Its journal, where that is here, knows it by another id when the store was removed and all is sent anew.
        for journal in self._journals(tags.get("embexp.key", ""), folder) if run_id is not None else ():
            if journal.sent().run_id == run_id:
                reference = _reference(str(journal.path))
        return reference

    def _journals(self, key: str, folder: Path | None) -> list[Journal]:
        """Those of the run under multirun/, and in a folder of its own, the oldest first."""
        where = without_secrets(absolute(store_uri(self.uri)))
        found = {
            # One folder may be called in two ways.
            journal.path.resolve(): journal
            for journal in (*journals_under(RUNS), *(journals_in(folder) if folder is not None else ()))
            if (start := journal.start)
            and start["tags"].get("embexp.key") == key
            and (journal.uri, start["experiment"]) == (where, self.experiment)
        }
        return in_order(found.values())

    def _fit(self, name: str) -> str:
        if name not in self._names:
            self._names[name] = NOT_IN_NAMES.sub("_", name)
        return self._names[name]


def _owner(parent: str | None) -> dict[str, str]:
    sweep = _reference(parent) or {}
    return {
        # Of a run that is continued these take the place of those of the process before.
        TRAINED_BY: sweep.get("id", "none"),
        **owner_tags(),
    }


def _reference(run: str | None) -> dict[str, str] | None:
    if run is None:
        return None
    path = Path(run)
    if path.is_file() and (start := Journal(path).start):
        return {"journal": str(path.resolve()), "id": start["id"]}
    return {"run_id": run}


def _shown(folder: Path) -> Path:
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder

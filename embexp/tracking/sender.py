"""The sender: takes a run's journal to an MLflow store, in order and nothing twice.

`Sender.deliver` sends what a journal holds and keeps how far it came; `Background` does that in a thread, as long as a
run lasts, and `python -m embexp.tracking sync` at any later time. Whoever sends holds the journal's lock, so that it
does not matter how many try.

After an answer that did not come it is not known what arrived. So a run is looked for by its id before it is made
again, and a metric by its name and step before it is sent again; tags, params and files may be sent twice.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from embexp.output import from_here
from embexp.tracking.journal import Entry, Journal, Sent
from embexp.tracking.local import holds
from embexp.tracking.processes import is_dead
from embexp.tracking.protocol import Status
from embexp.tracking.secrets import without_secrets
from embexp.tracking.store import GONE, ID, absolute, client_of, open_store, store_uri, told
from embexp.units import counted

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

REASON = "embexp.reason"
# Whose process trains a run.
OWNER = ("embexp.host", "embexp.pid", "embexp.pid_started")
# What MLflow takes at once.
MOST_METRICS = 1000
LOCK_SECONDS = 5.0
# A model takes minutes to send in vain.
OWED_PAUSE_SECONDS = 300.0


class RunIsGone(OSError):
    """The run was deleted at the server: its journal is kept, and can be sent when the run is restored."""


class Sender:
    """Sends one journal to a store.

    Args:
        journal: of the run.
        uri: of the store; None as for `store_uri`.
        renamed: ids by which tags may name runs that have others now.
    """

    def __init__(self, journal: Journal, uri: str | None, *, renamed: Mapping[str, str] | None = None) -> None:
        self.journal = journal
        self.uri = uri
        self.run_id: str | None = None
        self._renamed = renamed or {}
        self._look_first = journal.sent().bytes > 0
        self._arrived: dict[str, set[int]] = {}
        self._is_there = False
        self._told: set[str] = set()
        # Files that a later run in the same folder has replaced, or removed, before they could be sent.
        self.lost: list[str] = []
        # From when on what is owed is tried again.
        self._owed_from = 0.0

    def deliver(self) -> bool:
        """Sends what is there; returns whether the run's end was sent, and so nothing more will come.

        A file that the server does not take, while it answers otherwise, holds nothing up: it is owed, and tried again from time to
        time, and once more when the end was sent.

        Raises:
            Exception: what MLflow raised; all that had arrived before is marked as sent.
        """
        already = len(self.lost)
        try:
            return self._deliver()
        finally:
            self._tell_lost(self.lost[already:])

    def _deliver(self) -> bool:
        with self.journal.lock(LOCK_SECONDS):
            sent = self._run_made()
            ended = False
            if time.monotonic() >= self._owed_from:
                self._send_owed(sent)
            while lines := self.journal.read(sent.bytes):
                for batch in _batches(lines):
                    try:
                        self._send(batch, sent)
                    except Exception:
                        self._look_first = True
                        self._arrived.clear()
                        raise
                    sent.bytes = batch[-1][1]
                    self.journal.mark(sent)
                    ended = batch[-1][0]["kind"] == "end"
            if ended:
                self._send_owed(sent)
            # In this order: an end that is written in between counts among what is not sent.
            return ended or (self.journal.end() is not None and self.journal.unsent() == 0)

    def make_run(self) -> str:
        """The MLflow id of the journal's run, which is made where it is not there yet: a child needs its parent."""
        with self.journal.lock(LOCK_SECONDS):
            return str(self._run_made().run_id)

    def is_lost(self) -> bool:
        """Whether the run was made in a store that has no such run any more."""
        run_id = self.journal.sent().run_id
        if run_id is None:
            return False
        there = holds(self.uri, run_id)
        return self._stage(run_id) is None if there is None else not there

    def _run_made(self) -> Sent:
        sent = self.journal.sent()
        start = self.journal.start
        if not self._is_there and self.is_lost():
            log.warning("tracker: %s is not in the store any more; all of it is sent anew", self.journal.path)
            sent = Sent(formerly=[*sent.formerly, str(sent.run_id)])
        if sent.run_id is None and start is not None:
            continues = start["continues"]
            if continues is not None:
                sent.run_id = self._continued(continues)
            else:
                sent.run_id = self._created(start)
            sent.store = without_secrets(absolute(store_uri(self.uri)))
            self.journal.mark(sent)
        if start is not None and start["continues"] is not None:
            self._look_first = True
        self.run_id = sent.run_id
        self._is_there = True
        return sent

    def _stage(self, run_id: str) -> str | None:
        """ "active" or "deleted"; None where the store has no such run: it is another since."""
        try:
            return str(client_of(self.uri).get_run(run_id).info.lifecycle_stage)
        except Exception as error:
            if getattr(error, "error_code", None) != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _created(self, start: Entry) -> str:
        client = client_of(self.uri)
        experiment_id = open_store(self.uri, experiment=start["experiment"])
        if found := _run_of(client, experiment_id, start["id"]):
            return found
        tags = {"mlflow.source.name": "embexp", ID: start["id"], **start["tags"]}
        parent = start["parent"] and self._referred(start["parent"], experiment_id)
        if parent:
            tags["mlflow.parentRunId"] = parent
        run = client.create_run(experiment_id, start_time=start["time"], run_name=start["name"], tags=tags)
        return str(run.info.run_id)

    def _continued(self, reference: Mapping[str, str]) -> str:
        before = reference.get("journal")
        if before is not None and (path := self.journal.today(before)).is_file():
            # Its lines come first. What it sent is looked up, so that nothing is logged again.
            with suppress(RunIsGone):
                Sender(Journal(path), self.uri).deliver()
        start = self.journal.start or {}
        run_id = self._referred(reference, open_store(self.uri, experiment=start["experiment"]))
        if run_id is None:
            raise FileNotFoundError(f"the run that it continues is neither at the server nor in {before}")
        if self._stage(run_id) != "active":
            log.warning(
                "tracker: run %s, which this one goes on with, is not there any more; a new one is made", run_id
            )
            return self._created(start)
        return run_id

    def _referred(self, reference: Mapping[str, str], experiment_id: str) -> str | None:
        if "run_id" in reference:
            return reference["run_id"]
        path = self.journal.today(reference["journal"])
        if path.is_file():
            return Sender(Journal(path), self.uri).make_run()
        found = _run_of(client_of(self.uri), experiment_id, reference["id"])
        if found is None:
            log.warning("tracker: %s, which this run belongs to, is not there any more", path)
        return found

    def _send_owed(self, sent: Sent) -> None:
        owed, sent.owed = sent.owed, []
        for entry in owed:
            self._send([(entry, sent.bytes)], sent)
        if owed:
            self.journal.mark(sent)
        self._owed_from = time.monotonic() + OWED_PAUSE_SECONDS

    def _send(self, batch: list[tuple[Entry, int]], sent: Sent) -> None:
        entries = [entry for entry, _ in batch]
        try:
            self._send_entries(entries)
        except Exception as error:
            if entries[0]["kind"] == "artifact" and self._answers():
                sent.owed.append(entries[0])
                self._tell_once(entries[0]["path"], told(error))
                return
            if getattr(error, "error_code", None) not in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST"):
                raise
            if client_of(self.uri).get_run(self.run_id).info.lifecycle_stage != "active":
                raise RunIsGone(f"run {self.run_id} was deleted at the server") from error
            if len(batch) > 1:
                for line in batch:
                    self._send([line], sent)
            else:
                # What the server will never take must not hold up all the rest.
                log.warning("tracker: the server refused %s (%s)", entries[0]["kind"], told(error))

    def _answers(self) -> bool:
        """Whether the server is there and has the run: then it is the file, or where it would be kept, that is at fault."""
        try:
            return self.run_id is not None and self._stage(self.run_id) == "active"
        except Exception:
            return False

    def _tell_once(self, path: str, why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            log.warning(
                "tracker: the server did not take %s (%s), and may not take others; all else is sent, and these are tried again",
                path,
                why,
            )

    def _send_entries(self, entries: list[Entry]) -> None:
        entry, client = entries[0], client_of(self.uri)
        match entry["kind"]:
            case "metrics":
                self._send_metrics(client, entries)
            case "start":
                self._send_start(client, entry)
            case "tags":
                _set_tags(client, self.run_id, {name: self._of_today(value) for name, value in entry["tags"].items()})
            case "artifact":
                self._send_artifact(client, entry)
            case "end":
                self._send_end(client, entry)
            case kind:
                log.warning("tracker: %s: a line of kind %r is left out", self.journal.path, kind)

    def _of_today(self, value: str) -> str:
        return " ".join(self._renamed.get(word, word) for word in value.split(" ")) if self._renamed else value

    def _send_metrics(self, client: MlflowClient, entries: list[Entry]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, entry["time"], entry["step"])
            for entry in entries
            for name, value in entry["values"].items()
            if not self._has_arrived(client, name, entry["step"])
        ]
        for begin in range(0, len(metrics), MOST_METRICS):
            client.log_batch(self.run_id, metrics=metrics[begin : begin + MOST_METRICS])

    def _has_arrived(self, client: MlflowClient, name: str, step: int) -> bool:
        if not self._look_first:
            return False
        if name not in self._arrived:
            self._arrived[name] = {metric.step for metric in client.get_metric_history(self.run_id, name)}
        return step in self._arrived[name]

    def _send_start(self, client: MlflowClient, entry: Entry) -> None:
        from mlflow.entities import Param

        # Whose it is comes first: under the name of a process that is gone it might be closed at once.
        _set_tags(client, self.run_id, entry["tags"])
        there: Mapping[str, str] = {}
        if entry["continues"] is not None:
            client.update_run(self.run_id, status=Status.RUNNING.value)
            # A param cannot be changed: the first attempt's stay.
            there = client.get_run(self.run_id).data.params
        params = [Param(key, value) for key, value in entry["params"].items() if key not in there]
        client.log_batch(self.run_id, params=params)

    def _send_artifact(self, client: MlflowClient, entry: Entry) -> None:
        path = self.journal.path.parent / self.journal.today(entry["path"])
        if self.journal.is_another_run_s(path) or (self.journal.left_off < math.inf and not path.exists()):
            self.lost.append(path.name)
        elif path.is_dir():
            client.log_artifacts(self.run_id, str(path), entry["folder"] or path.name)
        elif path.is_file():
            client.log_artifact(self.run_id, str(path), entry["folder"])
        else:
            log.warning("tracker: %s is not there any more and could not be sent", path)

    def _tell_lost(self, names: Sequence[str]) -> None:
        start = self.journal.start or {"name": "a run", "tags": {}}
        if names:
            log.warning(
                "tracker: %s: a run that began later in this folder has replaced %s of %s (key %s, %s) before they could be sent: %s",
                from_here(self.journal.path.parent),
                counted(len(names), "file"),
                start["name"],
                start["tags"].get("embexp.key", "not known"),
                self.journal.path.name,
                ", ".join(names),
            )

    def _send_end(self, client: MlflowClient, entry: Entry) -> None:
        run = client.get_run(self.run_id)
        tags = run.data.tags
        own = (self.journal.start or {"tags": {}})["tags"]
        if any(tags.get(name) != own.get(name) for name in OWNER):
            # Another process goes on with the run, or has ended it: how this attempt ended is no news any more.
            return
        if entry["reason"] == GONE and run.info.status in (Status.FINISHED, Status.FAILED):
            # The journal has lost the end that the run itself had come to.
            return
        if entry["reason"] is not None:
            client.set_tag(self.run_id, REASON, entry["reason"])
        elif REASON in tags:
            # Of an attempt before, or of a run that was held for dead while its server was away.
            client.delete_tag(self.run_id, REASON)
        client.set_terminated(self.run_id, status=entry["status"], end_time=entry["time"])
        self._remove_twins(client)

    def _remove_twins(self, client: MlflowClient) -> None:
        """A request for this run that was given up as lost may still have made one, later than it was looked for."""
        start = self.journal.start or {}
        if start["continues"] is not None:
            return
        experiment_id = open_store(self.uri, experiment=start["experiment"])
        for run in client.search_runs([experiment_id], f"tags.`{ID}` = '{start['id']}'"):
            if run.info.run_id != self.run_id:
                client.delete_run(run.info.run_id)


def close_if_dead(journal: Journal) -> bool:
    """Ends the journal, KILLED, if its process was killed before it could; returns whether the journal has an end."""
    if journal.end() is not None:
        return True
    if not is_dead((journal.start or {"tags": {}})["tags"]):
        return False
    with journal.lock(LOCK_SECONDS):
        if journal.end() is None:
            journal.close_as(Status.KILLED.value, GONE)
            journal.close()
    return True


def _batches(lines: list[tuple[Entry, int]]) -> list[list[tuple[Entry, int]]]:
    """Metrics that follow each other go together, as many as MLflow takes at once; all else alone."""
    batches: list[list[tuple[Entry, int]]] = []
    size = 0
    for line in lines:
        more = max(1, len(line[0]["values"])) if line[0]["kind"] == "metrics" else MOST_METRICS
        if batches and size + more <= MOST_METRICS:
            batches[-1].append(line)
            size += more
        else:
            batches.append([line])
            size = more
    return batches


def _run_of(client: MlflowClient, experiment_id: str, id: str) -> str | None:
    found = client.search_runs([experiment_id], f"tags.`{ID}` = '{id}'", order_by=["attributes.start_time ASC"])
    return str(found[0].info.run_id) if found else None


def _set_tags(client: MlflowClient, run_id: str | None, tags: Mapping[str, Any]) -> None:
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

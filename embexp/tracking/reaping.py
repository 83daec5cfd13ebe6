"""The runs of a store that say RUNNING though their process is gone."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from embexp.tracking.local import ready_runs
from embexp.tracking.processes import is_dead, is_in_sight
from embexp.tracking.protocol import Status
from embexp.tracking.store import (
    GONE,
    ID,
    TRAINED_BY,
    ExperimentIsDeleted,
    cannot_open,
    client_of,
    is_away,
    open_store,
    patience,
    told,
    within,
)

log = logging.getLogger(__name__)


def reap_dead_runs(uri: str | None, *, experiment: str, ended_sweep: str | None = None) -> int:
    """Closes as KILLED the runs of this machine that say RUNNING though their process is gone; returns how many.

    A server that is away is left for the next start.

    Args:
        uri: of the store.
        experiment: the one in which the runs are.
        ended_sweep: a run id; its jobs are known to be over, those on other machines and in other containers too. A run that
            such a job began and somebody else goes on with is none of them.

    Raises:
        ConfigError: there can be no such store.
    """
    try:
        return within(patience(uri), lambda: _reap(uri, experiment, ended_sweep))
    except ExperimentIsDeleted:
        # Its runs are deleted too. Whoever logs to it is told.
        return 0
    except Exception as error:
        if not is_away(error):
            raise cannot_open(uri, error) from error
        log.warning("tracker: it could not be looked up which runs were cut off (%s)", told(error))
        return 0


def _reap(uri: str | None, experiment: str, ended_sweep: str | None) -> int:
    if ended_sweep is None:
        running = ready_runs(uri, experiment=experiment, status=Status.RUNNING)
        if running is not None and not any(is_dead(run.tags) for run in running):
            return 0
    experiment_id = open_store(uri, experiment=experiment)
    client = client_of(uri)
    ended = client.get_run(ended_sweep).data.tags.get(ID) if ended_sweep else None
    dead = [
        run
        for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=1000)
        if is_dead(run.data.tags) or (ended is not None and _was_a_job_out_of_sight(run.data.tags, ended))
    ]
    for run in dead:
        client.set_tag(run.info.run_id, "embexp.reason", GONE)
        client.set_terminated(run.info.run_id, status=Status.KILLED.value)
    return len(dead)


def _was_a_job_out_of_sight(tags: Mapping[str, str], sweep: str) -> bool:
    # Of the processes in sight it is known whether they live.
    return tags.get(TRAINED_BY) == sweep and not is_in_sight(tags)

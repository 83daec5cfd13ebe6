"""What `sweep=last` says of the jobs that no table has."""

from __future__ import annotations

import pytest

from embexp.compare.filters import asked_for, filtered
from embexp.compare.runs import OF_A_SWEEP, runs_of
from embexp.compare.sweeps import COMMAND_OF_SWEEP, JOBS_OF_SWEEP, sweeps_of
from embexp.config import ConfigError
from embexp.tracking.local import StoredRun

COMMAND = "python -m embexp seed=1,2,3 -m"
PARENT = "mlflow.parentRunId"


def parent(run_id: str, status: str, started: int, **tags: str) -> StoredRun:
    known = {OF_A_SWEEP: "multirun/x", JOBS_OF_SWEEP: "3", COMMAND_OF_SWEEP: f"`{COMMAND}`"}
    return StoredRun(run_id, "sweep", status, started, "", {}, {}, known | tags)


def job(run_id: str, of: str, status: str = "FINISHED") -> StoredRun:
    return StoredRun(run_id, run_id, status, 5, "", {"seed": run_id}, {}, {PARENT: of})


def missing(rows: list[StoredRun]) -> list[str | None]:
    return [sweep.missing(runs_of(rows)) for sweep in sweeps_of(rows)]


@pytest.mark.parametrize(
    ("status", "statuses", "said"),
    [
        (
            "KILLED",
            ["FINISHED"],
            f"2 have no run of it: never begun, or an earlier sweep's; the same command goes on where it stopped: {COMMAND}",
        ),
        (
            "FAILED",
            ["FINISHED", "FINISHED", "FAILED"],
            f"1 did not finish; the same command goes on where it stopped: {COMMAND}",
        ),
        (
            "KILLED",
            ["FINISHED", "KILLED"],
            "1 has no run of it: never begun, or an earlier sweep's, 1 did not finish; ",
        ),
        ("KILLED", ["FINISHED"] * 3, None),
        # Two jobs may be one run.
        ("FINISHED", ["FINISHED"] * 2, None),
    ],
)
def test_jobs_that_have_no_run_or_did_not_finish_are_counted_with_how_to_go_on(status, statuses, said):
    jobs = [job(str(number), "s", each) for number, each in enumerate(statuses)]
    (found,) = missing([parent("s", status, 1), *jobs])
    assert found is None if said is None else found.startswith(f"sweep s: of its 3 jobs {said}")


def test_of_a_sweep_that_goes_on_the_jobs_to_come_are_counted():
    rows = [parent("s", "RUNNING", 1), job("1", "s"), job("2", "s", "RUNNING")]
    assert missing(rows) == ["sweep s goes on: 1 of its 3 jobs has not begun yet"]


def test_a_sweep_from_before_jobs_were_counted_tells_of_those_that_it_has():
    old = parent("s", "KILLED", 1)
    old = old._replace(tags={OF_A_SWEEP: "multirun/x"})
    assert missing([old, job("1", "s")]) == [None]
    assert missing([old, job("1", "s", "KILLED")]) == ["sweep s: of its 1 job 1 did not finish"]


def test_the_last_sweep_is_the_last_one_though_none_of_its_jobs_has_begun():
    rows = [parent("first", "FINISHED", 1), *(job(str(n), "first") for n in range(3)), parent("second", "KILLED", 2)]
    with pytest.raises(ConfigError, match=r"^sweep=last: sweep second: of its 3 jobs 3 have no run of it"):
        filtered(runs_of(rows), ["sweep=last"], sweeps_of(rows))
    assert len(filtered(runs_of(rows), ["sweep=first"], sweeps_of(rows))) == 3


@pytest.mark.parametrize("added", ["", "+", "++"])
@pytest.mark.parametrize("typed", ["last", "'last'", "second", '"sec"', "'second',none"])
def test_a_sweep_is_asked_for_however_its_filter_is_typed(added, typed):
    rows = [parent("first", "FINISHED", 1), parent("second", "KILLED", 2), job("1", "second")]
    (found,) = asked_for([f"{added}sweep={typed}", "seed=1"], runs_of(rows), sweeps_of(rows))
    assert found.run_id == "second"


def test_the_sweeps_that_there_are_are_told_by_what_was_swept_and_when():
    first = parent("0123456789abcdef", "FINISHED", 1)._replace(name="sweep seed=1,2 · 2026-11-28 01:53")
    rows = [first, job("1", first.run_id), job("2", first.run_id)]
    with pytest.raises(ConfigError, match=r"There are: 01234567 \(seed=1,2 · 2026-11-28 01:53\)\.$"):
        filtered(runs_of(rows), ["sweep=zzz"], sweeps_of(rows))

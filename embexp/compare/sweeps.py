"""The sweeps of a store as `python -m embexp.compare sweep=last` tells of them: how many of their jobs have a run, and how to go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embexp.compare.runs import OF_A_SWEEP, Run, how_it_stands
from embexp.tracking import Status
from embexp.tracking.local import StoredRun
from embexp.units import counted

# Tags of a sweep's run: how many jobs it has, and what started it.
JOBS_OF_SWEEP, COMMAND_OF_SWEEP = "embexp.jobs", "mlflow.note.content"
# Of a sweep's id: enough to name it.
SHORT_ID = 8


@dataclass(frozen=True)
class SweepRun:
    """The run of a sweep.

    Attributes:
        started: in milliseconds since 1970, as `Run.sweeps` has it.
        jobs: how many; None of a sweep from before that was kept.
        command: that started it, and goes on with it.
        name: what was swept, and when.
    """

    run_id: str
    status: Status
    started: float
    jobs: int | None
    command: str | None
    name: str | None = None

    def missing(self, runs: Sequence[Run]) -> str | None:
        """What is said of the jobs that have no run, or one that did not finish; None where all have finished, or it is not known.

        Args:
            runs: all of the store.
        """
        own = [run for run in runs if self.run_id in run.sweeps]
        jobs = self.jobs or len(own)
        without = max(0, jobs - len(own))
        unfinished = sum(run.status != Status.FINISHED for run in own)
        name = f"sweep {self.run_id[:SHORT_ID]}"
        if self.status == Status.RUNNING:
            return (
                f"{name} goes on: {without} of its {counted(jobs, 'job')} {_have(without)} not begun yet"
                if without
                else None
            )
        parts = [
            f"{without} {_have(without)} no run of it: never begun, or an earlier sweep's" if without else "",
            f"{unfinished} did not finish" if unfinished else "",
        ]
        if self.status == Status.FINISHED or not any(parts):
            return None
        again = f"; the same command goes on where it stopped: {self.command}" if self.command else ""
        return f"{name}: of its {counted(jobs, 'job')} {', '.join(filter(None, parts))}{again}"


def sweeps_of(rows: Sequence[StoredRun]) -> list[SweepRun]:
    """The sweeps of a store's rows, the first begun first."""
    found = [
        SweepRun(
            run_id=row.run_id,
            status=how_it_stands(row.status, row.tags)["status"],
            started=row.started,
            jobs=int(row.tags[JOBS_OF_SWEEP]) if JOBS_OF_SWEEP in row.tags else None,
            command=row.tags[COMMAND_OF_SWEEP].strip("`") if COMMAND_OF_SWEEP in row.tags else None,
            name=row.name.removeprefix("sweep "),
        )
        for row in rows
        if OF_A_SWEEP in row.tags
    ]
    return sorted(found, key=lambda sweep: sweep.started)


def _have(number: int) -> str:
    return "has" if number == 1 else "have"

"""What the terminal is told of a sweep's jobs: by each what is not as in the job before."""

from __future__ import annotations

import logging

# Who tells of hardware, data and model: mostly as the job before did. run.log has it of each.
OFTEN_ALIKE = (
    "embexp.cautions",
    "embexp.data",
    "embexp.evaluation.sts",
    "embexp.experiment",
    "embexp.inputs",
    "embexp.loss_plan",
    "embexp.training.accelerations",
)
# What the job before said, and what this one has.
BEFORE: set[str] = set()
SAID: set[str] = set()


def nothing_is_said_yet() -> None:
    """At the start of a command."""
    BEFORE.clear()
    SAID.clear()


def a_job_begins() -> None:
    """What was said last is what the job before said."""
    BEFORE.clear()
    BEFORE.update(SAID)
    SAID.clear()


class Terminal(logging.Filter):
    """Lets pass embexp's own messages, but of those in OFTEN_ALIKE none that this job or the one before has said."""

    def __init__(self) -> None:
        super().__init__("embexp")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the terminal gets the record."""
        if not super().filter(record):
            return False
        if not any(record.name == name or record.name.startswith(f"{name}.") for name in OFTEN_ALIKE):
            return True
        message = record.getMessage()
        fresh = message not in SAID | BEFORE
        SAID.add(message)
        return fresh

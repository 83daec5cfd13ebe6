"""What the terminal is told of a sweep's jobs: what they have in common once, and by each what is its own."""

from __future__ import annotations

import logging

# Who tells of hardware, data and model: mostly the same in every job of a sweep. run.log has it of each.
OFTEN_ALIKE = ("embexp.data", "embexp.experiment", "embexp.inputs", "embexp.training.accelerations")
SAID: set[str] = set()


def nothing_is_said_yet() -> None:
    """At the start of a command."""
    SAID.clear()


class Terminal(logging.Filter):
    """Lets pass embexp's own messages, and of those in OFTEN_ALIKE each once in a command."""

    def __init__(self) -> None:
        super().__init__("embexp")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the terminal gets the record."""
        if not super().filter(record):
            return False
        if not any(record.name == name or record.name.startswith(f"{name}.") for name in OFTEN_ALIKE):
            return True
        message = record.getMessage()
        fresh = message not in SAID
        SAID.add(message)
        return fresh

"""The failure that numbers tell: a loss or a score that is no number."""

from __future__ import annotations


class TrainingDiverged(Exception):
    """The loss or a score became NaN or infinite; the message says at which step and what to try."""


def diverged(what: str, value: float, step: int) -> TrainingDiverged:
    """The exception with its message."""
    return TrainingDiverged(
        f"{what} is {value} at step {step}; try a lower learning_rate, more warmup_steps, or trainer.precision=fp32."
    )

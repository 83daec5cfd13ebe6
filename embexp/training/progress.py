"""How far a run has come, as a checkpoint holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from embexp.record import Record
from embexp.training.callbacks import Clock, Losses, Scores


@dataclass(frozen=True)
class Progress:
    """How far a run has come, beside its weights: what a checkpoint must hold for a resumed run to tell the same."""

    scores: Scores
    losses: Losses
    clock: Clock
    record: Record

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "best": self.scores.state(),
            "losses": self.losses.state(),
            "seconds": self.clock.seconds,
            "texts": self.clock.texts,
            "history": self.record.history,
        }

    def load_state(self, state: dict[str, Any], *, best_weights: dict[str, Tensor]) -> None:
        """The counterpart of `state`."""
        self.scores.load_state(state["best"], best_weights)
        self.losses.load_state(state["losses"])
        self.clock.past, self.clock.texts = state["seconds"], state["texts"]
        self.record.restore(state["history"])

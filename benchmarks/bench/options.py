"""What the command asks for, and how large that makes each part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# The entailed rows among the first 50,000 of ../shared/data/mnli, and STS-B's dev pairs: the full size.
FULL_ROWS, FULL_PAIRS = 16_513, 1_500


@dataclass(frozen=True)
class Options:
    """Sizes.

    Attributes:
        mnli, stsb: folders of the data; None: the built-in corpus.
        pairs: how often both sides run.
        steps: of a run at batch 32, the first two, which are not timed, included.
        sweep_rows: rows of the sweep; None: all.
        seeds: of the part that compares scores; 0: it is left out.
        growing_rows: rows of the data whose memory is measured.
        batch_sizes, words: at which a step's cost is measured.
    """

    mnli: Path | None
    stsb: Path | None
    pairs: int = 3
    steps: int = 9
    sweep_rows: int | None = 640
    seeds: int = 0
    growing_rows: tuple[int, ...] = (10_000, 100_000)
    batch_sizes: tuple[int, ...] = (8, 32, 128)
    words: tuple[int, ...] = (8, 32, 128)

    @property
    def few_pairs(self) -> int:
        """Pairs that the sweep is scored on: as large a part of all as its rows are, so that scoring weighs the same."""
        return max(50, round(FULL_PAIRS * (self.sweep_rows or FULL_ROWS) / FULL_ROWS))

    def steps_at(self, batch_size: int) -> int:
        """Fewer where they are larger; at least two are timed."""
        return max(4, round(self.steps * min(1.0, 32 / batch_size) ** 0.5))

"""TSDAE's noise: words deleted from a text, anew in every epoch."""

from __future__ import annotations

import random


class WordDeletion:
    """Deletes each word of a text with probability `ratio`; at least one word stays.

    A function of seed, epoch and text alone, so a resumed run meets the noise that it would have met. Words are what
    stands between spaces: no tokeniser to download, and the encoder's own tokeniser sees whole words.

    Source: Wang et al. 2021, TSDAE, https://arxiv.org/abs/2104.06979 (deletion, ratio 0.6, came out best).
    """

    def __init__(self, ratio: float, *, seed: int) -> None:
        self.ratio = ratio
        self.seed = seed

    def __call__(self, text: str, *, epoch: int) -> str:
        """The text with words missing, in their order, joined by single spaces."""
        words = text.split()
        draw = random.Random(f"{self.seed}/{epoch}/{text}")
        kept = [word for word in words if draw.random() >= self.ratio]
        return " ".join(kept or [draw.choice(words)])

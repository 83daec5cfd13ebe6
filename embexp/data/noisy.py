"""The noisy view while it is trained on: (noisy, text), the noise made batch by batch, no second copy of the corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embexp.data.noise import WordDeletion

if TYPE_CHECKING:
    from datasets import Dataset


class NoisyTexts:
    """A transform of `datasets`: gives a batch of texts its first column, the same texts with words missing."""

    def __init__(self, noise: WordDeletion) -> None:
        self.noise = noise
        self.epoch = 0

    def __call__(self, batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """{"text": [...]} -> {"noisy": [...], "text": [...]}."""
        return {
            "noisy": [self.noise(text, epoch=self.epoch) for text in batch["text"]],
            "text": batch["text"],
        }

    def over(self, dataset: Dataset) -> Dataset:
        """The data set, transformed as it is read."""
        return dataset.with_transform(self)

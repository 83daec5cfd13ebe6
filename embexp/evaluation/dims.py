"""Scores of the dev and test pairs by embeddings that are cut: what a smaller index would cost.

As SentenceTransformer(..., truncate_dim=64) gives them: their first so many dimensions, as they are. Cosine similarity does
not mind that they are no longer of length one; the others are those of what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sentence_transformers import SentenceTransformer

from embexp.config import Similarity
from embexp.evaluation.parts import Part
from embexp.evaluation.sts import Pairs, embedded_pairs, scores_of
from embexp.evaluation.tables import fingerprint_of
from embexp.prompts import Prompts


@dataclass(frozen=True)
class DimsEvaluation:
    """The pairs by the first few dimensions of their embeddings, which have as many; see `embexp.evaluation.parts.Extra`."""

    dims: Sequence[int]
    pairs: Mapping[str, Pairs]
    similarities: Sequence[Similarity]
    batch_size: int
    prompts: Prompts
    name: ClassVar[str] = "dims"
    before: ClassVar[bool] = True

    @property
    def fingerprint(self) -> str:
        return fingerprint_of([self.name], list(self.dims), [pairs.fingerprint for pairs in self.pairs.values()])

    @property
    def record(self) -> dict[str, Any]:
        return {"dims": list(self.dims), "pairs": {name: len(pairs.scores) for name, pairs in self.pairs.items()}}

    @property
    def scored_on(self) -> Mapping[str, str]:
        return {}

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """pearson_* and spearman_* of each split, by so many dimensions: dims/64/dev/spearman_cosine.

        In one part: what takes time is to encode the texts, once for all dimensions.
        """
        scores: dict[str, float] = {}
        for split, pairs in self.pairs.items():
            first, second = embedded_pairs(model, pairs, batch_size=self.batch_size, prompts=self.prompts)
            for dim in self.dims:
                cut = scores_of(first[:, :dim], second[:, :dim], pairs, similarities=self.similarities)
                scores |= {f"{dim}/{split}/{name}": value for name, value in cut.metrics.items()}
        yield Part(scores)

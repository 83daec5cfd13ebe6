"""Hard negatives: of each anchor the text nearest to it that is hardly an answer, as the model sees it before training.

Hardly: its similarity is below that of the anchor's least similar positive by a share of that similarity, 5 % by default, for what
is nearer may be an answer that nobody marked. Of the ways to mine that NV-Retriever compares (https://arxiv.org/abs/2407.15831,
TopK-PercPos) it is the one that trained best there; sentence-transformers' `mine_hard_negatives` calls it `relative_margin`. Unlike
there all texts are looked at, however many are too near, and a pair for which none is found keeps a negative that is drawn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from embexp.config import Config
from embexp.data.cache import Made, found_or_made
from embexp.data.rows import Rows
from embexp.identity import code_of
from embexp.inputs import Inputs, kept_of_models, what_embeds
from embexp.prompts import Prompts, Role, prompts_of
from embexp.routes import encoding_of

log = logging.getLogger(__name__)

# Where none is named.
MARGIN = 0.05
# Similarities that are held at once, anchors times positives.
ANCHORS_AT_ONCE, POSITIVES_AT_ONCE = 1024, 16_384
# Of an anchor's nearest texts that are looked at: the anchor's own text may be one, and its positives.
NEAREST = 8


def miner_for(config: Config, inputs: Inputs) -> HardNegatives:
    """What mines the negatives of a run."""
    margin = MARGIN if config.data.hard_margin is None else config.data.hard_margin
    return HardNegatives(
        inputs.encoder.model,
        prompts_of(config.model),
        margin,
        config.evaluation.batch_size,
        {"margin": margin, "code of mining": code_of("mining.py"), **what_embeds(config, inputs)},
        kept_of_models(config),
    )


@dataclass(frozen=True)
class HardNegatives:
    """What mines them.

    Attributes:
        model: before training.
        prompts: the run's.
        margin: below the similarity of the positive, as a share of it; higher: easier negatives, fewer of them true answers.
        batch_size: texts encoded at once.
        made_from: all that decides what is found but the pairs; as JSON.
        folder: where what was found is kept: neither the seed nor the loss makes another of it; None: it is not.
    """

    model: SentenceTransformer
    prompts: Prompts
    margin: float
    batch_size: int
    made_from: Mapping[str, Any]
    folder: Path | None = None

    def of(self, pairs: Dataset, *, directed: bool) -> NDArray[np.int64]:
        """Of each pair the numbers of those whose positives would be its negatives, [pairs, NEAREST], the hardest first; -1: no more.

        Args:
            pairs: anchor, positive.
            directed: whether the anchor asks for the positive.
        """
        if self.folder is None:
            return self._mined(pairs, directed=directed)

        def make(_: Path | None) -> Made:
            mined = self._mined(pairs, directed=directed)
            return Made(Dataset(pa.table({str(place): column for place, column in enumerate(mined.T)})), {})

        of = {"hard negatives of": Rows("pairs", pairs, "pairs").fingerprint, "directed": directed}
        (table, *_), _ = found_or_made(self.folder, {**of, **self.made_from}, make)
        assert table is not None
        return np.stack([column.to_numpy() for column in table.with_format("arrow")[:].columns], axis=1)

    @torch.inference_mode()
    def _mined(self, pairs: Dataset, *, directed: bool) -> NDArray[np.int64]:
        """All texts and their embeddings are in memory meanwhile, these on the model's device, in float32."""
        log.info(
            "hard negatives: looked for, once for this model; all texts of %s pairs are encoded", f"{len(pairs):,}"
        )
        began = time.perf_counter()
        roles: tuple[Role, Role] = ("query", "document") if directed else ("default", "default")
        anchors, of_anchor, _ = self._embedded(pairs["anchor"][:], roles[0])
        positives, of_positive, first = self._embedded(pairs["positive"][:], roles[1])
        bounds = _bounds(anchors, positives, of_anchor, of_positive, self.margin)
        nearest = torch.cat(
            [
                _nearest(some, positives, below)
                for some, below in zip(anchors.split(ANCHORS_AT_ONCE), bounds.split(ANCHORS_AT_ONCE), strict=True)
            ]
        )
        places = nearest[of_anchor].cpu().numpy()
        log.info("hard negatives: found in %.0f s", time.perf_counter() - began)
        return np.where(places >= 0, first[places], -1)

    def _embedded(self, texts: Sequence[str], role: Role) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.int64]]:
        """The embeddings of the texts, each once; of every text which is its own; and of each where it first stands."""
        place_of: dict[str, int] = {}
        places = [place_of.setdefault(text, len(place_of)) for text in texts]
        found = self.model.encode(
            list(place_of),
            batch_size=self.batch_size,
            show_progress_bar=False,
            convert_to_tensor=True,
            normalize_embeddings=True,
            **encoding_of(self.model, role, self.prompts),
        ).float()
        _, first = np.unique(places, return_index=True)
        return found, torch.tensor(places, device=found.device), first


def _bounds(
    anchors: torch.Tensor, positives: torch.Tensor, of_anchor: torch.Tensor, of_positive: torch.Tensor, margin: float
) -> torch.Tensor:
    """Of each anchor the similarity below which a text is a negative."""
    own = torch.cat(
        [
            (anchors[some] * positives[others]).sum(dim=1)
            for some, others in zip(
                of_anchor.split(POSITIVES_AT_ONCE), of_positive.split(POSITIVES_AT_ONCE), strict=True
            )
        ]
    )
    least = torch.full((len(anchors),), torch.inf, device=own.device).scatter_reduce(0, of_anchor, own, "amin")
    return least - margin * least.abs()


def _nearest(anchors: torch.Tensor, positives: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """Of each anchor the places of the NEAREST positives below its bound, the nearest first; -1 where there are no more."""
    best = torch.full((len(anchors), NEAREST), -torch.inf, device=anchors.device)
    places = torch.full((len(anchors), NEAREST), -1, device=anchors.device)
    for start in range(0, len(positives), POSITIVES_AT_ONCE):
        similarities = anchors @ positives[start : start + POSITIVES_AT_ONCE].T
        similarities.masked_fill_(similarities >= bounds[:, None], -torch.inf)
        values, found = similarities.topk(min(NEAREST, similarities.shape[1]), dim=1)
        found = torch.where(values > -torch.inf, found + start, -1)
        best, kept = torch.cat([best, values], dim=1).topk(NEAREST, dim=1)
        places = torch.cat([places, found], dim=1).gather(1, kept)
    return places

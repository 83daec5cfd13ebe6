"""How good a ranking is: nDCG, MRR, MAP and recall, as trec_eval defines them, averaged over queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

NDCG_AT, MRR_AT, MAP_AT = 10, 10, 100


def ranking_metrics(
    ranked: Sequence[Sequence[int]], relevant: Sequence[Mapping[int, float]], *, recall_at: Sequence[int]
) -> dict[str, float]:
    """ndcg_at_10, mrr_at_10, map_at_100 and recall_at_k, each the mean over queries.

    Args:
        ranked: of each query, the documents found, the best first; at least as many as the deepest metric asks for.
        relevant: of each query, the gain (above 0) of each relevant document; at least one.
        recall_at: the depths of recall.

    Source: Järvelin and Kekäläinen 2002 for nDCG, with the gain itself as numerator, as in trec_eval and pytrec_eval.
    """
    found = [_of_one(documents, gains, recall_at) for documents, gains in zip(ranked, relevant, strict=True)]
    return {name: float(np.mean([of_query[name] for of_query in found])) for name in found[0]}


def _of_one(documents: Sequence[int], gains: Mapping[int, float], recall_at: Sequence[int]) -> dict[str, float]:
    gained = np.array([gains.get(document, 0.0) for document in documents])
    hits = gained > 0
    ideal = np.sort(list(gains.values()))[::-1]
    discount = 1 / np.log2(np.arange(2, NDCG_AT + 2))
    ndcg = _discounted(gained, discount) / _discounted(ideal, discount)
    first = np.flatnonzero(hits[:MRR_AT])
    places = np.flatnonzero(hits[:MAP_AT])
    precisions = np.arange(1, len(places) + 1) / (places + 1)
    return {
        f"ndcg_at_{NDCG_AT}": ndcg,
        f"mrr_at_{MRR_AT}": 1 / (first[0] + 1) if len(first) else 0.0,
        f"map_at_{MAP_AT}": precisions.sum() / len(gains),
        **{f"recall_at_{depth}": hits[:depth].sum() / len(gains) for depth in recall_at},
    }


def _discounted(gains: np.ndarray, discount: np.ndarray) -> float:
    top = gains[: len(discount)]
    return float(top @ discount[: len(top)])

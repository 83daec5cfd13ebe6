"""What a person should hear of the data before a training: rows whose texts will be cut, dev pairs that are few."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MatryoshkaLoss, TripletLoss
from sentence_transformers.sentence_transformer.losses.triplet import TripletDistanceMetric
from torch import nn
from transformers import PreTrainedTokenizerBase

from embexp.data.negatives import DRAWN, HARD
from embexp.data.views import View
from embexp.evaluation import Pairs
from embexp.loss_plan import is_of_length_one
from embexp.prompts import Prompts
from embexp.training import column_prompts
from embexp.units import counted

# A run keeps what it is warned of here: see `embexp.record`.
log = logging.getLogger(__name__)

# Rows, spread over all of them; to be told of, at least this share of their texts is cut.
LOOKED_AT = 1_000
SHARE_TO_TELL = 0.01
# Of a text, for each token that the model reads: more characters than so many have more tokens, and are not looked at.
CHARACTERS_A_TOKEN = 20
# Of two embeddings of length one.
FARTHEST = 2
# Of the hard negatives that were looked for, so many may be drawn unsaid.
MOST_DRAWN = 0.1
# Half the width of a score's 95 % interval.
WIDTH_TO_TELL = 0.1
# So near to the highest score that there can be, nothing more is to be seen.
NEAR_THE_CEILING = 0.005
# A few pairs that happen to be ranked right say no more than others: no score is held for higher than this.
HIGHEST_SCORE = 0.9
NORMAL_95 = 1.96


def warn_of(found: Iterable[str]) -> None:
    """Tells what spoils a score, and has it kept with the run that is being made."""
    for told in found:
        log.warning("%s", told)


def cautions(
    view: View,
    model: SentenceTransformer,
    *,
    prompts: Prompts,
    dev: Pairs,
    dev_score: float,
    metric: str,
    loss: nn.Module | None = None,
    dims: Sequence[int] | None = None,
) -> list[str]:
    """A sentence for each thing that would spoil a run quietly: losses fall and scores look like scores.

    Args:
        view: the rows to be trained on.
        model: it cuts texts at its `max_seq_length`.
        prompts: that the run sets.
        dev: the pairs by which the best step is chosen.
        dev_score: their correlation, of the model as it is.
        metric: which one: "spearman_cosine".
        loss: that is trained for; None: of no account.
        dims: that are trained to do alone; None: the embeddings are whole.
    """
    found = (
        _of_cut_texts(view, model, prompts),
        _of_drawn_negatives(view),
        _of_untrained_dimensions(model, dims),
        _of_a_margin_out_of_reach(loss, model),
        _of_unused_prompts(model, prompts),
        _of_a_missing_default(prompts, dev),
        _of_a_ceiling(dev, dev_score, metric),
        few_pairs(len(dev.scores), dev_score, whose=", the model's before training,"),
    )
    return [told for told in found if told is not None]


def batches_of_all_rows(rows: int, batch_size: int) -> list[str]:
    """What is to be said of a batch size that the rows cannot fill; empty where they can."""
    if batch_size <= rows:
        return []
    return [
        f"batch_size={batch_size}: there are {counted(rows, 'row')} to train on, so no batch is larger; all sizes from {rows} on are one"
    ]


def _of_drawn_negatives(view: View) -> str | None:
    drawn, mined = view.counts.get(DRAWN, 0), view.counts.get(HARD, 0)
    if drawn <= MOST_DRAWN * (drawn + mined):
        return None
    return (
        f"data.negatives=hard: {drawn} of {drawn + mined} negatives that were looked for are drawn, for no text was far enough below the "
        "positive; lower data.hard_margin, or take a model that tells these texts apart"
    )


def _of_untrained_dimensions(model: SentenceTransformer, dims: Sequence[int] | None) -> str | None:
    there = model.get_embedding_dimension()
    if dims is None or there is None or there in dims:
        return None
    return (
        f"matryoshka_dims: {there} is none of them, so that whole embeddings are trained in part, by which the best step is chosen; "
        "add it"
    )


def _of_a_margin_out_of_reach(loss: nn.Module | None, model: SentenceTransformer) -> str | None:
    cut = isinstance(loss, MatryoshkaLoss)
    triplets = loss.loss if isinstance(loss, MatryoshkaLoss) else loss
    if not isinstance(triplets, TripletLoss) or triplets.distance_metric is not TripletDistanceMetric.EUCLIDEAN:
        return None
    if triplets.triplet_margin < FARTHEST or not (cut or is_of_length_one(model)):
        return None
    which = "cut embeddings (matryoshka_dims)" if cut else "this model's embeddings"
    return (
        f"loss.triplet_margin={triplets.triplet_margin:g}: {which} are of length one and at most {FARTHEST} apart, so that no triplet "
        f"has it, however right it is, and all are trained on without end; set one well below {FARTHEST}, as loss.triplet_margin=0.5"
    )


def _of_a_missing_default(prompts: Prompts, dev: Pairs) -> str | None:
    if not prompts or "default" in prompts or dev.directed:
        return None
    return (
        "dev: none of its texts is a query or a document, and model.prompts has no default: they are scored without a prompt; "
        "set model.prompts={..., default: ...} to score them with one"
    )


def _of_unused_prompts(model: SentenceTransformer, prompts: Prompts) -> str | None:
    own = {name: prompt for name, prompt in (model.prompts or {}).items() if prompt}
    if prompts or not own:
        return None
    name, prompt = next(iter(own.items()))
    # What sentence-transformers puts before every text that is encoded without a word of prompts; training encodes otherwise.
    default = own.get(model.default_prompt_name or "")
    if default is None:
        left_out = "which training leaves out, and so do the scores of pairs and classification"
    else:
        left_out = f"which training leaves out, but pairs and classification are scored behind its default, {default!r}"
    return (
        f"model: it was made to read texts behind prompts ({name}: {prompt!r}, ...), {left_out}, and retrieval and MTEB are scored "
        "behind those that they know by name; set model.prompts={query: ..., document: ..., default: ...} to train and score with them"
    )


def _of_cut_texts(view: View, model: SentenceTransformer, prompts: Prompts) -> str | None:
    most, tokenizer = model.max_seq_length, model.tokenizer
    # What reads texts of any length may be one route of several, and another's the tokenizer.
    if most is None or math.isinf(most) or not isinstance(tokenizer, PreTrainedTokenizerBase):
        return None
    looked_at = np.unique(np.linspace(0, len(view.dataset) - 1, LOOKED_AT, dtype=np.int64))
    sample = view.dataset.select(looked_at).to_dict()
    before = column_prompts(view, prompts)
    texts = [
        f"{before.get(name, '')}{text}"[: CHARACTERS_A_TOKEN * most]
        for name, column in sample.items()
        for text in column
        if isinstance(text, str)
    ]
    lengths = [len(ids) for ids in tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]]
    cut = sum(length > most for length in lengths)
    if not cut or cut < SHARE_TO_TELL * len(texts):
        return None
    behind = ", behind their prompts," if before else ""
    return (
        f"data: {cut} of {len(texts)} texts that were looked at{behind} have more than the {most} tokens that the model reads; "
        "what is over is cut off: split them, or raise model.max_length where the model reads more"
    )


def _of_a_ceiling(dev: Pairs, score: float, metric: str) -> str | None:
    """Of scores that are 0 and 1, half of each, the best order of the pairs has a Spearman of 0.866: within the two all are equal."""
    values, counts = np.unique(dev.scores, return_counts=True)
    if len(values) != 2 or not metric.startswith("spearman"):
        return None
    pairs = len(dev.scores)
    highest = math.sqrt(3 * counts[0] * counts[1] / (pairs**2 - 1))
    if score < highest - NEAR_THE_CEILING:
        return None
    return (
        f"dev: the model before training has {score:.3f} of {highest:.3f}, the highest Spearman that scores of two values allow: hardly "
        "anything is left to gain on these pairs; score on harder ones, on graded scores, or on retrieval (evaluation=[own,retrieval])"
    )


def few_pairs(pairs: int, score: float, *, whose: str = "") -> str | None:
    """What is to be said where a score on so many dev pairs is known but roughly; `whose` stands behind the score.

    By Fisher's z with the variance of Bonett and Wright (2000), https://doi.org/10.1007/BF02294183. It is Spearman's;
    Pearson's is a little less.
    """
    if pairs <= 3:
        return f"dev: {counted(pairs, 'pair')}: scores on so few tell nothing"
    held = max(-HIGHEST_SCORE, min(HIGHEST_SCORE, score))
    reach = NORMAL_95 * math.sqrt((1 + held**2 / 2) / (pairs - 3))
    width = (math.tanh(math.atanh(held) + reach) - math.tanh(math.atanh(held) - reach)) / 2
    if width < WIDTH_TO_TELL:
        return None
    return (
        f"dev: {pairs} pairs are few: a score of {score:.2f} on them{whose} is known to about {width:.2f} up or down (95 %), "
        "and small differences between models can hardly be seen"
    )

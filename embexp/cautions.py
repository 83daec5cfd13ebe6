"""What a person should hear of the data before the training: texts that will be cut, dev pairs too few to tell by."""

from __future__ import annotations

import math

import numpy as np
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedTokenizerBase

from embexp.data.views import View

# Of each column, spread over all rows; to be told of, at least this share of them is cut.
LOOKED_AT = 1_000
SHARE_TO_TELL = 0.01
# Half the width of a score's 95 % interval.
WIDTH_TO_TELL = 0.1
NORMAL_95 = 1.96


def cautions(view: View, model: SentenceTransformer, *, dev_pairs: int, dev_score: float) -> list[str]:
    """A sentence for each thing that nothing else would show: the training goes well, the scores look like scores.

    Args:
        view: the rows to be trained on.
        model: it cuts texts at its `max_seq_length`.
        dev_pairs: how many there are.
        dev_score: their correlation, of the model as it is.
    """
    return [told for told in (_of_cut_texts(view, model), _of_few_pairs(dev_pairs, dev_score)) if told is not None]


def _of_cut_texts(view: View, model: SentenceTransformer) -> str | None:
    most, tokenizer = model.max_seq_length, model.tokenizer
    rows = len(view.dataset)
    if most is None or not isinstance(tokenizer, PreTrainedTokenizerBase) or not rows:
        return None
    looked_at = np.unique(np.linspace(0, rows - 1, LOOKED_AT, dtype=np.int64))
    sample = view.dataset.select(looked_at).to_dict()
    texts = [text for column in sample.values() for text in column if isinstance(text, str)]
    lengths = [len(ids) for ids in tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]]
    cut = sum(length > most for length in lengths)
    if cut < SHARE_TO_TELL * len(texts):
        return None
    return (
        f"data: {cut} of {len(texts)} texts that were looked at have more than the {most} tokens that the model reads "
        f"(the longest has {max(lengths)}); what is over is cut off; model.max_length sets another length"
    )


def _of_few_pairs(pairs: int, score: float) -> str | None:
    """By Fisher's z with the variance of Bonett and Wright (2000), https://doi.org/10.1007/BF02294183."""
    if pairs <= 3:
        return f"dev: {pairs} pairs: their scores tell nothing"
    z = math.atanh(max(-0.999, min(0.999, score)))
    reach = NORMAL_95 * math.sqrt((1 + score**2 / 2) / (pairs - 3))
    width = (math.tanh(z + reach) - math.tanh(z - reach)) / 2
    if width < WIDTH_TO_TELL:
        return None
    return (
        f"dev: {pairs} pairs are few: a score of theirs is known to about {width:.2f} up or down (95 %); "
        "models that lie closer cannot be told apart by it"
    )

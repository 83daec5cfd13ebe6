"""TSDAE's loss, computed over the texts' own tokens: the same loss with little padding or none.

The decoder predicts every token out of the whole vocabulary, padding too, and that is most of a step: the logits of 16
texts padded to 100 tokens are 195 MB. In chunks sorted by length hardly any of it is padding, in one row none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss
from torch import Tensor
from torch.nn import functional

from embexp.encoding import StepEncoder, decode_unpadded, rows_by_length


class SortedDenoisingLoss(DenoisingAutoEncoderLoss):
    """DenoisingAutoEncoderLoss with a second way to compute it.

    Source: Wang et al. 2021, https://arxiv.org/abs/2104.06979.
    """

    def compute_sorted_loss(self, columns: Sequence[dict[str, Any]], encoder: StepEncoder) -> Tensor:
        """What `forward` gives: the mean cross-entropy of the texts' tokens, told from the noisy texts' embeddings.

        Args:
            columns: noisy texts and texts: right-padded "input_ids" and "attention_mask", (rows, tokens).
            encoder: of the noisy texts; they are decoded as it encodes, in one row or its chunk_tokens at a time.
        """
        total, told = self.sum_over_tokens(columns, encoder)
        return total / told

    def sum_over_tokens(self, columns: Sequence[dict[str, Any]], encoder: StepEncoder) -> tuple[Tensor, int]:
        """The loss as a sum, and the number of tokens that it is over: those of several devices can be put together."""
        noisy, texts = columns
        if self.need_retokenization:
            texts = self.retokenize(texts)
        (embeddings,) = encoder.encode(self.encoder, [noisy])
        ids = texts["input_ids"]
        lengths = (ids != self.tokenizer_decoder.pad_token_id).sum(dim=1).cpu()
        if encoder.can_decode(self.decoder):
            hidden, labels = decode_unpadded(self.decoder, embeddings, ids, lengths, encoder.layout)
            head = self.decoder.get_output_embeddings()
            return encoder.summed_cross_entropy(head, hidden, labels), len(labels)
        ids = ids.to(embeddings.device)
        total, told = embeddings.new_zeros((), dtype=torch.float32), 0
        for rows in rows_by_length(lengths, chunk_tokens=encoder.chunk_tokens):
            chunk = ids[rows.to(ids.device), : int(lengths[rows[-1]])]
            loss, tokens = self._decode(embeddings[rows.to(embeddings.device)], chunk)
            total, told = total + loss, told + tokens
        return total, told

    def _decode(self, embeddings: Tensor, ids: Tensor) -> tuple[Tensor, int]:
        # The sum over tokens and their number, so that the mean over all chunks is the mean over all tokens.
        logits = self.decoder(
            input_ids=ids[:, :-1],
            encoder_hidden_states=embeddings[:, None],
            encoder_attention_mask=ids.new_ones((len(ids), 1)),
            use_cache=False,
        ).logits
        labels = ids[:, 1:].reshape(-1)
        ignored = self.tokenizer_decoder.pad_token_id
        loss = functional.cross_entropy(logits.flatten(0, 1), labels, ignore_index=ignored, reduction="sum")
        return loss, int((labels != ignored).sum())

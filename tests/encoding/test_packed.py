"""A GPU's row of texts, computed on the CPU: the embeddings of the plain way; its attention stands in for FlashAttention."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn import functional

from embexp.encoding import OnGpu, StepEncoder, can_decode_unpadded, decode_unpadded, packed
from embexp.encoding.packed import Row, by_column, features_of, others_of
from embexp.encoding.unpadded import MODEL_TYPES, unpadded_attention
from embexp.losses import DECODING_ENCODERS
from tests.encoding.test_unpadded import TEXTS, decoder_of_type, made, of_type


def attend(query, key, value, ends, ends_of_keys, longest, _, dropout, causal, debug, *, scale):
    """Text by text: (tokens, heads, width) as FlashAttention takes it."""
    assert int(ends.diff().max()) <= longest
    assert not debug
    told = [
        functional.scaled_dot_product_attention(
            *(part[first:last].transpose(0, 1) for part, first, last in ((query, a, b), (key, c, d), (value, c, d))),
            dropout_p=dropout,
            is_causal=causal,
            scale=scale,
        ).transpose(0, 1)
        for a, b, c, d in zip(ends[:-1], ends[1:], ends_of_keys[:-1], ends_of_keys[1:], strict=True)
    ]
    return (torch.cat(told),)


@pytest.fixture(autouse=True)
def flash_attention(monkeypatch):
    monkeypatch.setattr(packed, "flash_attention", attend)


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_every_kind_of_encoder_gives_the_embeddings_of_the_plain_way(kind, tmp_path):
    model = of_type(kind, str(tmp_path))
    columns = [model.preprocess(texts) for texts in TEXTS]
    with torch.no_grad():
        plain = [model(dict(column))["sentence_embedding"] for column in columns]
        with unpadded_attention(model):
            found = OnGpu(model).encode(model, columns)
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_what_a_row_is_filled_up_with_changes_neither_embeddings_nor_gradients(pooling):
    model = made(pooling)
    columns = [model.preprocess(texts) for texts in TEXTS]
    on_gpu, loss = OnGpu(model), MultipleNegativesRankingLoss(model)

    def gradients() -> dict[str, torch.Tensor]:
        found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        model.zero_grad()
        return found

    with unpadded_attention(model):
        plain = on_gpu.encode(model, columns)
        loss.compute_loss_from_embeddings(plain, None).backward()
        expected = gradients()
        row = Row.of(columns, first_position=on_gpu.first_position)
        filled = row.filled(row.size + 20, len(row.lengths) + 3)
        assert int(filled.lengths.sum()) == filled.size == row.size + 20
        assert filled.lengths[len(row.lengths) :].tolist() == [7, 7, 6]
        features = features_of(filled.in_one_piece(), filled, longest=64, others=others_of(columns[0]))
        found = by_column(model(features)["sentence_embedding"], columns)
        loss.compute_loss_from_embeddings(found, None).backward()
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gradients(), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", sorted(DECODING_ENCODERS & set(MODEL_TYPES)))
def test_every_kind_of_decoder_foretells_what_it_foretells_in_the_plain_way(kind):
    decoder = decoder_of_type(kind)
    assert can_decode_unpadded(decoder)
    lengths = torch.tensor([5, 2, 9, 3])
    ids = torch.randint(5, 600, (4, 9)).masked_fill_(torch.arange(9) >= lengths[:, None], 0)
    embeddings = torch.randn(4, 32)
    encoder = StepEncoder(chunk_tokens=64, unpadded=True, gpu=OnGpu(made()))
    assert encoder.can_decode(decoder)
    decoder.config.num_attention_heads = 32
    assert not encoder.can_decode(decoder)  # heads of a width that FlashAttention does not compute
    assert StepEncoder(chunk_tokens=64, unpadded=True).can_decode(decoder)
    decoder.config.num_attention_heads = 2
    with torch.no_grad():
        on_cpu = decode_unpadded(decoder, embeddings, ids, lengths, StepEncoder(chunk_tokens=64).layout)
        found = decode_unpadded(decoder, embeddings, ids, lengths, encoder.layout)
    torch.testing.assert_close(found, on_cpu, atol=1e-5, rtol=1e-5)

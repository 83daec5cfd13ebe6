"""A GPU's row of texts, computed on the CPU: the embeddings of the plain way; its attention stands in for FlashAttention."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch.nn import functional
from transformers import TrainerControl, TrainerState

from embexp.encoding import (
    KeptGradients,
    OnGpu,
    StepEncoder,
    can_be_recorded,
    can_decode_unpadded,
    decode_unpadded,
    packed,
)
from embexp.encoding.graphs import filled_size
from embexp.encoding.packed import Row, by_column, features_of, others_of
from embexp.encoding.unpadded import MODEL_TYPES, unpadded_attention
from embexp.losses import DECODING_ENCODERS
from tests.encoding.test_unpadded import TEXTS, decoder_of_type, made, of_type


@pytest.fixture(autouse=True)
def flash_attention(monkeypatch):
    """Text by text: (tokens, heads, width) as FlashAttention takes it."""

    def attend(query, key, value, ends, ends_of_keys, longest, _, dropout, causal, debug, *, scale):
        assert int(ends.diff().max()) <= longest
        assert (dropout, debug) == (0.0, False)
        told = [
            functional.scaled_dot_product_attention(
                *(
                    part[first:last].transpose(0, 1)
                    for part, first, last in ((query, a, b), (key, c, d), (value, c, d))
                ),
                is_causal=causal,
                scale=scale,
            ).transpose(0, 1)
            for a, b, c, d in zip(ends[:-1], ends[1:], ends_of_keys[:-1], ends_of_keys[1:], strict=True)
        ]
        return (torch.cat(told),)

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
    assert can_be_recorded(model)
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
        size, added = filled_size(row.size, longest=9)
        filled = row.filled(size, len(row.lengths) + added)
        assert int(filled.lengths.sum()) == filled.size == size
        assert set(filled.lengths[len(row.lengths) :].tolist()) <= set(range(1, 10))
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
    with torch.no_grad():
        on_cpu = decode_unpadded(decoder, embeddings, ids, lengths, StepEncoder(chunk_tokens=64).layout)
        found = decode_unpadded(decoder, embeddings, ids, lengths, encoder.layout)
    torch.testing.assert_close(found, on_cpu, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tokens", [2, 63, 64, 65, 1000, 1920, 4096, 4097, 30_001])
@pytest.mark.parametrize("longest", [8, 256])
def test_rows_are_filled_up_to_few_sizes_with_texts_that_are_not_too_long(tokens, longest):
    size, texts = filled_size(tokens, longest=longest)
    more = size - tokens
    assert texts <= more <= texts * longest
    assert size % 64 == 0
    assert more <= max(64, tokens / 8) + texts
    sizes = {filled_size(each, longest=256)[0] for each in range(1024, 2049)}
    assert len(sizes) <= 10


def test_kept_gradients_are_zero_at_every_step_and_those_of_what_is_trained():
    model = made()
    kept = KeptGradients(model)
    told = None, TrainerState(), TrainerControl()
    kept.on_step_begin(*told)
    model(model.preprocess(["a b", "c"]))["sentence_embedding"].sum().backward()
    used = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    kept.on_pre_optimizer_step(*told)
    for step in range(2):
        model.zero_grad()
        kept.on_step_begin(*told)
        found = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert found == used, step
        assert all(not gradient.any() for gradient in kept.gradients)
        assert all(gradient.data_ptr() % 16 == 0 for gradient in kept.gradients)
        kept.add([None, *(torch.ones_like(gradient) for gradient in kept.gradients[1:])])
        assert not kept.parameters[0].grad.any()
        assert all(bool((parameter.grad == 1).all()) for parameter in kept.parameters[1:])

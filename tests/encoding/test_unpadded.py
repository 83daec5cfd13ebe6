"""Texts encoded as one row without padding: the plain way's embeddings, whatever the encoder."""

from __future__ import annotations

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from embexp.encoding import StepEncoder, can_be_unpadded, can_decode_unpadded, decode_unpadded, encode_unpadded
from embexp.encoding.dropout import bernoulli_noise, sixteen_bit_noise
from embexp.encoding.unpadded import MODEL_TYPES, unpadded_attention
from embexp.losses import DECODING_ENCODERS
from embexp.models import quiet_loading, tiny

TEXTS = [
    ["a short one", "somewhat longer than the first of them", "x", "the end"],
    ["another", "y z", "a very long text indeed, with many words that all become many pieces", "and so on and on"],
]


def made(pooling: str = "mean") -> SentenceTransformer:
    model, _ = tiny(hidden_size=32, layers=2, vocabulary_size=500, pooling=pooling, max_length=64, dropout=0.0, seed=1)
    return model.train()


def of_type(kind: str, folder: str) -> SentenceTransformer:
    """A small encoder of another architecture, with random weights and tiny's tokenizer."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind == "distilbert":
        sizes = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
    with quiet_loading():
        AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=600, pad_token_id=0, **sizes)).save_pretrained(
            folder
        )
        made().tokenizer.save_pretrained(folder)
        return SentenceTransformer(folder, device="cpu").eval()


def decoder_of_type(kind: str) -> torch.nn.Module:
    """A small decoder with cross-attention and random weights."""
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    decoding = {"is_decoder": True, "add_cross_attention": True}
    config = AutoConfig.for_model(kind, vocab_size=600, pad_token_id=0, **sizes, **decoding)
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config).eval()


def both_ways(model: SentenceTransformer) -> tuple[torch.Tensor, torch.Tensor]:
    """(plain, unpadded): the embeddings of all texts."""
    columns = [model.preprocess(texts) for texts in TEXTS]
    plain = torch.cat([model(dict(column))["sentence_embedding"] for column in columns])
    with unpadded_attention(model):
        return plain, torch.cat(encode_unpadded(model, columns))


@pytest.mark.parametrize("kind", MODEL_TYPES)
def test_every_kind_of_encoder_gives_the_embeddings_of_the_plain_way(kind, tmp_path):
    model = of_type(kind, str(tmp_path))
    assert can_be_unpadded(model)
    with torch.no_grad():
        plain, unpadded = both_ways(model)
    torch.testing.assert_close(plain, unpadded, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(plain[0], plain[1], atol=1e-3)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_every_pooling_gives_the_embeddings_of_the_plain_way(pooling):
    plain, unpadded = both_ways(made(pooling))
    torch.testing.assert_close(plain, unpadded, atol=1e-5, rtol=1e-5)


def test_an_encoder_whose_attention_knows_more_is_left_to_the_chunks(tmp_path):
    assert not can_be_unpadded(of_type("mpnet", str(tmp_path)))


def test_loss_and_gradient_are_those_of_the_plain_way():
    model = made()
    loss, gradients = MultipleNegativesRankingLoss(model), []
    for embeddings in both_ways(model):
        model.zero_grad()
        value = loss.compute_loss_from_embeddings(list(embeddings.split([4, 4])), None)
        value.backward()
        gradients.append((value.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(gradients[0][0], gradients[1][0], atol=1e-5, rtol=1e-5)
    assert len(gradients[0][1]) == len(gradients[1][1])
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_not_one_token_of_padding_is_computed():
    model, computed = made(), []
    columns = [model.preprocess(texts) for texts in TEXTS]
    model[0].register_forward_pre_hook(lambda module, inputs: computed.append(inputs[0]["input_ids"].numel()))
    with unpadded_attention(model):
        encode_unpadded(model, columns)
    assert computed == [int(sum(column["attention_mask"].sum() for column in columns))]


def test_attentions_dropout_is_the_models_and_is_drawn_as_asked_for():
    model, _ = tiny(hidden_size=32, layers=2, vocabulary_size=500, pooling="mean", max_length=64, dropout=0.25, seed=1)
    drawn = []

    def noise(like, p):
        drawn.append(p)
        return torch.ones_like(like)

    columns = [model.preprocess(texts) for texts in TEXTS]
    with unpadded_attention(model):
        encode_unpadded(model.train(), columns, noise)
        # Of all texts at once, for each layer.
        assert drawn == [0.25] * 2
        encode_unpadded(model.eval(), columns, noise)
    assert len(drawn) == 2


@pytest.mark.parametrize(("fast", "noise"), [(True, sixteen_bit_noise), (False, bernoulli_noise)])
def test_a_step_draws_as_its_switch_says(fast, noise):
    assert StepEncoder(chunk_tokens=64, unpadded=True, fast_dropout=fast).noise is noise


def test_padded_texts_are_scored_as_ever_while_a_model_trains_without_padding():
    model = made().eval()
    texts = [text for column in TEXTS for text in column]
    plain = model.encode(texts, batch_size=8, convert_to_tensor=True)
    with unpadded_attention(model):
        within = model.encode(texts, batch_size=8, convert_to_tensor=True)
    assert torch.equal(plain, within)
    assert model.transformers_model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("kind", sorted(DECODING_ENCODERS & set(MODEL_TYPES)))
def test_every_kind_of_decoder_foretells_what_it_foretells_in_the_plain_way(kind):
    decoder = decoder_of_type(kind)
    assert can_decode_unpadded(decoder)
    lengths = torch.tensor([9, 3, 5, 3, 2])
    ids = torch.randint(5, 600, (5, 9)) * (torch.arange(9) < lengths[:, None])
    embeddings = torch.randn(5, 32)
    with torch.no_grad():
        plain = decoder(input_ids=ids[:, :-1], encoder_hidden_states=embeddings[:, None], use_cache=False).logits
        hidden, tokens = decode_unpadded(decoder, embeddings, ids, lengths, StepEncoder(chunk_tokens=64).layout)
        told = decoder.get_output_embeddings()(hidden)
    # Shortest first, those of one length in the order of the rows.
    rows = [(row, length) for length in (2, 3, 5, 9) for row in range(5) if lengths[row] == length]
    expected = torch.cat([plain[row, : length - 1] for row, length in rows])
    torch.testing.assert_close(told, expected, atol=1e-5, rtol=1e-5)
    assert tokens.tolist() == [int(token) for row, length in rows for token in ids[row, 1:length]]
    assert decoder.config._attn_implementation == "sdpa"

"""Losses: every shipped one builds, TSDAE leaves its encoder as it was, a person's own is checked."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from itertools import chain

import pytest
import torch
from datasets import Dataset
from sentence_transformers.sentence_transformer.modules import Normalize
from transformers import AutoConfig, AutoModel

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data.views import View
from embexp.loss_plan import build_loss, found_target, refuse_what_teaches_nothing
from embexp.models import load_encoder, weights_hash
from embexp.shipped import conf_folder
from tests.hub_server import HubServer

LOSSES = sorted(path.stem for path in (conf_folder() / "loss").glob("*.yaml"))


def rows_for(loss: str) -> list[str]:
    """Of the built-in corpus, what a shipped loss can be fed."""
    return ["data.kind=labelled"] if loss.startswith("batch_") else []


def built(*overrides: str, config_dir=None):
    config = compose(["model=tiny", *overrides], config_dir=config_dir)
    encoder = load_encoder(config.model)
    return encoder.model, build_loss(config.loss, encoder.model, seed=1)


def features(model, *columns: list[str]):
    return [model.preprocess(texts) for texts in columns]


@pytest.mark.parametrize("name", LOSSES)
def test_every_shipped_loss_builds_and_gives_a_gradient_to_the_encoder(name):
    model, plan = built(f"loss={name}", *rows_for(name))
    texts = [["a first text", "a second one"], ["first text", "second one"], ["something else", "other words"]]
    columns = 3 if plan.view[0] == "triplets" else 2
    labels = torch.tensor([1, 0] if plan.view == ("classes",) else [1.0, 0.0])
    if plan.view == ("labelled",):
        texts, columns, labels = [[*chain.from_iterable(texts)]], 1, torch.tensor([0, 0, 1, 1, 2, 2])
    plan.module(features(model, *texts[:columns]), labels).backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("product", ["true", "false"])
def test_softmax_from_embeddings_is_what_its_forward_gives(product):
    model, plan = built("loss=softmax", f"loss.concatenation_sent_multiplication={product}", "model.dropout=0.0")
    columns, labels = features(model, ["a", "b b", "c"], ["d", "e", "f f"]), torch.tensor([2, 0, 1])
    embeddings = [model(column)["sentence_embedding"] for column in columns]
    assert torch.equal(plan.module.compute_loss_from_embeddings(embeddings, labels), plan.module(columns, labels))


def test_simcse_without_dropout_is_refused_for_it_would_learn_nothing():
    with pytest.raises(ConfigError, match=r"model.dropout=0.0: loss=simcse tells a text from its twin by dropout"):
        compose(["model=tiny", "loss=simcse", "model.dropout=0.0"])


def test_twins_of_a_model_without_dropout_of_its_own_are_refused():
    twins = View("twins", Dataset.from_dict({"anchor": ["a text"], "positive": ["a text"]}), {}, directed=False)
    model = load_encoder(compose(["model=tiny"]).model).model
    state = torch.get_rng_state()
    refuse_what_teaches_nothing(twins, model.eval(), name="simcse")
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    for module in model.modules():
        module.p = 0.0
    with pytest.raises(ConfigError, match=r"loss=simcse: .* this model has none, .* use model.dropout=0.1"):
        refuse_what_teaches_nothing(twins, model, name="simcse")


@pytest.mark.parametrize(
    ("unit_length", "typed", "margin", "why"),
    [
        (False, [], 5.0, "loss.triplet_margin: 5, sentence-transformers' default"),
        (True, [], 0.5, "loss.triplet_margin: 0.5, embeddings of length one are at most 2 apart"),
        (False, ["matryoshka_dims=[32,8]"], 0.5, "loss.triplet_margin: 0.5, "),
        (True, ["loss.triplet_margin=0.7"], 0.7, ""),
    ],
)
def test_a_margin_that_nobody_named_is_one_that_the_embeddings_can_have_and_is_told(
    unit_length, typed, margin, why, caplog
):
    config = compose(["model=tiny", "loss=triplet", *typed])
    model = load_encoder(config.model).model
    if unit_length:
        model.append(Normalize())
    with caplog.at_level(logging.INFO, logger="embexp.loss_plan"):
        built = build_loss(config.loss, model, seed=1, dims=config.matryoshka_dims).module
    assert getattr(built, "loss", built).triplet_margin == margin
    assert why in caplog.text
    assert bool(caplog.text) == bool(why)


@pytest.mark.parametrize("labels", [[0, 2], [0, 0]])
def test_rows_of_one_class_are_refused(labels):
    columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": labels}
    classes = View("classes", Dataset.from_dict(columns), {}, directed=False)
    with (
        pytest.raises(ConfigError, match=r"softmax: all 2 rows have the same label")
        if labels == [0, 0]
        else nullcontext()
    ):
        refuse_what_teaches_nothing(classes, load_encoder(compose(["model=tiny"]).model).model, name="softmax")


@pytest.mark.parametrize("directions", ["[query_to_doc]", "[query_to_doc,doc_to_query]"])
def test_cached_mnr_has_the_loss_and_the_gradients_of_mnr(directions):
    anchors = [f"question {n} about {'an order' * (n % 5)}" for n in range(24)]
    positives = [f"answer {n}" for n in range(24)]
    found = []
    for loss in (["loss=mnr"], ["loss=cached_mnr", "loss.mini_batch_size=7"]):
        model, plan = built(*loss, "model.dropout=0.0", f"loss.directions={directions}")
        value = plan.module(features(model, anchors, positives), None)
        value.backward()
        found.append([value.detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) > 10
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_cached_mnr_encodes_its_texts_again_with_the_same_dropout():
    model, plan = built("loss=cached_mnr", "loss.mini_batch_size=3", "model.dropout=0.3")
    model.train()
    seen = []
    model.register_forward_hook(lambda _, __, output: seen.append(output["sentence_embedding"].detach()))
    plan.module(features(model, [f"text {n}" for n in range(6)], [f"other {n}" for n in range(6)]), None).backward()
    assert len(seen) == 8
    assert torch.equal(torch.cat(seen[:4]), torch.cat(seen[4:]))
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("tied", ["true", "false"])
def test_tsdae_leaves_the_encoder_as_it_was_also_when_it_was_trained_before(tied, tmp_path):
    model = load_encoder(compose(["model=tiny"]).model).model
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    before = weights_hash(model)
    decoder = "null" if tied == "true" else model.transformers_model.config._name_or_path
    config = compose(["model=tiny", "loss=tsdae", f"loss.tie_encoder_decoder={tied}", f"loss.decoder={decoder}"])
    plan = build_loss(config.loss, model, seed=1)
    assert weights_hash(model) == before
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in plan.module.decoder.parameters()}
    assert bool(shared) is (tied == "true")


def test_tsdae_learns_to_tell_the_text():
    model, plan = built("loss=tsdae", "model.dropout=0.0")
    batch = features(model, ["order late", "refund"], ["my order is late again", "where is the refund"])
    optimizer = torch.optim.AdamW(plan.module.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = plan.module([dict(column) for column in batch], None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


BERT = """
import torch
from embexp.config.composition import compose
from embexp.loss_plan import build_loss
from embexp.models import load_encoder
config = compose(["model=bert", "loss=tsdae", "model.max_length=32", "model.dropout=0.0"])
encoder = load_encoder(config.model)
model = encoder.model
assert model[1].pooling_mode == "cls", model
plan = build_loss(config.loss, model, seed=1)
texts = ["my order is late again", "where is the refund", "cancel this at once", "a parcel came broken"]
columns = [model.preprocess([plan.noise(text, epoch=0) for text in texts]), model.preprocess(texts)]
optimizer = torch.optim.AdamW(plan.module.parameters(), lr=1e-2)
losses = []
for _ in range(10):
    loss = plan.module([dict(column) for column in columns], None)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(encoder.origin, losses[0], losses[-1], sep=",")
"""


def test_tsdae_trains_the_bert_option_that_comes_from_the_hub_at_its_pinned_revision(tmp_path):
    bert = compose(["model=bert"]).model.arguments()
    small = load_encoder(compose(["model=tiny"]).model).model
    small.transformers_model.save_pretrained(tmp_path / "bert")
    small.tokenizer.save_pretrained(tmp_path / "bert")
    home, served = tmp_path / "home", {bert["path"]: tmp_path / "bert"}
    with HubServer(home=home, models=served, revision=bert["revision"]) as hub:
        done = hub.run(BERT)
        assert done.returncode == 0, done.stderr
        assert any(f"/resolve/{bert['revision']}/model.safetensors" in request for request in hub.requests)
    origin, first, last = done.stdout.strip().split(",")
    assert origin == "the hub"
    assert float(last) < 0.8 * float(first)


def test_tsdae_over_a_half_precision_file_stays_in_float32(tmp_path):
    load_encoder(compose(["model=tiny"]).model).model.half().save_pretrained(str(tmp_path))
    config = compose(["loss=tsdae", f"model.path={tmp_path}"])
    encoder = load_encoder(config.model)
    plan = build_loss(config.loss, encoder.model, seed=1)
    assert {parameter.dtype for parameter in plan.module.parameters()} == {torch.float32}
    assert weights_hash(encoder.model) == encoder.weights_hash


@pytest.mark.parametrize("architecture", ["mpnet", "modernbert"])
def test_tsdae_without_a_decoder_counterpart_names_the_encoders_that_have_one(architecture, tmp_path):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = AutoConfig.for_model(architecture, vocab_size=1000, pad_token_id=0, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    load_encoder(compose(["model=tiny"]).model).model.tokenizer.save_pretrained(tmp_path)
    config = compose(["loss=tsdae", f"model.path={tmp_path}"])
    with pytest.raises(ConfigError, match=rf"{architecture} has no decoder counterpart.*: bert, .*roberta"):
        build_loss(config.loss, load_encoder(config.model).model, seed=1)


@pytest.mark.parametrize(
    ("decoder", "told"),
    [
        ("./nowhere", r"loss\.decoder=\./nowhere: there is no such folder"),
        ("org/decoder", r"loss\.decoder=org/decoder: .*the hub cannot be reached.*loss\.decoder=FOLDER"),
    ],
)
def test_an_untied_decoder_that_is_not_there_is_told_at_once(decoder, told):
    with pytest.raises(ConfigError, match=told):
        built("loss=tsdae", "loss.tie_encoder_decoder=false", f"loss.decoder={decoder}")


def test_an_untied_decoder_of_another_width_is_told(tmp_path):
    other = load_encoder(compose(["model=tiny", "model.hidden_size=64"]).model).model
    other.transformers_model.save_pretrained(tmp_path)
    other.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="Hidden sizes do not match"):
        built("loss=tsdae", "loss.tie_encoder_decoder=false", f"loss.decoder={tmp_path}")


def test_the_noise_of_tsdae_has_the_ratio_and_seed_of_the_run():
    _, plan = built("loss=tsdae", "loss.deletion_ratio=0.3")
    assert plan.noise is not None
    assert (plan.noise.ratio, plan.noise.seed) == (0.3, 1)


def own(folder, text: str) -> None:
    (folder / "loss").mkdir()
    (folder / "loss" / "own.yaml").write_text(text)


CONTRASTIVE = "_target_: sentence_transformers.sentence_transformer.losses.ContrastiveLoss\nview: scored\nmargin: 0.5\n"


def test_a_loss_of_ones_own_is_one_yaml(tmp_path):
    own(tmp_path, CONTRASTIVE)
    _, plan = built("loss=own", "loss.margin=0.3", config_dir=tmp_path)
    assert type(plan.module).__name__ == "ContrastiveLoss"
    assert plan.module.margin == 0.3


@pytest.mark.parametrize("made", ["sentence_transformers.sentence_transformer.losses", "sentence_transformers.losses"])
def test_an_argument_that_a_loss_does_not_take_is_told_with_the_nearest(tmp_path, made):
    # Of the second an import alone tells what it takes.
    text = CONTRASTIVE.replace("sentence_transformers.sentence_transformer.losses", made)
    own(tmp_path, text.replace("margin", "margn"))
    with pytest.raises(ConfigError, match="Did you mean 'margin'"):
        built("loss=own", config_dir=tmp_path)


@pytest.mark.parametrize("target", ["embexp.losses", "embexp.losses.DECODING_ENCODERS"])
def test_a_target_that_is_no_loss_is_told(target, tmp_path):
    own(tmp_path, f"_target_: {target}\nview: pairs\n")
    with pytest.raises(ConfigError, match=rf"loss\._target_={target}: is neither a class nor a function"):
        built("loss=own", config_dir=tmp_path)


def forgetful(model) -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


def test_a_loss_that_does_not_hold_the_model_is_refused_for_nothing_would_be_trained(tmp_path):
    own(tmp_path, f"_target_: {__name__}.forgetful\nview: pairs\n")
    with pytest.raises(ConfigError, match=r"does not hold the model, whose weights would not be trained"):
        built("loss=own", config_dir=tmp_path)


def demanding(model) -> torch.nn.Module:
    raise ValueError("It wants labels.")


def test_what_a_loss_refuses_is_told_as_one_sentence(tmp_path):
    own(tmp_path, f"_target_: {__name__}.demanding\nview: pairs\n")
    with pytest.raises(ConfigError) as refused:
        built("loss=own", config_dir=tmp_path)
    assert refused.value.problems == [f"loss {__name__}.demanding: It wants labels."]


def test_of_what_a_module_has_not_the_nearest_that_could_be_a_loss_is_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "having.py").write_text("MARGIN = 1\ndef loader(model): ...\n")
    (tmp_path / "lazily.py").write_text("def __getattr__(name): raise ImportError('needs the package foo')\n")
    with pytest.raises(ConfigError, match=r"having has no 'Loadr'\. Did you mean 'loader'\?$"):
        found_target("loss", "having.Loadr")
    with pytest.raises(ConfigError, match=r"having has no 'MARGI'\.$"):
        found_target("loss", "having.MARGI")
    with pytest.raises(ConfigError, match=r"lazily\.Own: .*needs the package foo"):
        found_target("loss", "lazily.Own")


def test_a_target_that_only_an_import_tells_is_none_is_told(tmp_path):
    own(tmp_path, "_target_: sentence_transformers.losses.Zzz\nview: pairs\n")
    with pytest.raises(
        ConfigError,
        match=r"loss\._target_=sentence_transformers\.losses\.Zzz: sentence_transformers\.losses has no 'Zzz'",
    ):
        built("loss=own", config_dir=tmp_path)

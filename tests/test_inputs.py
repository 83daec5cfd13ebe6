"""What a run is made of, and by what it is known again: decoders, weights that no checkpoint has."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM

from embexp import inputs, model_files
from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.evaluation import Extras
from embexp.inputs import decoder_of, load_inputs
from embexp.models import load_encoder
from embexp.record import Record
from embexp.tracking import NullTracker
from tests.test_experiment import SMALL


def test_a_decoder_whose_weights_were_changed_in_place_is_another_run(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    untied = ["loss=tsdae", "loss.tie_encoder_decoder=false", f"loss.decoder={tmp_path}"]
    encoder = load_encoder(compose(["model=tiny"]).model)
    before = decoder_of(compose(untied), encoder)
    assert decoder_of(compose(untied), encoder) == before
    (tmp_path / "model.safetensors").write_bytes(b"others")
    assert decoder_of(compose(untied), encoder) != before
    assert decoder_of(compose(["loss=mnr"]), encoder) == {}


def test_a_tied_decoder_with_another_head_is_another_run(tmp_path):
    tiny = load_encoder(compose(["model=tiny"]).model).model
    found = []
    for seed in (1, 1, 2):
        folder = tmp_path / str(len(found))
        torch.manual_seed(seed)
        whole = AutoModelForMaskedLM.from_config(tiny.transformers_model.config)
        whole.base_model.load_state_dict(tiny.transformers_model.state_dict(), strict=False)
        whole.save_pretrained(folder)
        tiny.tokenizer.save_pretrained(folder)
        config = compose(["loss=tsdae", f"model.path={folder}", "model.package=null", "model.revision=null"])
        encoder = load_encoder(config.model)
        found.append((encoder.identity, decoder_of(config, encoder)))
    assert len({identity for identity, _ in found}) == 1
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_what_a_checkpoint_has_no_weights_for_is_the_same_for_every_seed(tmp_path):
    tiny = load_encoder(compose(["model=tiny"]).model).model
    AutoModelForMaskedLM.from_config(tiny.transformers_model.config).save_pretrained(tmp_path)
    tiny.tokenizer.save_pretrained(tmp_path)
    config = compose([f"model.path={tmp_path}", "model.package=null", "model.revision=null"])
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        after = torch.random.get_rng_state()
        found.append(load_encoder(config.model).identity)
        assert torch.equal(torch.random.get_rng_state(), after)
    assert found[0] == found[1]


def test_what_is_scored_beside_does_not_decide_what_a_loss_draws(monkeypatch, tmp_path):
    def seeds_too(*_):
        torch.manual_seed(42)
        return Extras(())

    drawn = []
    for build in (inputs.build_extras, seeds_too):
        monkeypatch.setattr(inputs, "build_extras", build)
        record = Record(NullTracker(), tmp_path, "run", params={})
        load_inputs(compose([*SMALL, "seed=7"]), record)
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


@pytest.fixture
def nothing_is_loaded(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("loaded")

    for name in ("build_source", "load_encoder", "choose_hardware"):
        monkeypatch.setattr(inputs, name, refuse)


def test_a_task_that_mteb_does_not_know_is_told_before_anything_is_loaded(tmp_path, nothing_is_loaded):
    config = compose([*SMALL, "evaluation=[own,mteb]", "evaluation.mteb.tasks=[Banking77Clasification]"])
    record = Record(tracker=NullTracker(), folder=tmp_path / "run", name="x", params={})
    with pytest.raises(ConfigError, match=r"tasks=Banking77Clasification: .* Did you mean 'Banking77Classification'\?"):
        load_inputs(config, record)


def test_a_model_that_is_nowhere_is_told_before_anything_is_loaded(tmp_path, monkeypatch, nothing_is_loaded):
    monkeypatch.setattr(model_files, "hub_is_reachable", lambda: False)
    config = compose([*SMALL[1:], "model.path=org/of-nobody"])
    record = Record(tracker=NullTracker(), folder=tmp_path / "run", name="x", params={})
    with pytest.raises(ConfigError, match=r"model\.path=org/of-nobody: not on this machine, .* hub cannot be reached"):
        load_inputs(config, record)


def test_a_loss_that_is_not_there_is_told_before_anything_is_loaded(tmp_path, nothing_is_loaded):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text("_target_: sentence_transformers.losses.Zzz\nview: pairs\n")
    config = compose([*SMALL, "loss=own"], config_dir=tmp_path)
    record = Record(tracker=NullTracker(), folder=tmp_path / "run", name="x", params={})
    with pytest.raises(ConfigError) as refused:
        load_inputs(config, record)
    assert refused.value.problems == [
        "loss._target_=sentence_transformers.losses.Zzz: sentence_transformers.losses has no 'Zzz'."
    ]

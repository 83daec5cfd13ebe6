"""Latency: every setting is measured, nothing of the run is changed by it, and no percentile is guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embexp.config.composition import compose
from embexp.evaluation.latency import LatencyEvaluation, size_of
from embexp.training import Hardware


@pytest.fixture
def evaluation():
    config = compose(
        ["evaluation=[own,latency]", "evaluation.latency.seconds=0.02", "evaluation.latency.batch_sizes=[1,4]"]
    )
    assert config.evaluation.latency is not None
    return LatencyEvaluation(config.evaluation.latency, Hardware("cpu", "fp32", 1, ()))


def test_every_setting_is_measured_and_the_headline_is_one_short_text_on_the_runs_own_device(evaluation, model):
    scores = evaluation.score(model)
    for size in (1, 4):
        for length in ("short", "long"):
            assert scores[f"cpu_1/batch_{size}/{length}/p50_ms"] > 0
            assert scores[f"cpu_1/batch_{size}/{length}/texts_per_second"] > 0
    assert scores["p50_ms"] == scores["cpu_1/batch_1/short/p50_ms"]
    assert evaluation.record["tokens"]["short"] < evaluation.record["tokens"]["long"]


def test_where_and_on_what_it_was_measured_is_told(evaluation):
    here = evaluation.scored_on
    assert here == replace(evaluation).scored_on
    more_threads = replace(evaluation, hardware=Hardware("cpu", "fp32", 2, ()))
    longer = replace(evaluation, settings=evaluation.settings.model_copy(update={"short_words": 9}))
    assert len({on.scored_on["latency/p50_ms"] for on in (evaluation, more_threads, longer)}) == 3
    # One thread is one thread, whatever the run had.
    assert more_threads.scored_on["latency/cpu_1"] == here["latency/cpu_1"] != longer.scored_on["latency/cpu_1"]
    assert not any("parameters" in name for name in here)


@pytest.mark.parametrize(("changed", "to"), [("cpu_name", "another"), ("_gpu_name", "another"), ("usable_cores", 77)])
def test_another_machine_is_another_fingerprint_whatever_differs(evaluation, monkeypatch, changed, to):
    here = evaluation.scored_on
    monkeypatch.setattr(f"embexp.evaluation.latency.{changed}", lambda: to)
    there = evaluation.scored_on
    assert all(here[name] != there[name] for name in {*here, *there} if name in here and name in there)


def test_threads_device_and_mode_are_left_as_they_were(evaluation, model):
    before = (torch.get_num_threads(), model.device, model.training)
    evaluation.score(model)
    assert (torch.get_num_threads(), model.device, model.training) == before


def test_a_percentile_is_told_only_where_there_are_calls_enough(evaluation, model):
    scores = evaluation.score(model)
    for prefix, calls in evaluation.record["calls"].items():
        assert (f"{prefix}/p95_ms" in scores) == (calls >= 20)
        assert (f"{prefix}/p99_ms" in scores) == (calls >= 100)


def test_the_size_is_that_of_the_weights(model):
    size = size_of(model)
    assert size["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert size["weights_bytes"] >= 4 * size["parameters"]
    assert size["embedding_width"] == 32 == model.encode(["a"]).shape[1]

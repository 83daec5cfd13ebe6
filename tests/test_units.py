"""How measured values are told."""

from __future__ import annotations

import pytest

from embexp.evaluation.extras import told
from embexp.units import counted, duration, readable, readable_deviation


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("latency/peak_memory_bytes", 1330483200.0, "1269 MiB"),
        ("latency/weights_bytes", 3 * 2**20 / 2, "1.5 MiB"),
        ("latency/p50_ms", 7.1234, "7.12 ms"),
        ("latency/p95_ms", 123.456, "123.5 ms"),
        ("throughput/texts_per_second", 170.3, "170"),
        ("time/training_seconds", 83.0, "1m 23s"),
        ("latency/parameters", 22713216.0, "22713216"),
        ("dev/spearman_cosine", 0.71234, "0.7123"),
    ],
)
def test_a_value_has_its_unit(metric, value, text):
    assert readable(metric, value) == text


@pytest.mark.parametrize(
    ("metric", "sd", "text"),
    [
        ("time/training_seconds", 0.31, "0.31s"),
        ("time/training_seconds", 12.34, "12.3s"),
        ("time/training_seconds", 83.0, "1m 23s"),
        ("dev/spearman_cosine", 0.0123, "0.0123"),
    ],
)
def test_of_a_standard_deviation_below_a_minute_decimals_are_shown(metric, sd, text):
    assert readable_deviation(metric, sd) == text


@pytest.mark.parametrize(("seconds", "text"), [(5, "5s"), (83, "1m 23s"), (3700, "1h 1m")])
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_what_is_said_of_an_evaluation_when_it_is_scored_has_units_too():
    found = {
        "latency/texts_per_second": 340.1,
        "latency/p50_ms": 7.1234,
        "latency/p95_ms": 12.34,
        "latency/peak_memory_bytes": 1330483200.0,
        "latency/weights_bytes": 90000000.0,
    }
    assert told(found, of="latency") == "texts_per_second 340, p50 7.12 ms, p95 12.3 ms, peak_memory 1269 MiB"
    assert told({"retrieval/ndcg_at_10": 0.5, "retrieval/recall": 0.7}, of="retrieval") == "ndcg_at_10 0.5000"


def test_one_is_counted_as_one():
    assert [counted(number, "bad row") for number in (0, 1, 2)] == ["0 bad rows", "1 bad row", "2 bad rows"]

"""What serving a model costs: time from texts to embeddings, texts per second, memory, size.

Each setting (device and threads, batch size, short or long texts) is warmed up, then measured on other texts at every
call, tokenizer included, until its time is up. A percentile is told only where there are calls enough to know it.
"""

from __future__ import annotations

import gc
import logging
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from embexp.config import Latency
from embexp.cores import cpu_name, usable_cores
from embexp.evaluation.parts import Part
from embexp.evaluation.tables import fingerprint_of
from embexp.memory import peak_memory
from embexp.prompts import Role
from embexp.routes import has_routes, route_of
from embexp.training.hardware import Hardware

log = logging.getLogger(__name__)

# A percentile, and the calls from which on it is more than the slowest of a few.
PERCENTILES = {50: 1, 95: 20, 99: 100}
# Of the time that a setting is measured.
WARM_UP = 0.25
# What is told of the run's own place beside these.
OF_FIRST = ("texts_per_second", "peak_memory_bytes")
# What a model that encodes queries and documents by modules of their own takes the texts of a length for.
ROLES: dict[str, Role] = {"short": "query", "long": "document"}
WORDS = (
    "the",
    "order",
    "came",
    "back",
    "on",
    "monday",
    "but",
    "nobody",
    "called",
    "so",
    "where",
    "is",
    "my",
    "money",
    "now",
)


@dataclass(frozen=True)
class Place:
    """Where a model is measured: "cpu_1", "cpu_all", "cuda", ...; on a GPU `threads` is the tokenizer's and launcher's."""

    name: str
    device: str
    threads: int


@dataclass
class LatencyEvaluation:
    """See `embexp.evaluation.parts.Extra`."""

    settings: Latency
    hardware: Hardware
    name: ClassVar[str] = "latency"
    before: ClassVar[bool] = False
    fingerprint: ClassVar[str] = "latency"
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def scored_on(self) -> Mapping[str, str]:
        """The machine, the place on it, the words of a text and, of what is of no one batch size, the sizes; none of a model's size."""
        own = _own_place(self.hardware)
        machine = [cpu_name(), str(usable_cores()), str(_gpu_name())]
        words = [self.settings.short_words, self.settings.long_words]
        found = {
            f"{self.name}/{place.name}": fingerprint_of(machine, [place.name, str(place.threads)], words)
            for place in _places(own)
        }
        sizes = [min(self.settings.batch_sizes), max(self.settings.batch_sizes)]
        first = fingerprint_of([found[f"{self.name}/{own.name}"]], sizes)
        return found | {f"{self.name}/{name}": first for name in (*(f"p{p}_ms" for p in PERCENTILES), *OF_FIRST)}

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """See `score`."""
        yield Part(self.score(model))

    def score(self, model: SentenceTransformer) -> dict[str, float]:
        """p50_ms of one short text on the run's own device, size and memory, then all settings, `cpu_1/batch_1/short/...`."""
        was_on, threads = model.device, torch.get_num_threads()
        own = _own_place(self.hardware)
        texts = {"short": self.settings.short_words, "long": self.settings.long_words}
        count = len(_places(own)) * len(self.settings.batch_sizes) * len(texts)
        log.info("latency: is measured for about %.0f s", count * self.settings.seconds * (1 + WARM_UP))
        metrics: dict[str, float] = {}
        calls: dict[str, int] = {}
        try:
            for place in _places(own):
                model.to(place.device)
                torch.set_num_threads(place.threads)
                with peak_memory(place.device) as peak:
                    for size in self.settings.batch_sizes:
                        for length, words in texts.items():
                            route = route_of(model, ROLES[length])
                            seconds = _measure(model, size=size, words=words, settings=self.settings, route=route)
                            prefix = f"{place.name}/batch_{size}/{length}"
                            calls[prefix] = len(seconds)
                            metrics |= {f"{prefix}/{key}": value for key, value in _summary(seconds, size).items()}
                if peak:
                    metrics[f"{place.name}/peak_memory_bytes"] = peak[0]
        finally:
            torch.set_num_threads(threads)
            model.to(was_on)
        self.record = self._conditions(model, own, calls)
        return {**_headline(metrics, own, self.settings), **size_of(model), **metrics}

    def _conditions(self, model: SentenceTransformer, own: Place, calls: dict[str, int]) -> dict[str, Any]:
        draw = random.Random(0)
        tokens = {
            length: _tokens(model.preprocess([_text(words, draw)], **route_of(model, ROLES[length])))
            for length, words in (("short", self.settings.short_words), ("long", self.settings.long_words))
        }
        return {
            "own": own.name,
            "gpu": _gpu_name(),
            "cpu": cpu_name(),
            "cores_usable": usable_cores(),
            "load_average": list(_load_average()),
            "precision": "fp32",
            "torch": torch.__version__,
            "tokens": tokens,
            "encoded_as": ROLES if has_routes(model) else None,
            "calls": calls,
        }


def _tokens(of_one_text: Mapping[str, Any]) -> int:
    # A static model's have no mask.
    mask = of_one_text.get("attention_mask")
    return int(of_one_text["input_ids"].numel() if mask is None else mask.sum())


def size_of(model: SentenceTransformer) -> dict[str, float]:
    """parameters, weights_bytes (of parameters and buffers, shared ones once), embedding_width."""
    tensors = {tensor.data_ptr(): tensor for tensor in [*model.parameters(), *model.buffers()]}
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()),
        "embedding_width": model.get_embedding_dimension() or 0,
    }


def _own_place(hardware: Hardware) -> Place:
    if hardware.device != "cpu":
        return Place(hardware.device, hardware.device, hardware.threads)
    name = "cpu_1" if hardware.threads == 1 else f"cpu_{hardware.threads}"
    return Place("cpu_all" if 1 < hardware.threads == usable_cores() else name, "cpu", hardware.threads)


def _places(own: Place) -> list[Place]:
    cores = usable_cores()
    places = [own, Place("cpu_1", "cpu", 1), *([Place("cpu_all", "cpu", cores)] if cores > 1 else [])]
    return list(dict.fromkeys(places))


def _headline(metrics: dict[str, float], own: Place, settings: Latency) -> dict[str, float]:
    """The cost of one short text, or of the smallest batch that was measured, where the run itself was."""
    prefix = f"{own.name}/batch_{min(settings.batch_sizes)}/short"
    largest = f"{own.name}/batch_{max(settings.batch_sizes)}/short/texts_per_second"
    found = {"texts_per_second": metrics[largest]}
    found |= {f"p{p}_ms": metrics[f"{prefix}/p{p}_ms"] for p in PERCENTILES if f"{prefix}/p{p}_ms" in metrics}
    memory = f"{own.name}/peak_memory_bytes"
    return found | ({"peak_memory_bytes": metrics[memory]} if memory in metrics else {})


def _measure(
    model: SentenceTransformer, *, size: int, words: int, settings: Latency, route: dict[str, str]
) -> list[float]:
    """Seconds of each call; the first ones, not counted, warm caches, allocator and kernels up."""
    draw = random.Random(0)
    seconds: list[float] = []
    warm_until = time.perf_counter() + settings.seconds * WARM_UP
    while not seconds or time.perf_counter() < warm_until:
        seconds = [_call(model, [_text(words, draw) for _ in range(size)], route)]
    seconds = []
    # What Python collects meanwhile is not the model's time.
    gc.collect()
    gc.disable()
    try:
        until = time.perf_counter() + settings.seconds
        while not seconds or (time.perf_counter() < until and len(seconds) < settings.calls):
            seconds.append(_call(model, [_text(words, draw) for _ in range(size)], route))
    finally:
        gc.enable()
    return seconds


def _call(model: SentenceTransformer, texts: Sequence[str], route: dict[str, str]) -> float:
    start = time.perf_counter()
    # To NumPy, so that a GPU's work is done when the call returns.
    model.encode(list(texts), batch_size=len(texts), show_progress_bar=False, convert_to_numpy=True, **route)
    return time.perf_counter() - start


def _text(words: int, draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def _summary(seconds: Sequence[float], size: int) -> dict[str, float]:
    known = [percentile for percentile, calls in PERCENTILES.items() if len(seconds) >= calls]
    metrics = {f"p{percentile}_ms": float(np.percentile(seconds, percentile)) * 1000 for percentile in known}
    return metrics | {"texts_per_second": size * len(seconds) / sum(seconds)}


def _gpu_name() -> str | None:
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _load_average() -> tuple[float, ...]:
    try:
        return os.getloadavg()
    except (AttributeError, OSError):
        return ()

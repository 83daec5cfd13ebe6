"""Where the time of a step goes: a script or a module under torch's profiler, its operators added up by kind.

    python -m benchmarks.bench.where OUT.json STEPS benchmarks/plain.py mnr ...
    python -m benchmarks.bench.where OUT.json STEPS embexp loss=mnr ...

The profiler slows a step down, small operators most: shares say more than seconds do.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile

import embexp.cores  # noqa: F401  # counts the cores, before torch is imported
from benchmarks.bench.probe import run

# What an operator's own name holds -> its kind; the first that fits (gelu's holds that of ge, by which dropout is drawn). Times are
# an operator's own, without those it calls.
KINDS = (
    ("matrix products of the layers", ("aten::mm", "aten::addmm", "aten::linear", "mkldnn")),
    ("attention", ("bmm", "baddbmm", "softmax", "scaled_dot_product", "attention", "Attention", "index_select")),
    ("norms, activations", ("layer_norm", "gelu", "tanh")),
    ("dropout", ("bernoulli", "dropout", "random_", "aten::ge")),
    ("word embeddings and their gradient", ("embedding", "index", "aten::fill_", "aten::zero_", "aten::zeros")),
    ("optimiser, clipping", ("adam", "norm", "Optimizer", "foreach")),
    ("casts and copies", ("copy", "_to", "ToCopy", "contiguous", "clone", "aten::cat", "CatBackward")),
)
OTHER = "the rest: sums, masks, Python, waiting"


def kind_of(name: str) -> str:
    """The kind of an operator."""
    return next((kind for kind, parts in KINDS if any(part in name for part in parts)), OTHER)


class Watch:
    """Starts the profiler after the first optimiser step, stops it after so many more."""

    def __init__(self, steps: int) -> None:
        self.steps, self.seen = steps, 0
        self.profiler = profile(activities=[ProfilerActivity.CPU])
        self.begun = self.seconds = 0.0

    def step(self, *_: Any) -> None:
        """Called by torch after an optimiser's step."""
        self.seen += 1
        if self.seen == 1:
            self.profiler.start()
            self.begun = time.perf_counter()
        elif self.seen == 1 + self.steps:
            self.seconds = (time.perf_counter() - self.begun) / self.steps
            self.profiler.stop()

    def shares(self) -> dict[str, float]:
        """Seconds of a step by kind; they add up to the step."""
        found: dict[str, float] = defaultdict(float)
        for operator in self.profiler.key_averages():
            found[kind_of(operator.key)] += operator.self_cpu_time_total / 1e6 / self.steps
        found[OTHER] += max(0.0, self.seconds - sum(found.values()))
        return dict(found)


def main(words: list[str]) -> None:
    """The program: OUT.json, STEPS, then the command."""
    out, watch = Path(words[0]).absolute(), Watch(int(words[1]))
    register_optimizer_step_post_hook(watch.step)
    try:
        run(words[2:])
    finally:
        # embexp ends by sys.exit.
        out.write_text(json.dumps({"shares": watch.shares()}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

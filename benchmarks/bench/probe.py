"""Runs a script or a module as Python would, and writes down when each optimiser step ended.

    python -m benchmarks.bench.probe OUT.json [--count] benchmarks/plain.py mnr ...
    python -m benchmarks.bench.probe OUT.json [--count] embexp loss=mnr ...

Both sides are timed by the same hook of torch, which costs microseconds a step. With --count the tokens that the word
embeddings look up and the floating-point operations that torch counts are written down too; that is slow, so runs that
are counted are not the runs that are timed.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.flop_counter import FlopCounterMode

import embexp.cores  # noqa: F401  # counts the cores, before torch is imported


class Watch:
    """What has been seen so far, noted at the end of every optimiser step."""

    def __init__(self, counter: FlopCounterMode | None = None) -> None:
        self.counter = counter
        self.tokens: Any = 0
        self.computed = 0
        self.notes: list[dict[str, Any]] = []
        self.born = psutil.Process().create_time()

    def step(self, *_: Any) -> None:
        """Called by torch after an optimiser's step."""
        self.notes.append(
            {
                "wall": time.time() - self.born,
                "processor": time.process_time(),
                "tokens": self.tokens,
                "computed": self.computed,
                "flops": self.counter.get_total_flops() if self.counter else 0,
            }
        )

    def count_tokens(self) -> None:
        """From now on, every look-up of word embeddings is counted: they are the ones that know a padding token."""
        look_up = torch.nn.Embedding.forward

        def counted(embedding: torch.nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
            if embedding.padding_idx is not None:
                # Summed on its device: to wait for a GPU here would change what is measured.
                self.tokens = self.tokens + (ids != embedding.padding_idx).sum()
                self.computed += ids.numel()
            return look_up(embedding, ids)

        torch.nn.Embedding.forward = counted  # type: ignore[method-assign, assignment]

    def write(self, path: Path) -> None:
        """As JSON, a list with an entry a step; all numbers are sums since the process began."""
        plain = [{name: float(value) for name, value in note.items()} for note in self.notes]
        path.write_text(json.dumps(plain), encoding="utf-8")


def run(words: list[str]) -> None:
    """Runs a script (a path) or a module (a name) with its arguments, as `__main__`."""
    sys.argv = words
    if words[0].endswith(".py"):
        runpy.run_path(words[0], run_name="__main__")
    else:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def main(words: list[str]) -> None:
    """The program: OUT.json, --count where asked for, then the command."""
    out, counting = Path(words[0]).absolute(), words[1] == "--count"
    counter = FlopCounterMode(display=False) if counting else None
    watch = Watch(counter)
    register_optimizer_step_post_hook(watch.step)
    try:
        if counter is None:
            run(words[1:])
        else:
            watch.count_tokens()
            with counter:
                run(words[2:])
    finally:
        watch.write(out)


if __name__ == "__main__":
    main(sys.argv[1:])

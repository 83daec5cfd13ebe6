"""The two sides of a comparison as commands: the plain script, and embexp set to do the very same work.

Equal on both: rows and their order, batches, optimiser, schedule, clipping, number of steps, dropout, evaluation of the
dev and test pairs before and after. What is set on embexp's side for that: `BOTH_ALIKE`. What stays different, because it
is what a person gets: the plain script computes in fp32 on the CPU and in fp16 on a GPU and tracks nothing; embexp
computes as it decides and writes to MLflow.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.bench.processes import ROOT, Finished, Steps, start, start_probed
from benchmarks.bench.workload import FEW, SCORED, TEXTS, TRIPLETS

PLAIN = str(ROOT / "benchmarks" / "plain.py")
RECIPES = {"mnr": "mnr_entailment", "cosine": "cosine", "tsdae": "tsdae"}
ROWS = {"mnr": TRIPLETS, "cosine": SCORED, "tsdae": TEXTS}
BOTH_ALIKE = (
    "evaluation=stsb",
    # Before and after training, as the plain script; embexp's default is four times while it trains.
    "evaluation.times=1",
    "evaluation.similarities=[cosine]",
    # The plain script writes none, and is trained anew when it is started again.
    "trainer.checkpoints=false",
    "rerun=true",
)
# The accelerations: keys of the trainer, each with the value that switches it off. A new one is a line here.
LEVERS = {
    "sort_by_length": "false",
    "unpadded": "false",
    "cuda_graphs": "false",
    "fast_dropout": "false",
    "fast_linear": "false",
    "row_gradient": "false",
    "fused_cross_entropy": "false",
    "keep_memory": "false",
    "data_cache": "null",
    "precision": "fp32",
}


# Of them those that are none on the other device: there fp32 would be another computation than the plain script's fp16.
ON_ONE_ALONE = {
    "cpu": {"fast_dropout", "fast_linear", "row_gradient", "fused_cross_entropy", "keep_memory", "precision"},
    "cuda": {"cuda_graphs"},
}


def switched_off(device: str) -> dict[str, str]:
    """LEVERS of a device as overrides: {"sort_by_length": "trainer.sort_by_length=false"}."""
    elsewhere = {name for other, names in ON_ONE_ALONE.items() if other != device for name in names}
    return {name: f"trainer.{name}={off}" for name, off in LEVERS.items() if name not in elsewhere}


@dataclass(frozen=True)
class Case:
    """What both sides train.

    Attributes:
        loss: mnr, cosine or tsdae.
        batch_size: rows of a step.
        steps: optimiser steps; None: one epoch.
        rows: folder with train.parquet, beside the others in the place; None: the loss's own.
        limit: the first so many of the rows.
        pairs: folder of the pairs to score on.
        model: a folder; None: the packaged MiniLM.
        seed: of order, dropout and noise.
        warmup_steps: the textbook's, where the case is not too short for it.
    """

    loss: str = "mnr"
    batch_size: int = 32
    steps: int | None = None
    rows: str | None = None
    limit: int | None = None
    pairs: str = FEW
    model: str | None = None
    seed: int = 42
    warmup_steps: int = 100

    @property
    def name(self) -> str:
        """ "mnr, batch 32"."""
        return f"{self.loss}, batch {self.batch_size}"

    def folder(self, place: Path) -> Path:
        """Of its rows."""
        return place / (self.rows or ROWS[self.loss])


def an_epoch(loss: str, batch_size: int, steps: int, *, rows: str | None = None) -> Case:
    """So many steps that read all their rows, as runs do: embexp keeps the tokens of no others."""
    return Case(loss, batch_size, steps, rows, limit=steps * batch_size)


def shorter(case: Case, steps: int) -> Case:
    """The same with fewer steps, which again read all their rows."""
    return replace(case, steps=steps, limit=steps * case.batch_size)


@dataclass(frozen=True)
class Run:
    """One side of one pair: its process, its steps, its dev Spearman after training, and the precision it computed in."""

    finished: Finished
    steps: Steps
    spearman: float
    precision: str


@dataclass(frozen=True)
class Sides:
    """Runs either side of a case.

    Attributes:
        place: the folder of the workload, in which runs and mlflow.db are written too.
        device: "cpu" or "cuda".
        model: a folder, of cases that name none; None: the packaged MiniLM.
    """

    place: Path
    device: str
    model: str | None = None

    def plain_words(self, case: Case) -> list[str]:
        """The plain script's command."""
        rows = case.folder(self.place) / "train.parquet"
        words = [PLAIN, RECIPES[case.loss], "--rows", str(rows), "--stsb", str(self.place / case.pairs)]
        words += ["--batch-size", str(case.batch_size), "--seed", str(case.seed)]
        words += ["--warmup-steps", str(case.warmup_steps)]
        words += ["--max-steps", str(case.steps)] if case.steps is not None else []
        words += ["--limit", str(case.limit)] if case.limit is not None else []
        model = case.model or self.model
        words += ["--model", model] if model is not None else []
        return words

    def embexp_words(self, case: Case, *more: str) -> list[str]:
        """embexp's command for the same; `batch_size` is typed last, so that `more` may sweep it."""
        folder = case.folder(self.place)
        if case.loss == "tsdae":
            data = ["data=files", f"data.train={folder / 'train.parquet'}"]
        else:
            data = [f"data={'stsb' if case.loss == 'cosine' else 'allnli'}", f"data.path={folder}"]
        words = ["embexp", f"loss={case.loss}", *data, f"evaluation.path={self.place / case.pairs}", *BOTH_ALIKE]
        # The Trainer of the plain script shuffles rows and lets a text occur twice in a batch.
        words += ["loss.batches=shuffled", f"seed={case.seed}", f"warmup_steps={case.warmup_steps}"]
        words += [f"max_steps={case.steps}"] if case.steps is not None else []
        words += [f"data.limit={case.limit}"] if case.limit is not None else []
        model = case.model or self.model
        words += [f"model.path={model}", "model.package=null", "model.revision=null"] if model is not None else []
        return [*words, *(more if any(word.startswith("batch_size=") for word in more) else self._sized(case, more))]

    @staticmethod
    def _sized(case: Case, more: Sequence[str]) -> list[str]:
        return [f"batch_size={case.batch_size}", *more]

    def plain(self, case: Case, *, count: bool = False) -> Run:
        """The plain script, to its end."""
        finished, steps = start_probed(self.plain_words(case), folder=self.place, count=count)
        told = json.loads(finished.out.splitlines()[-1])
        precision = "fp32" if self.device == "cpu" else "fp16"
        return Run(finished, steps, told["after/validation/spearman"], precision)

    def embexp(self, case: Case, *more: str, count: bool = False) -> Run:
        """embexp, to its end."""
        words = self.embexp_words(case, *more, "hydra.run.dir=run")
        finished, steps = start_probed(words, folder=self.place, count=count)
        told = json.loads((self.place / "run" / "result.json").read_text(encoding="utf-8"))
        return Run(finished, steps, told["metrics"]["best/dev/spearman_cosine"], told["params"]["precision"])

    def sweep_plain(self, case: Case, batch_sizes: Sequence[int]) -> Finished:
        """A plain script for each batch size, one after the other: their sum."""
        runs = [start(self.plain_words(replace(case, batch_size=size)), folder=self.place) for size in batch_sizes]
        return Finished(
            "",
            sum(run.wall for run in runs),
            sum(run.processor for run in runs),
            max(run.memory for run in runs),
            0,
        )

    def sweep_embexp(self, case: Case, batch_sizes: Sequence[int], *more: str) -> Finished:
        """One command for all of them, which finds nothing that another had kept: rows, views and tokens are made in its time."""
        sizes = f"batch_size={','.join(map(str, batch_sizes))}"
        with tempfile.TemporaryDirectory(dir=self.place) as kept:
            words = self.embexp_words(case, sizes, *more, f"trainer.data_cache={kept}", "-m")
            return start(["-m", *words], folder=self.place)

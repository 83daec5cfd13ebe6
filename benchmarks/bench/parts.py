"""The parts of the benchmark: each yields the lines of its section as they come. `PARTS` names them, in order."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow.parquet as pq

from benchmarks.bench.growth import batches_and_lengths, rows_of_data
from benchmarks.bench.options import Options
from benchmarks.bench.processes import Finished, start, start_profiled, without_large_pages
from benchmarks.bench.sides import Case, Run, Sides, an_epoch, shorter, switched_off
from benchmarks.bench.table import RATIO_HEAD, Ratios, head, in_seconds, in_turn, mebibytes, ratio_row, row, spread
from benchmarks.bench.where import KINDS, OTHER
from benchmarks.bench.workload import PAIRS, TRIPLETS
from embexp.pages import LARGE_PAGES

SWEEP = (32, 64, 128)
# Steps of the runs in which tokens and operations are counted, the first two not among them.
COUNTED = 5
QUALITY_BATCH = 64
START_GOALS = {"--help": 0.6, "a refused config": 1.2, "compare": 3.0}


@dataclass(frozen=True)
class Bench:
    """What every part works with: sizes, the two sides, and the measured peaks of the matrix product."""

    options: Options
    sides: Sides
    peaks: dict[str, Any]

    def peak(self, precision: str) -> float:
        """TFLOP/s of the fastest shape."""
        return float(max(self.peaks[precision].values()))

    @property
    def rows(self) -> int:
        """Triplets of the sweep, and of what is scored over seeds."""
        there = int(pq.read_metadata(self.sides.place / TRIPLETS / "train.parquet").num_rows)
        return min(there, self.options.sweep_rows or there)


def start_up(bench: Bench) -> Iterator[str]:
    """What a person waits for before anything trains."""
    yield "Processor seconds, median of three; a busy machine changes them little. compare tells a sweep of three runs."
    yield f"\n{head('command', 'processor', 'goal')}"
    commands = {
        "--help": ["-m", "embexp", "--help"],
        "a refused config": ["-m", "embexp", "batch_size=0"],
        "compare": ["-m", "embexp.compare", "sweep=last"],
    }
    # For compare to have something to tell.
    small = ["model=tiny", "data.rows=1000", "data.evaluation_rows=100", "max_steps=2", "evaluation.times=1"]
    start(["-m", "embexp", *small, "seed=1,2,3", "-m"], folder=bench.sides.place)
    for name, words in commands.items():
        runs = [start(words, folder=bench.sides.place, allowed=(1,) if "refused" in name else (0,)) for _ in range(3)]
        seconds, goal = statistics.median(run.processor for run in runs), START_GOALS[name]
        yield row(f"`{name}`", f"{seconds:.2f} s", f"{goal} s: {'met' if seconds <= goal else 'not met'}")


def one_step(bench: Bench) -> Iterator[str]:
    """A step of MNR at two batch sizes, of cosine and of TSDAE."""
    goals = {("mnr", 32): 3.0, ("mnr", 128): 5.0, ("cosine", 32): 2.0, ("tsdae", 16): 2.0}
    yield from _steps(bench, [an_epoch(loss, size, bench.options.steps_at(size)) for loss, size in goals], goals)


def bert(bench: Bench) -> Iterator[str]:
    """The same for an encoder of bert-base's size, batch 64; the goal is for a GPU."""
    start(["-m", "benchmarks.bench.workload", "bert", str(bench.sides.place)], folder=bench.sides.place)
    case = replace(an_epoch("mnr", 64, bench.options.steps_at(64)), model=str(bench.sides.place / "bert"))
    yield from _steps(bench, [case], {("mnr", 64): 2.0})


def _steps(bench: Bench, cases: list[Case], goals: dict[tuple[str, int], float]) -> Iterator[str]:
    yield "Seconds a step, without start-up, scores and the first two steps; the runs that are timed are not counted."
    yield f"\n{RATIO_HEAD}"
    sides, found = bench.sides, {}
    for case in cases:
        pairs = list(
            in_turn(
                bench.options.pairs,
                lambda case=case: sides.plain(case),  # type: ignore[misc]
                lambda case=case: sides.embexp(case),  # type: ignore[misc]
            )
        )
        found[case] = pairs
        goal = goals.get((case.loss, case.batch_size)) if case.steps else None
        yield ratio_row(case.name, _step_ratios(pairs), goal=goal)
    columns = ("what", "side", "precision", "texts' tokens/s", "padding", "TFLOP/s", "of the peak", "peak memory")
    yield f"\n{head(*columns, 'tokens a step')}"
    tokens: dict[tuple[str, str], float] = {}
    for case, pairs in found.items():
        for side, runs, counted in (
            ("plain", [pair[0] for pair in pairs], sides.plain(shorter(case, COUNTED), count=True)),
            ("embexp", [pair[1] for pair in pairs], sides.embexp(shorter(case, COUNTED), count=True)),
        ):
            tokens[case.name, side] = counted.steps.tokens
            yield _rates(bench, case.name, side, runs, counted)
    yield f"\n{_same_batches(tokens, cases)}"


def _same_batches(tokens: dict[tuple[str, str], float], cases: list[Case]) -> str:
    more = {case: tokens[case.name, "plain"] - tokens[case.name, "embexp"] for case in cases}
    # Less than one a text, and never embexp's.
    unheard = [case for case, extra in more.items() if case.loss == "tsdae" and 0 < extra < case.batch_size]
    unlike = [case.name for case, extra in more.items() if extra and case not in unheard]
    if unlike:
        return f"The sides did not read the same number of tokens a step: {'; '.join(unlike)}."
    told = "Both sides read the same number of tokens a step, as the same batches do."
    if unheard:
        told += " But that TSDAE's plain decoder also reads the last token of all texts but the longest, and foretells nothing from it."
    return told


def _rates(bench: Bench, what: str, side: str, runs: list[Run], counted: Run) -> str:
    seconds = statistics.median(run.steps.mean for run in runs)
    steps, precision = counted.steps, runs[0].precision
    teraflops = steps.flops / seconds / 1e12
    return row(
        what,
        side,
        precision,
        f"{steps.tokens / seconds:,.0f}",
        f"{1 - steps.tokens / steps.computed:.0%}" if steps.computed else "not seen",
        f"{teraflops:.3f}",
        f"{teraflops / bench.peak(precision):.0%}",
        mebibytes(max(run.finished.memory for run in runs)),
        f"{steps.tokens:,.0f}",
    )


def _step_ratios(pairs: list[tuple[Run, Run]]) -> Ratios:
    return Ratios(tuple(one.steps.mean for one, _ in pairs), tuple(other.steps.mean for _, other in pairs))


def overhead(bench: Bench) -> Iterator[str]:
    """All accelerations off, tracker on: what the framework itself costs beside the Trainer."""
    off = list(switched_off(bench.sides.device).values())
    yield f"MNR, batch 32, MLflow on, `{' '.join(off)}`, large pages off: both sides compute the same (on a GPU one in bf16,"
    yield "one in fp16). Above zero embexp is slower."
    yield f"\n{head('measured by', 'embexp over plain', 'goal', 'each pair')}"
    sides, case = bench.sides, an_epoch("mnr", 32, bench.options.steps)
    with without_large_pages():
        pairs = list(in_turn(bench.options.pairs, lambda: sides.plain(case), lambda: sides.embexp(case, *off)))
    for name in ("seconds", "processor"):
        each = [_over(getattr(plain.steps, name), getattr(other.steps, name)) for plain, other in pairs]
        goal = f"2 %: {'met' if statistics.median(each) <= 0.02 else 'not met'}" if name == "seconds" else ""
        called = {"seconds": "wall clock", "processor": "processor seconds"}[name]
        yield row(called, f"**{statistics.median(each):+.1%}**", goal, ", ".join(f"{value:+.1%}" for value in each))
    yield "\nOf a pair: the median over its steps, step by step, whose batches are the same."


def _over(plain: tuple[float, ...], embexp: tuple[float, ...]) -> float:
    return statistics.median(b / a for a, b in zip(plain, embexp, strict=True)) - 1


def levers(bench: Bench) -> Iterator[str]:
    """Every acceleration switched off alone, each run beside one with all of them: a machine's speed changes by the minute."""
    yield "MNR, batch 32; a step without the lever, over a step with all of them, in turn."
    if bench.sides.device == "cuda":
        yield "What is not in one row is not recorded either: `unpadded` and `sort_by_length` take `cuda_graphs` with them."
    yield f"\n{head('switched off', 'without', 'with all', 'without / with', 'each pair')}"
    sides, case = bench.sides, an_epoch("mnr", 32, bench.options.steps_at(32))

    def without_pages() -> Run:
        with without_large_pages():
            return sides.embexp(case)

    ways: dict[str, Callable[[], Run]] = {
        off: partial(sides.embexp, case, off) for off in switched_off(sides.device).values()
    }
    for off, without in {**ways, f"{LARGE_PAGES}=0": without_pages}.items():
        pairs = list(in_turn(bench.options.pairs, without, lambda: sides.embexp(case)))
        ratios = Ratios(tuple(one.steps.mean for one, _ in pairs), tuple(other.steps.mean for _, other in pairs))
        yield row(
            f"`{off}`",
            in_seconds(statistics.median(ratios.plain)),
            in_seconds(statistics.median(ratios.embexp)),
            f"**{ratios.median:.2f}**",
            ", ".join(f"{ratio:.2f}" for ratio in ratios.each),
        )


def where_time_goes(bench: Bench) -> Iterator[str]:
    """A step of MNR by kind of operator: plain, embexp in chunks and in fp32 (before), and as it is (after)."""
    yield "Seconds of a step under torch's profiler, which slows it down, and their share; an operator's own time."
    sides = bench.sides
    for size in (32, 128):
        case = an_epoch("mnr", size, COUNTED)
        # MLflow is imported once, beside a run's first steps; of so few it would be a third.
        asked = "hydra.run.dir=run", "tracker=none"
        ways = {
            "plain script": sides.plain_words(case),
            "embexp, levers off": sides.embexp_words(case, *switched_off(sides.device).values(), *asked),
            "embexp, chunks": sides.embexp_words(case, "trainer.unpadded=false", *asked),
            "embexp": sides.embexp_words(case, *asked),
        }
        found = {}
        for way, words in ways.items():
            # Of embexp's the levers that are no keys too.
            with without_large_pages() if way == "embexp, levers off" else nullcontext():
                found[way] = start_profiled(words, folder=sides.place, steps=COUNTED - 1)
        yield f"\n{head(f'batch {size}', *ways)}"
        for kind in (*(kind for kind, _ in KINDS), OTHER):
            shares = [(seconds.get(kind, 0.0), sum(seconds.values())) for seconds in found.values()]
            yield row(kind, *(f"{part:.3f} s, {part / whole:.0%}" for part, whole in shares))
        yield row("**a step**", *(f"**{sum(seconds.values()):.3f} s**" for seconds in found.values()))


def sweep(bench: Bench) -> Iterator[str]:
    """Three batch sizes, start-up and scores included: one command against three scripts."""
    case = Case("mnr", limit=bench.options.sweep_rows, pairs=PAIRS if bench.options.sweep_rows is None else "few")
    scored = "all pairs" if bench.options.sweep_rows is None else f"{bench.options.few_pairs} pairs"
    rows = "all triplets" if case.limit is None else f"{case.limit:,} triplets"
    yield f"Batch {', '.join(map(str, SWEEP))}, {rows}, one epoch each, scored on {scored}; the whole wall clock."
    if case.limit is not None:
        yield "Scaled down: starting processes weighs more than in the full size (`--full`), which the goal is for."
    yield ""
    sides = bench.sides
    # All at a time, also where there are fewer cores: none of them is idle while the longest run ends.
    side_by_side = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={len(SWEEP)}"]
    if sides.device == "cuda":
        side_by_side.append(f"hydra.launcher.jobs_per_gpu={len(SWEEP)}")
    ways: dict[str, Callable[[], Finished]] = {
        "plain": lambda: sides.sweep_plain(case, SWEEP),
        "one after the other": lambda: sides.sweep_embexp(case, SWEEP),
        f"side by side (`{' '.join(side_by_side)}`)": lambda: sides.sweep_embexp(case, SWEEP, *side_by_side),
    }
    rounds = []
    for number in range(max(1, bench.options.pairs // 3)):
        found = {}
        # What takes an hour comes last: the others may not run at all.
        for name in reversed(ways) if number % 2 == 0 else ways:
            found[name] = ways[name]().wall
            yield f"- {name}: {in_seconds(found[name])}"
        rounds.append(found)
    yield f"\n{RATIO_HEAD}"
    for name in list(ways)[1:]:
        ratios = Ratios(tuple(found["plain"] for found in rounds), tuple(found[name] for found in rounds))
        yield ratio_row(f"three runs, embexp's {name}", ratios, goal=6.0 if sides.device == "cpu" else 5.0)


def quality(bench: Bench) -> Iterator[str]:
    """Dev Spearman after training, over seeds."""
    if bench.options.seeds == 0:
        yield "Left out: it takes long. `--seeds 5` runs it."
        return
    rows = bench.rows
    # The textbook's 100, or a tenth of an epoch that is shorter than ten times that: a warm-up must end.
    case = Case("mnr", QUALITY_BATCH, limit=bench.options.sweep_rows, pairs=PAIRS)
    case = replace(case, warmup_steps=min(case.warmup_steps, rows // QUALITY_BATCH // 10))
    yield f"MNR, batch {case.batch_size}, {rows:,} triplets, one epoch, warm-up {case.warmup_steps} steps."
    yield "A seed draws order and dropout; both sides have the same order, each draws its own dropout."
    yield f"\n{head('seed', 'plain', 'embexp', 'embexp - plain')}"
    plain, other = [], []
    for seed in range(1, bench.options.seeds + 1):
        plain.append(bench.sides.plain(replace(case, seed=seed)).spearman)
        other.append(bench.sides.embexp(replace(case, seed=seed)).spearman)
        yield row(seed, f"{plain[-1]:.4f}", f"{other[-1]:.4f}", f"{other[-1] - plain[-1]:+.4f}")
    difference = statistics.mean(other) - statistics.mean(plain)
    yield row("**mean ± standard deviation**", spread(plain), spread(other), f"**{difference:+.4f}**")
    if len(plain) > 1:
        own, each = statistics.stdev(plain), [b - a for a, b in zip(plain, other, strict=True)]
        yield f"\nMean of the differences {difference:+.4f}, its standard error {statistics.stdev(each) / len(each) ** 0.5:.4f}."
        verdict = "met" if abs(difference) <= own else "not met"
        yield f"\nGoal: no farther apart than the plain script's seeds are among themselves, {own:.4f}: {verdict}."


def memory(bench: Bench) -> Iterator[str]:
    """Memory and the time to the first step as the data grows."""
    yield from rows_of_data(bench.options, bench.sides)


def growth(bench: Bench) -> Iterator[str]:
    """How a step's cost grows with the batch and with the texts' length."""
    yield from batches_and_lengths(bench.options, bench.sides)


# In order; what a person asks first stands first, so that a benchmark that is cut off has told it.
PARTS: dict[str, tuple[str, Callable[[Bench], Iterator[str]]]] = {
    "start": ("Start-up", start_up),
    "step": ("One step", one_step),
    "bert": ("One step of an encoder of bert-base's size", bert),
    "profile": ("Where the time of a step goes", where_time_goes),
    "overhead": ("The framework's own cost", overhead),
    "sweep": ("The sweep", sweep),
    "levers": ("Each lever's part", levers),
    "memory": ("Rows of data", memory),
    "growth": ("How a step's cost grows", growth),
    "quality": ("Scores over seeds", quality),
}

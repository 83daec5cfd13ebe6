"""How cost grows: memory with rows, a step with the batch and the texts' length; tables and a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

from benchmarks.bench.options import Options
from benchmarks.bench.processes import start
from benchmarks.bench.sides import Case, Sides, an_epoch
from benchmarks.bench.table import head, in_seconds, mebibytes, row

RESULTS = Path(__file__).resolve().parents[1] / "results"
FLAT_TO, FIRST_STEP = 300 * 2**20, 10.0
BATCH_OF_LENGTHS = 16
# (what is varied, its unit) -> value -> seconds a step of (plain, embexp).
Curve = dict[int, tuple[float, float]]


def rows_of_data(options: Options, sides: Sides) -> Iterator[str]:
    """Peak memory and time to the end of the first step, of both sides; embexp twice, the second time with its caches."""
    yield "MNR, batch 32, three steps, rows numbered so that none repeats; peak memory of the whole process, of it the process's own"
    yield "(the rest is mapped from files, and the system takes it back where it is short), and seconds from its start to the end of"
    yield "its first step, scores before training on a few pairs included. embexp's memory is that of the run that makes rows and view"
    yield "(first) and of the one that finds them (again)."
    seconds = "plain, first step", "embexp, first step", "embexp again"
    yield f"\n{head('rows', 'plain', 'its own', 'embexp', 'its own', 'embexp again', 'its own', *seconds)}"
    seen = []
    for rows in options.growing_rows:
        workload(sides.place, "numbered", "--rows", str(rows))
        case = Case("mnr", 32, steps=3, rows=f"rows_{rows}")
        plain, first, again = sides.plain(case), sides.embexp(case), sides.embexp(case)
        runs = plain, first, again
        seen.append((rows, max(first.finished.own, again.finished.own), again.steps.first))
        memories = [mebibytes(memory) for run in runs for memory in (run.finished.memory, run.finished.own)]
        yield row(f"{rows:,}", *memories, *(f"{run.steps.first:.1f} s" for run in runs))
    grown = max(memory for _, memory, _ in seen) - min(memory for _, memory, _ in seen)
    slowest = max(seconds for *_, seconds in seen)
    yield f"\nembexp's own memory grows by {mebibytes(grown)} (goal, from 10,000 to 5,000,000 rows: at most 300 MiB: "
    yield f"{_verdict(grown <= FLAT_TO, seen[-1][0])}); first step within 10 s when cached: {_verdict(slowest <= FIRST_STEP, seen[-1][0])}."


def _verdict(met: bool, rows: int) -> str:
    return f"{'met' if met else 'not met'} up to {rows:,} rows"


def batches_and_lengths(options: Options, sides: Sides) -> Iterator[str]:
    """Seconds a step against the batch (MNLI triplets as they are) and against the words of a text (batch 16)."""
    by_batch: Curve = {}
    yield f"MNR, seconds a step, one run each.\n\n{head('rows a batch', 'plain', 'embexp', 'plain / embexp')}"
    for size in options.batch_sizes:
        yield _measure(by_batch, size, sides, an_epoch("mnr", size, options.steps_at(size)))
    by_words: Curve = {}
    yield f"\n{head(f'words a text (batch {BATCH_OF_LENGTHS})', 'plain', 'embexp', 'plain / embexp')}"
    for words in options.words:
        workload(sides.place, "words", "--words", str(words))
        case = an_epoch("mnr", BATCH_OF_LENGTHS, options.steps_at(4 * words), rows=f"words_{words}")
        yield _measure(by_words, words, sides, case)
    figure = RESULTS / f"{date.today()}-bench-{'cpu' if sides.device == 'cpu' else 'gpu'}.svg"
    draw(figure, {"rows a batch": by_batch, f"words a text, batch {BATCH_OF_LENGTHS}": by_words})
    yield f"\n![seconds a step against batch size and length]({figure.name})"


def _measure(curve: Curve, value: int, sides: Sides, case: Case) -> str:
    plain, embexp = sides.plain(case).steps.mean, sides.embexp(case).steps.mean
    curve[value] = plain, embexp
    return row(value, in_seconds(plain), in_seconds(embexp), f"{plain / embexp:.2f}")


def draw(path: Path, curves: dict[str, Curve]) -> None:
    """A panel a curve, both axes logarithmic: a straight line of slope 1 is a cost in proportion."""
    import matplotlib

    matplotlib.use("svg")
    # Text stays text, and the same figure is the same file.
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "embexp"}
    from matplotlib import pyplot
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure, panels = pyplot.subplots(1, len(curves), figsize=(4.5 * len(curves), 3.4), layout="constrained")
    for panel, (name, curve) in zip(panels, curves.items(), strict=True):
        values: Sequence[int] = sorted(curve)
        for number, side in enumerate(("plain script", "embexp")):
            panel.plot(values, [curve[value][number] for value in values], marker="o", label=side)
        panel.set(xscale="log", yscale="log", xlabel=name, ylabel="seconds a step", xticks=values)
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def workload(place: Path, *words: str) -> None:
    """Writes more data into the place, in a process of its own."""
    start(["-m", "benchmarks.bench.workload", words[0], str(place), *words[1:]], folder=place)

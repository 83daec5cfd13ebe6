"""embexp against plain sentence-transformers scripts, as a person starts both.

    make bench                                   # all parts, scaled down: about half an hour on two quiet cores
    make bench ARGS="--only step --only sweep"   # some parts
    make bench ARGS="--full --seeds 5"           # the whole size: hours
    make bench-gpu                               # on a machine with a GPU

What comes out is printed as it comes and written to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.bench import machine
from benchmarks.bench.growth import RESULTS, workload
from benchmarks.bench.options import Options
from benchmarks.bench.parts import PARTS, Bench
from benchmarks.bench.processes import start
from benchmarks.bench.sides import BOTH_ALIKE, Sides
from benchmarks.bench.table import head, row
from embexp.units import counted

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data"
GPU_STEPS = 100
FULL = {"sweep_rows": None, "growing_rows": (10_000, 100_000, 1_000_000, 5_000_000), "steps": 30}


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """What was typed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=sorted(PARTS), action="append", help="this part; may be given again")
    parser.add_argument(
        "--mnli", type=Path, help="folder with train.parquet; default ../shared/data/mnli, else helpdesk"
    )
    parser.add_argument("--stsb", type=Path, help="folder of STS-B; default ../shared/data/stsb, else helpdesk's pairs")
    parser.add_argument("--pairs", type=int, help="how often both sides run; more: a steadier median (default 3)")
    parser.add_argument(
        "--steps", type=int, help="of a run at batch 32, the first two not timed (default 9; full 30, GPU 100)"
    )
    parser.add_argument("--sweep-rows", type=int, help="triplets of the sweep (default 640; full: all)")
    parser.add_argument("--seeds", type=int, help="compare scores over so many seeds (default 0: left out)")
    parser.add_argument("--model", type=Path, help="folder of another encoder than the packaged MiniLM")
    parser.add_argument("--full", action="store_true", help="the sizes that the goals are for: hours")
    parser.add_argument("--device", choices=["cpu", "gpu"], help="refuse to run on the other")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/DATE-bench-cpu.md, or -gpu")
    given = parser.parse_args(words)
    for name in ("mnli", "stsb", "model"):
        folder = getattr(given, name)
        if folder is None and name == "model":
            continue
        if folder is None:
            setattr(given, name, BESIDE / name if (BESIDE / name).is_dir() else None)
        elif not folder.is_dir():
            otherwise = "the packaged MiniLM" if name == "model" else "the built-in corpus"
            parser.error(f"--{name} {folder}: there is no such folder; without it {otherwise} is used.")
        else:
            setattr(given, name, folder.resolve())
    if given.steps is not None and given.steps < 4:
        parser.error(f"--steps {given.steps}: at least 4, for the first two are not timed.")
    if given.pairs is not None and given.pairs < 1:
        parser.error(f"--pairs {given.pairs}: at least 1.")
    return given


def options_of(given: argparse.Namespace) -> Options:
    """The sizes: the defaults, or the full ones, and over them what was typed."""
    sizes: dict[str, Any] = dict(FULL) if given.full else {}
    typed = {name: getattr(given, name) for name in ("pairs", "steps", "sweep_rows", "seeds")}
    return Options(given.mnli, given.stsb, **{**sizes, **{name: v for name, v in typed.items() if v is not None}})


def report(given: argparse.Namespace, options: Options, place: Path, peaks: dict[str, Any]) -> Iterator[str]:
    """All lines, as they come."""
    at_start, shown = machine.load()
    yield f"# embexp against plain sentence-transformers, {date.today()}, {peaks['name']}\n"
    yield machine.describe()
    yield f"`python -m benchmarks.bench {shlex.join(given.command)}`; {peaks['threads']} threads; load average at the start {shown}."
    yield f"\n{_data(options)}\n\n{_peak_table(peaks)}\n"
    yield f"Set on embexp's side so that both do equal work: `{' '.join(BOTH_ALIKE)} loss.batches=shuffled warmup_steps=100`."
    sides = Sides(place, peaks["device"], None if given.model is None else str(given.model))
    bench = Bench(options, sides, peaks)
    for name in given.only or [part for part in PARTS if part != "bert" or peaks["device"] != "cpu"]:
        title, part = PARTS[name]
        begun = time.monotonic()
        yield f"\n## {title}\n"
        yield from part(bench)
        yield f"\n({time.monotonic() - begun:.0f} s)"
    at_end, shown = machine.load()
    yield f"\nLoad average at the end {shown}."
    busy = machine.warning(at_start, at_end)
    if busy is not None:
        yield f"\n{busy}"


def _data(options: Options) -> str:
    rows = "MNLI's first 50,000 rows" if options.mnli else "the built-in corpus"
    pairs = "STS-B" if options.stsb else "the built-in corpus"
    return (
        f"Rows: {rows}, less those that repeat or whose texts are equal; negatives are other rows' hypotheses. Scored on "
        f"pairs of {pairs}. {counted(options.pairs, 'pair')} of runs where nothing else is said."
    )


def _peak_table(peaks: dict[str, Any]) -> str:
    precisions = [name for name in ("fp32", "bf16", "fp16") if name in peaks]
    lines = [
        row(shape, *(f"{peaks[precision][shape]:.3f}" for precision in precisions)) for shape in peaks[precisions[0]]
    ]
    return "\n".join([head("matrix product, TFLOP/s", *precisions), *lines])


def main(words: Sequence[str] | None = None) -> None:
    """Measures, prints and writes; what was measured before an interruption is written too."""
    given = parse(words)
    given.command = list(sys.argv[1:] if words is None else words)
    options = options_of(given)
    # So that the process under way is ended with this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        peaks = json.loads(start(["-m", "benchmarks.bench.machine"], folder=place).out)
        kind = "cpu" if peaks["device"] == "cpu" else "gpu"
        if given.device not in (None, kind):
            sys.exit(f"--device {given.device}: torch sees no GPU here; make bench measures the CPU.")
        if kind == "gpu" and given.steps is None:
            # The processor runs up to a step ahead of a GPU: over many steps that is nothing.
            options = replace(options, steps=GPU_STEPS)
        data = [f"--{name}={path}" for name in ("mnli", "stsb") if (path := getattr(options, name)) is not None]
        workload(place, "base", *data, "--pairs", str(options.few_pairs))
        out = given.out or RESULTS / f"{date.today()}-bench-{kind}.md"
        with out.open("w", encoding="utf-8") as file:
            for line in report(given, options, place, peaks):
                print(line, flush=True)
                print(line, file=file, flush=True)
    print(f"\nwritten to {out}")


if __name__ == "__main__":
    main()

"""The benchmark's own machinery: what it asks of both sides, and the ratios it tells."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.bench import machine
from benchmarks.bench.__main__ import FULL, options_of, parse
from benchmarks.bench.growth import draw
from benchmarks.bench.options import Options
from benchmarks.bench.parts import PARTS, Bench, _over, _same_batches, quality
from benchmarks.bench.processes import Finished, read_steps, start
from benchmarks.bench.sides import Case, Run, Sides, an_epoch, switched_off
from benchmarks.bench.table import Ratios, head, in_seconds, in_turn, ratio_row, spread
from embexp.config import ConfigError
from embexp.config.composition import compose


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workload of one row a file."""
    sts = {"sentence1": "a", "sentence2": "b", "label": 5.0}
    rows = {
        "triplets/train": {"anchor": "a", "positive": "b", "negative": "c"},
        "scored/train": sts,
        "texts/train": {"text": "a"},
        "few/validation": sts,
        "few/test": sts,
    }
    for name, row in rows.items():
        file = tmp_path / f"{name}.parquet"
        file.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist([row]), file)
    return tmp_path


def notes(*ends: float) -> list[dict[str, float]]:
    return [{"wall": end, "processor": 2 * end, "tokens": 10 * end, "computed": 20 * end, "flops": 0} for end in ends]


def test_the_first_step_and_what_is_put_off_until_its_end_are_not_timed():
    steps = read_steps(notes(9.0, 15.0, 16.0, 18.0))
    assert steps.seconds == (1.0, 2.0)
    assert steps.mean == 1.5
    assert steps.first == 9.0
    assert steps.tokens == 15.0
    assert steps.computed == 30.0


def test_a_run_of_two_steps_cannot_be_timed():
    with pytest.raises(ValueError, match="at least 3"):
        read_steps(notes(9.0, 10.0))


def test_the_ratio_is_the_median_of_the_pairs_ratios_and_not_the_ratio_of_the_medians():
    ratios = Ratios(plain=(2.0, 30.0, 4.0), embexp=(1.0, 10.0, 4.0))
    assert ratios.each == [2.0, 3.0, 1.0]
    assert ratios.median == 2.0
    assert "| **2.00** | 2: met | 2.00, 3.00, 1.00 |" in ratio_row("a step", ratios, goal=2.0)
    assert "2.5: not met" in ratio_row("a step", ratios, goal=2.5)


def test_every_second_pair_starts_with_the_other_side():
    order = []
    list(in_turn(3, lambda: order.append("plain"), lambda: order.append("embexp")))
    assert order == ["plain", "embexp", "embexp", "plain", "plain", "embexp"]


def test_a_pairs_overhead_is_told_step_by_step():
    # Batches differ in length, and one step was disturbed: neither moves the median.
    assert _over((1.0, 2.0, 10.0), (1.1, 2.2, 50.0)) == pytest.approx(0.1)


def test_sides_that_read_other_batches_are_told():
    mnr, tsdae = Case("mnr", 32), Case("tsdae", 16)

    def told(plain: float, embexp: float, case: Case) -> str:
        return _same_batches({(case.name, "plain"): plain, (case.name, "embexp"): embexp}, [case])

    assert told(500, 500, mnr).endswith("as the same batches do.")
    assert told(500, 499, mnr).endswith(": mnr, batch 32.")
    # TSDAE's plain decoder reads a token more of every text but the longest.
    assert told(500, 485, tsdae).endswith("foretells nothing from it.")
    for embexp in (501, 484):
        assert told(500, embexp, tsdae).endswith(": tsdae, batch 16.")


def test_scores_over_seeds_are_a_mean_and_a_deviation():
    assert spread([0.5, 0.7]) == "0.6000 ± 0.1414 (2)"
    assert spread([0.5]) == "0.5000 (1)"


@dataclass(frozen=True)
class ByHeart:
    """Sides that train nothing: a seed's score on either side is given."""

    place: Path
    scores: dict[str, list[float]]
    asked: list[Case] = field(default_factory=list)

    def run(self, side: str, case: Case) -> Run:
        self.asked.append(case)
        return Run(Finished("", 0, 0, 0, 0), read_steps(notes(1, 2, 3)), self.scores[side][case.seed - 1], "fp32")

    def plain(self, case: Case) -> Run:
        return self.run("plain", case)

    def embexp(self, case: Case) -> Run:
        return self.run("embexp", case)


@pytest.mark.parametrize(("embexp", "verdict"), [([0.81, 0.83], "met"), ([0.85, 0.87], "not met")])
def test_scores_over_seeds_are_held_against_the_seeds_own_spread(place, embexp, verdict):
    sides = ByHeart(place, {"plain": [0.80, 0.82], "embexp": embexp})
    told = "\n".join(quality(Bench(Options(None, None, seeds=2), sides, {})))
    assert "| 1 | 0.8000 |" in told
    assert "0.0141" in told
    assert told.endswith(f": {verdict}.")
    # The one row of the workload is no epoch of a thousand steps: the warm-up ends within it.
    assert {case.warmup_steps for case in sides.asked} == {0}
    assert [case.seed for case in sides.asked] == [1, 1, 2, 2]


def test_seconds_are_told_whole_where_there_are_thousands():
    assert [in_seconds(value) for value in (0.01234, 23.41, 999.4, 4503.2)] == [
        "0.0123 s",
        "23.4 s",
        "999 s",
        "4,503 s",
    ]


def test_a_tables_head_has_a_column_for_each_name():
    assert head("a", "b") == "| a | b |\n|---|---|"


@pytest.mark.parametrize("loss", ["mnr", "cosine", "tsdae"])
@pytest.mark.parametrize("off", [[], list(switched_off("cpu").values())])
def test_embexp_takes_every_command_that_it_is_given(place, loss, off):
    sides, case = Sides(place, "cpu"), Case(loss, 16, steps=3, limit=100)
    words = sides.embexp_words(case, *off)
    assert words[0] == "embexp"
    config = compose(words[1:])
    assert config.batch_size == 16
    assert config.max_steps == 3
    assert config.loss.batches == "shuffled"
    assert not config.trainer.checkpoints


def test_a_lever_that_the_trainer_does_not_know_would_be_refused():
    for off in (*switched_off("cpu").values(), *switched_off("cuda").values()):
        compose([off])
    with pytest.raises(ConfigError):
        compose(["trainer.no_such_lever=false"])


def test_both_sides_are_given_the_same_numbers(place):
    case = Case("mnr", 64, steps=7, limit=500, seed=3, warmup_steps=5)
    words = Sides(place, "cpu").plain_words(case)
    asked = dict(zip(words[2::2], words[3::2], strict=True))
    config = compose(Sides(place, "cpu").embexp_words(case)[1:])
    assert asked["--batch-size"] == str(config.batch_size)
    assert asked["--max-steps"] == str(config.max_steps)
    assert asked["--seed"] == str(config.seed)
    assert float(asked["--warmup-steps"]) == config.warmup_steps
    assert asked["--limit"] == str(config.data.arguments()["limit"])


def test_a_step_is_timed_in_a_run_that_reads_all_its_rows_for_others_keep_no_tokens(place):
    config = compose(Sides(place, "cpu").embexp_words(an_epoch("mnr", 32, 8))[1:])
    assert config.max_steps * config.batch_size == config.data.arguments()["limit"]


def test_the_sweep_types_its_batch_sizes_once(tmp_path):
    words = Sides(tmp_path, "cpu").embexp_words(Case(), "batch_size=32,64", "-m")
    assert [word for word in words if word.startswith("batch_size=")] == ["batch_size=32,64"]


def test_what_is_typed_goes_over_the_full_sizes():
    options = options_of(parse(["--full", "--steps", "5"]))
    assert options.steps == 5
    assert options.sweep_rows is None
    assert options.growing_rows == FULL["growing_rows"]


@pytest.mark.parametrize("words", [["--only", "nothing"], ["--steps", "3"], ["--pairs", "0"], ["--mnli", "no/folder"]])
def test_a_wrong_option_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        parse(words)
    assert words[0] in capsys.readouterr().err


def test_every_part_can_be_asked_for_by_name():
    for name in PARTS:
        assert parse(["--only", name]).only == [name]


def test_a_scaled_down_sweep_is_scored_on_as_large_a_part_of_the_pairs():
    assert Options(None, None, sweep_rows=None).few_pairs == 1500
    assert Options(None, None, sweep_rows=1651).few_pairs == 150


@pytest.mark.parametrize(("fast", "measured"), [("avx512_bf16", {"fp32", "bf16"}), (None, {"fp32"})])
def test_the_peak_of_a_precision_that_the_machine_would_have_to_feign_is_not_measured(monkeypatch, fast, measured):
    monkeypatch.setattr("embexp.training.hardware.fast_bf16", lambda: fast)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(machine, "SECONDS", 0.0)
    monkeypatch.setattr(machine, "SHAPES", {})
    monkeypatch.setattr(machine, "SQUARE", {"cpu": 8})
    peaks = machine.measure_peaks()
    assert {name for name in peaks if isinstance(peaks[name], dict)} == measured


def test_a_busy_machine_is_told(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    assert machine.warning(0.1, 2.1) is None
    assert "not quiet" in str(machine.warning(2.0, 2.1))
    assert "not quiet" in str(machine.warning(0.1, 4.0))


def test_the_figure_has_a_panel_for_each_curve(tmp_path):
    draw(tmp_path / "a.svg", {"rows a batch": {8: (1.0, 0.5), 32: (4.0, 1.0)}, "words a text": {8: (1.0, 0.5)}})
    text = (tmp_path / "a.svg").read_text()
    for word in ("rows a batch", "words a text", "plain script"):
        assert word in text


def test_a_process_that_fails_is_told_with_what_it_said(tmp_path):
    with pytest.raises(RuntimeError, match="no such thing"):
        start(["-c", "import sys; sys.exit('no such thing')"], folder=tmp_path)
    done = start(["-c", "print(sum(range(10**6)))"], folder=tmp_path)
    assert done.out.strip() == "499999500000"
    assert done.wall > 0
    assert done.memory > 2**20


def test_a_process_that_sets_its_peak_of_memory_back_does_not_hide_it(tmp_path):
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        pytest.skip("/proc/self/clear_refs, by which Linux sets a process's peak back, is not here")
    hidden = f"import pathlib, time; held = b'1' * 300_000_000; time.sleep(0.5); del held; pathlib.Path('{clear}').write_text('5')"
    done = start(["-c", hidden], folder=tmp_path)
    assert done.memory > done.own > 300_000_000


@pytest.mark.slow
def test_the_probe_notes_the_end_of_every_step_and_counts_where_asked(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, torch\n"
        "assert sys.argv[1:] == ['word']\n"
        "model = torch.nn.Sequential(torch.nn.Embedding(10, 4, padding_idx=0), torch.nn.Linear(4, 1, bias=False))\n"
        "optimizer = torch.optim.AdamW(model.parameters())\n"
        "for _ in range(4):\n"
        "    model(torch.tensor([[1, 2, 0, 0], [3, 4, 5, 6]])).sum().backward()\n"
        "    optimizer.step()\n"
    )
    out = tmp_path / "steps.json"
    start(["-m", "benchmarks.bench.probe", str(out), "--count", str(script), "word"], folder=tmp_path)
    steps = read_steps(json.loads(out.read_text()))
    assert len(steps.seconds) == 2
    assert (steps.tokens, steps.computed) == (6.0, 8.0)
    # Forward, and the gradients of weights and inputs: 2 x 8 rows x 4 in x 1 out each.
    assert steps.flops == 3 * 2 * 8 * 4


@pytest.mark.slow
def test_both_sides_train_on_the_same_batches_from_start_to_scores(tmp_path):
    folder = Path(tmp_path)
    start(["-m", "benchmarks.bench.workload", "base", str(folder), "--pairs", "50"], folder=folder)
    start(
        [
            "-c",
            "from embexp.config.composition import compose; from embexp.models import load_encoder; "
            "load_encoder(compose(['model=tiny']).model).model.save_pretrained('tiny')",
        ],
        folder=folder,
    )
    sides = Sides(folder, "cpu", str(folder / "tiny"))
    for case in (an_epoch("mnr", 8, 4), an_epoch("cosine", 8, 4), Case("tsdae", 8, 4)):
        plain, other = sides.plain(case, count=True), sides.embexp(case, count=True)
        told = _same_batches(
            {(case.name, "plain"): plain.steps.tokens, (case.name, "embexp"): other.steps.tokens}, [case]
        )
        assert told.startswith("Both sides read the same number of tokens a step")
        assert other.steps.tokens > 0
        assert len(plain.steps.seconds) == len(other.steps.seconds) == 2
        assert plain.steps.flops > 0

"""A table's settings: short, and as many as there is room for."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from embexp.compare.cells import label_of, of_the_best, values_of
from embexp.compare.runs import Run
from embexp.compare.table import draw
from embexp.tracking import Status
from tests.report.conftest import leave_run

FOLDERS = ("/data/shop/fold1", "/data/shop/fold2")


@pytest.fixture
def many(tmp_path) -> list[Run]:
    """Runs that differ in batch size, seed and file; one also in a setting of its own, and one that only its cache tells."""
    found = []
    for number, size in enumerate((32, 16) * 4):
        params = {"loss": "mnr", "batch_size": size, "model": "minilm", "data": "files", "seed": number}
        params["data.train"] = f"{FOLDERS[number % 2]}/train.csv"
        params |= {"trainer.weight_decay": 0.1} if number == 7 else {}
        params |= {"trainer.data_cache": "elsewhere"} if number == 6 else {}
        found.append(leave_run(tmp_path / str(number), "mnr", size, params=params))
    return found


def drawn(runs: list[Run], width: int) -> str:
    file = io.StringIO()
    draw(runs, console=Console(file=file, width=width, force_terminal=True, color_system=None), title="runs")
    return file.getvalue()


def test_of_files_no_more_is_shown_than_tells_them_apart(many):
    shown = values_of(many, "data.train")
    assert sorted(shown.values()) == ["fold1/train.csv", "fold2/train.csv"]
    assert set(values_of(many[:1], "data.train").values()) == {"train.csv"}
    assert values_of(many, "seed") == {str(seed): str(seed) for seed in range(8)}


def with_values(key: str, values) -> list[Run]:
    return [Run(f"run {n}", Status.FINISHED, None, {key: value}, {}) for n, value in enumerate(values)]


LONG = "some-very-long-name-of-a-folder/of-others"
ALIKE = {
    "model.prompts": {
        '{query: "query: ", document: "passage: ", default: "query: "}': '{query: "query: ", document: "passage: …',
        '{query: "ask: ", document: "passage: ", default: "query: "}': '{query: "ask: ", document: "passage: ",…',
    },
    "data.train": {
        f"/data/project-one/2024/{LONG}/train.csv": "project-one/2024/some-very-long-name-of…",
        f"/data/project-two/2024/{LONG}/train.csv": "project-two/2024/some-very-long-name-of…",
    },
    # Where the first differs from the others, and where these differ from each other.
    "loss.words": {
        f"{'a' * 30} b {'c' * 50}": f"…{'a' * 11} b {'c' * 24}…",
        f"{'a' * 30} d {'e' * 50} 1 {'c' * 50}": f"…{'e' * 11} 1 {'c' * 24}…",
        f"{'a' * 30} d {'e' * 50} 2 {'c' * 50}": f"…{'e' * 11} 2 {'c' * 24}…",
    },
}


@pytest.mark.parametrize("key", ALIKE)
def test_long_values_that_end_alike_are_shown_where_they_differ(key):
    runs = with_values(key, ALIKE[key])
    assert values_of(runs, key) == ALIKE[key]
    assert len({label_of(run, [key], runs) for run in runs}) == len(runs)


def test_of_a_long_value_that_ends_as_no_other_does_the_end_is_shown():
    runs = with_values("loss.words", ["a" * 50, "b" * 50, "c"])
    assert sorted(values_of(runs, "loss.words").values()) == ["c", f"…{'a' * 39}", f"…{'b' * 39}"]


def test_one_file_that_is_written_in_two_ways_is_two_values():
    runs = with_values("data.train", ["data/train.csv", "data//train.csv"])
    assert set(values_of(runs, "data.train").values()) == {"data/train.csv", "data//train.csv"}


@pytest.mark.parametrize("width", [70, 80, 100, 120, 160, 200])
def test_nothing_in_a_table_is_cut_however_narrow_it_is(many, width):
    text = drawn(many, width)
    assert "…" not in text
    assert "dev Spearman" in text


def test_the_settings_that_tell_fewest_runs_apart_are_the_first_to_go(many):
    wide, narrow = drawn(many, 200), drawn(many, 80)
    assert "trainer.weight_decay" in wide
    assert "trainer.data" not in wide
    assert "no room for" not in wide
    assert "weight" not in heading(narrow)
    assert "trainer.weight_decay: a wider terminal shows more" in narrow
    head = narrow.splitlines()[3]
    assert "seed" in head
    assert "time" not in head
    assert "dev Spearman" in head


def test_a_column_for_which_there_is_room_once_a_wider_one_is_gone_comes_back(many):
    wide, narrower, narrow = (heading(drawn(many, width)) for width in (140, 100, 80))
    assert all(title in wide for title in ("trainer.weight_decay", "time"))
    assert "trainer.weight_decay" not in narrower
    assert "time" in narrower
    assert "time" not in narrow


def heading(text: str) -> str:
    return next(line for line in text.splitlines() if "dev Spearman" in line)


@pytest.fixture
def one_other(tmp_path) -> list[Run]:
    """Runs of seven seeds, and the first one's seed with another weight_decay, which nothing else tells from it."""
    settings = [{"seed": seed} for seed in range(7)] + [{"seed": 0, "trainer.weight_decay": 0.1}]
    return [
        leave_run(tmp_path / str(number), "mnr", 32, params={"loss": "mnr", "model": "minilm", **own})
        for number, own in enumerate(settings)
    ]


def test_a_setting_without_which_two_runs_look_the_same_outlives_interval_and_gain(one_other):
    heads = [heading(drawn(one_other, width)) for width in (50, 60, 90)]
    assert ["decay" in head for head in heads] == [True, True, True]
    assert ["gain" in head for head in heads] == [False, True, True]
    # Where it has no room at all there may be some for another column.
    assert "gain" in heading(drawn(one_other, 44))


@pytest.mark.parametrize("width", [36, 40, 50, 60, 72, 80])
def test_in_a_narrow_terminal_columns_are_missing_but_no_digit_is(tmp_path, width):
    runs = [leave_run(tmp_path / str(size), "mnr", size) for size in (16, 32)]
    for run in runs:
        run.params.pop("seed")
    text = drawn(runs, width)
    rows = [line for line in text.splitlines() if re.match(r"\s*(= )?[12] +\d", line)]
    assert len(rows) == 2
    whole = [
        (rank, f"{run.metrics['best/dev/spearman_cosine']:.4f}", f"{run.metrics['gain/dev/spearman_cosine']:+.4f}")
        for rank, run in (("1", runs[1]), ("2", runs[0]))
    ]
    for row, (rank, score, gain) in zip(rows, whole, strict=True):
        told = row.replace("=", "").split()
        assert told[0] == rank
        assert told[1] in ("16", "32")
        assert told[2] == score
        assert (gain in told) == (width >= 40)
        assert ("[" in row) == (width > 60)
    assert ("interval" in text.split("no room for")[-1].split(":")[0]) == (width <= 60)


def test_where_even_the_settings_have_no_room_beside_the_score_words_are_broken_into_lines(tmp_path):
    prompts = {16: "null", 32: '{query: "query: ", document: "passage: "}'}
    runs = [
        leave_run(tmp_path / str(size), "mnr", size, params={"loss": "mnr", "model.prompts": words})
        for size, words in prompts.items()
    ]
    text = drawn(runs, 40)
    for run in runs:
        assert f"{run.metrics['best/dev/spearman_cosine']:.4f}" in text
    shown = text[: text.index("no room for")]
    assert "null" in shown
    assert "passage" in shown
    assert max(map(len, shown.splitlines())) <= 40


def test_a_label_that_would_be_long_has_what_is_not_as_in_the_best(many):
    keys = ["batch_size", "seed", "data.train"]
    assert label_of(many[1], keys, many) == "batch_size=16, seed=1, data.train=fold2/train.csv"
    long = [f"a_setting_of_a_long_name_{number}" for number in range(3)]
    for run in many:
        run.params.update(dict.fromkeys(long, "the same"))
    assert label_of(many[1], [*keys, *long], many) == "batch_size=16, seed=1, data.train=fold2/train.csv"
    assert of_the_best(label_of(many[0], [*keys, *long], many)) == "the best"
    assert of_the_best("batch_size=32") == "the best (batch_size=32)"


def test_what_is_no_terminal_gets_the_whole_table(many):
    file = io.StringIO()
    draw(many, console=Console(file=file, width=80), title="runs")
    assert "trainer.weight_decay" in file.getvalue()


def test_a_run_without_the_setting_that_the_others_have_is_called_by_that():
    cut, whole = (Run(name, Status.FINISHED, None, params) for name, params in (("a", {"dims": "[8]"}), ("b", {})))
    assert [label_of(run, ["dims"], [cut, whole]) for run in (cut, whole)] == ["dims=[8]", "without dims"]


def test_of_runs_the_same_settings_are_told_and_none_that_follows_from_the_option_of_its_group():
    losses = {"mnr": {"loss.scale": "20"}, "cosent": {"loss.scale": "30"}, "triplet": {"loss.margin": "5"}, "tsdae": {}}
    runs = [Run(loss, Status.FINISHED, None, {"loss": loss, **own}) for loss, own in losses.items()]
    assert [label_of(run, ["loss", "loss.scale"], runs) for run in runs] == [f"loss={loss}" for loss in losses]
    scales = [*runs, Run("mnr", Status.FINISHED, None, {"loss": "mnr", "loss.scale": "40"})]
    labels = [label_of(run, ["loss", "loss.scale"], scales) for run in scales]
    assert labels[0] == "loss=mnr, loss.scale=20"
    assert labels[3:] == ["loss=tsdae", "loss=mnr, loss.scale=40"]
    limited = [
        Run(size, Status.FINISHED, None, {"batch_size": size, **limit})
        for size in ("16", "32")
        for limit in ({"data.limit": "99"}, {})
    ]
    assert [label_of(run, ["batch_size", "data.limit"], limited) for run in limited[:2]] == [
        "batch_size=16, data.limit=99",
        "batch_size=16, without data.limit",
    ]

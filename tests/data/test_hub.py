"""Data sets of the hub: through the real client against a local hub, from a mirror, and without any network."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data import build_source, stored
from embexp.data.hub import HubSource
from embexp.data.rows import label_number
from embexp.data.tables import TABLE
from tests.hub_server import HubServer

README = """---
configs:
- config_name: mnli
  data_files:
  - {split: train, path: mnli/train-*}
- config_name: stsb
  data_files:
  - {split: validation, path: stsb/validation-*}
  - {split: test, path: stsb/test-*}
---
"""
REVISION = compose(["data=mnli", "evaluation=helpdesk"]).data.model_dump()["revision"]


def written(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def glue(tmp_path) -> Path:
    """A small nyu-mll/glue, in the hub's own layout: the test split of STS-B hides its scores."""
    folder = tmp_path / "glue"
    nli = [{"premise": f"p{n}", "hypothesis": f"h{n}", "label": n % 3, "idx": n} for n in range(9)]
    written(folder / "mnli" / "train-00000-of-00001.parquet", [*nli, {**nli[0], "label": -1}])
    scored = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "label": float(n), "idx": n} for n in range(6)]
    written(folder / "stsb" / "validation-00000-of-00001.parquet", scored)
    written(folder / "stsb" / "test-00000-of-00001.parquet", [{**row, "label": -1.0} for row in scored])
    (folder / "README.md").write_text(README)
    return folder


LOAD = """
import json
from embexp.config.composition import compose
from embexp.data import build_source
data = build_source(compose(["data={name}", "evaluation=helpdesk"]).data)
rows = data.load({split!r})
print(json.dumps(rows and [rows.table.to_dict(), rows.counts]))
"""


def test_mnli_comes_from_the_hub_at_its_pinned_revision_and_then_from_the_cache(glue, tmp_path):
    with HubServer(home=tmp_path / "home", datasets={"nyu-mll/glue": glue}, revision=REVISION) as hub:
        done = hub.run(LOAD.format(name="mnli", split="train"))
        assert done.returncode == 0, done.stderr
        table, counts = json.loads(done.stdout)
        assert list(table) == ["premise", "hypothesis", "label"]
        assert table["label"] == [0, 1, 2] * 3
        assert counts == {"read": 10, "dropped_hidden_or_empty": 1}
        assert any(REVISION in request for request in hub.requests)
        assert not any("/main/" in request for request in hub.requests)
        hub.stop()
        again = hub.run(LOAD.format(name="mnli", split="train"))
        assert json.loads(again.stdout)[0] == table, again.stderr


def test_stsb_is_scaled_and_a_split_with_hidden_scores_is_none(glue, tmp_path):
    with HubServer(home=tmp_path / "home", datasets={"nyu-mll/glue": glue}, revision=REVISION) as hub:
        both = LOAD.format(name="stsb", split="dev") + "print(data.load('test'))"
        done = hub.run(both)
        assert done.returncode == 0, done.stderr
        dev, test = done.stdout.splitlines()
        assert json.loads(dev)[0]["score"] == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        assert test == "None"


def test_without_a_network_what_to_do_is_told_in_three_seconds(tmp_path):
    hub = HubServer(home=tmp_path / "home")
    with hub:
        pass
    script = LOAD.format(name="mnli", split="train").replace(
        "rows = ", "import time, datasets; t = time.time()\nrows = "
    )
    script = script.replace("rows = data", "try: rows = data").replace(
        "print(", "except Exception as e: print(time.time() - t, e) #"
    )
    done = hub.run(script)
    seconds, _, told = done.stdout.partition(" ")
    assert "data.path=FOLDER" in told, done.stderr
    assert float(seconds) < 3


def test_a_data_set_that_the_hub_does_not_have_is_not_blamed_on_the_network(tmp_path):
    with HubServer(home=tmp_path / "home") as hub:
        done = hub.run(LOAD.format(name="mnli", split="train"))
    assert "ConfigError" in done.stderr
    assert "the hub gave no split train" in done.stderr
    assert "cannot be reached" not in done.stderr


def source(path: Path, **changed) -> HubSource:
    given = {"kind": "nli", "limit": None, "repo": "nyu-mll/glue", "subset": "mnli", "revision": None, "columns": None}
    return HubSource(path=str(path), splits={"train": "train", "dev": "validation"}, **{**given, **changed})


def test_a_mirror_is_a_folder_of_parquet_whose_other_columns_are_left_out(glue):
    rows = source(glue / "mnli", limit=4).load("train")
    assert rows.table.column_names == ["premise", "hypothesis", "label"]
    assert len(rows.table) == 4


def test_a_split_that_a_mirror_lacks_is_told_with_what_is_there(glue):
    with pytest.raises(
        ConfigError, match=r"no validation.parquet or validation-\*.parquet here; found train-00000-of-00001\.parquet"
    ):
        source(glue / "mnli").load("dev")


def test_a_column_that_is_not_there_is_told_with_those_that_are(glue):
    with pytest.raises(ConfigError, match="no column gold; it has premise, hypothesis, label, idx"):
        source(glue / "mnli", columns={"label": "gold"}).load("train")


def test_a_file_of_a_mirror_that_is_not_parquet_is_told(tmp_path):
    (tmp_path / "train.parquet").write_text("premise,hypothesis,label")
    with pytest.raises(ConfigError, match=r"train\.parquet: not parquet"):
        source(tmp_path).load("train")


def test_a_label_outside_the_set_is_told_with_its_row(tmp_path):
    written(tmp_path / "train.parquet", [{"premise": "p", "hypothesis": "h", "label": n} for n in (0, 7)])
    with pytest.raises(ConfigError, match="glue/mnli train row 1: label 7; allowed: 0 entailment"):
        source(tmp_path).load("train")


def test_a_score_above_five_is_told(tmp_path):
    written(tmp_path / "train.parquet", [{"sentence1": "a", "sentence2": "b", "score": 80.0}])
    with pytest.raises(ConfigError, match=r"a score of 80\.0, above 5"):
        source(tmp_path, kind="scored").load("train")


@pytest.mark.parametrize("others", [[-1.0, 0.5, -0.8], [0.2, 0.9, -0.001]])
def test_a_score_below_zero_is_not_taken_for_a_hidden_one(tmp_path, others):
    rows = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": score} for n, score in enumerate(others)]
    written(tmp_path / "train.parquet", rows)
    with pytest.raises(
        ConfigError, match=rf"train row 2: a score of {others[2]}; .*data\.score_scale=\[lowest,highest\]"
    ):
        source(tmp_path, kind="scored").load("train")


def test_scores_that_are_hidden_or_missing_are_dropped_and_counted(tmp_path):
    scores = [float("nan"), -1.0, 0.25, None, 0.5, 1.0]
    rows = [{"sentence1": f"a{n}", "sentence2": f"b{n}", "score": score} for n, score in enumerate(scores)]
    written(tmp_path / "train.parquet", rows)
    loaded = source(tmp_path, kind="scored").load("train")
    assert loaded.table.to_dict()["score"] == [0.25, 0.5, 1.0]
    assert loaded.counts == {"read": 6, "dropped_hidden_or_empty": 3}


def test_labels_of_texts_are_any_and_those_that_are_hidden_or_missing_are_dropped(tmp_path):
    labels = [3, 700, 3, -1, None, 0]
    written(tmp_path / "train.parquet", [{"text": f"text {n}", "label": label} for n, label in enumerate(labels)])
    rows = source(tmp_path, kind="labelled").load("train")
    assert rows.values("label") == [label_number(word) for word in ("3", "700", "3", "0")]
    assert rows.counts == {"read": 6, "dropped_hidden_or_empty": 2}


def test_a_label_that_is_missing_as_pandas_writes_it_is_none_and_whole_numbers_are_those_of_a_file(tmp_path):
    labels = [3.0, float("nan"), 7.0, -1.0]
    written(tmp_path / "train.parquet", [{"text": f"text {n}", "label": label} for n, label in enumerate(labels)])
    rows = source(tmp_path, kind="labelled").load("train")
    assert rows.values("label") == [label_number(word) for word in ("3", "7")]
    assert rows.counts == {"read": 4, "dropped_hidden_or_empty": 2}


def test_a_list_of_labels_is_told_with_its_row(tmp_path):
    written(tmp_path / "train.parquet", [{"text": f"text {n}", "label": ["a"] * n} for n in range(1, 3)])
    with pytest.raises(ConfigError, match=r"train row 0: label is \['a'\], not one word or number; set data\.columns"):
        source(tmp_path, kind="labelled").load("train")


def test_a_column_of_numbers_where_texts_should_be_is_told(tmp_path):
    written(tmp_path / "train.parquet", [{"premise": "p", "hypothesis": n, "label": n} for n in (0, 1)])
    with pytest.raises(ConfigError, match=r"train row 0: hypothesis is 0, not a text; set data\.columns"):
        source(tmp_path).load("train")


@pytest.mark.parametrize(
    ("kind", "columns", "row", "told"),
    [
        (
            "nli",
            {"premise": "a", "hypothesis": "b", "label": "gold"},
            {"a": "p", "b": 0, "gold": 0},
            "b is 0, not a text",
        ),
        (
            "nli",
            {"premise": "a", "hypothesis": "b", "label": "gold"},
            {"a": "p", "b": "h", "gold": 7},
            "gold 7; allowed",
        ),
        ("labelled", {"label": "intent"}, {"text": "a", "intent": ["x"]}, r"intent is \['x'\], not one word"),
        ("scored", {"score": "alike"}, {"sentence1": "a", "sentence2": "b", "alike": "x"}, "alike 'x' is no number"),
    ],
)
def test_a_bad_row_is_told_by_its_own_name_of_the_column(tmp_path, kind, columns, row, told):
    written(tmp_path / "train.parquet", [row])
    with pytest.raises(ConfigError, match=f"train row 0: {told}"):
        source(tmp_path, kind=kind, columns=columns).load("train")


def test_a_mirror_that_is_no_folder_is_refused_before_anything_is_loaded():
    with pytest.raises(ConfigError, match=r"data\.path=nowhere: there is no such folder"):
        compose(["data=mnli", "data.path=nowhere", "evaluation=helpdesk"])


def test_a_folder_without_parquet_files_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(
        ConfigError, match=r"evaluation\.path=.*: holds no parquet files; name a folder of parquet files"
    ):
        compose(["evaluation=stsb", f"evaluation.path={tmp_path}"])


def test_the_first_fifty_thousand_rows_of_the_real_mirror_are_the_textbook_s(shared_data):
    config = compose(["data=mnli", f"data.path={shared_data / 'mnli'}", "data.limit=50000", "evaluation=helpdesk"])
    labels = list(build_source(config.data).load("train").table["label"])
    assert [labels.count(label) for label in (0, 1, 2)] == [16_513, 16_926, 16_561]


@pytest.fixture
def few_at_once(monkeypatch) -> None:
    monkeypatch.setattr(stored, "AT_ONCE", 3)


@pytest.fixture
def halves(tmp_path) -> Path:
    """Rows in two files, one in each with nothing to say."""
    nli = [{"premise": f"p{n}", "hypothesis": " " if n in (2, 7) else f"h{n}", "label": n % 3} for n in range(10)]
    written(tmp_path / "train-0.parquet", nli[:4])
    written(tmp_path / "train-1.parquet", nli[4:])
    return tmp_path


@pytest.mark.parametrize("limit", [None, 0, 3, 5, 10, 11])
def test_rows_that_are_read_some_at_a_time_are_those_that_are_read_at_once(halves, few_at_once, monkeypatch, limit):
    some = source(halves, limit=limit).load("train")
    monkeypatch.setattr(stored, "AT_ONCE", 1_000)
    at_once = source(halves, limit=limit).load("train")
    assert (some and [some.table.to_dict(), some.counts]) == (at_once and [at_once.table.to_dict(), at_once.counts])
    read = list(range(10))[:limit]
    assert (some.table["premise"][:] if some else []) == [f"p{n}" for n in read if n not in (2, 7)]


def test_rows_are_written_into_the_folder_and_the_same_as_in_memory(halves, few_at_once, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    mapped, plain = source(halves).load_into("train", folder), source(halves).load("train")
    assert [file.name for file in folder.iterdir()] == [TABLE]
    assert mapped.table.to_dict() == plain.table.to_dict()
    assert mapped.table.features == plain.table.features
    assert (mapped.counts, mapped.fingerprint) == (plain.counts, plain.fingerprint)


@pytest.mark.parametrize(
    ("kind", "last", "told"),
    [
        ("nli", {"premise": "p", "hypothesis": "h", "label": 7}, "row 9: label 7"),
        ("scored", {"sentence1": "p", "sentence2": "h", "score": -3.0}, "row 9: a score of -3"),
    ],
)
def test_a_bad_row_far_behind_is_told_by_its_number(tmp_path, few_at_once, kind, last, told):
    good = {**last, list(last)[2]: type(last[list(last)[2]])(1)}
    written(tmp_path / "train-0.parquet", [good] * 4)
    written(tmp_path / "train-1.parquet", [*[good] * 5, last])
    with pytest.raises(ConfigError, match=told):
        source(tmp_path, kind=kind).load("train")


def test_a_scale_is_told_from_all_scores_before_a_row_is_written(tmp_path, few_at_once):
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0.5, 1.0, 0.0, 1.0, 5.0)]
    written(tmp_path / "train.parquet", rows)
    assert source(tmp_path, kind="scored").load("train").table["score"][:] == [0.1, 0.2, 0.0, 0.2, 1.0]


def test_the_scale_is_that_of_all_rows_whatever_the_limit(tmp_path):
    rows = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (0.5, 1.0, 5.0)]
    written(tmp_path / "train.parquet", rows)
    assert source(tmp_path, kind="scored", limit=2).load("train").table["score"][:] == [0.1, 0.2]


def test_a_file_of_a_split_that_is_called_otherwise_is_not_passed_over_in_silence(glue, tmp_path, caplog):
    written(tmp_path / "test_0.parquet", [{"premise": "a", "hypothesis": "b", "label": 1}])
    mirror = source(tmp_path)
    mirror.splits = {**mirror.splits, "test": "test"}
    assert mirror.load("test") is None
    assert "test_0.parquet is not read; its name would be test.parquet or test-*.parquet" in caplog.text


def test_files_of_a_mirror_with_different_columns_are_told(halves):
    written(halves / "train-1.parquet", [{"premise": "p"}])
    with pytest.raises(
        ConfigError, match=r"train-0\.parquet, train-1\.parquet: not parquet, or not of the same columns"
    ):
        source(halves).load("train")


def test_a_file_of_a_mirror_that_is_damaged_within_is_told(tmp_path):
    file = tmp_path / "train.parquet"
    written(file, [{"premise": f"p{n}", "hypothesis": f"h{n}", "label": 1} for n in range(1_000)])
    content = bytearray(file.read_bytes())
    content[4:2_000] = bytes(1_996)
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"train\.parquet: not parquet"):
        source(tmp_path).load("train")

"""Rows: their columns, and the fingerprint by which equal data are known."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pyarrow as pa
import pytest
from datasets import Dataset, concatenate_datasets

from embexp.config import ConfigError
from embexp.data import rows as data_rows
from embexp.data.rows import COLUMNS, Rows, rows_from


def pairs(anchors: list[str], positives: list[str], *, name: str = "a.csv") -> Rows:
    return rows_from("pairs", {"anchor": anchors, "positive": positives}, name=name, counts={"read": len(anchors)})


def test_columns_stand_in_the_order_of_their_kind_whatever_the_order_given():
    rows = rows_from("nli", {"label": [2], "hypothesis": ["h"], "premise": ["p"]}, name="x", counts={})
    assert tuple(rows.table.column_names) == COLUMNS["nli"]


def test_a_table_with_other_columns_is_refused():
    with pytest.raises(
        ConfigError, match=r"x: rows of kind pairs have the columns anchor, positive, in this .*: positive, anchor"
    ):
        Rows("pairs", Dataset.from_dict({"positive": ["b"], "anchor": ["a"]}), "x")


def test_labels_are_whole_numbers_and_scores_fractions():
    nli = rows_from("nli", {"premise": ["p"], "hypothesis": ["h"], "label": [1]}, name="x", counts={})
    scored = rows_from("scored", {"sentence1": ["a"], "sentence2": ["b"], "score": [1]}, name="x", counts={})
    assert nli.table.data.schema.field("label").type == pa.int64()
    assert scored.table.data.schema.field("score").type == pa.float64()


def test_the_fingerprint_does_not_depend_on_the_name_or_the_counts():
    assert pairs(["a"], ["b"], name="one").fingerprint == pairs(["a"], ["b"], name="other").fingerprint


def test_the_fingerprint_does_not_depend_on_how_the_table_is_cut_into_chunks():
    whole = pairs(["a", "b", "c"], ["d", "e", "f"])
    halves = concatenate_datasets([whole.table.select([0]), whole.table.select([1, 2])])
    assert Rows("pairs", halves, "x").fingerprint == whole.fingerprint


def test_the_fingerprint_is_of_all_rows_however_many_are_read_at_once(monkeypatch):
    anchors, positives = [f"a{n}" for n in range(10)], [f"b{n}" for n in range(10)]
    digest = hashlib.sha256(b"pairs" + b"".join(f"{text!r}\0".encode() for text in anchors + positives))
    monkeypatch.setattr(data_rows, "AT_ONCE", 3)
    assert pairs(anchors, positives).fingerprint == digest.hexdigest()


@pytest.mark.parametrize(
    ("anchors", "positives"),
    [
        (["a", "b"], ["d", "c"]),
        (["b", "a"], ["c", "d"]),
        (["c", "d"], ["a", "b"]),
        (["a"], ["c"]),
        (["a", "b"], ["c", "d "]),
        (["ab", ""], ["c", "d"]),
    ],
)
def test_other_values_or_another_order_give_another_fingerprint(anchors, positives):
    assert pairs(anchors, positives).fingerprint != pairs(["a", "b"], ["c", "d"]).fingerprint


def test_the_same_values_of_another_kind_give_another_fingerprint():
    nli = {"premise": ["a"], "hypothesis": ["b"], "label": [1]}
    scored = {"sentence1": ["a"], "sentence2": ["b"], "score": [1.0]}
    first = rows_from("nli", nli, name="x", counts={}).fingerprint
    assert first != rows_from("scored", scored, name="x", counts={}).fingerprint


def test_a_text_with_the_separator_in_it_is_not_taken_for_two():
    assert pairs(["a'\0'b", "c"], ["d", "e"]).fingerprint != pairs(["a", "b"], ["c", "d"]).fingerprint


def test_importing_the_data_package_imports_no_torch_and_no_datasets():
    code = (
        "import sys, embexp.data, embexp.data.files, embexp.data.views, embexp.data.noise, embexp.data.hub;"
        "print([name for name in ('torch', 'datasets', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"

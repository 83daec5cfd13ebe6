"""Labelled texts: read from files, parted into train and dev, paired, and batched label by label."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset

from embexp.config import ConfigError
from embexp.config.composition import compose
from embexp.data.batches import GroupedByLabel
from embexp.data.rows import Rows, label_number, rows_from
from embexp.data.views import View, make_view
from tests.data.test_files import problems_of, source, written

RULES = {"positives": "entailment", "negatives": "contradiction", "threshold": 0.6}


def labelled(*sizes: int) -> Rows:
    """Labels with so many texts each."""
    found = [(f"text {n} of {label}", 10 - label) for label, size in enumerate(sizes) for n in range(size)]
    texts, labels = map(list, zip(*found, strict=True))
    return rows_from("labelled", {"text": texts, "label": labels}, name="some rows", counts={})


def view(rows: Rows, name: str, seed: int = 1) -> View:
    return make_view(rows, [name], **RULES, seed=seed)


def file_of(folder: Path, *sizes: int) -> Path:
    rows = [f"text {n} of {label},{label}\n" for label, size in enumerate(sizes) for n in range(size)]
    return written(folder, "intents.csv", "text,label\n" + "".join(rows))


def label_of(text: str) -> str:
    return text.rpartition(" ")[2]


def test_labels_are_words_or_numbers_and_the_same_in_every_file(tmp_path):
    csv = written(tmp_path, "a.csv", "text,label\none, Refund \ntwo,7\nthree,refund\n")
    jsonl = written(
        tmp_path,
        "b.jsonl",
        '{"text": "four", "label": "Refund"}\n{"text": "5", "label": 7}\n{"text": "6", "label": 7.0}\n',
    )
    made = source(train=csv, dev=jsonl)
    assert made.load("train").values("label") == [label_number(word) for word in ("Refund", "7", "refund")]
    assert made.load("dev").values("label") == [label_number(word) for word in ("Refund", "7", "7")]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("null", "label is missing (data.kind=texts reads texts alone)"),
        ("NaN", "label is missing"),
        ('" "', "label is empty"),
        ('["a", "b"]', "label is ['a', 'b'], not one word or number"),
    ],
)
def test_a_row_without_one_label_is_named(tmp_path, label, told):
    file = written(tmp_path, "r.jsonl", f'{{"text": "a", "label": "x"}}\n{{"text": "b", "label": {label}}}\n')
    assert f"row 2: {told}" in problems_of(file)


def test_texts_are_kept_once_and_not_alone_and_their_labels_are_counted_through(caplog):
    rows = rows_from(
        "labelled",
        {"text": ["a", "b", "a", "c", "d", "e", "a"], "label": [7, 7, 7, -3, -3, 5, -3]},
        name="some rows",
        counts={},
    )
    made = view(rows, "labelled")
    assert made.dataset["text"][:] == ["a", "b", "c", "d"]
    assert made.dataset["label"][:] == [1, 1, 0, 0]
    counts = {"dropped_repeated_text": 1, "dropped_other_label": 1, "dropped_alone_in_label": 1}
    assert made.counts == {"kept": 4, **counts}
    assert "some rows: 1 row has under another label what an earlier row has" in caplog.text


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((5,), "all its 5 texts have one label, and two are wanted"),
        ((1, 1, 1), "its 3 texts have as many labels, one each"),
        ((3, 1), "of its 2 labels only one has two different texts"),
    ],
)
@pytest.mark.parametrize("name", ["labelled", "scored"])
def test_fewer_than_two_labels_with_two_texts_are_refused(name, sizes, told):
    with pytest.raises(ConfigError, match=told):
        view(labelled(*sizes), name)


@pytest.mark.parametrize("seed", range(5))
def test_each_text_is_paired_with_one_of_its_label_and_one_of_another(seed):
    made = view(labelled(9, 2, 30, 1), "scored", seed).dataset
    pairs = list(zip(made["sentence1"], made["sentence2"], made["score"], strict=True))
    for first, second, score in pairs:
        assert first != second
        assert (label_of(first) == label_of(second)) == (score == 1)
    right = [frozenset(pair[:2]) for pair in pairs if pair[2] == 1]
    # The two of a label that has no more are one pair.
    assert len(set(right)) == len(right) == 9 + 1 + 30
    assert Counter(second for _, second, score in pairs if score == 1 and label_of(second) != "1") == Counter(
        first for first, _, score in pairs if score == 1 and label_of(first) != "1"
    )
    assert Counter(first for first, _, score in pairs if score == 0) == Counter(set(next(zip(*pairs, strict=True))))


def test_wrong_ones_are_drawn_from_all_other_labels_alike():
    found: Counter[str] = Counter()
    for seed in range(40):
        made = view(labelled(20, 40, 60), "scored", seed).dataset
        table = zip(made["sentence1"], made["sentence2"], made["score"], strict=True)
        found += Counter(label_of(second) for first, second, score in table if not score and label_of(first) == "0")
    assert found["2"] / found.total() == pytest.approx(0.6, abs=0.05)


def test_another_seed_pairs_otherwise_and_the_same_seed_alike():
    rows = labelled(20, 20)
    first, again, other = (list(view(rows, "scored", seed).dataset["sentence2"]) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "sizes", [(4, 4), (10,) * 6, (3,) * 40, (200, 5, 5), (200, 2, 2, 2, 2), (20,) * 10 + (1,) * 200], ids=str
)
def test_a_part_is_set_aside_in_which_labels_have_company(tmp_path, sizes, seed):
    made = source(train=file_of(tmp_path, *sizes), seed=seed)
    train, dev = made.load("train"), made.load("dev")
    assert not set(train.values("text")) & set(dev.values("text"))
    assert len(train.table) + len(dev.table) == sum(sizes)
    wanted = max(4, round(sum(sizes) / 10))
    # Where labels have hardly any texts, whole ones go, as far as there are some.
    assert min(wanted, 6) <= len(dev.table) <= 2 * wanted
    assert min(Counter(dev.values("label")).values()) > 1
    for rows in (train, dev):
        assert set(view(rows, "scored").dataset["score"]) == {0.0, 1.0}


@pytest.mark.parametrize("seed", range(3))
def test_texts_that_stand_there_twice_leave_the_labels_of_dev_as_they_are(tmp_path, seed):
    rows = "".join(f"text {n % 400} of {n % 400 % 5},{n % 5}\n" for n in range(800))
    made = source(train=written(tmp_path, "r.csv", "text,label\n" + rows), seed=seed)
    dev = Counter(made.load("dev").values("label"))
    assert dev.total() == 80
    assert len(dev) == 5


def test_a_dev_file_of_one_label_is_refused_before_anything_is_loaded(tmp_path):
    train, dev = file_of(tmp_path, 9, 9), written(tmp_path, "dev.csv", "text,label\na,x\nb,x\n")
    with pytest.raises(ConfigError, match=rf"data\.dev={dev}: all its 2 texts have one label, and two are wanted\."):
        compose(["data=files", f"data.train={train}", f"data.dev={dev}", "loss=batch_all_triplet"])


@pytest.mark.parametrize("loss", ["batch_all_triplet", "cosine"])
def test_a_train_file_of_one_label_is_refused_before_anything_is_loaded_where_it_is_not_split_either(tmp_path, loss):
    chosen = ["data=files", f"data.train={file_of(tmp_path, 9)}", "evaluation=helpdesk"]
    with pytest.raises(
        ConfigError, match=r"all its 9 texts have one label, and two are wanted; data\.kind=texts reads texts alone"
    ):
        compose([*chosen, f"loss={loss}"])
    assert compose([*chosen, "loss=tsdae"]).data.kind == "auto"
    assert compose([*chosen, "loss=tsdae", "data.kind=texts"]).data.kind == "texts"


def test_equal_texts_stay_on_one_side(tmp_path):
    rows = "".join(f"text {n // 2}{'.' * (n % 2)},{n // 2 % 3}\n" for n in range(120))
    made = source(train=written(tmp_path, "r.csv", "text,label\n" + rows))
    train, dev = ({text.rstrip(".") for text in made.load(split).values("text")} for split in ("train", "dev"))
    assert dev
    assert not train & dev


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        (
            (2, 2),
            "its 4 texts of 2 labels are too few to set a dev set aside: two texts each of two labels are wanted in it",
        ),
        ((200, 2, 2), "its 204 texts of 3 labels are too few"),
        ((30,), "all its 30 texts have one label"),
        ((1,) * 30, "its 30 texts have as many labels, one each"),
    ],
)
def test_what_cannot_be_parted_is_told_before_anything_is_loaded(tmp_path, sizes, told):
    with pytest.raises(ConfigError) as refused:
        compose(["data=files", f"data.train={file_of(tmp_path, *sizes)}", "loss=batch_all_triplet"])
    assert told in str(refused.value)


def test_a_text_under_two_labels_is_of_the_first_and_that_is_told(tmp_path, caplog):
    rows = "".join(f"text {n},{label}\n" for n in range(60) for label in ("ab", "ba")[n % 2])
    made = source(train=written(tmp_path, "conflict.csv", "text,label\n" + rows))
    train = view(made.load("train"), "labelled")
    assert train.counts["dropped_other_label"] == len(train.dataset)
    assert "rows have under another label what an earlier row has" in caplog.text


def test_batches_have_two_texts_or_more_of_each_label_and_what_is_left_out_is_told(caplog):
    caplog.set_level(logging.INFO)
    labels = [label for label, size in enumerate((9, 20, 3, 6)) for _ in range(size)]
    made = GroupedByLabel(
        Dataset.from_dict({"text": list(map(str, labels)), "label": labels}),
        batch_size=8,
        drop_last=False,
        valid_label_columns=["label"],
    )
    batches = list(made)
    assert len(batches) == len(made)
    for batch in batches:
        counts = Counter(labels[row] for row in batch)
        assert len(counts) >= 2
        assert min(counts.values()) >= 2
    ((_, level, said),) = caplog.record_tuples
    assert level == logging.WARNING
    assert f"batches: {len(labels) - sum(map(len, batches))} of 38 rows" in said


@pytest.mark.parametrize("size", [2, 5])
def test_a_batch_that_cannot_be_grouped_is_refused_with_what_can(size):
    with pytest.raises(ConfigError, match=r"wants two texts each of two labels.* even number from 4 on"):
        compose(["loss=batch_hard_triplet", "data.kind=labelled", f"batch_size={size}"])


def test_rows_that_are_not_labelled_are_answered_with_rows_that_are():
    with pytest.raises(ConfigError, match=r"data that would do: helpdesk data.kind=labelled, files \(rows of kind lab"):
        compose(["loss=batch_all_triplet"])
    with pytest.raises(ConfigError, match=r"data that would do: helpdesk data.kind=nli, mnli"):
        compose(["loss=mnr", "data.kind=labelled"])
    with pytest.raises(ConfigError, match=r"loss.batches=group_by_label: groups labelled texts, and loss=cosine"):
        compose(["loss=cosine", "loss.batches=group_by_label"])


def test_labels_of_the_built_in_corpus_are_what_is_wanted_in_its_texts():
    from embexp.data import build_source

    rows = build_source(compose(["loss=batch_all_triplet", "data.kind=labelled", "data.limit=500"]).data).load("train")
    assert rows.kind == "labelled"
    sizes = [len(list(group)) for _, group in groupby(sorted(rows.values("label")))]
    assert sum(sizes) == 500
    assert np.ptp(sizes) <= 1

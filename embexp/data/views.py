"""Views: what a loss is fed, made from the rows of a source.

| view | columns | made from |
|---|---|---|
| triplets | anchor, positive, negative | triplets as they are, or pairs (next line), each with a negative |
| pairs | anchor, positive | NLI: entailed hypotheses; scored rows from the threshold up; pairs as they are |
| scored | sentence1, sentence2, score | scored rows; NLI: entailment 1, else 0; others: positive 1, negative 0; labelled: next |
|        |                             | texts: each with another of its label 1, with one of another label 0 |
| classes | sentence1, sentence2, label | NLI rows |
| labelled | text, label | labelled texts; labels are 0, 1, 2, ... |
| noisy | text | the texts of any rows, flat, unique, unlabelled; the noise is made while training |
| twins | anchor, positive | the same texts, each beside itself |

A negative is the premise's own contradiction where it has one (NLI), else the positive of another row; with negatives="hard" the
nearest of these positives (`embexp.mining`). It is never the anchor, nor one of the anchor's positives (`embexp.data.negatives`). No row
occurs twice, but in scores as they were published, and in pairs and triplets of NLI rows with positives="all", the textbook's way. What
was kept and what dropped is counted. Views are made some rows at a time, and written as they are made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embexp.config import VIEWS_OF_KIND, ConfigError, Kind, ViewName
from embexp.config.kinds import NEEDS_NEGATIVES, view_of
from embexp.data.labelled import Labelled
from embexp.data.negatives import HARD, Miner, Triplets
from embexp.data.repeats import first_of_each
from embexp.data.rows import DIRECTED, ENTAILMENT, Rows, schema_of
from embexp.data.tables import filtered, passing, written
from embexp.units import counted

if TYPE_CHECKING:
    from datasets import Dataset

VIEW_COLUMNS: dict[ViewName, tuple[str, ...]] = {
    "triplets": ("anchor", "positive", "negative"),
    "pairs": ("anchor", "positive"),
    "scored": ("sentence1", "sentence2", "score"),
    "classes": ("sentence1", "sentence2", "label"),
    "labelled": ("text", "label"),
    "noisy": ("text",),
    "twins": ("anchor", "positive"),
}
# What the scores of the scored view are where nobody gave them, by the kind of its rows; there is room for both numbers.
SCORED_AS: dict[Kind, str] = {
    "nli": "{}entailed pairs count 1, and {}others 0",
    "triplets": "{}pairs with a positive count 1, and {}with a negative 0",
    "labelled": "{}pairs of one label count 1, and {}of two labels 0",
    "pairs": "{}right pairs count 1, and {}wrong ones, each with a text of another row, 0",
}
# Why rows are not in it, as a person is told.
LEFT_OUT = {
    "dropped_equal_texts": "with two equal texts",
    "dropped_repeated": "with what another row has",
    "dropped_repeated_text": "with a text that another row has",
    "dropped_other_label": "with a text that has another label before",
    "dropped_alone_in_label": "with a label of no other text",
    "dropped_no_negative": "for which no text is a wrong one",
}
# Of texts by themselves.
FLAT: tuple[ViewName, ...] = ("noisy", "twins")


@dataclass(frozen=True)
class View:
    """A data set with exactly the columns of `VIEW_COLUMNS[name]`, in order, and what became of the rows.

    Attributes:
        directed: whether the first text of a row asks for its others; else they could change places.
    """

    name: ViewName
    dataset: Dataset
    counts: dict[str, int]
    directed: bool


@dataclass(frozen=True)
class Rules:
    """How positives and negatives are found: the data option's keys of these names, the run's seed, and what mines hard ones."""

    positives: str
    negatives: str
    threshold: float
    seed: int
    miner: Miner | None = None


def make_view(
    rows: Rows,
    accepted: Sequence[ViewName],
    *,
    positives: str,
    negatives: str,
    threshold: float,
    seed: int,
    miner: Miner | None = None,
    scratch: Path | None = None,
) -> View:
    """The most natural view of these rows among those that a loss accepts.

    Args:
        rows: of one split.
        accepted: the views that the loss takes.
        positives, negatives, threshold, seed, miner: see `Rules`.
        scratch: a folder, into a file of which it is written and then mapped; None: it is in memory.

    Raises:
        ConfigError: none of them can be made from such rows, or no row is left.
        UnwritableError: no more can be written in the folder.
    """
    name = view_of(rows.kind, accepted, hard=miner is not None)
    if name is None:
        possible = ", ".join(VIEWS_OF_KIND[rows.kind])
        raise ConfigError(
            [f"{rows.name}: {' or '.join(accepted)} cannot be made from {rows.kind} rows; they give {possible}."]
        )
    dropped: Counter[str] = Counter()
    rules = Rules(_positives(rows, name, positives), negatives, threshold, seed, miner)
    made = _made(rows, name, rules, dropped, scratch)
    dataset = written(made, schema_of(VIEW_COLUMNS[name]), scratch)
    repeated = dropped.pop("dropped_repeated", 0)
    counts = {"kept": len(dataset), **dropped, "dropped_repeated": repeated}
    if len(dataset) < 2:
        raise ConfigError([f"{rows.name}: {_too_few(name, counts)}."])
    kept = {key: count for key, count in counts.items() if count or key in ("kept", HARD)}
    return View(name, dataset, kept, is_directed(rows, name))


def _positives(rows: Rows, name: ViewName, positives: str) -> str:
    """The rule as it is followed: only of NLI rows can there be the textbook's mistake, and only where they become positives."""
    return positives if rows.kind == "nli" and name in ("pairs", "triplets") else "entailment"


def _too_few(name: ViewName, counts: Mapping[str, int]) -> str:
    """What became of the rows of a view that has fewer than two, and what helps."""
    left = "1 row is" if counts["kept"] == 1 else f"{counts['kept']} rows are"
    if counts.get("dropped_no_negative"):
        return (
            f"{left} left as {name}: a negative is the positive of another pair and none of the anchor's own, and "
            f"{counted(counts['dropped_no_negative'], 'pair')} found none; name data with more different positives"
        )
    lost = ", ".join(f"{number} {cause}" for cause, number in counts.items() if cause != "kept" and number)
    return f"{left} left as {name} ({lost or 'there were no more'}); name data with more of them"


def is_directed(rows: Rows, view: ViewName) -> bool:
    """Whether the first text of a view's rows asks for the others."""
    return rows.kind in DIRECTED and view not in FLAT


def _made(rows: Rows, name: ViewName, rules: Rules, dropped: Counter[str], scratch: Path | None) -> Iterator[pa.Table]:
    """The rows of a view, some at a time; why others are not there is counted as they are read."""
    if rows.kind == "labelled" and name not in FLAT:
        texts = Labelled.of(rows)
        dropped.update(texts.dropped)
        if name == "labelled":
            yield from texts.tables()
        else:
            yield from (_as_view(name, table.columns) for table in texts.pairs(rules.seed))
        return
    if (name, rows.kind) not in NEEDS_NEGATIVES:
        yield from _once(rows, name, rules, dropped)
        return
    # Without repeats before negatives are drawn: with two negatives a repeated pair would pass for two rows.
    pairs = passing(_once(rows, "pairs", rules, dropped), schema_of(VIEW_COLUMNS["pairs"]), scratch)
    own = rules.negatives != "shuffled"
    triplets = Triplets.of(rows, pairs, own=own, seed=rules.seed, miner=rules.miner)
    dropped.update(triplets.counts)
    if name == "triplets":
        yield from triplets.tables()
        return

    def scored() -> Iterator[pa.Table]:
        return (_as_view(name, _both_pairs(*table.columns)) for table in triplets.tables())

    # Each pair stands once, but an anchor's two positives may have drawn the same negative.
    first = first_of_each(scored)
    dropped["dropped_repeated"] += int(np.count_nonzero(~first))
    yield from filtered(scored(), first)


def _once(rows: Rows, name: ViewName, rules: Rules, dropped: Counter[str]) -> Iterator[pa.Table]:
    """What `_read` gives, each row once, where it first stands."""
    flat = name in FLAT
    # A scored set is taken as it was published; the textbook's mistake (`_positives`) is made as the textbook makes it.
    if not flat and (rules.positives == "all" or rows.kind == name == "scored"):
        yield from _read(rows, name, rules, dropped)
        return
    first = first_of_each(lambda: _read(rows, name, rules, Counter()))
    dropped["dropped_repeated_text" if flat else "dropped_repeated"] += int(np.count_nonzero(~first))
    yield from filtered(_read(rows, name, rules, dropped), first)


def _read(rows: Rows, name: ViewName, rules: Rules, dropped: Counter[str]) -> Iterator[pa.Table]:
    """The rows that can be read off, repeated ones too."""
    if name in FLAT:
        for column in rows.text_columns:
            for table in rows.batches([column]):
                yield _as_view(name, table.columns * len(VIEW_COLUMNS[name]))
        return
    if name == "pairs" and rules.positives == "all":
        # The textbook's way counts nothing.
        dropped = Counter()
    for table in rows.batches(rows.table.column_names):
        for reason, fits in _tests(rows, name, rules).items():
            kept = table.filter(fits(table))
            dropped[reason] += len(table) - len(kept)
            table = kept
        columns = table.columns
        if name == "scored" and rows.kind == "nli":
            columns[-1] = pc.equal(columns[-1], ENTAILMENT)
        elif name == "scored" and rows.kind == "triplets":
            columns = _both_pairs(*columns)
        yield _as_view(name, columns)


def _tests(rows: Rows, name: ViewName, rules: Rules) -> dict[str, Callable[[pa.Table], pa.ChunkedArray]]:
    """Why rows are not in a view: which are, by one of them after another."""
    if name == "triplets" or (name == "scored" and rows.kind == "triplets"):
        # Scored, the two pairs of such a one would contradict each other, or say that a text is not like itself.
        return {"dropped_equal_texts": partial(_different, texts=3)}
    if name != "pairs":
        return {}
    tests: dict[str, Callable[[pa.Table], pa.ChunkedArray]] = {}
    if rows.kind == "nli" and rules.positives == "entailment":
        tests["dropped_not_entailment"] = lambda table: pc.equal(table["label"], ENTAILMENT)
    elif rows.kind == "scored":
        tests["dropped_below_threshold"] = lambda table: pc.greater_equal(table["score"], rules.threshold)
    if rules.positives != "all":
        tests["dropped_equal_texts"] = partial(_different, texts=2)
    return tests


def _different(table: pa.Table, *, texts: int) -> pa.ChunkedArray:
    """Which rows have no two equal texts among the first so many."""
    return reduce(pc.and_, (pc.not_equal(*two) for two in combinations(table.columns[:texts], 2)))


def _both_pairs(anchor: pa.ChunkedArray, positive: pa.ChunkedArray, negative: pa.ChunkedArray) -> list[pa.Array]:
    """Of each triplet two rows: with the positive, of score 1, and with the negative, of score 0."""
    rows, right = np.repeat(np.arange(len(anchor)), 2), np.tile([True, False], len(anchor))
    others = pa.chunked_array([*positive.chunks, *negative.chunks], type=positive.type)
    return [anchor.take(rows), others.take(np.where(right, rows, rows + len(anchor))), pa.array(right)]


def _as_view(name: ViewName, columns: Sequence[pa.ChunkedArray | pa.Array]) -> pa.Table:
    names = VIEW_COLUMNS[name]
    return pa.table(dict(zip(names, columns[: len(names)], strict=True))).cast(schema_of(names))

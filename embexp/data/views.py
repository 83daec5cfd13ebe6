"""Views: what a loss is fed, made from the rows of a source.

| view | columns | made from |
|---|---|---|
| triplets | anchor, positive, negative | triplets as they are, or pairs (next line), each with a negative |
| pairs | anchor, positive | NLI: entailed hypotheses; scored rows from the threshold up; pairs as they are |
| scored | sentence1, sentence2, score | scored rows; NLI: entailment 1, else 0; others: positive 1, negative 0 |
| classes | sentence1, sentence2, label | NLI rows |
| noisy | text | the texts of any rows, flat, unique, unlabelled; the noise is made while training |
| twins | anchor, positive | the same texts, each beside itself |

A negative is the premise's own contradiction where it has one (NLI), else the positive of another row; it is never the
anchor, nor one of the anchor's positives. No row occurs twice, but with positives="all", the textbook's way. What
was kept and what dropped is counted.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from embexp.config import VIEWS_OF_KIND, ConfigError, Kind, ViewName
from embexp.data.rows import CONTRADICTION, ENTAILMENT, TYPES, Rows

if TYPE_CHECKING:
    from datasets import Dataset

VIEW_COLUMNS: dict[ViewName, tuple[str, ...]] = {
    "triplets": ("anchor", "positive", "negative"),
    "pairs": ("anchor", "positive"),
    "scored": ("sentence1", "sentence2", "score"),
    "classes": ("sentence1", "sentence2", "label"),
    "noisy": ("text",),
    "twins": ("anchor", "positive"),
}
# What the scores of the scored view are where nobody gave them, by the kind of its rows; there is room for both numbers.
SCORED_AS: dict[Kind, str] = {
    "nli": "{}entailed pairs count 1, and {}others 0",
    "triplets": "{}pairs with a positive count 1, and {}with a negative 0",
    "pairs": "{}right pairs count 1, and {}wrong ones, each with a text of another row, 0",
}
REDRAWS = 100


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
    """How positives and negatives are found: the data option's keys of these names, and the run's seed."""

    positives: str
    negatives: str
    threshold: float
    seed: int


def make_view(
    rows: Rows, accepted: Sequence[ViewName], *, positives: str, negatives: str, threshold: float, seed: int
) -> View:
    """The most natural view of these rows among those that a loss accepts.

    Raises:
        ConfigError: none of them can be made from such rows, or no row is left.
    """
    from datasets import Dataset

    name = next((view for view in VIEWS_OF_KIND[rows.kind] if view in accepted), None)
    if name is None:
        possible = ", ".join(VIEWS_OF_KIND[rows.kind])
        raise ConfigError(
            [f"{rows.name}: {' or '.join(accepted)} cannot be made from {rows.kind} rows; they give {possible}."]
        )
    made, dropped = MAKERS[name](rows, Rules(positives, negatives, threshold, seed))
    # A scored set is taken as it was published; the textbook's mistake is made as the textbook makes it.
    as_they_are = positives == "all" or rows.kind == name == "scored"
    kept = made if as_they_are else list(dict.fromkeys(made))
    repeated = dropped.pop("dropped_repeated", 0) + len(made) - len(kept)
    counts = {"kept": len(kept), **dropped, "dropped_repeated": repeated}
    if len(kept) < 2:
        raise ConfigError([f"{rows.name}: {_too_few(name, counts)}."])
    columns = zip(*kept, strict=True)
    arrays = {
        column: pa.array(values, type=TYPES.get(column, pa.string()))
        for column, values in zip(VIEW_COLUMNS[name], columns, strict=True)
    }
    return View(
        name,
        Dataset(pa.table(arrays)),
        {key: count for key, count in counts.items() if count or key == "kept"},
        is_directed(rows) and name != "twins",
    )


def _too_few(name: ViewName, counts: Mapping[str, int]) -> str:
    """What became of the rows of a view that has fewer than two, and what helps."""
    left = "1 row is" if counts["kept"] == 1 else f"{counts['kept']} rows are"
    if counts.get("dropped_no_negative"):
        return (
            f"{left} left as {name}: a negative is the positive of another pair and none of the anchor's own, and "
            f"{counts['dropped_no_negative']} pairs found none; name data with more different positives"
        )
    lost = ", ".join(f"{number} {cause}" for cause, number in counts.items() if cause != "kept" and number)
    return f"{left} left as {name} ({lost or 'there were no more'}); name data with more of them"


def is_directed(rows: Rows) -> bool:
    """Whether their first text asks for the others, as a question does; scored rows and NLI's are alike on both sides."""
    return rows.kind in ("pairs", "triplets")


Made = tuple[list[tuple[Any, ...]], dict[str, int]]


def _pairs(rows: Rows, rules: Rules) -> Made:
    read = _records(rows)
    if rows.kind == "nli" and rules.positives == "entailment":
        found = [record[:2] for record in read if record[2] == ENTAILMENT]
        reason = "dropped_not_entailment"
    elif rows.kind == "scored":
        found = [record[:2] for record in read if record[2] >= rules.threshold]
        reason = "dropped_below_threshold"
    else:
        found = [record[:2] for record in read]
        reason = "dropped"
    if rules.positives == "all":
        return found, {}
    different = [pair for pair in found if pair[0] != pair[1]]
    # Before negatives are drawn: with two negatives a repeated pair would pass for two rows.
    unique = list(dict.fromkeys(different))
    return unique, {
        reason: len(read) - len(found),
        "dropped_equal_texts": len(found) - len(different),
        "dropped_repeated": len(different) - len(unique),
    }


def _triplets(rows: Rows, rules: Rules) -> Made:
    if rows.kind == "triplets":
        read = _records(rows)
        kept = [record for record in read if len(set(record)) == 3]
        return kept, {"dropped_equal_texts": len(read) - len(kept)}
    pairs, dropped = _pairs(rows, rules)
    entailed: dict[Any, set[Any]] = defaultdict(set)
    for anchor, positive in pairs:
        entailed[anchor].add(positive)
    own = _contradictions(rows, entailed) if rows.kind == "nli" and rules.negatives == "contradiction" else {}
    draw = random.Random(rules.seed)
    shuffled = [positive for _, positive in pairs]
    draw.shuffle(shuffled)
    triplets: list[tuple[Any, ...]] = []
    used: dict[Any, int] = defaultdict(int)
    for (anchor, positive), negative in zip(pairs, shuffled, strict=True):
        if anchor in own:
            negative = own[anchor][used[anchor] % len(own[anchor])]
            used[anchor] += 1
        for _ in range(REDRAWS):
            if negative != anchor and negative not in entailed[anchor]:
                triplets.append((anchor, positive, negative))
                break
            negative = draw.choice(shuffled)
    return triplets, {
        **dropped,
        "dropped_no_negative": len(pairs) - len(triplets),
        "own_contradiction": sum(used.values()),
    }


def _contradictions(rows: Rows, entailed: dict[Any, set[Any]]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = defaultdict(list)
    for premise, hypothesis, label in _records(rows):
        # Labels may contradict each other: what somebody called entailed is no negative.
        if label == CONTRADICTION and hypothesis != premise and hypothesis not in entailed[premise]:
            found[premise].append(hypothesis)
    return found


def _scored(rows: Rows, rules: Rules) -> Made:
    read = _records(rows)
    if rows.kind == "nli":
        return [(first, second, float(label == ENTAILMENT)) for first, second, label in read], {}
    if rows.kind == "triplets":
        return [row for a, p, n in read for row in ((a, p, 1.0), (a, n, 0.0))], {}
    if rows.kind == "pairs":
        mismatched, dropped = _triplets(rows, rules)
        return [row for a, p, n in mismatched for row in ((a, p, 1.0), (a, n, 0.0))], dropped
    return read, {}


def _classes(rows: Rows, rules: Rules) -> Made:
    return _records(rows), {}


def _noisy(rows: Rows, rules: Rules) -> Made:
    texts = rows.texts()
    unique = dict.fromkeys(texts)
    return [(text,) for text in unique], {"dropped_repeated_text": len(texts) - len(unique)}


def _twins(rows: Rows, rules: Rules) -> Made:
    made, dropped = _noisy(rows, rules)
    return [(text, text) for (text,) in made], dropped


def _records(rows: Rows) -> list[tuple[Any, ...]]:
    return list(zip(*(rows.values(column) for column in rows.table.column_names), strict=True))


MAKERS: dict[ViewName, Callable[[Rows, Rules], Made]] = {
    "triplets": _triplets,
    "pairs": _pairs,
    "scored": _scored,
    "classes": _classes,
    "noisy": _noisy,
    "twins": _twins,
}

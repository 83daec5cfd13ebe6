"""What should be new to a model and is not: rows scored on that it was trained on, rows of test that are in dev, texts
to classify that the classes are learnt from.

Texts are held against each other as a reader would: see `embexp.data.rows.text_key`. The rows to train on are read some at
a time, and of all texts no more is kept than a number for each of those that are scored on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from embexp.compare.warned import TEST_AND_DEV
from embexp.data.cache import Made, found_or_made
from embexp.data.rows import Rows, text_key
from embexp.evaluation import Extras, Pairs
from embexp.evaluation.classification import ClassificationEvaluation, Labelled
from embexp.evaluation.retrieval import RetrievalEvaluation
from embexp.evaluation.sts import SetEvaluation
from embexp.home import expanded
from embexp.identity import code_of

# The share of rows from which it is told: of those all of whose texts are known, and of those with one that is. Less moves no
# score that can be seen, and of STS-B's own test rows 1 % are made of sentences of dev.
WHOLE_TO_TELL, PART_TO_TELL = 0.02, 0.1
# Rows to train on that are in memory at once.
ROWS_AT_ONCE = 10_000
# What follows, of whole rows and of parts of rows.
TOO_GOOD = "its scores are too good", "its scores may be too good"
ASIDE = "capitals, blanks and final punctuation aside"


@dataclass(frozen=True)
class _Scored:
    """What is scored on: what its scores are called by, whose rows they are, and of each row the keys of its texts."""

    name: str
    source: str
    rows: Sequence[Sequence[int]]

    @property
    def keys(self) -> set[int]:
        return {key for row in self.rows for key in row}


def leaks_of_train(train: Rows, pairs: Mapping[str, Pairs], extras: Extras, *, cache: str | None = None) -> list[str]:
    """A sentence for each set of pairs, judged queries, or texts to classify, whose texts are to be trained on.

    Args:
        train: the rows to train on.
        pairs: of dev and test.
        extras: what is scored beside them.
        cache: the folder in which it is kept, as the rows are: of millions of them it takes longer than all else before the
            first step; None: it is looked for anew.
    """
    scored = [*_splits(pairs), *_beside(extras)]
    if cache is None:
        return _leaks_of_train(train, scored)
    made_from = {
        "leaks": {name: [of.fingerprint, of.rows.fingerprint if of.rows else None] for name, of in pairs.items()},
        "beside": extras.fingerprint,
        "train": train.fingerprint,
        "called": [train.name, *(of.source for of in scored)],
        "code of leaks": code_of("leaks.py", "evaluation"),
    }
    found, _ = found_or_made(expanded(cache), made_from, lambda _: Made(None, {"said": _leaks_of_train(train, scored)}))
    said: list[str] = found.facts["said"]
    return said


def _leaks_of_train(train: Rows, scored: Sequence[_Scored]) -> list[str]:
    looked_for = {key for of in scored for key in of.keys}
    known = _keys_among(train, looked_for)
    found = (_told(f"{of.name} and train", of, train.name, known, TOO_GOOD) for of in scored)
    return [told for told in found if told is not None]


def leaks_of_dev(pairs: Mapping[str, Pairs]) -> list[str]:
    """A sentence where test has the texts of dev."""
    splits = {of.name: of for of in _splits(pairs)}
    if not splits.keys() >= {"dev", "test"}:
        return []
    dev, test = splits["dev"], splits["test"]
    so = "on these test tells no more than dev", "test may tell little that dev does not"
    told = _told(TEST_AND_DEV, test, dev.source, dev.keys, so)
    return [] if told is None else [told]


def leaks_of_classes(extras: Extras) -> list[str]:
    """A sentence where texts to classify are among those that the classes are learnt from."""
    found = []
    for extra in extras.chosen:
        if isinstance(extra, ClassificationEvaluation):
            test, train = (_of_labelled(extra.name, texts) for texts in (extra.test, extra.train))
            found.append(_told(f"{extra.name}'s test and its train", test, train.source, train.keys, TOO_GOOD))
    return [told for told in found if told is not None]


def _told(names: str, scored: _Scored, others: str, known: set[int], so: tuple[str, str]) -> str | None:
    """What is said of rows without a new text, or, where there are hardly any, of those with one that is known.

    Args:
        names: of both sets.
        scored: whose rows are counted.
        others: the name of the rows that have the known texts.
        known: the keys of these.
        so: what follows, of whole rows and of parts of rows.
    """
    whole = sum(known.issuperset(row) for row in scored.rows)
    part = sum(not known.isdisjoint(row) for row in scored.rows)
    count = len(scored.rows)
    if whole and whole >= WHOLE_TO_TELL * count:
        which, then = f"{whole} of {count} rows of {scored.source} hold only texts", so[0]
    elif part and part >= PART_TO_TELL * count:
        which, then = f"{part} of {count} rows of {scored.source} hold a text", so[1]
    else:
        return None
    # Of a file and its copy, or of one file twice, the name would say nothing.
    others = "the other" if scored.source == others else others
    cure = "take these rows out of one of the two, or score on others"
    return f"{names}: {which} that {others} holds too ({ASIDE}): {then}; {cure}"


def _splits(pairs: Mapping[str, Pairs]) -> Iterator[_Scored]:
    return (_of_pairs(name, of) for name, of in pairs.items())


def _beside(extras: Extras) -> Iterator[_Scored]:
    for extra in extras.chosen:
        if isinstance(extra, SetEvaluation):
            yield _of_pairs(extra.name, extra.pairs)
        elif isinstance(extra, RetrievalEvaluation):
            yield _Scored(extra.name, "its queries with their documents", _keys(extra.judged.answered()))
        elif isinstance(extra, ClassificationEvaluation):
            yield _of_labelled(extra.name, extra.test)


def _of_pairs(name: str, pairs: Pairs) -> _Scored:
    rows = pairs.rows
    texts = [pairs.sentences1, pairs.sentences2] if rows is None else [rows.values(each) for each in rows.text_columns]
    return _Scored(name, pairs.name, _keys(zip(*texts, strict=True)))


def _of_labelled(name: str, texts: Labelled) -> _Scored:
    return _Scored(name, texts.name, _keys((text,) for text in texts.texts))


def _keys(rows: Iterable[Sequence[str]]) -> list[tuple[int, ...]]:
    return [tuple(map(text_key, row)) for row in rows]


def _keys_among(rows: Rows, looked_for: Set[int]) -> set[int]:
    """Those of the keys that texts of the rows have."""
    found: set[int] = set()
    if not looked_for:
        return found
    for some in rows.table.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        for column in rows.text_columns:
            found.update(key for key in map(text_key, some.column(column).to_pylist()) if key in looked_for)
    return found

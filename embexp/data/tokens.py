"""Texts as token ids, made once of a data set by a tokenizer and kept beside its rows: nothing is tokenised in a step.

Ids are found by the text itself, whatever its row or column: equal texts are kept once, and one that is not there, as
noise that is made while training, is simply not found.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.data.cache import Made, found_or_made

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

# Texts that are tokenised at once: enough for every core, few enough for their lists to be nothing.
AT_ONCE = 5_000
Tokenise = Callable[[list[str]], list[list[int]]]


@dataclass(frozen=True)
class Tokens:
    """The token ids of texts.

    Attributes:
        table: a row a text, in the order of its hash: the hash's halves, `first` and `second`, and its `ids`.
    """

    table: Dataset

    def find(self, texts: Sequence[str], *, padding: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
        """The texts' ids, padded on the right, (texts, tokens), and which are no padding; None: not all are there."""
        hashes, firsts, ids = _hashes(texts), self._columns["first"].to_numpy(), self._columns["ids"]
        # Of two texts that share a first half one is not found, and tokenised.
        places = np.searchsorted(firsts, hashes[:, 0]).clip(max=len(firsts) - 1)
        found = np.stack([firsts[places], self._columns["second"].to_numpy()[places]], axis=1)
        if not np.array_equal(found, hashes):
            return None
        offsets = ids.offsets.to_numpy()
        starts, lengths = offsets[places], offsets[places + 1] - offsets[places]
        columns = np.arange(lengths.max())
        chosen = columns < lengths[:, None]
        padded = np.full(chosen.shape, padding, dtype=np.int64)
        padded[chosen] = ids.values.to_numpy()[(starts[:, None] + columns)[chosen]]
        return padded, chosen

    def __reduce__(self) -> tuple[type[Tokens], tuple[Dataset]]:
        # To another process goes where the table lies, not what was looked up in it.
        return type(self), (self.table,)

    @cached_property
    def _columns(self) -> dict[str, Any]:
        columns = {name: self.table.data.column(name) for name in self.table.column_names}
        # As they were written, in one piece, nothing is copied out of the mapped file.
        return {
            name: held.chunk(0) if held.num_chunks == 1 else held.combine_chunks() for name, held in columns.items()
        }


def cached_tokens(
    folder: str, dataset: Dataset, tokenise: Tokenise, *, prompts: Mapping[str, str], made_from: Mapping[str, Any]
) -> Tokens:
    """The tokens of all texts of a data set, kept in `folder`.

    Args:
        folder: where rows and views are kept.
        dataset: whose columns of strings are texts.
        tokenise: gives the ids of texts, a list a text, without padding.
        prompts: of columns, each put before its texts.
        made_from: what decides the ids, and which texts they are of.
    """

    def make() -> Made:
        log.info("tokens: of %s rows, made once for all runs on them", f"{len(dataset):,}")
        made = Made(_tokenised(dataset, tokenise, prompts), {}, in_one_piece=True)
        # Arrow would keep what the making took for as long as the process lives.
        pa.default_memory_pool().release_unused()
        return made

    made_from = {"tokens": dict(made_from), "prompts": dict(prompts)}
    (table, *_), _ = found_or_made(Path(folder).expanduser(), made_from, make)
    assert table is not None
    return Tokens(table)


def _tokenised(dataset: Dataset, tokenise: Tokenise, prompts: Mapping[str, str]) -> Dataset:
    from datasets import Dataset

    hashes = np.concatenate([_hashes(texts) for texts in _texts(dataset, prompts)])
    # Where each text stands first among all, in the order of the hashes.
    places = np.lexsort((hashes[:, 1], hashes[:, 0]))
    ordered = hashes[places]
    places = places[np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])]
    unique = hashes[places]
    wanted = np.zeros(len(hashes), dtype=bool)
    wanted[places] = True
    ids, lengths, seen = [], [np.zeros(1, dtype=np.int64)], 0
    for texts in _texts(dataset, prompts):
        chosen = [text for text, first in zip(texts, wanted[seen : seen + len(texts)], strict=True) if first]
        seen += len(texts)
        found = tokenise(chosen) if chosen else []
        assert len(found) == len(chosen)
        ids.append(np.fromiter(chain.from_iterable(found), dtype=np.int32))
        lengths.append(np.array([len(of_text) for of_text in found], dtype=np.int64))
    offsets = pa.array(np.cumsum(np.concatenate(lengths)))
    as_read = pa.LargeListArray.from_arrays(offsets, pa.array(np.concatenate(ids)))
    # The n-th that was read is the n-th of all places.
    of_unique = as_read.take(pa.array(np.searchsorted(np.sort(places), places)))
    return Dataset(pa.table({"first": unique[:, 0], "second": unique[:, 1], "ids": of_unique}))


def _texts(dataset: Dataset, prompts: Mapping[str, str]) -> Iterator[list[str]]:
    """All texts, each behind its prompt, column by column, some at once."""
    for name, feature in dataset.features.items():
        if feature.dtype == "string":
            for first in range(0, len(dataset), AT_ONCE):
                yield [f"{prompts.get(name, '')}{text}" for text in dataset[first : first + AT_ONCE][name]]


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """128 bits of each text, (texts, 2)."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)

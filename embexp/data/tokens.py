"""Texts as token ids, made once of a data set by a tokenizer and kept beside its rows: nothing is tokenised in a step.

Ids are found by the text itself, whatever its row or column: equal texts are kept once, and one that is not there, as
noise that is made while training, is simply not found.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embexp.data.cache import Made, found_or_made, scratch_name
from embexp.home import expanded

if TYPE_CHECKING:
    from datasets import Dataset

log = logging.getLogger(__name__)

# Texts that are tokenised at once: enough for every core, few enough for their lists to be nothing.
AT_ONCE = 5_000
# Texts whose hashes are sorted at once, about.
A_BUCKET = 1_000_000
TELL_EVERY = 60.0  # seconds
# Of a text: its hash's halves, and its number among all texts.
FIELDS = {"first": "<u8", "second": "<u8", "place": "<i8"}
HASHED = np.dtype(list(FIELDS.items()))
Tokenise = Callable[[list[str]], list[list[int]]]


@dataclass(frozen=True)
class Tokens:
    """The token ids of texts.

    Attributes:
        table: texts in the order of their hashes, whose halves are `first` and `second`; in `place`, which of the lists in
            `ids` is the text's.
    """

    table: Dataset

    def find(self, texts: Sequence[str], *, padding: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]] | None:
        """The texts' ids, padded on the right, (texts, tokens), and which are no padding; None: not all are there."""
        hashes, firsts, ids = _hashes(texts), self._columns["first"].to_numpy(), self._columns["ids"]
        # Of two texts that share a first half one is not found, and tokenised.
        rows = np.searchsorted(firsts, hashes[:, 0]).clip(max=len(firsts) - 1)
        found = np.stack([firsts[rows], self._columns["second"].to_numpy()[rows]], axis=1)
        if not np.array_equal(found, hashes):
            return None
        places, offsets = self._columns["place"].to_numpy()[rows], ids.offsets.to_numpy()
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
) -> Tokens | None:
    """The tokens of all texts of a data set, kept in `folder`; None: nothing can be written there.

    Args:
        folder: where rows and views are kept.
        dataset: whose columns of strings are texts.
        tokenise: gives the ids of texts, a list a text, without padding.
        prompts: of columns, each put before its texts.
        made_from: what decides the ids, and which texts they are of.
    """
    kept = expanded(folder)
    with ExitStack() as until_written:

        def make(_: Path | None) -> Made:
            log.info("tokens: of %s rows, made once for all runs on them", f"{len(dataset):,}")
            # Beside what is kept: a system's own folder for such files may lie in memory.
            scratch = kept / scratch_name()
            until_written.callback(shutil.rmtree, scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            return Made(_tokenised(dataset, tokenise, prompts, scratch), {}, in_one_piece=True)

        try:
            (table, *_), _ = found_or_made(kept, {"tokens": dict(made_from), "prompts": dict(prompts)}, make)
        except OSError as error:
            log.warning("%s: tokens cannot be kept there (%s); texts are tokenised as they come", folder, error)
            return None
    assert table is not None
    return Tokens(table)


def _tokenised(dataset: Dataset, tokenise: Tokenise, prompts: Mapping[str, str], scratch: Path) -> Dataset:
    """All texts' tokens, mapped from files in `scratch`: in memory are 9 bytes a text, whatever it says."""
    from datasets import Dataset

    buckets = _hashed(dataset, prompts, scratch)
    wanted = np.zeros(_texts_of(dataset), dtype=bool)
    for bucket in buckets:
        hashed = np.fromfile(bucket, dtype=HASHED)
        hashed = hashed[np.lexsort([hashed["place"], hashed["second"], hashed["first"]])]
        # Of equal texts the first.
        new = (hashed["first"][1:] != hashed["first"][:-1]) | (hashed["second"][1:] != hashed["second"][:-1])
        hashed = hashed[np.concatenate([np.ones(len(hashed[:1]), dtype=bool), new])]
        wanted[hashed["place"]] = True
        hashed.tofile(bucket)
    files = {name: scratch / name for name in ("ids", "offsets", *FIELDS)}
    _write_ids(_texts(dataset, prompts), tokenise, wanted, files["ids"], files["offsets"])
    # The n-th that is wanted has the n-th list.
    lists = np.cumsum(wanted) - 1
    for name in FIELDS:
        with files[name].open("wb") as file:
            for bucket in buckets:
                column = np.fromfile(bucket, dtype=HASHED)[name]
                (lists[column] if name == "place" else column).tofile(file)
    ids = pa.LargeListArray.from_arrays(_mapped(files["offsets"], np.int64), _mapped(files["ids"], np.int32))
    table = pa.table({name: _mapped(files[name], dtype) for name, dtype in FIELDS.items()} | {"ids": ids})
    # Without a name of its own it would be hashed, and for that copied into memory.
    return Dataset(table, fingerprint=scratch.name)


def _hashed(dataset: Dataset, prompts: Mapping[str, str], scratch: Path) -> list[Path]:
    """Files of hashes, `HASHED`: all of one are below all of the next."""
    count = 1 + _texts_of(dataset) // A_BUCKET
    buckets = [scratch / f"hashed-{number}" for number in range(count)]
    seen = 0
    with ExitStack() as stack:
        files = [stack.enter_context(bucket.open("wb")) for bucket in buckets]
        for texts in _texts(dataset, prompts):
            hashed = np.empty(len(texts), dtype=HASHED)
            hashed["first"], hashed["second"] = _hashes(texts).T
            hashed["place"] = np.arange(seen, seen + len(texts))
            seen += len(texts)
            # By the upper 32 bits, as evenly as hashes are.
            into = (hashed["first"] >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
            for number in np.unique(into):
                hashed[into == number].tofile(files[number])
    return buckets


def _write_ids(
    all_texts: Iterator[list[str]], tokenise: Tokenise, wanted: NDArray[np.bool_], ids: Path, offsets: Path
) -> None:
    """The ids of the texts that are wanted, one after another, int32, and where each begins and the last ends, int64."""
    seen, end, told = 0, 0, time.monotonic()
    with ids.open("wb") as of_ids, offsets.open("wb") as of_offsets:
        np.zeros(1, dtype=np.int64).tofile(of_offsets)
        for texts in all_texts:
            chosen = [text for text, first in zip(texts, wanted[seen : seen + len(texts)], strict=True) if first]
            seen += len(texts)
            found = tokenise(chosen) if chosen else []
            assert len(found) == len(chosen)
            np.fromiter(chain.from_iterable(found), dtype=np.int32).tofile(of_ids)
            ends = end + np.cumsum([len(of_text) for of_text in found], dtype=np.int64)
            ends.tofile(of_offsets)
            end = int(ends[-1]) if found else end
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                log.info("tokens: %s of %s texts", f"{seen:,}", f"{len(wanted):,}")


def _mapped(file: Path, dtype: Any) -> pa.Array:
    # An empty file cannot be mapped.
    return pa.array(np.memmap(file, dtype, mode="r") if file.stat().st_size else np.empty(0, dtype))


def _texts(dataset: Dataset, prompts: Mapping[str, str]) -> Iterator[list[str]]:
    """All texts, each behind its prompt, column by column, some at once."""
    for name in _columns_of_texts(dataset):
        column = dataset.select_columns([name])
        for first in range(0, len(dataset), AT_ONCE):
            yield [f"{prompts.get(name, '')}{text}" for text in column[first : first + AT_ONCE][name]]


def _texts_of(dataset: Dataset) -> int:
    return len(dataset) * len(_columns_of_texts(dataset))


def _columns_of_texts(dataset: Dataset) -> list[str]:
    return [name for name, feature in dataset.features.items() if feature.dtype == "string"]


def _hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """128 bits of each text, (texts, 2)."""
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)

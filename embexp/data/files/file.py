"""A file whose columns are known: its rows, judged as they are read."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from time import monotonic

import pyarrow as pa

from embexp.config import ConfigError, Kind
from embexp.data.files.checking import Checker, Tally
from embexp.data.files.content import UnreadableError
from embexp.data.files.records import Records
from embexp.data.rows import COLUMNS, arrow_table
from embexp.data.tables import AT_ONCE

# Not of this package: what that says of rows is kept with them, and said again where they are.
log = logging.getLogger("embexp.reading")

# A person who waits longer is told for what.
SILENCE_SECONDS = 3


@dataclass(frozen=True)
class File:
    """One that has been opened.

    Attributes:
        where: what problems name it by: "data.train=my.csv".
        kind: of its rows.
        names: our name of each column: the file's.
        records: what it holds, as far as it is asked for.
        whole: all of it, of which the scale of scores is told.
        checker: judges them.
        drop: whether bad rows are left out; else they are refused.
    """

    where: str
    kind: Kind
    names: Mapping[str, str]
    records: Records
    whole: Records
    checker: Checker
    drop: bool

    @cached_property
    def scale(self) -> tuple[float, float] | None:
        """The lowest and highest possible score; None where rows have none.

        Raises:
            ConfigError: it cannot be told from the scores.
            UnreadableError: see `Records`.
        """
        return self.checker.scale(self.whole, self.names["score"], self.where) if self.kind == "scored" else None

    def tables(self, tally: Tally) -> Iterator[pa.Table]:
        """The good rows, some at a time, with the columns of the kind.

        Args:
            tally: is kept of all.

        Raises:
            ConfigError: as it is used: the file cannot be read to its end, there is no good row in it, or bad ones are refused.
        """
        tell_at = monotonic() + SILENCE_SECONDS
        try:
            good = self._good(tally)
            while some := list(islice(good, AT_ONCE)):
                if monotonic() > tell_at:
                    log.info("%s: is being read, %d rows so far", self.where, tally.count)
                    tell_at = math.inf
                columns = zip(*some, strict=True)
                yield arrow_table(self.kind, dict(zip(COLUMNS[self.kind], map(list, columns), strict=True)))
        except UnreadableError as error:
            raise ConfigError([f"{self.where}: {error}."]) from None
        if tally.bad and not self.drop:
            raise ConfigError(self.checker.told(self.where, tally))
        if not tally.good:
            number, problem = tally.told[0]
            raise ConfigError([f"{self.where}: no usable row in it; row {number}: {problem}."])

    def _good(self, tally: Tally) -> Iterator[tuple[object, ...]]:
        columns = list(dict.fromkeys(self.names.values()))
        if next(self.records.read(columns), None) is None:
            raise ConfigError([f"{self.where}: it has a header and no rows."])
        rows = self.records.read(columns)
        yield from self.checker.good(rows, self.kind, self.names, scale=self.scale, tally=tally)

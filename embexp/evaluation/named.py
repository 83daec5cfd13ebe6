"""A table as a config names it: read whole, or looked into before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embexp.config import ConfigError
from embexp.data.files.content import UnreadableError, is_small
from embexp.evaluation.tables import lacks, opened, read_columns


@dataclass(frozen=True)
class Table:
    """One that an evaluation reads.

    Attributes:
        path: of its file.
        key: the config key that named it.
        how: it is read: what `read_columns` takes beside.
    """

    path: Path
    key: str
    how: Mapping[str, Any]

    def read(self) -> dict[str, list[Any]]:
        """See `read_columns`."""
        return read_columns(self.path, key=self.key, **self.how)

    def problems(self) -> Sequence[str]:
        """What reading it would tell, where it is read in no time; else what its head shows."""
        try:
            if is_small(self.path):
                self.read()
            else:
                self._refuse_head()
        except ConfigError as error:
            return error.problems
        return []

    def _refuse_head(self) -> None:
        """Says which columns it lacks that every row must have something in.

        Raises:
            ConfigError: with them; or not even its head can be read.
        """
        try:
            there = opened(self.path).columns
        except UnreadableError as error:
            raise ConfigError([f"{self.key}={self.path}: {error}."]) from error
        # A row of a jsonl need not have what the first rows have; a table has the columns of its header.
        blank = self.how.get("blank", ()) if ".jsonl" in self.path.name.lower() else ()
        spared = {*self.how.get("optional", ()), *blank}
        lacking = {
            ours: names
            for ours, names in self.how["columns"].items()
            if ours not in spared and not set(names) & set(there)
        }
        if lacking:
            raise ConfigError([lacks(names, there, self.path, self.key) for names in lacking.values()])

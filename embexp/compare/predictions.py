"""What runs left in predictions.parquet, the similarity of every pair; and what is said of those that left none to read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from embexp.compare.ranking import ranked, score_of
from embexp.compare.runs import Run
from embexp.compare.warned import rows_called
from embexp.run_folder import INPUTS, read_object
from embexp.statistics import Array, correlations
from embexp.units import counted

JUDGED = re.compile(
    r"(?P<split>dev|test)/(?P<statistic>pearson|spearman)_(?P<similarity>cosine|manhattan|euclidean|dot)"
)
# As many of the best are judged: further down nobody chooses.
MOST_JUDGED = 20
# Rows that are looked through for what cannot be read, and those of them that are named.
MOST_LOOKED_AT, MOST_NAMED = 50, 8
# How far the score that a file gives may lie from the one that was logged; and by how much of its size a similarity is moved at
# most by the float32 that it is kept in.
TOLERANCE, ROUNDING = 1e-4, 2.0**-23
ANEW = "with rerun=true such a run is made anew"
# Why predictions are not looked for, which may be on this machine all the same: a server that runs here has its files in a folder, too.
ELSEWHERE = "the store keeps the runs' files elsewhere than in a folder (on a server, in a bucket), from where they are not fetched"


class Damaged(Exception):
    """A file of predictions that is there and cannot be read: it was cut off, emptied, or is another's.

    Attributes:
        how: what is wrong with them, after "the predictions".
    """

    how = "cannot be read"


class NotItsOwn(Damaged):
    """A file of predictions that can be read, and is not what its run left: it is of more pairs or fewer, or gives another score."""

    def __init__(self, path: Path, how: str) -> None:
        self.how = how
        super().__init__(f"{path}: the predictions {how}")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """What breaks in the block, breaks for what is in the file.

    Raises:
        Damaged: with the file's name.
    """
    # Not above: a table whose runs left none does without it.
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise Damaged(f"{path}: cannot be read as predictions ({type(error).__name__})") from error


def predictions(run: Run, asked: re.Match[str]) -> Mapping[str, Array] | None:
    """Score, similarity before and after, (pairs,), of the split; None where the run left none, or its file holds no such similarity.

    Raises:
        Damaged: the file is there and cannot be read, is of other pairs than the run was scored on, as far as it was recorded, or gives
            another score than the run logged.
    """
    if run.predictions is None or not run.predictions.is_file():
        return None
    import pyarrow.parquet as pq

    columns = {"score": "score"} | {when: f"{asked['similarity']}_{when}" for when in ("before", "after")}
    # By neither read_table nor Arrow's filters and to_numpy: they import pandas, which takes longer than all that is read here.
    with reading(run.predictions), pq.ParquetFile(run.predictions) as file:
        if not {"split", *columns.values()} <= set(file.schema_arrow.names):
            return None
        table = file.read(["split", *columns.values()])
        of_split = np.array([split == asked["split"] for split in table["split"].to_pylist()], dtype=bool)
        of_all = {name: np.from_dlpack(table[column].combine_chunks()) for name, column in columns.items()}
        found = {name: values.astype(np.float64)[of_split] for name, values in of_all.items()}
    split = asked["split"]
    refuse_other_pairs(run.predictions, split, len(found["score"]), scored=pairs_of(run, split))
    pearson = f"{split}/pearson_{asked['similarity']}"
    refuse_another_score(run.predictions, pearson, found["score"], found["after"], logged=score_of(run, pearson))
    return found


def refuse_other_pairs(path: Path, split: str, pairs: int, *, scored: int | None) -> None:
    """Lets no predictions pass of more pairs of a split, or fewer, than their run was scored on.

    Args:
        path: their file.
        split: dev or test.
        pairs: that there are of it.
        scored: on how many the run was; None where that is not known.

    Raises:
        NotItsOwn: they are of more, or fewer.
    """
    if scored is not None and scored != pairs:
        raise NotItsOwn(path, f"are of {counted(pairs, f'{split} pair')}, and it was scored on {scored}")


def refuse_another_score(path: Path, pearson: str, scores: Array, similarities: Array, *, logged: float | None) -> None:
    """Lets no predictions pass that do not give the score that their run logged, as another run's of the same pairs do not.

    By Pearson, also where Spearman is compared: a run logs both of each similarity, and Spearman is of ranks, of which float32 makes
    many one where texts are equal.

    Args:
        path: their file.
        pearson: the metric's name, "dev/pearson_cosine".
        scores: of the pairs, (pairs,).
        similarities: of the pairs after training, (pairs,).
        logged: the metric's value; None where that is not known.

    Raises:
        NotItsOwn: they give another.
    """
    if logged is None or not len(scores):
        return
    given = float(correlations(scores, similarities[None], statistic="pearson", resamples=0)[0][0])
    # All alike in float32: what they were is not known.
    if not math.isfinite(given):
        return
    if abs(given - logged) > TOLERANCE + ROUNDING * float(np.abs(similarities).max() / similarities.std()):
        raise NotItsOwn(path, f"give a {pearson} of {given:.4f}, and {logged:.4f} was logged")


def pairs_of(run: Run, split: str) -> int | None:
    """On how many pairs of a split it was scored, as is recorded beside its predictions; None where that is not known."""
    return None if run.predictions is None else pairs_recorded(read_object(run.predictions.with_name(INPUTS)), split)


def pairs_recorded(inputs: Mapping[str, Any], split: str) -> int | None:
    """What a run's inputs.json tells of it; None of one that was only scored, which leaves none."""
    rows = inputs.get("rows")
    return rows.get(f"{split}_pairs") if isinstance(rows, dict) else None


def what_is_lacking(runs: Sequence[Run], judged: Collection[Run], metric: str) -> list[str]:
    """What is said of a table's runs that left nothing to judge them by: a line for each file that is damaged, one for all others.

    Args:
        runs: of one set of pairs.
        judged: those of them that have a verdict; where they are MOST_JUDGED, beyond the last of them no predictions were read.
        metric: that is ranked by; of one that pairs cannot judge nothing is said.
    """
    if (asked := JUDGED.fullmatch(metric)) is None:
        return []
    order, of_judged = ranked(runs, metric), {id(run) for run in judged}
    last = max((at for at, (_, run) in enumerate(order) if id(run) in of_judged), default=len(order))
    unjudged = [
        pair for pair in order[: last if len(judged) >= MOST_JUDGED else len(order)] if id(pair[1]) not in of_judged
    ]
    looked_at = unjudged[:MOST_LOOKED_AT]
    damaged = [(run, error) for _, run in looked_at if (error := damage_of(run, asked)) is not None]
    lines = [_told(rows_called(order, [run]), error, run.predictions) for run, error in damaged[:MOST_NAMED]]
    if (more := len(damaged) - MOST_NAMED) > 0:
        lines.append(f"and {counted(more, 'more row')} likewise")
    are_damaged = {id(run) for run, _ in damaged}
    others = [run for _, run in unjudged if id(run) not in are_damaged]
    some_can_be_read = bool(judged) or any(isinstance(error, NotItsOwn) for _, error in damaged)
    # Not read again: of these pairs and whole it would have a verdict.
    if judged and (of_other_pairs := [run for run in others if _is_there(run)]):
        which = "" if len(of_other_pairs) > 1 else f": {of_other_pairs[0].predictions}"
        lines.append(
            f"{rows_called(order, of_other_pairs)}: the predictions there are of other pairs, or of a part of these, so there is no "
            f"interval and no verdict{which}; {ANEW}"
        )
    if elsewhere := [run for run in others if run.predictions is None]:
        lines.append(
            f"{rows_called(order, elsewhere)}: predictions were not looked for, so there is no interval and no verdict: {ELSEWHERE}"
        )
    gone = [run for run in others if run.predictions is not None and not _is_there(run)]
    if gone and (some_can_be_read or elsewhere):
        lines.append(f"{rows_called(order, gone)}: no predictions on this machine, so no interval and no verdict")
    elif not (some_can_be_read or elsewhere) and all(id(run) in are_damaged or not _is_there(run) for _, run in order):
        whose = "row 1 left no" if len(order) == 1 else "no row left"
        lines.append(f"{whose} predictions on this machine, so there is no interval and no verdict; {_sought(order)}")
    return lines


def damage_of(run: Run, asked: re.Match[str]) -> Damaged | None:
    """What is wrong with its predictions; None where they can be read, or are not there."""
    try:
        predictions(run, asked)
    except Damaged as error:
        return error
    return None


def left_any(run: Run, metric: str) -> bool:
    """Whether it left predictions that judge a metric, of whichever pairs."""
    asked = JUDGED.fullmatch(metric)
    return asked is not None and damage_of(run, asked) is None and predictions(run, asked) is not None


def _told(whose: str, damage: Damaged, path: Path | None) -> str:
    if isinstance(damage, NotItsOwn):
        return f"{whose}: the predictions there {damage.how}, so there is no interval and no verdict: {path}; {ANEW}"
    return f"{whose} left no predictions on this machine that can be read: {path}; {ANEW}"


def _is_there(run: Run) -> bool:
    return run.predictions is not None and run.predictions.is_file()


def _sought(order: Sequence[tuple[int, Run]]) -> str:
    """Where the runs' predictions were looked for: the folder that all of theirs are in."""
    folders = {str(run.predictions.absolute().parent) for _, run in order if run.predictions is not None}
    within = "" if len(folders) == 1 else "the runs' folders in "
    return f"they were looked for in {within}{os.path.commonpath(folders)}"

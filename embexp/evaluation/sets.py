"""Further sets of pairs, `evaluation.sets={name: FILE}`: their rows, and what is wrong with their files."""

from __future__ import annotations

from collections.abc import Sequence

from embexp.config import VIEWS_OF_KIND, ConfigError
from embexp.data.files import FileSource
from embexp.data.rows import Rows


def rows_of_set(name: str, file: str) -> Rows:
    """The rows of a set.

    Raises:
        ConfigError: the file cannot be read, or rows of it are bad.
    """
    try:
        rows = _source(name, file).load("test")
    except ConfigError as error:
        raise ConfigError(_with_a_cure(name, file, error.problems)) from None
    assert rows is not None
    return rows


def what_is_wrong_with_a_set(name: str, file: str) -> Sequence[str]:
    """What reading its rows would tell, as far as that is known in no time."""
    source = _source(name, file)
    try:
        kind = source.kinds(["test"])["test"]
    except ConfigError as error:
        return _with_a_cure(name, file, error.problems)
    if "scored" not in VIEWS_OF_KIND[kind]:
        return [
            f"evaluation.sets.{name}={file}: it holds {kind} alone, which cannot be scored; name a file with columns sentence1, "
            "sentence2, score, or with another kind of pairs."
        ]
    return _with_a_cure(name, file, source.bad_rows("test", labels_tell=True))


def _source(name: str, file: str) -> FileSource:
    """Of utf-8, commas or tabs, and columns called as embexp knows them: a set has no keys that say otherwise."""
    return FileSource(
        kind="auto",
        limit=None,
        train=None,
        dev=None,
        test=file,
        columns=None,
        labels=None,
        score_scale=None,
        dev_fraction=None,
        on_bad_rows="refuse",
        encoding="utf-8",
        delimiter=None,
        quoted=None,
        seed=0,
        called=f"evaluation.sets.{name}",
    )


def _with_a_cure(name: str, file: str, problems: Sequence[str]) -> list[str]:
    """The problems, and what to do where keys would help that a further set has not."""
    if not any("evaluation.source." in problem for problem in problems):
        return list(problems)
    return [
        *problems,
        f"evaluation.sets.{name}: a further set has no such keys; change the file, or score on it alone, with them: evaluation=files "
        f"evaluation.source.dev={file}.",
    ]

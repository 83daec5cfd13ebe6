"""What an evaluation is that is scored at the end, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from embexp.config import ConfigError

if TYPE_CHECKING:
    # What is wrong with files is told without it: it takes seconds to import.
    from sentence_transformers import SentenceTransformer


@dataclass(frozen=True)
class Part:
    """Scores of an evaluation, or of a named task of it; or, in one line, why there are none.

    `on` says on what they are, where that is not the data that a person chose.
    """

    scores: Mapping[str, float]
    task: str = ""
    error: str | None = None
    on: str = ""


class Extra(Protocol):
    """One evaluation.

    Attributes:
        name: what its metrics start with.
        before: whether the model is scored before training too.
        fingerprint: of what is scored on, by content.
        record: what goes into evaluations.json beside the scores: revisions, conditions, counts.
        scored_on: by the beginning of its metrics' names, a fingerprint of what they are of: runs in which these differ have
            scores that say nothing beside each other. Of the dev and test pairs it is known without.
    """

    @property
    def name(self) -> str: ...

    @property
    def before(self) -> bool: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def record(self) -> dict[str, Any]: ...

    @property
    def scored_on(self) -> Mapping[str, str]: ...

    def parts(self, model: SentenceTransformer) -> Iterator[Part]:
        """Scores, each part when it is there. The model is in evaluation mode on the run's device, and is left there."""


def one_line(error: BaseException) -> str:
    """ "ValueError: the first line of what it says"; of what a person is told, all that is said, and nothing before it."""
    if isinstance(error, ConfigError):
        return " ".join(str(error).splitlines())
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"

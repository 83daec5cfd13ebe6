"""What a person got wrong, said once and whole."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Of a name that a file gives, in characters: what is no text can have a name as long as the file.
LONGEST_SHOWN = 60


class ConfigError(Exception):
    """Every problem found: each one message with its key, its value, what is allowed and what to do next."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.problems,)


def closest(word: str, allowed: Iterable[str]) -> str | None:
    """The allowed word that is most like it, or whose words' first letters it is (lr), or whose last words are most like it (margn:
    triplet_margin); None where none is near.
    """
    as_written = {name.lower(): name for name in allowed}
    short = {"".join(part[:1] for part in name.split("_")): name for name in as_written if "_" in name}
    asked = word.lower()
    near = get_close_matches(asked, list(as_written), n=1, cutoff=0.65)
    found = next(iter(near), short.get(asked))
    if found is None:
        ends = ends_of(as_written)
        found = next((ends[end] for end in get_close_matches(asked, list(ends), n=1, cutoff=0.65)), None)
    return None if found is None else as_written[found]


def ends_of(names: Iterable[str]) -> dict[str, str]:
    """The last words of each name of several, with the name: {"margin": "triplet_margin"}."""
    found: dict[str, str] = {}
    for name in names:
        words = name.strip("_").split("_")
        for first in range(1, len(words)):
            found.setdefault("_".join(words[first:]), name)
    return found


def nearest(word: str, allowed: Iterable[str]) -> str:
    """ " Did you mean 'x'?", or nothing where no allowed word is near."""
    match = closest(word, allowed)
    return "" if match is None else f" Did you mean {match!r}?"


def first_line(error: Exception) -> str:
    """What Hydra or OmegaConf says is wrong, without the rest."""
    # A cause may say nothing, or "None".
    said = [str(each).strip() for each in (error.__cause__, error) if each is not None]
    text = next((words for words in said if words not in ("", "None")), type(error).__name__)
    return text.splitlines()[0].rstrip(".")


def printable(text: str) -> str:
    """A text of a file as a terminal can show it: of what it would obey, Python's way to write it; and not too much."""
    shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
    return "".join(sign if sign.isprintable() or sign == "\u00a0" else ascii(sign)[1:-1] for sign in shown)

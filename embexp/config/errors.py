"""What a person got wrong, said once and whole."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# The key whose inverse a word of the field is.
INVERSES = {"temperature": "scale", "tau": "scale"}
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
    """The allowed word that is most like it, whose words' first letters it is (lr), whose inverse it is (temperature), or whose last or
    first words are most like it (margn: triplet_margin, wormup: warmup_steps); None where none is near.
    """
    as_written = {name.lower(): name for name in allowed}
    short = {"".join(part[:1] for part in name.split("_")): name for name in as_written if "_" in name}
    asked = word.lower()
    near = get_close_matches(asked, list(as_written), n=1, cutoff=0.65)
    found = next(iter(near), short.get(asked))
    if found is None and (inverse := _inverse_of(asked)) in as_written:
        found = inverse
    # Of the words that a name begins with many are short and like another.
    for at_the_end, cutoff in ((True, 0.65), (False, 0.75)):
        parts = _parts_of(as_written, at_the_end=at_the_end) if found is None else {}
        found = next((parts[part] for part in get_close_matches(asked, list(parts), n=1, cutoff=cutoff)), found)
    return None if found is None else as_written[found]


def _inverse_of(word: str) -> str | None:
    section, dot, name = word.rpartition(".")
    return f"{section}{dot}{INVERSES[name]}" if name in INVERSES else None


def _parts_of(names: Iterable[str], *, at_the_end: bool) -> dict[str, str]:
    """The last words of each name of several, or its first ones, with the name: {"margin": "triplet_margin"}."""
    found: dict[str, str] = {}
    for name in names:
        words = name.strip("_").split("_")
        for cut in range(1, len(words)):
            found.setdefault("_".join(words[cut:] if at_the_end else words[:cut]), name)
    return found


def nearest(word: str, allowed: Iterable[str]) -> str:
    """ " Did you mean 'x'?", or nothing where no allowed word is near."""
    match = closest(word, allowed)
    return "" if match is None else did_you_mean(word, match)


def did_you_mean(word: str, match: str, more: str = "") -> str:
    """ " Did you mean 'x'?", or "'x', which is 1/temperature?"; `more` stands before the question mark."""
    name = word.rpartition(".")[2].lower()
    inverse = f", which is 1/{name}" if INVERSES.get(name) == match.rpartition(".")[2] else ""
    return f" Did you mean {match!r}{inverse}{more}?"


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

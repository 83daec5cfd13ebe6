"""Says an intent: a phrasing filled with slots, in a style, with manners around it."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import yaml

from embexp.data.rows import Split

DETAIL = re.compile(r"\[(.*?)\]")
SLOT = re.compile(r"\{(\w)\}")
STYLES = ("plain", "plain", "terse", "typo", "before", "after", "both")


@dataclass(frozen=True)
class Intent:
    """Something a customer may want, and what says the opposite. `detail` is the slot that may be left out."""

    name: str
    topic: str
    said: tuple[str, ...]
    denied: tuple[str, ...]
    article: str
    detail: str


@dataclass(frozen=True)
class Language:
    """All that a split may say."""

    intents: tuple[Intent, ...]
    slots: dict[str, list[list[str]]]
    before: list[str]
    after: list[str]


@lru_cache
def language(split: Split) -> Language:
    """The intents, slot values and manners of a split; no other split has any of them."""
    folder = files("embexp.data.helpdesk")
    intents, slots, manners = (
        yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))[split]
        for name in ("intents", "slots", "manners")
    )
    found = tuple(
        Intent(name, topic, tuple(entry["said"]), tuple(entry["denied"]), entry["article"], _detail(entry["said"]))
        for topic, entries in intents.items()
        for name, entry in entries.items()
    )
    return Language(found, slots, manners["before"], manners["after"])


def _detail(said: list[str]) -> str:
    inside = "".join(DETAIL.findall(" ".join(said)))
    return next(slot for slot in "dfacw" if f"{{{slot}}}" in inside)


@dataclass(frozen=True)
class Meaning:
    """An intent with its slots filled: which product, and which value the detail has. Indices into the split's slots."""

    intent: Intent
    product: int
    detail: int


def draw_meaning(words: Language, intent: Intent, draw: random.Random) -> Meaning:
    """An intent about a random product with a random detail."""
    return Meaning(intent, draw.randrange(len(words.slots["p"])), draw.randrange(len(words.slots[intent.detail])))


def other(count: int, than: int, draw: random.Random) -> int:
    """A random index that is not `than`."""
    return (than + draw.randrange(1, count)) % count


def say(
    words: Language, meaning: Meaning, phrasing: str, *, detailed: bool, form: int, style: str, draw: random.Random
) -> str:
    """One message.

    Args:
        words: of the split.
        meaning: what is said.
        phrasing: a template of the intent.
        detailed: whether the part in brackets is said.
        form: which of its forms each slot takes; two forms of a value mean the same.
        style: one of STYLES.
        draw: for typos and manners.
    """
    text = DETAIL.sub(r"\1" if detailed else "", phrasing)
    indices = {"p": meaning.product, meaning.intent.detail: meaning.detail}

    def fill(match: re.Match[str]) -> str:
        forms = words.slots[match[1]][indices[match[1]]]
        return forms[form % len(forms)]

    text = re.sub(r"\ba (?=[aeiou])", "an ", SLOT.sub(fill, text))
    if style == "terse":
        return text.rstrip(".!").lower()
    if style == "typo":
        return _mistyped(text, draw)
    if style in ("before", "both"):
        text = f"{draw.choice(words.before)} {text}"
    if style in ("after", "both"):
        text = f"{text} {draw.choice(words.after)}"
    return text


def _mistyped(text: str, draw: random.Random) -> str:
    """Two neighbouring letters of one longer word change places."""
    words = text.split(" ")
    long = [place for place, word in enumerate(words) if len(word) > 5 and word.isalpha()]
    if not long:
        return text
    place = draw.choice(long)
    word = words[place]
    cut = draw.randrange(1, len(word) - 2)
    words[place] = word[:cut] + word[cut + 1] + word[cut] + word[cut + 2 :]
    return " ".join(words)

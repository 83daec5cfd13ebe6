"""The products of the generator, and the source that trains and scores on them. See the package's docstring."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from embexp.config import Kind
from embexp.data.helpdesk.phrasing import STYLES, Language, Meaning, draw_meaning, language, other, say
from embexp.data.rows import CONTRADICTION, ENTAILMENT, NEUTRAL, Rows, Split, label_number, rows_from

HIGHEST = 5
# Share of the pairs whose words mislead.
MISLEADING = 0.08
# Share of the pairs of score 1 that say the opposite of each other.
DENIALS = 0.4


class HelpdeskSource:
    """NLI rows or labelled texts to train on, graded pairs to be scored on.

    Args:
        kind: of the training rows: nli, or labelled, by what is wanted.
        limit: the first so many training rows.
        rows: training rows.
        evaluation_rows: pairs of dev, and of test.
        seed: another seed, other rows.
    """

    def __init__(self, *, kind: Kind, limit: int | None, rows: int, evaluation_rows: int, seed: int) -> None:
        self.kind = kind
        self.rows = min(rows, limit or rows)
        self.evaluation_rows = evaluation_rows
        self.seed = seed

    def files(self) -> Sequence[Path]:
        """None beside this package's own."""
        return []

    def load(self, split: Split) -> Rows:
        """NLI rows or labelled texts for train; scored pairs for dev and test."""
        if split == "train" and self.kind == "labelled":
            found = [(text, label_number(intent)) for text, intent in classes("train", count=self.rows, seed=self.seed)]
            columns = dict(zip(("text", "label"), map(list, zip(*found, strict=True)), strict=True))
            return rows_from("labelled", columns, name="helpdesk train", counts={"read": len(found)})
        if split == "train":
            rows = list(nli("train", count=self.rows, seed=self.seed))
            columns = dict(zip(("premise", "hypothesis", "label"), map(list, zip(*rows, strict=True)), strict=True))
            return rows_from("nli", columns, name="helpdesk train", counts={"read": len(rows)})
        pairs = list(scored(split, count=self.evaluation_rows, seed=self.seed))
        columns = dict(zip(("sentence1", "sentence2", "score"), map(list, zip(*pairs, strict=True)), strict=True))
        columns["score"] = [score / HIGHEST for score in columns["score"]]
        return rows_from("scored", columns, name=f"helpdesk {split}", counts={"read": len(pairs)})


def nli(split: Split, *, count: int, seed: int) -> Iterator[tuple[str, str, int]]:
    """(premise, hypothesis, label), three rows a premise, one of each label; true by construction."""
    words = language(split)
    number = 0
    while True:
        draw = random.Random(f"{seed}/nli/{split}/{number}")
        premise, hypotheses = _premise_and_hypotheses(words, draw)
        for label, hypothesis in hypotheses.items():
            if number * len(hypotheses) + label >= count:
                return
            yield premise, hypothesis, label
        number += 1


def _premise_and_hypotheses(words: Language, draw: random.Random) -> tuple[str, dict[int, str]]:
    meaning = draw_meaning(words, draw.choice(words.intents), draw)
    intent = meaning.intent
    first, second, third, fourth = draw.sample(range(len(intent.said)), 4)
    detailed = draw.random() < 0.5
    form = draw.randrange(6)

    def tell(phrasing: str, said: Meaning, *, with_detail: bool, shift: int) -> str:
        style = draw.choice(STYLES)
        return say(words, said, phrasing, detailed=with_detail, form=form + shift, style=style, draw=draw)

    premise = tell(intent.said[first], meaning, with_detail=detailed, shift=0)
    entailed = tell(intent.said[second], meaning, with_detail=detailed and draw.random() < 0.5, shift=1)
    changed = Meaning(intent, meaning.product, other(len(words.slots[intent.detail]), meaning.detail, draw))
    if detailed and draw.random() < 0.5:
        contradicted = tell(intent.said[third], changed, with_detail=True, shift=0)
    else:
        contradicted = tell(draw.choice(intent.denied), meaning, with_detail=False, shift=0)
    if detailed:
        # Another wish of the same customer about the same product: it may be or not.
        siblings = [sibling for sibling in words.intents if sibling.topic == intent.topic and sibling != intent]
        sibling = draw.choice(siblings)
        place = draw.randrange(len(words.slots[sibling.detail]))
        neutral = tell(draw.choice(sibling.said), Meaning(sibling, meaning.product, place), with_detail=False, shift=0)
    else:
        neutral = tell(intent.said[fourth], meaning, with_detail=True, shift=1)
    return premise, {ENTAILMENT: entailed, NEUTRAL: neutral, CONTRADICTION: contradicted}


def scored(split: Split, *, count: int, seed: int) -> Iterator[tuple[str, str, float]]:
    """(sentence1, sentence2, score 0 to 5), as many of each score; the rule is in the package's docstring."""
    words = language(split)
    for number in range(count):
        draw = random.Random(f"{seed}/scored/{split}/{number}")
        yield (*_pair(words, number % (HIGHEST + 1), draw), float(number % (HIGHEST + 1)))


def _pair(words: Language, score: int, draw: random.Random) -> tuple[str, str]:
    first = draw_meaning(words, draw.choice(words.intents), draw)
    intent = first.intent
    second, phrasings = first, draw.sample(intent.said, 2)
    # What unlike pairs share beside their meaning, and like pairs do not: words, for those who only count them.
    misleading = draw.random() < MISLEADING
    if score in (2, 3):
        product = first.product if score == 3 else other(len(words.slots["p"]), first.product, draw)
        second = Meaning(intent, product, other(len(words.slots[intent.detail]), first.detail, draw))
    elif score == 1 and draw.random() < DENIALS:
        phrasings = [phrasings[0], draw.choice(intent.denied)]
    elif score < 2:
        others = [o for o in words.intents if o != intent and (o.topic == intent.topic) == (score == 1)]
        sibling = draw.choice([o for o in others if misleading and o.detail == intent.detail] or others)
        second = draw_meaning(words, sibling, draw)
        if misleading:
            detail = first.detail if sibling.detail == intent.detail else second.detail
            second = Meaning(sibling, first.product, detail)
        phrasings = [phrasings[0], draw.choice(sibling.said)]
    detailed = [True, True] if score != 4 else draw.sample([True, False], 2)
    form = draw.randrange(6)
    styles = draw.choices(STYLES, k=2)
    draws = [draw, draw]
    shift = int(misleading and score >= 4)
    if misleading and score < 4:
        styles = ["both", "both"]
        manner = draw.randrange(2**32)
        draws = [random.Random(manner), random.Random(manner)]
    one, two = (
        say(
            words,
            meaning,
            phrasings[place],
            detailed=detailed[place],
            form=form + shift * place,
            style=styles[place],
            draw=draws[place],
        )
        for place, meaning in enumerate((first, second))
    )
    return one, two


def classes(split: Split, *, count: int, seed: int) -> Iterator[tuple[str, str]]:
    """(text, name of its intent)."""
    words = language(split)
    for number in range(count):
        draw = random.Random(f"{seed}/classes/{split}/{number}")
        intent = words.intents[number % len(words.intents)]
        yield _message(words, draw_meaning(words, intent, draw), draw), intent.name


def retrieval(split: Split, *, count: int, seed: int) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Queries by id, help articles by id, and the article that answers each query."""
    words = language(split)
    corpus = {intent.name: intent.article for intent in words.intents}
    found = list(classes(split, count=count, seed=seed))
    queries = {f"q{number}": text for number, (text, _) in enumerate(found)}
    return queries, corpus, {f"q{number}": intent for number, (_, intent) in enumerate(found)}


def _message(words: Language, meaning: Meaning, draw: random.Random) -> str:
    return say(
        words,
        meaning,
        draw.choice(meaning.intent.said),
        detailed=draw.random() < 0.7,
        form=draw.randrange(6),
        style=draw.choice(STYLES),
        draw=draw,
    )

"""helpdesk: the built-in corpus, customers' messages to a shop, made by rule from a seed.

What it is for: trying out losses, models and batch sizes at once, without a network, on a task that a good general
encoder does not already solve; and for tests. What it is not for: telling how good a model is on real customers'
messages. It is written by rule from 60 intents, so a model can learn its manner, and gains on it are larger than gains
on text that people wrote. Decide on data of your own (data=files).

One generator gives four products:

- `nli`: premise, hypothesis, label. Entailment: the premise said in other words, with its detail or without it.
  Contradiction: the opposite, or another detail of the same event. Neutral: a detail that the premise does not tell.
- `scored`: graded pairs for STS. Score 5: the same in other words; 4: one of the two leaves the detail out; 3: another
  detail; 2: another detail and another product; 1: the opposite, or another intent of the same topic; 0: another
  topic. Given as score / 5.
- `classes`: messages with their intent. `retrieval`: messages and the help articles that answer them.

train, dev and test share no intent, no slot value and no manner of speaking, so no sentence either. Two phrasings of
an intent share few words, and in one pair of twelve words mislead: unlike pairs name the same product and detail with
the same manners around them, like pairs take other forms of both. So counting words does not solve it.
"""

from embexp.data.helpdesk.source import HelpdeskSource, classes, nli, retrieval, scored

__all__ = ["HelpdeskSource", "classes", "nli", "retrieval", "scored"]

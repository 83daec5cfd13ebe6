"""What a model is scored on.

`sts` scores pairs of texts: at step 0, while training, and at the end; by it the best step is chosen. `mteb`,
`retrieval`, `classification`, `latency` and further sets of pairs are scored once, at the end, on the model that was
kept, and before training where that is cheap; `extras` puts them together. None of them ever chooses a step.
"""

from embexp.evaluation.extras import Extras, build_extras
from embexp.evaluation.parts import Extra, Part
from embexp.evaluation.sts import Pairs, Scores, evaluation_pairs, score_pairs, write_predictions

__all__ = [
    "Extra",
    "Extras",
    "Pairs",
    "Part",
    "Scores",
    "build_extras",
    "evaluation_pairs",
    "score_pairs",
    "write_predictions",
]

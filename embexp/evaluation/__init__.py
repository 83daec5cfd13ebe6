"""What a model is scored on.

`sts` scores pairs of texts: at step 0, while training, and at the end; by it the best step is chosen. `mteb`,
`retrieval`, `classification`, `latency` and further sets of pairs are scored once, at the end, on the model that was
kept, and before training where that is cheap; `extras` puts them together. None of them ever chooses a step. `early`
tells what is wrong with their files before anything is loaded.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `early`, which only looks into files, must not wait for torch.
    if name in ("Extras", "build_extras"):
        from embexp.evaluation import extras

        return getattr(extras, name)
    if name in ("Extra", "Part"):
        from embexp.evaluation import parts

        return getattr(parts, name)
    if name in __all__:
        from embexp.evaluation import sts

        return getattr(sts, name)
    raise AttributeError(f"module 'embexp.evaluation' has no attribute {name!r}")

"""The table of runs: read from the store or from the runs' folders, ranked, drawn; no torch, no MLflow import.

python -m embexp.compare [sweep=last] [loss=mnr ...] [--metric NAME] [--csv FILE] [--json FILE] [--html FILE] [--png FILE]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embexp.compare.judge import Verdict
    from embexp.compare.runs import RUNS_OF_SWEEP, Run, local_predictions, read_result, read_runs
    from embexp.compare.table import draw, to_csv, to_json, to_markdown

__all__ = [
    "RUNS_OF_SWEEP",
    "Run",
    "Verdict",
    "draw",
    "local_predictions",
    "read_result",
    "read_runs",
    "to_csv",
    "to_json",
    "to_markdown",
]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `python -m embexp.compare` has to say first what Ctrl-C is to do meanwhile.
    if name in __all__:
        # The lightest first.
        for module in ("runs", "table", "judge"):
            loaded = import_module(f"embexp.compare.{module}")
            if hasattr(loaded, name):
                return getattr(loaded, name)
    raise AttributeError(f"module 'embexp.compare' has no attribute {name!r}")

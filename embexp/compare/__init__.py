"""The table of runs: read from the store or from the runs' folders, ranked, drawn; no torch, no MLflow import.

python -m embexp.compare [sweep=last] [loss=mnr ...] [--metric NAME] [--csv FILE] [--json FILE] [--html FILE] [--png FILE]
"""

from embexp.compare.judge import Verdict, judge
from embexp.compare.runs import RUNS_OF_SWEEP, Run, local_predictions, read_result, read_runs
from embexp.compare.table import draw, to_csv, to_json, to_markdown

__all__ = [
    "RUNS_OF_SWEEP",
    "Run",
    "Verdict",
    "draw",
    "judge",
    "local_predictions",
    "read_result",
    "read_runs",
    "to_csv",
    "to_json",
    "to_markdown",
]

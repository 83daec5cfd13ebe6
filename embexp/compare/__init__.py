"""The table of runs: read from the store or from the runs' folders, ranked, drawn; no torch, no MLflow import.

python -m embexp.compare [sweep=last] [loss=mnr ...] [--metric NAME] [--csv FILE] [--json FILE] [--html FILE] [--png FILE]
"""

from embexp.compare.runs import Run, read_result, read_runs
from embexp.compare.table import draw, to_csv, to_json, to_markdown

__all__ = ["Run", "draw", "read_result", "read_runs", "to_csv", "to_json", "to_markdown"]

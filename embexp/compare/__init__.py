"""The table of runs: read from the store or from the runs' folders, ranked, drawn; no torch, no MLflow import.

python -m embexp.compare [sweep=last] [loss=mnr ...] [--metric NAME] [--csv FILE] [--json FILE] [--html FILE] [--png FILE]
"""

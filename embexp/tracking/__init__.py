"""Trackers: where a run's settings, scores and files go. MLflow, or nowhere, with the same face.

What a run logs is written to the journal in its folder (`journal`), and taken from there to MLflow by a thread
(`background`, `sender`): a server that is away costs neither the training nor what was logged.
"""

from embexp.tracking.mlflow import MLflowTracker
from embexp.tracking.protocol import (
    CAUTIONS,
    JOBS,
    PARENT_RUN,
    PLACE,
    SWEPT,
    FoundRun,
    MetricLogger,
    NullTracker,
    Status,
    Tracker,
    build_tracker,
    cautions_of,
    param_text,
    scored_on_of,
    scored_on_tags,
)
from embexp.tracking.reaping import reap_dead_runs
from embexp.tracking.secrets import scrub_file, without_secrets
from embexp.tracking.store import EXPERIMENT, store_uri

__all__ = [
    "CAUTIONS",
    "EXPERIMENT",
    "JOBS",
    "PARENT_RUN",
    "PLACE",
    "SWEPT",
    "FoundRun",
    "MLflowTracker",
    "MetricLogger",
    "NullTracker",
    "Status",
    "Tracker",
    "build_tracker",
    "cautions_of",
    "param_text",
    "reap_dead_runs",
    "scored_on_of",
    "scored_on_tags",
    "scrub_file",
    "store_uri",
    "without_secrets",
]

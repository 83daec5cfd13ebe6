"""Trackers: where a run's settings, scores and files go. MLflow, or nowhere, with the same face."""

from embexp.tracking.mlflow import MLflowTracker
from embexp.tracking.protocol import (
    JOBS,
    PARENT_RUN,
    FoundRun,
    MetricLogger,
    NullTracker,
    Status,
    Tracker,
    build_tracker,
)
from embexp.tracking.store import prepare_store, reap_dead_runs, store_uri, without_secrets

__all__ = [
    "JOBS",
    "PARENT_RUN",
    "FoundRun",
    "MLflowTracker",
    "MetricLogger",
    "NullTracker",
    "Status",
    "Tracker",
    "build_tracker",
    "prepare_store",
    "reap_dead_runs",
    "store_uri",
    "without_secrets",
]

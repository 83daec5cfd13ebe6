"""A store as a person names it: what is told of one in which no runs can be."""

from __future__ import annotations

import pytest

from embexp.tracking.named import what_is_wrong_with

PLAIN = "MLflow keeps no runs in a plain folder any more; name a database, as sqlite:///mlflow.db."


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("other.db", "sqlite:///other.db"),
        ("runs/my runs.DB", "sqlite:///runs/my runs.DB"),
        ("/abs/other.sqlite", "sqlite:////abs/other.sqlite"),
        ("100%.sqlite3", "sqlite:///100%25.sqlite3"),
        ("sqlite:other.db", "sqlite:///other.db"),
        ("file:///abs/other.db", "sqlite:////abs/other.db"),
        ("store", "sqlite:///store"),
    ],
)
def test_a_file_that_is_named_alone_is_told_with_the_name_that_a_database_has(workplace, named, meant):
    (workplace / "store").touch()
    (said,) = what_is_wrong_with(named)
    assert said.endswith(f"; for the database write {meant}")


def test_a_folder_is_told_to_be_one_whatever_it_is_called(workplace):
    (workplace / "runs.db").mkdir()
    for named in ("mlruns", "runs.db", "./mlruns", (workplace / "runs.db").as_uri()):
        assert list(what_is_wrong_with(named)) == [PLAIN]


def test_of_a_file_store_that_mlflow_is_told_to_allow_nothing_is_said(workplace, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert not list(what_is_wrong_with("mlruns"))

"""A store as a person names it: whether runs can be logged to it, as far as can be told without MLflow."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path

from embexp.config.errors import nearest
from embexp.home import expanded
from embexp.tracking.local import opened
from embexp.tracking.moved import local_path
from embexp.tracking.secrets import without_secrets
from embexp.tracking.store import DATABASE, SQLITE, database_file, store_uri, uri_of

# What MLflow has stores of.
KINDS = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks", "databricks-uc", "uc")
# How the names of databases end.
ENDINGS = (".db", ".sqlite", ".sqlite3")


def what_is_wrong_with(uri: str | None) -> Iterator[str]:
    """Why no runs can be logged to a store, and what to do, each in a sentence; nothing where they can, as far as is known.

    Args:
        uri: as for `store_uri`.
    """
    where = store_uri(uri)
    scheme, colon, rest = where.partition("://")
    # A database's driver may be named in it: postgresql+psycopg2.
    kind = scheme.partition("+")[0]
    # SQLite has URIs of its own.
    if where.startswith(SQLITE) and not where.startswith(f"{SQLITE}file:"):
        yield from _of_database(database_file(where))
    elif kind == "sqlite" and colon and not rest.startswith("/"):
        # Between the second slash and the third a host would stand, which no file has.
        file = without_secrets(where).partition("://")[2]
        yield f"names no file, which stands behind three slashes; write {SQLITE}{file if rest.partition('?')[0] else DATABASE}"
    if kind in KINDS or kind in entry_points(group="mlflow.tracking_store").names:
        return
    if not colon or kind == "file":
        # MLflow's own condition, see mlflow.store.tracking.file_store.
        if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("true", "1"):
            yield _of_folder(where)
    else:
        yield f"MLflow has no store of this kind; it is one of {', '.join(KINDS)}.{nearest(kind, KINDS)}"


def _of_folder(where: str) -> str:
    """What is said of a name that MLflow takes for a folder's; a person may mean a database by it."""
    file = local_path(where) if where.startswith("file:") else Path(where.removeprefix("sqlite:"))
    if file is not None and (file.is_file() or (file.suffix.lower() in ENDINGS and not file.is_dir())):
        database = uri_of(expanded(file))
        return f"MLflow takes a name alone for a folder's, and keeps no runs in one any more; for the database write {database}"
    return "MLflow keeps no runs in a plain folder any more; name a database, as sqlite:///mlflow.db."


def _of_database(database: Path) -> Iterator[str]:
    anew = "move it away, and fill a new one with what is in this folder: python -m embexp.tracking sync --anew"
    another = "name another file, which is made where there is none"
    if not database.parent.is_dir():
        # Whoever opens the database would make the folder, wherever a misspelling says that it is.
        yield f"there is no folder {database.parent}; make it, or name a database in one that is there."
    elif database.is_dir():
        yield f"is a folder; name a file in it, as {database / DATABASE}, which is made where there is none."
    elif database.is_file():
        if not (os.access(database, os.R_OK | os.W_OK) and os.access(database.parent, os.W_OK)):
            yield "it, or its folder, cannot be written to; name another database, or use tracker=none."
            return
        try:
            with closing(opened(database)) as store:
                tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        except sqlite3.OperationalError:
            # Somebody writes to it, or was killed while doing so: whoever needs it tells.
            return
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                yield f"is no SQLite database; {another}, or {anew}"
            else:
                yield f"is damaged ({error}); {anew}"
            return
        if tables and not tables & {"experiments", "alembic_version"}:
            yield f"is a database of something else, with {', '.join(sorted(tables)[:3])}; {another}."
    elif not os.access(database.parent, os.W_OK):
        # MLflow would try for minutes.
        yield "its folder cannot be written to; name a database in another, or use tracker=none."

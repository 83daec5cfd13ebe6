"""Files of runs that a store has elsewhere than on this machine."""

from __future__ import annotations

from pathlib import Path

from embexp.temporary import TemporaryFolder
from embexp.tracking.store import client_of


class Fetched:
    """Brings each file here once, however often it is asked for. They are gone at the end of a `with` block, or with this object."""

    def __init__(self) -> None:
        self._folder: TemporaryFolder | None = None
        self._files: dict[tuple[str, str], Path | None] = {}

    def __enter__(self) -> Fetched:
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.remove()

    def file(self, run_id: str, name: str, *, uri: str) -> Path | None:
        """A file or folder that a run left, here; None where there is none, or it cannot be had.

        Args:
            run_id: of the run.
            name: among the run's artifacts.
            uri: of the store.
        """
        if (run_id, name) not in self._files:
            self._files[run_id, name] = self._fetch(run_id, name, uri)
        return self._files[run_id, name]

    def _fetch(self, run_id: str, name: str, uri: str) -> Path | None:
        # Before anything else of MLflow's: what makes it quiet is said before its import.
        client = client_of(uri)
        from mlflow.exceptions import MlflowException

        try:
            self._folder = self._folder or TemporaryFolder("embexp-fetched-")
            of_run = self._folder.path / run_id
            of_run.mkdir(exist_ok=True)
            return Path(client.download_artifacts(run_id, name, str(of_run)))
        except (MlflowException, OSError):
            return None

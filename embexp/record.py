"""What a run leaves behind in its folder, in every exit: result.json, and the files that describe it.

A `Record` stands between the run and its tracker: it has the tracker's face, keeps what passes through, and so the
table at the end of a sweep can be drawn from the folders alone, whatever the tracker.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from embexp import identity
from embexp.config import Config, ConfigError
from embexp.output import from_here
from embexp.tracking import CAUTIONS, Status, Tracker, scrub_file, without_secrets

log = logging.getLogger(__name__)

RESULT = "result.json"
# The folder of the weights, where they are kept.
MODEL = "model"
# Who warns of what spoils a score, and who among them of what can be kept.
CAUTIOUS, NO_CAUTION = ("embexp.data", "embexp.models", "embexp.cautions"), ("embexp.data.cache", "embexp.data.tokens")
# How the caution begins by which a model card knows that test was no second look.
TEST_AND_DEV = "test and dev"
CONFIG, ENVIRONMENT, INPUTS, DIFF = "config.yaml", "environment.json", "inputs.json", "uncommitted.diff"
PREDICTIONS = "predictions.parquet"
ARTIFACTS = (CONFIG, "overrides.yaml", ENVIRONMENT, INPUTS, DIFF, RESULT, "run.log", PREDICTIONS)
# Of them what a run has that came to be known by its key, and no other.
OF_A_KEY = (INPUTS, PREDICTIONS)


@dataclass(frozen=True)
class Result:
    """One run, as it ended.

    Attributes:
        status: FINISHED, FAILED or KILLED.
        reason: why it did not finish, or that it had finished before; None otherwise.
        skipped: the same run had finished before and was not trained again; the scores are that run's.
        name: as it reads in tables: "mnr · bs 64 · minilm · helpdesk".
        key: the run key; None where the run failed before it could be computed.
        run_id: the tracker's; None with the null tracker.
        params: what was typed and what the machine decided, by short names.
        metrics: the last value of each.
        history: every value of each, as (step, value), in order.
        folder: where its files are.
        model: where its model is; of a skipped run that of the run before. None where none was kept, or it is not within reach.
    """

    status: Status
    reason: str | None
    skipped: bool
    name: str
    key: str | None
    run_id: str | None
    params: dict[str, Any]
    metrics: dict[str, float]
    history: dict[str, list[tuple[int, float]]]
    folder: Path
    model: Path | None = None


@dataclass
class Record:
    """A run's metrics and files on their way to the tracker; see the module's docstring.

    Attributes:
        label: how what is told of the run begins: among the jobs of a sweep its name is long, and mostly that of the others.
    """

    tracker: Tracker
    folder: Path
    name: str
    params: dict[str, Any]
    label: str = ""
    key: str | None = None
    setting: str | None = None
    evaluation: str | None = None
    scored_on: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    history: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    started: bool = False
    goes_on: bool = False
    model_is_not_ours: bool = False
    found: str | None = None
    ended: bool = False
    model: Path | None = None
    cautions: list[str] = field(default_factory=list)

    @contextmanager
    def hearing_cautions(self) -> Iterator[None]:
        """Within it, what is warned of data and model is kept with the run: its scores may be read without its log."""
        heard = self.cautions

        class Hear(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                message = record.getMessage()
                if record.name.startswith(CAUTIOUS) and record.name not in NO_CAUTION and message not in heard:
                    heard.append(message)

        logger, handler = logging.getLogger("embexp"), Hear(logging.WARNING)
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)

    @property
    def run_id(self) -> str | None:
        """The tracker's id of the run, once it has given one; else that of the run that was found: it had finished, or is gone on with."""
        return self.tracker.run_id or self.found

    def start(self, *, tags: Mapping[str, str], parent: str | None, run_id: str | None = None) -> None:
        """Starts the run at the tracker, or goes on with `run_id`."""
        if run_id is not None and not Path(run_id).is_file():
            self.found = run_id
        # First: one that is interrupted here is not to be started a second time.
        self.started, self.goes_on = True, run_id is not None
        self.tracker.start(self.name, folder=self.folder, params=self.params, tags=tags, parent=parent, run_id=run_id)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keeps the values and hands them on."""
        for name, value in metrics.items():
            self.metrics[name] = float(value)
            self.history.setdefault(name, []).append((step, float(value)))
        self.tracker.log_metrics(metrics, step)

    def restore(self, history: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Takes the values that the run had logged when its checkpoint was written, in place of those of this process.

        The tracker has them from then, if it goes on with the run of then; a run that is new to it is told them here.
        """
        logged = {(name, step) for name, values in self.history.items() for step, _ in values}
        self.history = {name: [(step, value) for step, value in values] for name, values in history.items()}
        self.metrics = {name: values[-1][1] for name, values in self.history.items()}
        if self.goes_on:
            return
        missing: dict[int, dict[str, float]] = {}
        for name, values in self.history.items():
            for step, value in values:
                if (name, step) not in logged:
                    missing.setdefault(step, {})[name] = value
        for step in sorted(missing):
            self.tracker.log_metrics(missing[step], step)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Hands a file of the run's folder on."""
        self.tracker.log_artifact(path, folder)

    def describe(self, config: Config, overrides: Sequence[str] | None) -> None:
        """Writes the config, what was typed where that is known, the environment, and what was not committed, into the folder.

        A tracking URI's user name and password are left out.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        values = config.model_dump(mode="json", by_alias=True)
        for name, text in (
            (CONFIG, yaml.safe_dump(values, sort_keys=False)),
            ("overrides.yaml", "" if overrides is None else yaml.safe_dump(list(overrides))),
            (ENVIRONMENT, json.dumps(identity.environment(), indent=2)),
            (DIFF, identity.uncommitted(Path.cwd())),
        ):
            if text:
                (self.folder / name).write_text(without_secrets(text) + "\n", encoding="utf-8")
            else:
                # That of an earlier run in this folder.
                (self.folder / name).unlink(missing_ok=True)
        for path in (self.folder / ".hydra").glob("*.yaml"):
            scrub_file(path)

    def describe_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Writes what was loaded and decided, by its hashes: inputs.json."""
        (self.folder / INPUTS).write_text(json.dumps(inputs, indent=2), encoding="utf-8")

    def claim_folder(self, *, keeps_model: bool) -> None:
        """Makes the folder this run's, when its key is known: what another run left there would be taken for its own.

        What the same run left there, which goes on or had finished, stays.

        Args:
            keeps_model: whether this run is to keep its model.

        Raises:
            ConfigError: another run's model is there, or some other folder where this run's is to be.
        """
        left = [self.folder / name for name in (INPUTS, RESULT)]
        if self._left_by(left) == self.key:
            return
        model = self.folder / MODEL
        if model.exists() and (keeps_model or any(path.is_file() for path in left)):
            # The attempt after this one is not to take what this one leaves for a trace of its own.
            self.key = None
            raise ConfigError(
                [
                    f"{from_here(model)}: is there already, and not from this run: its weights would be lost, or taken for this "
                    "run's. Name another folder (hydra.run.dir=..., of a sweep hydra.sweep.dir=..., from Python folder=...), or move "
                    "it elsewhere."
                ]
            )
        # A person's own folder, of which a run has no say: no card is put there.
        self.model_is_not_ours = model.exists()
        # Not above: it imports torch.
        from embexp.evaluation.extras import RECORD

        for name in (*OF_A_KEY, RECORD, RESULT):
            (self.folder / name).unlink(missing_ok=True)

    def _left_by(self, left: Sequence[Path]) -> str | None:
        """The key of the run that these files of the folder tell of; the first that is there decides."""
        for path in left:
            with suppress(OSError, ValueError):
                key: str | None = json.loads(path.read_text(encoding="utf-8")).get("key")
                return key
        return None

    def recall(self) -> None:
        """Where this run had finished in this very folder, takes its curves from there: a tracker tells the last values alone."""
        with suppress(OSError, ValueError):
            before = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
            if (before["key"], before["status"]) == (self.key, Status.FINISHED):
                history = before["history"].items()
                self.history = {
                    name: [(s, math.nan if v is None else v) for s, v in values] for name, values in history
                }

    def end(self, status: Status, reason: str | None = None, *, skipped: bool = False) -> Result:
        """Writes result.json, whole or not at all, hands the files on and closes the run at the tracker.

        A run ends once: what interrupts the end, or comes after it, does not change how it ended.
        """
        result = Result(
            status,
            reason,
            skipped,
            self.name,
            self.key,
            self.run_id,
            self.params,
            self.metrics,
            self.history,
            self.folder,
            self.model,
        )
        if self.ended:
            return result
        self.ended = True
        self._write(result)
        try:
            self._hand_on(result)
        finally:
            if self.started:
                self.tracker.end(status, reason)
            result = self._named(result)
        return result

    def _named(self, result: Result) -> Result:
        """With the run's id, which may have been given since."""
        if result.run_id == self.run_id:
            return result
        named = replace(result, run_id=self.run_id)
        # Of a disk that is full the file without it is there.
        with suppress(OSError):
            self._write(named)
        return named

    def _hand_on(self, result: Result) -> None:
        # A process that was told to go has little time.
        if self.started and result.status is not Status.KILLED and not result.skipped:
            self.tracker.settle()
        # Its card and its artifact have the id too.
        self._named(result)
        card = self._card() if result.status is Status.FINISHED and not result.skipped else None
        if not self.started:
            return
        if self.cautions:
            self.tracker.set_tags({CAUTIONS: "\n".join(self.cautions)})
        if card is not None:
            self.tracker.log_artifact(card, MODEL)
        for name in ARTIFACTS:
            # Of an earlier run in this folder, where this one came to no key.
            if self.key is None and name in OF_A_KEY:
                continue
            if (self.folder / name).is_file():
                self.tracker.log_artifact(self.folder / name)

    def _card(self) -> Path | None:
        """The card of the model that was kept; it tells of all scores, and so is written when they are there."""
        if self.model_is_not_ours or not (self.folder / MODEL).is_dir():
            return None
        # Not above: it reads what this module writes.
        from embexp.report.card import write_card

        try:
            return write_card(self.folder)
        except Exception as error:  # the scores are safe in the result: no fault of a card may cost a run its end
            log.warning("%s: has no card: %s: %s", self.folder / MODEL, type(error).__name__, error)
            return None

    def _write(self, result: Result) -> None:
        content = {
            "status": result.status.value,
            "reason": result.reason,
            "skipped": result.skipped,
            "name": result.name,
            "key": result.key,
            "run_id": result.run_id,
            "setting": self.setting,
            "evaluation": self.evaluation,
            "scored_on": self.scored_on,
            "params": result.params,
            "cautions": self.cautions,
            "metrics": {name: _finite(value) for name, value in result.metrics.items()},
            "history": {name: [[s, _finite(v)] for s, v in values] for name, values in result.history.items()},
            "folder": str(result.folder),
            "log": str(result.folder / "run.log"),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f".{RESULT}.partial"
        partial.write_text(json.dumps(content, indent=1, allow_nan=False), encoding="utf-8")
        os.replace(partial, self.folder / RESULT)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""What a run leaves behind in its folder, in every exit: result.json, and the files that describe it.

A `Record` stands between the run and its tracker: it has the tracker's face, keeps what passes through, and so the
table at the end of a sweep can be drawn from the folders alone, whatever the tracker.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from embexp import identity
from embexp.config import Config
from embexp.interrupts import Terminated
from embexp.run_folder import (
    ARTIFACTS,
    CONFIG,
    DIFF,
    ENVIRONMENT,
    INPUTS,
    MODEL,
    OF_A_KEY,
    OVERRIDES,
    RESULT,
    Claim,
    read_object,
    write_whole,
)
from embexp.tracking import CAUTIONS, Status, Tracker, scrub_file, without_secrets

log = logging.getLogger(__name__)

# Who warns of what spoils a score, and who among them of what can be kept.
CAUTIOUS, NO_CAUTION = ("embexp.data", "embexp.models", "embexp.cautions"), ("embexp.data.cache", "embexp.data.tokens")


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
        description: by the name of its file, what the run is made with; in the folder when that is the run's.
        inputs: what was loaded and decided, as in inputs.json.
        claim: to the folder: whether that is this run's, and the model in it.
        model: that this process has put there, or that the same run had kept.
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
    description: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    found: str | None = None
    ended: bool = False
    model: Path | None = None
    cautions: list[str] = field(default_factory=list)
    claim: Claim = field(init=False)

    def __post_init__(self) -> None:
        self.claim = Claim(self.folder)

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
        """Keeps the config, what was typed where that is known, the environment, and what was not committed, for the folder.

        A tracking URI's user name and password are left out, of Hydra's own files too.
        """
        values = config.model_dump(mode="json", by_alias=True)
        self.description = {
            CONFIG: yaml.safe_dump(values, sort_keys=False),
            OVERRIDES: "" if overrides is None else yaml.safe_dump(list(overrides)),
            ENVIRONMENT: json.dumps(identity.environment(), indent=2),
            DIFF: identity.uncommitted(Path.cwd()),
        }
        for path in (self.folder / ".hydra").glob("*.yaml"):
            scrub_file(path)

    def claim_folder(self, *, keeps_model: bool, inputs: Mapping[str, Any] | None = None) -> None:
        """Makes the folder this run's, when its key is known, and describes it there; see `Claim.make`.

        Args:
            keeps_model: whether this run is to keep its model.
            inputs: what was loaded and decided, by its hashes; None: of what is only scored.

        Raises:
            ConfigError: another run's model is there, or what no run has left where this one's files or model are to be.
        """
        self.claim.make(self.key, keeps_model=keeps_model)
        # First: what is killed after it finds the folder its own again.
        if inputs is not None:
            self.inputs = dict(inputs)
            self._write_inputs()
        self._write_description()

    def keep_model(self, save: Callable[[Path], object]) -> None:
        """Puts the model into the run's folder, which tells so first: over its own the same run may write again."""
        self.claim.owns_model = True
        self._write_inputs()
        save(self.folder / MODEL)
        self.model = self.folder / MODEL
        self.log_artifact(self.model)

    def recall(self) -> None:
        """Where this run had finished in this very folder, takes its curves from there: a tracker tells the last values alone."""
        before = read_object(self.folder / RESULT)
        if (before.get("key"), before.get("status")) == (self.key, Status.FINISHED):
            history = before.get("history", {}).items()
            self.history = {name: [(s, math.nan if v is None else v) for s, v in values] for name, values in history}

    def end(self, status: Status, reason: str | None = None, *, skipped: bool = False, hurried: bool = False) -> Result:
        """Writes result.json, whole or not at all, hands the files on and closes the run at the tracker.

        A run ends once: what interrupts the end, or comes after it, does not change how it ended.

        Args:
            status: how it ended.
            reason: why it did not finish, or that it had finished before.
            skipped: the same run had finished before and was not made again.
            hurried: the process was told to go, and the tracker is not to wait for long; see `Tracker.end`.
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
        try:
            self._leave(result)
        except (KeyboardInterrupt, Terminated):
            hurried = True
            raise
        finally:
            if self.started:
                self.tracker.end(status, reason, hurried=hurried)
            result = self._named(result)
        return result

    def _leave(self, result: Result) -> None:
        """The result in the folder and every file at the tracker, whatever interrupts it: what is not there now never comes."""
        try:
            try:
                self._conclude(result)
            except (KeyboardInterrupt, Terminated):
                # Anew, for it may be half done, and takes no time.
                self._conclude(result)
                raise
            # A process that was told to go has little time.
            if self.started and result.status is not Status.KILLED and not result.skipped:
                self.tracker.settle()
        finally:
            self._hand_on(result)

    def _conclude(self, result: Result) -> None:
        """The result in the folder, unless that is another's."""
        self.claim.spare_another_s(self.key)
        self._write(result)
        if not (self.claim.made or self.claim.spares):
            self._write_description()

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
        # Its artifact and its card have the id too.
        self._named(result)
        if not self.started:
            return
        if self.cautions:
            self.tracker.set_tags({CAUTIONS: "\n".join(self.cautions)})
        for name in ("run.log",) if self.claim.spares else ARTIFACTS:
            # Of an earlier run in this folder, where this one came to no key.
            if self.key is None and name in OF_A_KEY:
                continue
            if (self.folder / name).is_file():
                self.tracker.log_artifact(self.folder / name)
        # Last: it may take long enough to be interrupted.
        card = self._card() if result.status is Status.FINISHED and not result.skipped else None
        if card is not None:
            self.tracker.log_artifact(card, MODEL)

    def _card(self) -> Path | None:
        """The card of the model that was kept; it tells of all scores, and so is written when they are there."""
        if self.model is None:
            return None
        # Not above: most runs keep no model, and need no card.
        from embexp.report.card import write_card

        try:
            return write_card(self.folder)
        except Exception as error:  # the scores are safe in the result: no fault of a card may cost a run its end
            log.warning("%s: has no card: %s: %s", self.folder / MODEL, type(error).__name__, error)
            return None

    def _write_description(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.description.items():
            if text:
                (self.folder / name).write_text(without_secrets(text) + "\n", encoding="utf-8")
            else:
                # That of an earlier run in this folder.
                (self.folder / name).unlink(missing_ok=True)

    def _write_inputs(self) -> None:
        content = {**self.inputs, "owns_model": self.claim.owns_model}
        write_whole(self.folder / INPUTS, json.dumps(content, indent=2))

    def _write(self, result: Result) -> None:
        if self.claim.spares:
            return
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
            "owns_model": self.claim.owns_model,
        }
        write_whole(self.folder / RESULT, json.dumps(content, indent=1, allow_nan=False))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""`python -m embexp.reproduce RUN`: runs a recorded run again, compares the scores, and says what else differs.

RUN is the id of an MLflow run, or the folder of a run. The run is made anew from its recorded config, into
multirun/reproduced/, and logged nowhere else. Whoever may write to a store may write such a config: code that it names and
embexp does not ship is run with --trust-code only.
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from embexp.interrupts import ended_in_one_line, leave_on_interrupt, raise_on_sigterm

if __name__ == "__main__":
    leave_on_interrupt()

import yaml

from embexp.compare.runs import OF_A_SWEEP, OF_STORE, read_runs, refuse_what_is_no_store, run_called
from embexp.config import Config, ConfigError
from embexp.config.checks import check
from embexp.config.composition import compose
from embexp.config.recorded import recorded_config
from embexp.pages import ask_for_large_pages
from embexp.run_folder import CONFIG, DIFF, ENVIRONMENT, INPUTS, RESULT, read_object
from embexp.shipped import conf_folder
from embexp.tracking import EXPERIMENT, param_text
from embexp.tracking.local import artifacts_and_tags_in, database_of
from embexp.tracking.moved import local_path, told_to_be_gone

# What stands for a key that is not there.
LACKING = object()
RUN_ID = re.compile("[0-9a-f]{32}")
# What is compared: scores, not times.
SCORES = ("dev/", "best/dev/", "test_before/", "test/", "gain/")
# Params that the machine decided: they are told with the hardware.
OF_THE_MACHINE = ("device", "threads", "precision")
# The parts of the record, and where in it they stand.
PARTS: dict[str, tuple[tuple[str, str], ...]] = {
    "code": ((ENVIRONMENT, "git"), (DIFF, "")),
    "data": ((INPUTS, "data"),),
    "weights": ((INPUTS, "weights.sha256"),),
    "libraries": ((ENVIRONMENT, "python"), (ENVIRONMENT, "libraries")),
    "hardware": (
        (ENVIRONMENT, "cpu"),
        (INPUTS, "hardware.device"),
        (INPUTS, "hardware.precision"),
        (INPUTS, "hardware.threads"),
    ),
}


@dataclass(frozen=True)
class Recorded:
    """A run's record.

    Attributes:
        config: as it was run.
        scores: the last value of each.
        parts: what it was made of, by file and dotted key.
        key: of the run; None where it was not recorded.
        params: that were typed, and what the machine decided, by short names.
        settings: all of the file of its config, as they stand there.
    """

    config: Config
    scores: dict[str, float]
    parts: dict[tuple[str, str], Any]
    key: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@ended_in_one_line()
def main() -> None:
    """The program: exit 0 where every score is as it was within the tolerance, 1 where one is not or it cannot be run.

    130, 143: interrupted.
    """
    arguments = _arguments()
    ask_for_large_pages()
    try:
        with TemporaryDirectory() as scratch:
            folder = _record_folder(arguments.run, arguments.uri, arguments.experiment, Path(scratch))
            before = read_record(folder, name=arguments.run)
        if not arguments.trust_code:
            refuse_code_of_others(before.config)
        raise_on_sigterm()
        now = run_again(before.config, name=_called(arguments.run))
    except ConfigError as error:
        sys.exit("\n".join(error.problems))
    except Exception as error:
        # Not above: it imports torch, which who mistypes a run need not wait for.
        from embexp.experiment import TOLD_IN_WORDS

        if isinstance(error, TOLD_IN_WORDS):
            sys.exit(str(error))
        raise
    print("\n".join(told(before, now, tolerance=arguments.tolerance)))
    sys.exit(0 if _largest_difference(before, now) <= arguments.tolerance else 1)


def _called(run: str) -> str:
    """The folder's name, also of one that is written as "." or "..", or the id."""
    return (Path(run).resolve().name if Path(run).is_dir() else run) or "run"


def read_record(folder: Path, *, name: str | None = None) -> Recorded:
    """What a run's folder tells; `name` is what the person called it, where that is another.

    Raises:
        ConfigError: it is no run's folder, or the run has no scores.
    """
    whose = name or str(folder)
    if (status := read_object(folder / RESULT).get("status", "FINISHED")) != "FINISHED":
        raise ConfigError([f"{whose}: this run is {status}; only a finished one has scores to compare."])
    needed = (CONFIG, ENVIRONMENT, INPUTS, RESULT)
    if missing := [name for name in needed if not (folder / name).is_file()]:
        # An evaluation loads no rows to train on, and leaves all but this.
        is_other = missing == [INPUTS] or len(missing) == len(needed)
        what_to_do = (
            "give the id or the folder of a run that was trained, not of a sweep or an evaluation."
            if is_other
            else "it cannot be made again without; if the files of its folder, under multirun/, are whole, give that folder."
        )
        raise ConfigError([f"{whose}: has no {', '.join(missing)}; {what_to_do}"])
    values = recorded_config((folder / CONFIG).read_bytes())
    if isinstance(values, str):
        raise _damaged(whose, CONFIG, values)
    names = values.pop("names")
    files = {name: _parsed(folder / name, whose) for name in (ENVIRONMENT, INPUTS, RESULT)}
    diff = folder / DIFF
    files[DIFF] = {"": diff.read_text(encoding="utf-8", errors="replace") if diff.is_file() else ""}
    for file, key in (
        (RESULT, "metrics"),
        (RESULT, "status"),
        *(place for places in PARTS.values() for place in places),
    ):
        if _looked_up(files[file], key) is LACKING:
            raise _damaged(whose, file, f"it lacks {key}")
    metrics = files[RESULT]["metrics"].items()
    # What was no number is null.
    scores = {name: value for name, value in metrics if name.startswith(SCORES) and value is not None}
    if not scores:
        raise _damaged(whose, RESULT, "it has no scores")
    parts = {place: _looked_up(files[place[0]], place[1]) for places in PARTS.values() for place in places}
    # It is logged nowhere else, and the store may have moved.
    values["tracker"], names["tracker"] = {"_target_": "embexp.tracking.NullTracker"}, "none"
    result = files[RESULT]
    return Recorded(check(values, names), scores, parts, result.get("key"), result.get("params") or {}, values)


def _parsed(path: Path, whose: str) -> dict[str, Any]:
    """The content of a file of the record.

    Raises:
        ConfigError: it is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _damaged(whose, path.name, "it is no JSON of names and values")
    return found


def _damaged(whose: str, file: str, why: str) -> ConfigError:
    """What is said of a file, by the run as the person called it: what was fetched lies in a folder that is gone by then."""
    elsewhere = (
        "if the run is in a store, its copy may be whole: give the run's id"
        if Path(whose).is_dir()
        else "the copy in the run's folder, under multirun/, may be whole: give that folder"
    )
    return ConfigError([f"{whose}: its {file} is damaged: {why}; the run cannot be made again from it; {elsewhere}."])


def refuse_code_of_others(config: Config) -> None:
    """Lets nothing pass that would run code which is neither embexp's nor named in conf/.

    Raises:
        ConfigError: with all that is named.
    """
    source = config.evaluation.source or {}
    named = {
        "model": config.model.target,
        "loss": config.loss.target,
        "data": config.data.target,
        "evaluation.source": source.get("_target_"),
    }
    problems = [
        f"{section}._target_={target}: is none of embexp's"
        for section, target in named.items()
        if target is not None and target not in _shipped("data" if section == "evaluation.source" else section)
    ]
    if getattr(config.model, "trust_remote_code", False):
        problems.append("model.trust_remote_code=true: the model brings code of its own")
    if problems:
        raise ConfigError([f"{problem}; --trust-code runs it." for problem in problems])


def _shipped(group: str) -> set[str]:
    return {
        yaml.safe_load(file.read_text(encoding="utf-8"))["_target_"] for file in (conf_folder() / group).glob("*.yaml")
    }


def run_again(config: Config, *, name: str) -> Recorded:
    """Trains as the config says, from its first step and with no tracker, and reads what that left."""
    from embexp.experiment import run_experiment

    untracked = compose(["tracker=none"])
    names = (name if time == 1 else f"{name}-{time}" for time in count(1))
    folder = next(folder for each in names if not (folder := Path("multirun") / "reproduced" / each).exists())
    # Not the run's own: had it been interrupted, this one would go on from there.
    apart = {"checkpoints": False, "checkpoint_folder": str(folder / "checkpoints")}
    trainer = config.trainer.model_copy(update=apart)
    alone = config.model_copy(update={"tracker": untracked.tracker, "trainer": trainer})
    run_experiment(alone, folder=folder)
    return read_record(folder)


def told(before: Recorded, now: Recorded, *, tolerance: float) -> list[str]:
    """The scores side by side, and which of config, code, data, weights, libraries and hardware differ."""
    lines = [f"{'score':32} {'recorded':>10} {'again':>10} {'difference':>11}"]
    for name, value in sorted(before.scores.items()):
        again = now.scores.get(name, float("nan"))
        lines.append(f"{name:32} {value:10.4f} {again:10.4f} {again - value:+11.1e}")
    largest = _largest_difference(before, now)
    if largest == 0:
        lines.append("Every score is the same, to the last digit.")
    elif largest <= tolerance:
        lines.append(f"Every score is the same within {tolerance:g}; the largest difference is {largest:.1e}.")
    else:
        lines.append(f"NOT reproduced: the largest difference is {largest:.1e}, over {tolerance:g}.")
    differences = {
        part: [line for place in places for line in _differences(place, before, now)] for part, places in PARTS.items()
    }
    lines.append(f"config: {_of_config(before, now, all_else_is_same=not any(differences.values()))}")
    lines += [f"{part}: {'; '.join(found) if found else 'the same'}" for part, found in differences.items()]
    return lines


def _of_config(before: Recorded, now: Recorded, *, all_else_is_same: bool) -> str:
    """What tells that the file of the config is not what was run: the params that were recorded with the run, and its key."""
    keys = f"key {before.key} -> {now.key}"
    if altered := _altered(before, now):
        return f"{'; '.join(altered)} (as recorded with the run -> in its {CONFIG}, which was altered since; {keys})"
    if before.key in (None, now.key):
        return "the same"
    if all_else_is_same:
        return (
            f"{keys}, and what follows is the same: a setting in its {CONFIG} was altered since, or embexp's own code"
        )
    return f"no setting that was recorded with the run differs; {keys}, as where what follows differs"


def _altered(before: Recorded, now: Recorded) -> list[str]:
    """The settings that were recorded with the run and that are others in the file of its config: "seed 1 -> 9"."""
    found = []
    for key, value in before.params.items():
        # Those of a section were typed, and are no params of a run that was made from the file.
        again = now.params.get(key, _looked_up(before.settings, key) if "." in key else LACKING)
        if key not in OF_THE_MACHINE and _tell_apart(value, again):
            found.append(f"{key} {_short(value)} -> {_short(again)}")
    return found


def _tell_apart(typed: Any, value: Any) -> bool:
    """Whether a setting as it was typed is another than that of a config; of what is no number or word it is not known."""
    one, other = param_text(typed), param_text(value)
    if isinstance(value, bool):
        return one.lower() != other.lower()
    if not isinstance(value, (int, float, str)) or value is LACKING or any(sign in one for sign in "/~$[{"):
        return False
    try:
        return float(one) != float(other)
    except ValueError:
        return one != other


def _differences(place: tuple[str, str], before: Recorded, now: Recorded) -> list[str]:
    old, new = before.parts[place], now.parts[place]
    if old == new:
        return []
    name = place[1].rpartition(".")[2]
    if place[0] == DIFF:
        return ["what was not committed differs"]
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [
            f"{key} {_short(old.get(key))} -> {_short(new.get(key))}" for key in keys if old.get(key) != new.get(key)
        ]
    return [f"{name} {_short(old)} -> {_short(new)}"]


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text


def _largest_difference(before: Recorded, now: Recorded) -> float:
    return max(abs(now.scores.get(name, float("inf")) - value) for name, value in before.scores.items())


def _looked_up(content: Mapping[str, Any], dotted: str) -> Any:
    value: Any = content
    for key in dotted.split("."):
        value = value.get(key, LACKING) if isinstance(value, dict) else LACKING
    return value


def _record_folder(run: str, uri: str | None, experiment: str, scratch: Path) -> Path:
    """The run's folder itself, that of its artifacts where these are of this machine, or these brought here from the tracker.

    Raises:
        ConfigError: there is no such run, or its files cannot be had.
    """
    if Path(run).is_dir():
        return Path(run)
    if len(Path(run).parts) > 1:
        raise ConfigError([f"{run}: there is no such folder."])
    # A whole id may be that of a run of another experiment.
    if not RUN_ID.fullmatch(run):
        run = run_called(run, read_runs(uri, experiment=experiment)).where.removeprefix(OF_STORE)
    refuse_what_is_no_store(uri)
    return _local_files(run, uri) or _fetched(run, uri, experiment, scratch)


def _local_files(run_id: str, uri: str | None) -> Path | None:
    """Where a run's files are, also since its working folder was moved, of which MLflow knows nothing; None where it is to be asked.

    Raises:
        ConfigError: they are not there.
    """
    database = database_of(uri)
    if database is None or not database.is_file():
        return None
    try:
        artifacts, tags = artifacts_and_tags_in(database, run_id)
    except sqlite3.Error:
        # MLflow tells what is wrong with it.
        return None
    files = local_path(artifacts)
    # A sweep has no files of its own.
    if files is None or OF_A_SWEEP in tags:
        return None
    if not files.is_dir():
        raise ConfigError(
            [f"{run_id}: {told_to_be_gone(files)}; or give the run's own folder, under multirun/, in place of its id."]
        )
    return files


def _fetched(run: str, uri: str | None, experiment: str, scratch: Path) -> Path:
    """A folder with a run's artifacts, brought into it from the tracker.

    Raises:
        ConfigError: there is no such run, or its artifacts cannot be had.
    """
    from embexp.tracking import without_secrets
    from embexp.tracking.store import client_of

    client = client_of(uri)
    # What makes MLflow quiet is said before its import.
    from mlflow.exceptions import MlflowException

    try:
        artifacts = {file.path for file in client.list_artifacts(run)}
        for name in (CONFIG, ENVIRONMENT, INPUTS, RESULT, DIFF):
            if name in artifacts:
                client.download_artifacts(run, name, str(scratch))
    except MlflowException as error:
        # Where it is no run of the store, this says which there are.
        run_called(run, read_runs(uri, experiment=experiment))
        where = f" in {without_secrets(uri)}" if uri else ""
        raise ConfigError([f"{run}: its record cannot be read{where}: {without_secrets(str(error.message))}"]) from None
    return scratch


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m embexp.reproduce", allow_abbrev=False, description=__doc__)
    parser.add_argument(
        "run", metavar="RUN", help="the id of an MLflow run, or its first digits, or the folder of a run"
    )
    parser.add_argument(
        "--tolerance", type=float, default=1e-3, help="how far a score may be off (default: %(default)s)"
    )
    parser.add_argument(
        "--trust-code", action="store_true", help="run code that the record names and embexp does not ship"
    )
    parser.add_argument("--uri", help="the MLflow store; default: as for training")
    parser.add_argument("--experiment", default=EXPERIMENT, help="the MLflow experiment (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

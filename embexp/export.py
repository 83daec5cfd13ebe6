"""`python -m embexp.export RUN_ID FOLDER`: a trained model as a folder that plain SentenceTransformer loads, with its card.

    python -m embexp.export 4f1c2a FOLDER                     # the first digits of a run id are enough
    python -m embexp.export 4f1c2a FOLDER --push owner/name   # and to the hub, as whoever is logged in there

The run has to have kept its weights: trainer.save_model=true.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from zipfile import is_zipfile

from embexp.interrupts import ended_in_one_line, leave_on_interrupt

if __name__ == "__main__":
    leave_on_interrupt()

from embexp.compare.runs import Run, read_runs, run_called
from embexp.config import ConfigError
from embexp.config.recorded import recorded_config
from embexp.report.card import CARD, card_of
from embexp.report.details import Details, details_of
from embexp.report.fetched import Fetched
from embexp.run_folder import CONFIG, MODEL
from embexp.tracking import EXPERIMENT, Status, without_secrets
from embexp.tracking.moved import told_to_be_gone

KEPT = "trainer.save_model=true"
WEIGHTS = ("model.safetensors", "*.safetensors", "*.bin")
# The files without which a module of sentence-transformers' own is not loaded; each by the names that it may have.
NEEDED: dict[str, tuple[tuple[str, ...], ...]] = {
    "Transformer": (("config.json", "adapter_config.json"), WEIGHTS),
    "Pooling": (("config.json",),),
    "Dense": (("config.json",), WEIGHTS),
    "StaticEmbedding": (("tokenizer.json",), WEIGHTS),
    "Router": (("router_config.json",),),
}


@ended_in_one_line()
def main() -> None:
    """The program: exit 1 where there is nothing to export or the hub refuses it, 2 for a wrong usage, 130 interrupted."""
    arguments = _arguments()
    try:
        folder = export(
            arguments.run_id,
            Path(arguments.folder),
            uri=arguments.uri,
            experiment=arguments.experiment,
            repo=arguments.push,
        )
        trusted = ", trust_remote_code=True" if brings_code(folder) else ""
        print(f"{folder}: SentenceTransformer({str(folder)!r}{trusted}) loads it; {CARD} is its card")
        if arguments.push is not None:
            print(push(folder, arguments.push, private=arguments.private))
    except ConfigError as error:
        sys.exit("\n".join(error.problems))


def export(
    run_id: str, folder: Path, *, uri: str | None = None, experiment: str = EXPERIMENT, repo: str | None = None
) -> Path:
    """Copies the model that a run kept into a new folder and writes its card; whole or not at all.

    Args:
        run_id: of the store, or its first digits.
        folder: is made; must not exist, or be empty.
        uri: of the store; None: as for training.
        repo: the hub id that the card's example loads from; None: the folder, of a whole path its name.

    Raises:
        ConfigError: no such run, it kept no model or one that is damaged, or the folder is taken.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError([f"{folder}: is there already and not empty; name a new folder."])
    run = find_run(run_id, read_runs(uri, experiment=experiment))
    with Fetched() as fetched:
        details = details_of(run, uri=uri, fetched=fetched)
        kept = kept_model(run, details)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as place:
            made = Path(place) / "model"
            shutil.copytree(kept, made)
            loads_from = repo or (folder.name if folder.is_absolute() else str(folder))
            (made / CARD).write_text(card_of(run, details, repo=loads_from), encoding="utf-8")
            made.replace(folder)
    return folder


def kept_model(run: Run, details: Details) -> Path:
    """The folder of the model that a run kept.

    Raises:
        ConfigError: it kept none, or it or the config, of which its card is made, is damaged.
    """
    whose = f"run {details.run_id} ({run.name})"
    config = details.file(CONFIG)
    if config is None:
        raise ConfigError(
            [
                f"{whose}: {_why_no_files(details)}; its model may be in the folder of the run, under multirun/, as model."
            ]
        )
    if isinstance(why := recorded_config(config.read_bytes()), str):
        raise ConfigError(
            [
                f"{whose}: its {CONFIG} is damaged, of which the card is made: {why}; put that of the run's folder, under multirun/, "
                f"in its place: {_place_of(CONFIG, details)}{_without_a_card(details)}."
            ]
        )
    kept = details.file(MODEL)
    if kept is None or not (kept / "modules.json").is_file():
        raise ConfigError([f"{whose}: kept no model. {_how_to_keep(details)}."])
    if damages := damages_of(kept):
        raise ConfigError(
            [
                f"{whose}: its model cannot be loaded: {'; '.join(damages)}; that of the run's folder, under multirun/, may be whole: "
                f"put it in place of {_place_of(MODEL, details)}. {_how_to_keep(details)}."
            ]
        )
    return kept


def _place_of(name: str, details: Details) -> str:
    """Where a file of the run is to be found afterwards: what was fetched is gone by then."""
    if details.folder is None:
        return f"{name} among the run's files in {without_secrets(str(details.uri))}"
    return str(details.folder / name)


def _without_a_card(details: Details) -> str:
    """How a model that is on this machine is loaded as it is; empty where there is none."""
    kept = None if details.folder is None else details.file(MODEL)
    if kept is None or not (kept / "modules.json").is_file():
        return ""
    return f"; without a card it can be loaded as it is: SentenceTransformer({str(kept)!r})"


def _why_no_files(details: Details) -> str:
    if details.folder is None:
        where = without_secrets(str(details.uri))
        return f"its files cannot be read in {where}, where they are not any more, or which cannot be reached"
    if details.folder.is_dir():
        return f"its {CONFIG} is not in {details.folder}"
    return told_to_be_gone(details.folder)


def damages_of(model: Path) -> list[str]:
    """What of a model's folder is missing or cut off, each with its file; no weights are read into memory for it.

    Of a safetensors file the header and the length that it tells, of a .bin the end, where its list of contents stands.
    """
    from safetensors import SafetensorError, safe_open

    damages, there = [], sorted(path for path in model.rglob("*") if path.is_file())
    for path in there:
        name = path.relative_to(model)
        try:
            if path.suffix == ".safetensors":
                with safe_open(path, framework="numpy"):
                    pass
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".bin" and _is_cut_off(path):
                damages.append(f"{name} is cut off")
        except (SafetensorError, OSError) as error:
            damages.append(f"{name} is cut off, or no safetensors ({error})")
        except ValueError:
            damages.append(f"{name} is no JSON")
    return damages or _missing_in(model, there)


def _is_cut_off(path: Path) -> bool:
    """Of what torch.save wrote, which is a zip; what is of its old format begins otherwise, and cannot be told."""
    with path.open("rb") as file:
        start = file.read(2)
    return not start or (start == b"PK" and not is_zipfile(path))


def _missing_in(model: Path, there: Sequence[Path]) -> list[str]:
    """What a folder whose JSON is whole names, and has not."""
    missing = []
    for listed in (path for path in there if path.name.endswith(".index.json")):
        parts = set(json.loads(listed.read_text(encoding="utf-8")).get("weight_map", {}).values())
        missing += [listed.parent / part for part in sorted(parts) if not (listed.parent / part).is_file()]
    for module in json.loads((model / "modules.json").read_text(encoding="utf-8")):
        package, _, kind = module["type"].rpartition(".")
        # A person's own module of such a name may save other files.
        needed = NEEDED.get(kind, ()) if package.partition(".")[0] == "sentence_transformers" else ()
        folder = model / module["path"]
        # Any of the names: weights are in one format or the other.
        missing += [folder / names[0] for names in needed if not any(True for name in names for _ in folder.glob(name))]
    return [f"{path.relative_to(model)} is missing" for path in missing]


def find_run(run_id: str, runs: Sequence[Run]) -> Run:
    """The finished run whose id is, or begins with, `run_id`.

    Raises:
        ConfigError: there is none, there are several, or it did not finish.
    """
    found = run_called(run_id, runs)
    if found.status != Status.FINISHED:
        raise ConfigError([f"{run_id} ({found.name}): is {found.status}; only a finished run can be exported."])
    return found


def push(folder: Path, repo: str, *, private: bool) -> str:
    """Sends an exported folder to the hub, the repository made where it is not there; returns its address.

    Raises:
        ConfigError: the hub cannot be reached or refuses it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(folder_path=folder, repo_id=address.repo_id, commit_message="Model exported by embexp")
    except LocalTokenNotFoundError:
        raise ConfigError(
            [f"--push {repo}: nobody is logged in here; do it with: hf auth login; then: {_again(folder, repo)}"]
        ) from None
    except HFValidationError as error:
        raise ConfigError([f"--push {repo}: is no hub id (owner/name): {error}"]) from None
    except HfHubHTTPError as error:
        denied = error.response is not None and error.response.status_code in (401, 403)
        advice = " Log in as somebody who may write there: hf auth login." if denied else ""
        raise ConfigError(
            [f"--push {repo}: the hub answered: {str(error).splitlines()[0]}.{advice} Then: {_again(folder, repo)}"]
        ) from error
    except (OfflineModeIsEnabled, OSError) as error:
        raise ConfigError(
            [f"--push {repo}: the hub cannot be reached: {error}; {folder} is complete, later: {_again(folder, repo)}"]
        ) from error
    return str(address)


def brings_code(folder: Path) -> bool:
    """Whether a model brings Python of its own, without which it cannot be loaded."""
    return any("auto_map" in json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("**/config.json"))


def _again(folder: Path, repo: str) -> str:
    return f"hf upload {repo} {shlex.quote(str(folder))}"


def _how_to_keep(details: Details) -> str:
    command = details.command or "python -m embexp ..."
    if "embexp.evaluate" in command:
        return "It was scored as it is, not trained: its model lies where that command took it from"
    kept = "" if KEPT in command.split() else f" {KEPT}"
    return f"Train it again, keeping it: {command}{kept} rerun=true"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        allow_abbrev=False,
        prog="python -m embexp.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run_id", metavar="RUN_ID", help="as the report and the MLflow UI show it; its first digits are enough"
    )
    parser.add_argument("folder", metavar="FOLDER", help="is made; must not be there yet")
    parser.add_argument("--push", metavar="REPO", help="also send it to the hub, as owner/name")
    parser.add_argument("--private", action="store_true", help="a new repository is private")
    parser.add_argument("--uri", help="the MLflow store; default: as for training")
    parser.add_argument("--experiment", default=EXPERIMENT, help="the MLflow experiment (default: %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What makes two runs the same run, and the record of where a run was made: code, libraries, hardware.

The run key is a hash of everything that can change a result. The same key again is the same run.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, distributions, version
from itertools import chain
from pathlib import Path
from typing import Any

from embexp.config import VIEWS_OF_KIND, Config
from embexp.config.schema import OWN
from embexp.cores import cpu_name
from embexp.pages import LARGE_PAGES

LONGEST_DIFF = 1_000_000
# In the environment of a sweep's jobs, whichever process they are in: the command as it was typed.
COMMAND = "EMBEXP_COMMAND"

# The modules of embexp that rows, weights and scores come out of. Their content counts, not the version: most changes
# of embexp are none of the results, and in a checkout the version stays the same.
DECIDING = (
    "config/kinds.py",
    "data",
    "encoding",
    "evaluation",
    "training",
    "denoising.py",
    "experiment.py",
    "inputs.py",
    "loss_plan.py",
    "loss_ways.py",
    "losses.py",
    "matryoshka.py",
    "mining.py",
    "model_tokenizer.py",
    "models.py",
    "prompts.py",
    "routes.py",
    "scoring.py",
)
# Of them what a model's scores come out of where nothing is trained.
SCORING = (
    "data",
    "evaluation",
    "inputs.py",
    "model_tokenizer.py",
    "models.py",
    "prompts.py",
    "routes.py",
    "scoring.py",
    "training/hardware.py",
)
# The libraries whose version can change the numbers that come out.
TRAINING_LIBRARIES = (
    "torch",
    "transformers",
    "sentence-transformers",
    "accelerate",
    "tokenizers",
    "numpy",
)
# And those of the evaluations that have one of their own.
SCORING_LIBRARIES = {"mteb": ("mteb", "scikit-learn"), "classification": ("scikit-learn",)}
RECORDED_LIBRARIES = (
    "embexp",
    *TRAINING_LIBRARIES,
    "datasets",
    "huggingface_hub",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "scipy",
)

# What the same result comes out of, whatever its value. Where a thing came from is not in the key: what it held is,
# by the hash of the weights and the fingerprints of the rows.
NOT_IN_KEY = (
    "tracker",
    "names",
    "rerun",
    "trainer.data_cache",
    "trainer.keep_memory",
    "trainer.checkpoints",
    "trainer.checkpoint_folder",
    "trainer.save_model",
    "trainer.logging_steps",
    "loss.decoder",
    "model.target",
    "model.path",
    "model.revision",
    "model.package",
    "model.trust_remote_code",
    "data.target",
    "data.path",
    "data.repo",
    "data.revision",
    "data.train",
    "data.dev",
    "data.test",
    "data.encoding",
    "data.delimiter",
    "data.quoted",
    "evaluation.source",
    "evaluation.path",
    "evaluation.sets",
    "evaluation.mteb.cache",
    "evaluation.mteb.path",
    "evaluation.mteb.own",
    "evaluation.retrieval.path",
    "evaluation.retrieval.queries",
    "evaluation.retrieval.corpus",
    "evaluation.retrieval.relevance",
    "evaluation.classification.path",
    "evaluation.classification.train",
    "evaluation.classification.test",
)
# Of them what is typed: how a run is made, where the others say of what.
CHANGES_NO_RESULT = tuple(key for key in NOT_IN_KEY if key.startswith("trainer."))


def run_key(config: Config, *, model: str, fingerprints: Mapping[str, str], hardware: Mapping[str, str]) -> str:
    """The hash, 16 hex digits, of all that can change the run's result.

    Args:
        config: the checked config; what NOT_IN_KEY names is left out.
        model: of the base model: the hash of all that decides its embeddings.
        fingerprints: of the rows that are trained and scored on: {"train": ..., "dev": ..., "test": ...}.
        hardware: what the machine decided: {"device": ..., "precision": ...}.
    """
    content = {
        "config": settings_in_key(config),
        "model": model,
        "rows": dict(fingerprints),
        "hardware": dict(hardware),
        "libraries": versions(deciding_libraries(config)),
        "code": code_of(*DECIDING),
        "views": VIEWS_OF_KIND,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def deciding_libraries(config: Config) -> tuple[str, ...]:
    """Those whose version can change this config's numbers."""
    chosen = [names for part, names in SCORING_LIBRARIES.items() if getattr(config.evaluation, part) is not None]
    return (*TRAINING_LIBRARIES, *dict.fromkeys(chain.from_iterable(chosen)))


def settings_in_key(config: Config) -> dict[str, Any]:
    """All settings but what NOT_IN_KEY names of embexp's own options, and but the evaluations that were not chosen: more may come
    to be known."""
    values = config.model_dump(mode="json")
    # Of a person's own loss or model a key of the same name may mean anything. Data of whatever source are known by their rows.
    own = tuple(f"{group}." for group in ("loss", "model") if isinstance(getattr(config, group), OWN[group]))
    for dotted in NOT_IN_KEY:
        if dotted.startswith(own):
            continue
        *parents, last = dotted.split(".")
        section: dict[str, Any] | None = values
        for parent in parents:
            section = section and section.get(parent)
        if section:
            section.pop(last, None)
    values["evaluation"] = {key: value for key, value in values["evaluation"].items() if value is not None}
    return values


def sha256_of(file: Path) -> str:
    """Of its content, in hex."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@lru_cache
def code_of(*parts: str) -> str:
    """The sha256 of embexp's own code, in hex: of the named modules and packages, and of what lies beside their code."""
    here = Path(__file__).parent
    files = [file for part in parts for file in ([here / part] if part.endswith(".py") else (here / part).rglob("*"))]
    deciding = sorted(file for file in files if file.suffix in (".py", ".yaml"))
    return hashlib.sha256("".join(map(sha256_of, deciding)).encode()).hexdigest()


def versions(packages: tuple[str, ...] = RECORDED_LIBRARIES) -> dict[str, str]:
    """The installed version of each package; "not installed" where it is not."""
    return {package: _version_of(package) for package in packages}


@cache
def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def git_state(folder: Path) -> dict[str, str]:
    """{"commit": ..., "dirty": "true", "false" or "unknown"} of the checkout that holds `folder`; empty where there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git(folder, "status", "--porcelain")
    return {"commit": commit, "dirty": "unknown" if changes is None else str(bool(changes)).lower()}


def uncommitted(folder: Path) -> str:
    """The diff of the checkout that holds `folder` against its last commit; empty where there is none, or no checkout.

    What of it is longer than LONGEST_DIFF is left out.
    """
    diff = _git(folder, "diff", "HEAD") or ""
    return diff if len(diff) <= LONGEST_DIFF else f"{diff[:LONGEST_DIFF]}\n[{len(diff) - LONGEST_DIFF} characters more]"


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace").strip()


def environment() -> dict[str, Any]:
    """Where the run was made: command, Python, code, libraries, machine. Goes to the run's environment.json."""
    return {
        "command": command_line(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "large_pages": os.environ.get(LARGE_PAGES) == "1",
        "libraries": versions(),
        "packages": dict(_installed()),
        "git": git_state(Path.cwd()),
    }


@lru_cache
def _installed() -> dict[str, str]:
    """The version of every package, by name; read once: what a process has imported stays, whatever is installed later."""
    return {found.name: found.version for found in sorted(distributions(), key=lambda found: found.name)}


def command_line() -> str:
    """The command as a person would type it again; in a process that it started too."""
    if COMMAND in os.environ:
        return os.environ[COMMAND]
    program = Path(sys.argv[0])
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = spec.name.removesuffix(".__main__") if spec is not None else "embexp"
    head = ["python", "-m", module] if module.startswith("embexp") and program.suffix == ".py" else [program.name]
    return shlex.join([*head, *sys.argv[1:]])

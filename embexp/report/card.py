"""The model card of one run, written from its record: data, settings, scores, cost, licence, how to load it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from embexp.compare.judge import judge
from embexp.compare.ranking import scored_on
from embexp.compare.runs import Run
from embexp.record import TEST_AND_DEV
from embexp.report.details import Details
from embexp.statistics import Interval
from embexp.units import duration

SPLITS = ("dev", "test")
CORRELATIONS = (("Spearman", "spearman_cosine"), ("Pearson", "pearson_cosine"))
SHOWN_VERSIONS = ("embexp", "sentence-transformers", "transformers", "torch")


@dataclass(frozen=True)
class Score:
    """A line of the card's table of scores; `before` is the base model's."""

    split: str
    name: str
    after: float
    before: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Base:
    """The model that training began with; `licence` and `hub_id` are None where they are not known."""

    name: str
    hub_id: str | None
    licence: str | None


def card_of(run: Run, details: Details, *, repo: str | None = None) -> str:
    """The text of the model's README.md, front matter included.

    Args:
        repo: the hub id or folder that its example loads from; None: the run's name stands for it.
    """
    config = details.yaml("config.yaml") or {}
    base = base_of(config)
    scores = scores_of(run, details)
    data, pairs = run.params.get("data", "unknown"), scored_on(run)
    environment = Environment(
        loader=PackageLoader("embexp.report"),
        autoescape=False,  # markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    body = environment.get_template("card.md").render(
        run=run,
        base=base,
        repo=repo or "FOLDER",
        data=data,
        scored_on=pairs,
        scores=scores,
        rows={key.removeprefix("data/"): int(n) for key, n in run.metrics.items() if key.startswith("data/")},
        latency=latency_of(run),
        seconds=duration(run.metrics.get("time/training_seconds", 0.0)),
        command=details.command,
        cautions=details.cautions,
        on_test=any(score.split == "test" for score in scores),
        test_is_new=not any(said.startswith(f"{TEST_AND_DEV}: ") for said in details.cautions),
        libraries=libraries_of(details),
        run_id=details.run_id,
    )
    return f"---\n{front_matter(base, scores, pairs=pairs, name=run.name)}---\n\n{body}"


def latency_of(run: Run) -> dict[str, float]:
    """What serving costs, by name; the many single settings, latency/<device>/..., are left to the record."""
    found = {key.removeprefix("latency/"): value for key, value in run.metrics.items() if key.startswith("latency/")}
    return {key: value for key, value in found.items() if "/" not in key}


def front_matter(base: Base, scores: Sequence[Score], *, pairs: str, name: str) -> str:
    """The card's metadata as the hub reads them: https://huggingface.co/docs/hub/model-cards#model-card-metadata."""
    content: dict[str, Any] = {} if base.licence is None else {"license": base.licence}
    if base.hub_id is not None:
        content["base_model"] = base.hub_id
    content |= {
        "library_name": "sentence-transformers",
        "pipeline_tag": "sentence-similarity",
        "tags": ["sentence-transformers", "sentence-similarity", "feature-extraction", "embexp"],
    }
    results = [
        {
            "task": {"type": "semantic-similarity", "name": "Semantic Similarity"},
            "dataset": {"name": f"{pairs} {split}", "type": pairs},
            "metrics": [
                {
                    "type": f"{score.name.lower()}_cosine",
                    "value": round(score.after, 6),
                    "name": f"{score.name}, cosine similarity",
                }
                for score in scores
                if score.split == split
            ],
        }
        for split in dict.fromkeys(score.split for score in scores)
    ]
    if results:
        content["model-index"] = [{"name": name, "results": results}]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def base_of(config: Mapping[str, Any]) -> Base:
    """The base model that a resolved config names, with the licence that its own card gives."""
    from embexp.model_files import HUB_ID, packaged

    model = config.get("model", {})
    path = model.get("path")
    name = config.get("names", {}).get("model", "unknown")
    if path is None:
        return Base(name, None, None)
    folder: Path | None = Path(path).expanduser()
    if folder is not None and folder.is_dir():
        return Base(folder.name, None, licence_in(folder / "README.md"))
    if not HUB_ID.match(path):
        return Base(name, None, None)
    package = model.get("package")
    folder = packaged(package, path, revision=model.get("revision")) if package is not None else None
    return Base(path, path, licence_in(folder / "README.md") if folder is not None else None)


def licence_in(path: Path) -> str | None:
    """The licence that the front matter of a model card names; None where there is neither."""
    if not path.is_file():
        return None
    parts = path.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return None
    try:
        content = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return None
    found = content.get("license") if isinstance(content, dict) else None
    return str(found) if found is not None else None


def scores_of(run: Run, details: Details) -> list[Score]:
    """The correlations on each split after and before training, with a 95 % interval where predictions were kept."""
    found = []
    for split in SPLITS:
        for name, metric in CORRELATIONS:
            after = run.metrics.get(f"best/{split}/{metric}", run.metrics.get(f"{split}/{metric}"))
            if after is None:
                continue
            gain = run.metrics.get(f"gain/{split}/{metric}")
            found.append(
                Score(split, name, after, None if gain is None else after - gain, interval_of(run, f"{split}/{metric}"))
            )
    return found


def interval_of(run: Run, metric: str) -> Interval | None:
    """The 95 % interval of one score, by bootstrap over the pairs."""
    verdicts = judge([run], metric=metric)
    return verdicts[0].interval if verdicts else None


def libraries_of(details: Details) -> dict[str, str]:
    """The versions that trained it, of the libraries that matter most."""
    path = details.file("environment.json")
    found = json.loads(path.read_text(encoding="utf-8"))["libraries"] if path is not None else {}
    return {name: found[name] for name in SHOWN_VERSIONS if name in found}

"""The model card of one run, written from its record: data, settings, scores, cost, licence, how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from embexp.compare.cells import in_markdown
from embexp.compare.columns import beside
from embexp.compare.judge import judge
from embexp.compare.ranking import scored_on
from embexp.compare.runs import Run, read_result
from embexp.compare.warned import TEST_AND_DEV
from embexp.data.views import SCORED_AS
from embexp.home import expanded
from embexp.naming import name_of, shared_command, shared_name, without_folders
from embexp.report.charts import LATENCY
from embexp.report.details import Details, details_of
from embexp.report.entries import metric_title
from embexp.run_folder import ENVIRONMENT, INPUTS, MODEL, RESULT
from embexp.statistics import Interval
from embexp.units import duration

CARD = "README.md"
# Where sentence-transformers keeps a model's prompts.
PROMPTS = "config_sentence_transformers.json"
SPLITS = ("dev", "test")
CORRELATIONS = (("Spearman", "spearman_cosine"), ("Pearson", "pearson_cosine"))
# What the scores of a split are where they were not made.
GIVEN = "the scores given"
SHOWN_VERSIONS = ("embexp", "sentence-transformers", "transformers", "torch")


@dataclass(frozen=True)
class Score:
    """A line of the card's table of scores; `before` is the base model's."""

    split: str
    name: str
    metric: str
    after: float
    before: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Pairs:
    """Where the pairs of a split come from.

    Attributes:
        name: of the file, or of what else brings them.
        set_aside: whether they are of the file to train on, and were set aside from its rows.
    """

    split: str
    name: str
    set_aside: bool = False

    @property
    def dataset(self) -> str:
        """What a model-index calls them."""
        return f"{self.split} set aside from {self.name}" if self.set_aside else f"{self.name} {self.split}"

    @property
    def said(self) -> str:
        """What follows the word pairs in a sentence."""
        return f"{'set aside from' if self.set_aside else 'of'} `{self.name}`"


@dataclass(frozen=True)
class Base:
    """The model that training began with; `licence` and `hub_id` are None where they are not known.

    Attributes:
        name: of a folder without where that lies.
        hub_id: of the base itself, or of what it was made from, as its own card tells.
        licence: likewise.
    """

    name: str
    hub_id: str | None
    licence: str | None


def write_card(folder: Path) -> Path:
    """Writes the card of the model that a run kept, from what else is in the run's folder.

    Args:
        folder: of a run that has ended.
    """
    model = folder / MODEL
    run, here = read_result(folder / RESULT), Path.cwd()
    shown = model.absolute().relative_to(here) if model.absolute().is_relative_to(here) else None
    path = model / CARD
    path.write_text(card_of(run, details_of(run), repo=None if shown is None else str(shown)), encoding="utf-8")
    return path


def card_of(run: Run, details: Details, *, repo: str | None = None) -> str:
    """The text of the model's README.md, front matter included. It names files, and not where they lie.

    Args:
        run: that made the model.
        details: of the run.
        repo: the hub id or folder that its example loads from; None: the word FOLDER stands for it.
    """
    config = details.yaml("config.yaml") or {}
    base = base_of(config)
    scores = scores_of(run, select_by=str(config.get("evaluation", {}).get("select_by", "spearman_cosine")))
    pairs = [pairs_of(split, config, run) for split in dict.fromkeys(score.split for score in scores)]
    name = shared_name(run.name)
    environment = Environment(
        loader=PackageLoader("embexp.report"),
        autoescape=False,  # markdown, not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = in_markdown
    body = environment.get_template("card.md").render(
        name=name,
        params={key: name_of(key, value) for key, value in run.params.items()},
        base=base,
        repo=repo or "FOLDER",
        trusts=bool(config.get("model", {}).get("trust_remote_code")),
        of_cosine=all(score.metric.endswith("_cosine") for score in scores),
        beside=scores_beside(run),
        prompts=prompts_in(config, details),
        data=trained_on(config, run),
        pairs=pairs_in_words(pairs),
        made=made_scores(details, {score.split for score in scores}),
        scores=scores,
        rows={key.removeprefix("data/"): int(n) for key, n in run.metrics.items() if key.startswith("data/")},
        latency=latency_of(run),
        seconds=duration(run.metrics.get("time/training_seconds", 0.0)),
        command=None if details.command is None else shlex.join(shared_command(shlex.split(details.command))),
        cautions=[without_folders(said) for said in details.cautions],
        on_test=any(score.split == "test" for score in scores),
        test_is_new=not any(said.startswith(f"{TEST_AND_DEV}: ") for said in details.cautions),
        libraries=libraries_of(details),
        run_id=details.run_id,
    )
    return f"---\n{front_matter(base, scores, pairs=pairs, name=name)}---\n\n{body}"


def trained_on(config: Mapping[str, Any], run: Run) -> str:
    """What it was trained on: of a person's file the name."""
    trained = config.get("data", {}).get("train")
    return PurePath(trained).name if trained else run.params.get("data", "unknown")


def pairs_of(split: str, config: Mapping[str, Any], run: Run) -> Pairs:
    """Where the pairs come from that a split was scored on: where that is a person's file, by its name."""
    name = scored_on(run)
    if name != "files":
        return Pairs(split, name)
    source = config.get("evaluation", {}).get("source") or config.get("data", {})
    if file := source.get(split):
        return Pairs(split, PurePath(file).name)
    # Without a file of its own dev is a part of train; test is none then.
    if split == "dev" and (train := source.get("train")):
        return Pairs(split, PurePath(train).name, set_aside=True)
    return Pairs(split, name)


def pairs_in_words(pairs: Sequence[Pairs]) -> str:
    """What follows the word pairs in a sentence of all splits, which are told apart where they come from different files."""
    if len({(each.name, each.set_aside) for each in pairs}) == 1:
        return pairs[0].said
    return " and ".join(f"{each.said} ({each.split})" for each in pairs)


def made_scores(details: Details, splits: Set[str]) -> str | None:
    """How the scores of these splits' pairs were made, in words; None where all were given, or it is not known."""
    kinds = details.json(INPUTS).get("kinds", {})
    said = {
        split: SCORED_AS[kind].format("", "") if kind in SCORED_AS else GIVEN
        for split, kind in kinds.items()
        if split in splits
    }
    different = dict.fromkeys(said.values())
    if set(different) <= {GIVEN}:
        return None
    return "; ".join(different if len(different) == 1 else (f"{split}: {words}" for split, words in said.items()))


def prompts_in(config: Mapping[str, Any], details: Details) -> dict[str, str]:
    """The prompts that the kept model puts before texts by itself, by their names, in quotation marks."""
    kept = details.json(f"{MODEL}/{PROMPTS}").get("prompts")
    found = config.get("model", {}).get("prompts") if kept is None else kept
    return {name: json.dumps(prompt, ensure_ascii=False) for name, prompt in (found or {}).items() if prompt}


def latency_of(run: Run) -> dict[str, float]:
    """What serving costs, by name; the many single settings, latency/<device>/..., are left to the record."""
    found = {key.removeprefix("latency/"): value for key, value in run.metrics.items() if key.startswith("latency/")}
    return {key: value for key, value in found.items() if "/" not in key}


def front_matter(base: Base, scores: Sequence[Score], *, pairs: Sequence[Pairs], name: str) -> str:
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
            "dataset": {"name": each.dataset, "type": each.name},
            "metrics": [
                {
                    "type": score.metric,
                    "value": round(score.after, 6),
                    "name": f"{score.name.partition(' (')[0]}, {score.metric.rpartition('_')[2]} similarity",
                }
                for score in scores
                if score.split == each.split
            ],
        }
        for each in pairs
    ]
    if results:
        content["model-index"] = [{"name": name, "results": results}]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def base_of(config: Mapping[str, Any]) -> Base:
    """The base model that a resolved config names, with the licence that its own card gives."""
    from embexp.model_files import packaged
    from embexp.model_paths import HUB_ID

    model = config.get("model", {})
    path = model.get("path")
    name = config.get("names", {}).get("model", "unknown")
    if path is None:
        return Base(name, None, None)
    folder: Path | None = expanded(path)
    if folder is not None and (folder.is_dir() or not HUB_ID.match(path)):
        front = front_matter_in(folder / CARD)
        made_from = front.get("base_model")
        known = isinstance(made_from, str) and HUB_ID.match(made_from) is not None
        return Base(folder_name(folder), made_from if known else None, licence_in(front))
    package = model.get("package")
    folder = packaged(package, path, revision=model.get("revision")) if package is not None else None
    return Base(path, path, licence_in(front_matter_in(folder / CARD)) if folder is not None else None)


def folder_name(folder: Path) -> str:
    """What a model's folder is called; one that a run kept, from the folder of all runs on."""
    parts = folder.absolute().parts
    if "multirun" in parts:
        return "/".join(parts[parts.index("multirun") :])
    return "/".join(parts[-2:]) if folder.name == MODEL else folder.absolute().name


def front_matter_in(path: Path) -> dict[str, Any]:
    """The metadata of a model card; empty where there are none."""
    if not path.is_file():
        return {}
    parts = path.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        content = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def licence_in(front_matter: Mapping[str, Any]) -> str | None:
    """The licence that the metadata of a model card name; None where they name none."""
    found = front_matter.get("license")
    return str(found) if found is not None else None


def scores_beside(run: Run) -> list[tuple[str, str, str]]:
    """What was scored once, at the end, but for latency: the title of its first metric, the score, and that before training."""
    of = [column for column in beside([run]) if column.keys != (LATENCY,)]
    return [(column.title, column.told(column.value(run)), column.told(column.before(run))) for column in of]


def scores_of(run: Run, *, select_by: str) -> list[Score]:
    """The correlations on each split after and before training, with a 95 % interval where predictions were kept.

    Those of cosine, and of what the best step was chosen by.
    """
    found = []
    own = metric_title(f"dev/{select_by}").removeprefix("dev ")
    correlations = dict([*((metric, name) for name, metric in CORRELATIONS), (select_by, own)])
    for split in SPLITS:
        for metric, name in correlations.items():
            after = run.metrics.get(f"best/{split}/{metric}", run.metrics.get(f"{split}/{metric}"))
            if after is None:
                continue
            gain = run.metrics.get(f"gain/{split}/{metric}")
            before = None if gain is None else after - gain
            found.append(Score(split, name, metric, after, before, interval_of(run, f"{split}/{metric}")))
    return found


def interval_of(run: Run, metric: str) -> Interval | None:
    """The 95 % interval of one score, by bootstrap over the pairs."""
    verdicts = judge([run], metric=metric)
    return verdicts[0].interval if verdicts else None


def libraries_of(details: Details) -> dict[str, str]:
    """The versions that trained it, of the libraries that matter most."""
    found = details.json(ENVIRONMENT).get("libraries", {})
    return {name: found[name] for name in SHOWN_VERSIONS if name in found}

"""What is told of a command whose config is right: keys that none of its jobs reads, and jobs that no score would compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import yaml

from embexp.config.feeding import searched_split
from embexp.config.kinds import Kind, view_of
from embexp.config.rules import files_of
from embexp.config.schema import Config, Files
from embexp.config.sections import data_schema
from embexp.config.sources import PAIRS, kind_of, kinds_of
from embexp.shipped import conf_folder

# What decides which rows of a file are set aside as dev.
OF_THE_SPLIT = ("train", "limit", "dev_fraction", "seed")
# What is scored beside the pairs and has a folder of its own.
WITH_A_PATH = ("mteb", "retrieval", "classification")


def cautions_of(jobs: Sequence[Config]) -> list[str]:
    """A sentence for each, told before the first job starts.

    Args:
        jobs: all of a command, checked. A key that one of them reads may stand there for the others too.
    """
    found = [_unread(job) for job in jobs]
    for_all = [key for key in found[0] if all(key in unread for unread in found)]
    reasons = {key: list(dict.fromkeys(unread[key] for unread in found)) for key in for_all}
    why = {key: told[0] if len(told) == 1 else "none of these jobs reads it" for key, told in reasons.items()}
    unread = [
        f"{key}={value}: {why[key]}; leave it out." for key in for_all for value in dict.fromkeys(_set_to(jobs, key))
    ]
    return [*unread, *_mirrors_of_no_pairs(jobs), *_without_warm_up(jobs), *_dev_parts_that_differ(jobs)]


def _unread(job: Config) -> dict[str, str]:
    """The keys of rows that nothing reads, whether or not they are set, and why."""
    train = kind_of(job.data)
    found = {} if train is None or not _is_shipped(job) else _unread_of_views(job, train)
    if isinstance(job.data, Files) and _is_shipped(job):
        found |= _unread_in("data", set(kinds_of(job.data).values()))
        if not _is_split(job.data):
            why = "nothing reads it, for nothing is set aside as dev"
            found |= {f"data.{key}": why for key in ("dev_fraction", "seed")}
        elif job.evaluation.source is not None and searched_split(job) != "dev":
            why = f"evaluation={job.names['evaluation']} names other pairs to score on"
            found |= {"data.dev_fraction": f"the rows that it sets aside are neither trained on nor scored, for {why}"}
    source = None if job.evaluation.source is None else data_schema(job.evaluation.source)
    return found | (_unread_in(PAIRS, set(kinds_of(source).values())) if isinstance(source, Files) else {})


def _unread_of_views(job: Config, train: Kind) -> dict[str, str]:
    """Of the keys by which what a loss is fed is made from rows of this kind."""
    found, hard = {}, job.data.negatives == "hard"
    view = view_of(train, job.loss.view, hard=hard)
    fed = f"loss={job.names['loss']} is fed {view}"
    if train != "scored":
        found["threshold"] = f"{train} rows have no scores"
    elif view not in ("pairs", "triplets"):
        found["threshold"] = f"{fed}, of whatever score"
    if searched_split(job) is not None:
        # By it the pairs that are searched are chosen, whatever is trained on.
        found.pop("threshold", None)
    if train != "nli" and not hard:
        of_their_own = "negatives of their own" if train == "triplets" else "no contradictions"
        found["negatives"] = f"{train} rows bring {of_their_own}"
    elif view != "triplets" and not hard:
        found["negatives"] = fed
    if train != "nli":
        found["positives"] = f"{train} rows say nothing of what follows from what"
    elif view not in ("pairs", "triplets"):
        found["positives"] = f"{fed}, where no row becomes a positive by it"
    return {f"data.{key}": f"nothing reads it, for {why}" for key, why in found.items()}


def _unread_in(section: str, kinds: set[str]) -> dict[str, str]:
    of_kind = {"labels": ("nli", "no file has NLI labels"), "score_scale": ("scored", "no file has scores")}
    return {
        f"{section}.{key}": f"nothing reads it, for {why}" for key, (kind, why) in of_kind.items() if kind not in kinds
    }


def _is_split(data: Files) -> bool:
    return data.dev is None and data.dev_fraction != 0 and kinds_of(data)["train"] != "texts"


def _set_to(jobs: Sequence[Config], key: str) -> Iterator[str]:
    """What a key is set to that is not its default, job by job, as it is typed."""
    section, _, name = key.rpartition(".")
    for job in jobs:
        of_pairs = section == PAIRS
        value = (job.evaluation.source or {})[name] if of_pairs else getattr(job.data, name)
        default = _defaults("files" if of_pairs else job.names["data"])[name]
        # Of a train file that nobody scores a part of, embexp sets the fraction itself.
        if value != default and not (name == "dev_fraction" and value == 0):
            yield _typed(value)


def _typed(value: Any) -> str:
    return "null" if value is None else str(value)


def _is_shipped(job: Config) -> bool:
    """Whether the data's option is one of embexp's: in one of a person's own every key must stand, read or not."""
    return (conf_folder() / "data" / f"{job.names['data']}.yaml").is_file()


@cache
def _defaults(option: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((conf_folder() / "data" / f"{option}.yaml").read_text(encoding="utf-8"))
    return values


def _mirrors_of_no_pairs(jobs: Sequence[Config]) -> Iterator[str]:
    """What is said of evaluation.path where none of the jobs reads it, with the key that may be meant."""
    if any(_reads_path(job) for job in jobs):
        return
    beside = [(name, getattr(job.evaluation, name)) for job in jobs for name in WITH_A_PATH]
    meant = dict.fromkeys(
        f"'evaluation.{name}.path'" for name, each in beside if each is not None and each.path is None
    )
    said = f" Did you mean {' or '.join(meant)}?" if meant else ""
    for path in dict.fromkeys(job.evaluation.path for job in jobs if job.evaluation.path is not None):
        yield f"evaluation.path={path}: nothing reads it without evaluation=stsb; leave it out.{said}"


def _reads_path(job: Config) -> bool:
    """Whether what is scored on is evaluation.path or lies in it; an option of a person's own may read it in another way."""
    options = [conf_folder() / "evaluation" / f"{name}.yaml" for name in job.names["evaluation"].split("+")]
    if not all(option.is_file() for option in options):
        return True
    named = [*files_of(job.evaluation).values(), *(job.evaluation.source or {}).values()]
    return any(f"{each}/".startswith(f"{job.evaluation.path}/") for each in named)


def _without_warm_up(jobs: Sequence[Config]) -> Iterator[str]:
    """What is said of warm-up where the learning rate has none."""
    if all(job.trainer.scheduler == "constant" for job in jobs):
        default = yaml.safe_load((conf_folder() / "config.yaml").read_text(encoding="utf-8"))["warmup_steps"]
        for value in dict.fromkeys(job.warmup_steps for job in jobs if job.warmup_steps != default):
            yield (
                f"warmup_steps={value:g}: nothing reads it, for trainer.scheduler=constant has the peak from the first step; leave it out, "
                "or take constant_with_warmup."
            )


def _dev_parts_that_differ(jobs: Sequence[Config]) -> Iterator[str]:
    """Scores on dev sets of their own say nothing beside each other."""
    scored = [job.data for job in jobs if isinstance(job.data, Files) and job.evaluation.source is None]
    split = [data for data in scored if _is_split(data)]
    for key in OF_THE_SPLIT:
        values = dict.fromkeys(_typed(getattr(data, key)) for data in split)
        if len(values) > 1:
            yield (
                f"data.{key}={','.join(values)}: without a dev file each job takes its dev set from the rows that it reads; those that "
                "differ in this may be scored on different pairs, and are then not compared; name data.dev=FILE, or other pairs for all: "
                "evaluation=stsb."
            )

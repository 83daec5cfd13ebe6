"""What goes together of the rows to train on, the loss that they feed, and the pairs to score on: rules, as in `embexp.config.rules`."""

from __future__ import annotations

from collections.abc import Iterator

from embexp.config.errors import ConfigError
from embexp.config.kinds import NEEDS_NEGATIVES, VIEWS_OF_KIND, Kind, ViewName, view_of
from embexp.config.schema import Config, Files, Helpdesk, Hub
from embexp.config.sources import kind_of

# A shipped loss that is fed this view.
LOSS_FED: dict[ViewName, str] = {
    "noisy": "tsdae",
    "twins": "simcse",
    "pairs": "mnr",
    "triplets": "mnr",
    "scored": "cosine",
    "classes": "softmax",
    "labelled": "batch_all_triplet",
}


def loss_is_fed(config: Config) -> Iterator[str]:
    """What the loss is fed can be made from the rows."""
    kind = _kind_trained_on(config)
    if kind is None or _is_fed_by(config, kind):
        return
    would_do = [known for known in VIEWS_OF_KIND if _is_fed_by(config, known)]
    files = "another file" if isinstance(config.data, Files) else "files"
    shipped = {"nli": "mnli", "triplets": "allnli", "scored": "stsb", "pairs": files, "labelled": files, "texts": files}
    built_in = "helpdesk" if "nli" in would_do else "helpdesk data.kind=labelled"
    built_in += " data.kind=nli" if isinstance(config.data, Helpdesk) and "nli" in would_do else ""
    names = dict.fromkeys([built_in, *(shipped[known] for known in would_do)])
    losses = dict.fromkeys(f"loss={LOSS_FED[view]}" for view in VIEWS_OF_KIND[kind] if view in LOSS_FED)
    pairs = _pairs_to_choose(config)
    scored = "" if pairs is None else f", scored on other pairs ({pairs})"
    yield (
        f"loss={config.names['loss']} data={config.names['data']}: this loss is fed {' or '.join(config.loss.view)}, "
        f"which cannot be made from {kind} rows; a loss that they can feed: {', '.join(losses)}{scored}; data that would do: "
        f"{', '.join(names)} (rows of kind {', '.join(would_do)})."
    )


def negatives_are_needed(config: Config) -> Iterator[str]:
    """Hard negatives are asked for where some are looked for."""
    margin, kind = config.data.hard_margin, _kind_trained_on(config)
    if config.data.negatives != "hard":
        if margin is not None:
            yield f"data.hard_margin={margin}: nothing reads it without data.negatives=hard; set that, or leave it out."
        return
    if kind == "triplets":
        yield "data.negatives=hard: triplets bring their negatives; leave it out."
        return
    view = None if kind is None else view_of(kind, config.loss.view, hard=True)
    if kind is not None and view is not None and (view, kind) not in NEEDS_NEGATIVES:
        other = ", or use a loss of triplets or pairs, e.g. loss=mnr" if "triplets" in VIEWS_OF_KIND[kind] else ""
        yield (
            f"data.negatives=hard: loss={config.names['loss']} is fed {view}, for which no negatives are looked for in {kind} rows; "
            f"leave it out{other}."
        )


def something_is_scored(config: Config) -> Iterator[str]:
    """There are pairs to score on, beside rows to train on."""
    kind = _kind_trained_on(config)
    # Of rows that the loss cannot be fed it is told with the loss that can: there may be others in their place.
    if kind is None or _is_fed_by(config, kind) or _pairs_to_choose(config) is None:
        yield from pairs_are_there(config)


def pairs_are_there(config: Config) -> Iterator[str]:
    """There are pairs to score on, whatever is made of the rows otherwise."""
    data = config.data
    if (pairs := _pairs_to_choose(config)) is not None:
        yield (
            f"evaluation={config.names['evaluation']}: data={config.names['data']} brings no scored pairs of its own; "
            f"use {pairs}."
        )
    elif config.evaluation.source is None and isinstance(data, Files) and data.dev is None and data.dev_fraction == 0:
        yield (
            f"data.dev_fraction=0: with evaluation={config.names['evaluation']} there is nothing to score on; name data.dev=FILE, "
            "let a part of train be set aside, or score on other pairs: evaluation=stsb."
        )


def files_to_score_on_are_scored(config: Config) -> Iterator[str]:
    """No dev or test file is named that nothing reads."""
    data = config.data
    if config.evaluation.source is None or not isinstance(data, Files):
        return
    for split, file in (("dev", data.dev), ("test", data.test)):
        # One that is empty is told of as such.
        if file and searched_split(config) != split:
            yield (
                f"data.{split}={file}: is not read where evaluation={config.names['evaluation']} names other pairs to score on; leave "
                f"it out, score on it alone (evaluation=own), or beside them: 'evaluation.sets={{{split}: {file}}}'."
            )


def what_is_searched_is_there(config: Config) -> Iterator[str]:
    """Of a person's files the one that retrieval makes queries and documents of is named."""
    data = config.data
    if isinstance(data, Files) and searched_split(config) == "test" and data.test is None:
        yield (
            "evaluation.retrieval.source=pairs: its queries and documents are those of data.test, which is not named; name data.test=FILE, "
            "or take the pairs that the best step is chosen on: evaluation.retrieval.split=dev."
        )


def searched_split(config: Config) -> str | None:
    """The split of the data that retrieval makes queries and documents of; None where it has others."""
    beside = config.evaluation.retrieval
    if beside is None or beside.source != "pairs" or beside.path is not None or beside.queries is not None:
        return None
    return beside.split


def _pairs_to_choose(config: Config) -> str | None:
    """The pairs that could be scored on where the data bring none; None where they do, or others were chosen."""
    data = config.data
    # Each file's kind is told from its own header: texts to train on may go with pairs to score on.
    by_header = isinstance(data, Files) and data.kind == "auto"
    beside = isinstance(data, Files) and by_header and data.dev is not None
    unscored = (isinstance(data, Hub) and "dev" not in data.splits) or (
        _kind_trained_on(config) == "texts" and not beside
    )
    if config.evaluation.source is not None or not unscored:
        return None
    of_yours = "data.dev=FILE" if by_header else "evaluation=files evaluation.source.dev=FILE"
    return f"evaluation=stsb, evaluation=helpdesk, or {of_yours} with pairs of yours"


def _is_fed_by(config: Config, kind: Kind) -> bool:
    return bool(set(config.loss.view) & set(VIEWS_OF_KIND[kind]))


def _kind_trained_on(config: Config) -> Kind | None:
    try:
        return kind_of(config.data)
    except ConfigError:
        # Told by what_is_wrong_with_rows.
        return None

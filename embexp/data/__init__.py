"""Rows to train and score on: sources (built-in, files, hub) give rows, and views of rows are what losses are fed.

`build_source(config.data).load("train")` gives `Rows`; `make_view(rows, ...)` the data set that a loss asks for.
"""

from __future__ import annotations

from typing import cast

from hydra.utils import get_object

from embexp.config import ConfigError, Data
from embexp.config.schema import SCHEMAS
from embexp.data.cache import CachedSource
from embexp.data.own import OwnSource
from embexp.data.rows import KeptSource, Source
from embexp.home import expanded


def build_source(config: Data, *, cache: str | None = None) -> Source:
    """The source that `config.target` names, called with the other keys of the data option.

    Where it is one of embexp's own, its rows are kept in the folder `cache`; what a person's own source reads is not known, but
    what it gives is looked at.

    Raises:
        ConfigError: the target cannot be found, does not take these keys, or gives no source.
    """
    try:
        source: Source = get_object(config.target)(**config.arguments())
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigError([f"data._target_={config.target}: cannot be built: {error}."]) from error
    if config.target not in SCHEMAS["data"]:
        return OwnSource(source, config.target)
    if cache is None:
        return source
    return CachedSource(cast(KeptSource, source), config, expanded(cache))

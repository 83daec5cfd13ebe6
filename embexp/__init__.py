"""embexp: fine-tune text-embedding models, compare the runs, and see whether training helped at all.

On the command line: `python -m embexp loss=mnr batch_size=32,64,128 -m`. In a notebook:

    from embexp import compose, run_experiment
    result = run_experiment(compose(["loss=cosine", "batch_size=64"]))
    result.metrics["dev/spearman_cosine"]
"""

from typing import TYPE_CHECKING, Any

import embexp.cores  # noqa: F401  # counts the cores, before torch is imported
from embexp.pages import ask_for_large_pages

if TYPE_CHECKING:
    from embexp.config import Config, ConfigError
    from embexp.config.composition import compose
    from embexp.experiment import run_experiment
    from embexp.record import Result

__all__ = ["Config", "ConfigError", "Result", "compose", "run_experiment"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `import embexp` must not cost the ten seconds that torch takes.
    if name in ("Config", "ConfigError"):
        from embexp import config

        return getattr(config, name)
    if name == "compose":
        from embexp.config.composition import compose

        return compose
    if name == "run_experiment":
        ask_for_large_pages()
        from embexp.experiment import run_experiment

        return run_experiment
    if name == "Result":
        from embexp.record import Result

        return Result
    raise AttributeError(f"module 'embexp' has no attribute {name!r}")

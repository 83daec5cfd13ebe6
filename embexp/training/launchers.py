"""What other programs' launchers (torchrun, accelerate, mpirun) leave in the environment, and transformers and accelerate obey.

A precision set there would be another run under the same key; what a launcher says of processes is not true of embexp's, which
starts them itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

OF_PROCESSES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# And what accelerate knows MPI's by, to which it would be one of several.
PREFIXES = ("ACCELERATE_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")


def without_launchers(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment less what a launcher said."""
    return {
        name: value for name, value in environment.items() if name not in OF_PROCESSES and not name.startswith(PREFIXES)
    }


@contextmanager
def launchers_unheard() -> Iterator[None]:
    """Within it this process is one that nobody launched; afterwards its environment is as it was."""
    before = dict(os.environ)
    for name in before.keys() - without_launchers(before).keys():
        del os.environ[name]
    try:
        yield
    finally:
        # transformers writes some of its own there.
        for name in os.environ.keys() - without_launchers(os.environ).keys():
            del os.environ[name]
        os.environ.update({name: value for name, value in before.items() if name not in os.environ})

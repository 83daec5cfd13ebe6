"""`python -m embexp`; with --help it tells the rest, with --version which one it is."""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from embexp.help import help_text
from embexp.interrupts import leave_on_interrupt, raise_on_interrupt
from embexp.output import say


def version_text() -> str:
    """ "embexp 0.1.0, Hydra 1.3.8"."""
    # Not above: it would take as long as all of --help.
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("embexp")
    except PackageNotFoundError:
        own = "(not installed)"
    return f"embexp {own}, Hydra {version('hydra-core')}"


def main() -> None:
    """The program; who asks for help or for its version does not wait for what a run needs."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--config-dir", "-cd", type=Path)
    # What is no command is told where all of its words are known.
    with suppress(argparse.ArgumentError):
        asked, others = parser.parse_known_args()
        if asked.version:
            say(version_text())
            return
        if asked.help and not others:
            if asked.config_dir is not None and not asked.config_dir.is_dir():
                sys.exit(f"--config-dir {asked.config_dir}: there is no such folder.")
            say(help_text(asked.config_dir))
            return
    leave_on_interrupt()
    from embexp import command

    raise_on_interrupt()
    command.main()


if __name__ == "__main__":
    main()

"""`python -m embexp`; with --help it tells the rest."""

from __future__ import annotations

import sys

from embexp.help import ASKED_FOR, help_text


def main() -> None:
    """The program; who asks for help does not wait for what a run needs."""
    if sys.argv[1:] in ASKED_FOR:
        print(help_text())
        return
    from embexp import command

    command.main()


if __name__ == "__main__":
    main()

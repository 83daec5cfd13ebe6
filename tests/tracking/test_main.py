"""`python -m embexp.tracking`: what it does not know."""

from __future__ import annotations

import pytest

from embexp.tracking.__main__ import main


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (
            ["snyc"],
            "snyc: there is no such command. Did you mean 'sync'? There is one: python -m embexp.tracking sync.\n",
        ),
        (["runs"], "runs: there is no such command. There is one: python -m embexp.tracking sync.\n"),
        (["sync", "--new"], "--new: there is no such flag. Did you mean '--anew'? All: --help.\n"),
        (
            ["sync", "--url", "http://me:secret@host"],
            "--url: there is no such flag. Did you mean '--uri'? All: --help.\n",
        ),
        (
            ["sync", "--url=http://me:secret@host"],
            "--url: there is no such flag. Did you mean '--uri'? All: --help.\n",
        ),
    ],
)
def test_a_command_or_a_flag_that_there_is_not_is_told_with_the_one_that_was_meant(typed, said, capsys):
    assert main(typed) == 2
    assert capsys.readouterr() == ("", said)

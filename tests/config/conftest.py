"""What several tests ask of a command that is wrong."""

from __future__ import annotations

import pytest

from embexp.config import ConfigError
from embexp.config.composition import check_command


def refused(*typed: str, multirun: bool = True) -> list[str]:
    """What is said of a command that is refused."""
    with pytest.raises(ConfigError) as raised:
        check_command(list(typed), multirun=multirun)
    return raised.value.problems

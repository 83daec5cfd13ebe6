"""By which of its methods a loss can be computed, other than by its `forward`."""

from __future__ import annotations

from torch import nn


def computed_by(loss: nn.Module, way: str) -> bool:
    """Whether a method of the loss may stand for its forward: a class below the method's own has not changed forward since."""
    owners = [next((each for each in type(loss).__mro__ if name in vars(each)), None) for name in (way, "forward")]
    return owners[0] is not None and owners[1] is not None and issubclass(owners[0], owners[1])

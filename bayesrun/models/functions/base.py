"""The interface of a registered function: plain Python, without a gradient, that computes a variable of a model.

One file per function; a plug-in package adds its own through entry points of the group `bayesrun.models.functions`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from bayesrun.registry import Registry

Number = Literal["integer", "real"]


@dataclass(frozen=True)
class Function:
    """A registered function of one number.

    Parameters
    ----------
    call
        `(value) -> value`, called with one Python number at a time.
    takes
        Type of its argument: whole numbers or reals.
    gives
        Type of its result: whole numbers or reals.
    """

    call: Callable[[float], float]
    takes: Number = "real"
    gives: Number = "real"


FUNCTIONS: Registry[Function] = Registry("function", "bayesrun.models.functions", "FUNCTION", Function)

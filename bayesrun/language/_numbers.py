"""Numbers of priors in Theano's graphs, told apart from the constants of formulas."""

from __future__ import annotations

from typing import Any


def number(value: Any) -> Any:
    """Return a float as a Theano constant that is marked: what is compiled must hold for other values, too."""
    import numpy as np
    import theano.tensor as tt

    constant = tt.TensorConstant(tt.TensorType("float64", ()), np.asarray(value, float))
    constant.tag.number = True
    return constant


def is_number(variable: Any) -> bool:
    """Say whether a Theano variable was made by `number`."""
    return bool(getattr(variable.tag, "number", False))

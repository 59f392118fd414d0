"""Numbers of priors and data in Theano's graphs, distinguished from the constants of formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import theano.tensor as tt


def replaceable_number(value: Any) -> Any:
    """Return a number as a marked Theano constant: what is compiled must hold for other values, too."""
    constant = tt.TensorConstant(tt.TensorType("float64", ()), np.asarray(value, float))
    constant.tag.replaceable = True
    return constant


def is_replaceable(variable: Any) -> bool:
    """Return whether a Theano variable was made by `replaceable_number`."""
    return bool(getattr(variable.tag, "replaceable", False))

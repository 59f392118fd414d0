"""The functions that formulas may call, by name. Those that look at a whole column remember what they saw.

A remembered mean, knot or level is what makes a formula give the same columns for new rows as for the fitted ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def functions() -> dict[str, Any]:
    """Return name to function, for every name of the grammar's whitelist."""
    import numpy as np
    from formulaic.transforms import TRANSFORMS

    pointwise = ("log", "log1p", "log2", "log10", "exp", "expm1", "sqrt", "abs", "sign", "sin", "cos", "tanh")
    statistics: dict[str, Callable[[Any], Any]] = {
        **{name: getattr(np, name) for name in ("mean", "median", "min", "max")},
        "std": _std,
    }
    shared = ("I", "center", "C", "poly", "bs", "cr", "cs", "cc", "Treatment", "Sum", "Helmert", "Poly", "Diff")
    standardize = _standardize()
    return {
        **{name: getattr(np, name) for name in pointwise},
        **{name: _remembered(statistic) for name, statistic in statistics.items()},
        **{name: TRANSFORMS[name] for name in shared},
        **{name: standardize for name in ("scale", "standardize", "zscore")},
    }


def _std(values: Any) -> Any:
    import numpy as np

    return np.std(values, ddof=1)


def _remembered(statistic: Callable[[Any], Any]) -> Any:
    """Make a statistic of a column that keeps its value when the formula meets new rows."""
    from formulaic.transforms import stateful_transform

    def call(data: Any, _state: dict[str, Any]) -> Any:
        if "value" not in _state:
            _state["value"] = float(statistic(data))
        return _state["value"]

    return stateful_transform(call)


def _standardize() -> Any:
    """`(x - mean(x)) / std(x)`, with n - 1, as `zscore` in expressions."""
    from formulaic.transforms import stateful_transform

    def standardize(data: Any, _state: dict[str, Any]) -> Any:
        if "mean" not in _state:
            _state.update(mean=float(data.mean()), std=float(_std(data)))
        return (data - _state["mean"]) / _state["std"]

    return stateful_transform(standardize)

"""The functions that formulas may call; those of a whole column keep what they have learned from the fitted rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bayesrun.language.calendar_dates import part_of_days
from bayesrun.language.formula_grammar import DATE_PARTS
from bayesrun.lazy import formulaic


def formula_functions() -> dict[str, Any]:
    """Map every name of the grammar's whitelist to its function.

    Functions of a whole column are stateful: the stored mean, knots or levels make a formula
    compute the same columns for new rows as for the fitted rows.
    """
    transforms = formulaic.transforms.TRANSFORMS
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
        **{name: transforms[name] for name in shared},
        "factor": transforms["C"],
        **{name: standardize for name in ("scale", "standardize", "zscore")},
        **{name: _of_days(name) for name in DATE_PARTS},
        "trend": _trend(),
    }


def _std(values: Any) -> Any:
    return np.std(values, ddof=1)


def _remembered(statistic: Callable[[Any], Any]) -> Any:
    """Make a statistic of a column that keeps its fitted value when the formula is applied to new rows."""

    def call(data: Any, _state: dict[str, Any]) -> Any:
        if "value" not in _state:
            _state["value"] = float(statistic(data))
        return _state["value"]

    return formulaic.transforms.stateful_transform(call)


def _of_days(name: str) -> Callable[[Any], Any]:
    """Make a function for a part of dates, which are given as days since 1970-01-01."""

    def call(days: Any) -> Any:
        return part_of_days(name, np.asarray(days, dtype=float))

    return call


def _trend() -> Any:
    """Return `(x - min(x)) / (max(x) - min(x))`, as `trend` in expressions."""

    def trend(data: Any, _state: dict[str, Any]) -> Any:
        if "low" not in _state:
            _state.update(low=float(data.min()), high=float(data.max()))
        return (data - _state["low"]) / (_state["high"] - _state["low"])

    return formulaic.transforms.stateful_transform(trend)


def _standardize() -> Any:
    """Return `(x - mean(x)) / std(x)`, with n - 1 degrees of freedom, as `zscore` in expressions."""

    def standardize(data: Any, _state: dict[str, Any]) -> Any:
        if "mean" not in _state:
            _state.update(mean=float(data.mean()), std=float(_std(data)))
        return (data - _state["mean"]) / _state["std"]

    return formulaic.transforms.stateful_transform(standardize)

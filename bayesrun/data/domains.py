"""Domains: which values a variable may have in the role that a model gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from bayesrun.data.assemble import Array
from bayesrun.data.base import Domain, Role
from bayesrun.data.locate import shown_values
from bayesrun.errors import Problem

_WHOLE: tuple[Domain, ...] = ("count", "binary", "index")


def _whole_from_zero(x: Array) -> Array:
    return np.asarray((x >= 0) & (x == np.round(x)))


_ALLOWED: Mapping[Domain, tuple[str, Callable[[Array], Array]]] = {
    "real": ("finite numbers", lambda x: np.ones(x.shape, dtype=bool)),
    "number_or_date": ("finite numbers", lambda x: np.ones(x.shape, dtype=bool)),
    "positive": ("finite numbers above 0", lambda x: x > 0),
    "nonnegative": ("finite numbers from 0 up", lambda x: x >= 0),
    "count": ("counts: whole numbers from 0 up", _whole_from_zero),
    "binary": ("0 or 1", lambda x: (x == 0) | (x == 1)),
    "unit": ("numbers from 0 to 1", lambda x: (x >= 0) & (x <= 1)),
    "index": ("codes: whole numbers from 0 up", _whole_from_zero),
}
_HINTS: Mapping[Domain, str] = {
    "index": "make codes of labels with data.factors",
    "binary": "make it so with data.derive, e.g. {y: 'Y > median(Y)'}",
}


def domain_problems(data: xr.Dataset, role: Role) -> list[Problem]:
    """Return what is wrong with the values of a variable in its role; missing values are not looked at here.

    Parameters
    ----------
    data
        Prepared variables.
    role
        What a model uses which variable for.
    """
    variable = data[role.variable]
    if role.domain == "any" or (role.domain == "number_or_date" and variable.dtype.kind == "M"):
        return []
    if variable.dtype.kind not in "biuf":
        return [_not_numeric(variable, role)]
    words, allowed = _ALLOWED[role.domain]
    values = variable.values.astype(float)
    bad = ~np.isnan(values) & ~(np.isfinite(values) & allowed(values))
    if not bad.any():
        return []
    got = shown_values(variable, variable.copy(data=bad))
    return [Problem(role.key, f"{role.kind} '{role.variable}' must be {words} (got {got})", _hint(role))]


def outside(variable: xr.DataArray, low: Array | float, high: Array | float, words: str, key: str) -> list[Problem]:
    """Return which values of an observed variable a distribution can't have, by row; missing values may be anything.

    Parameters
    ----------
    variable
        What is observed.
    low, high
        Smallest and largest value that are possible, one for all or one for each value.
    words
        What the values must be, in words (`codes from 0 to 4`).
    key
        Config key of the likelihood.
    """
    values = variable.values.astype(float)
    bad = (values < low) | (values > high)  # false for missing values
    if not bad.any():
        return []
    got = shown_values(variable, variable.copy(data=np.asarray(bad)))
    shifted = np.all(np.isnan(values) | ((values - 1 >= low) & (values - 1 <= high)))
    own = f"codes count from 0: data.derive: {{{variable.name}_0: '{variable.name} - 1'}}"
    return [Problem(key, f"'{variable.name}' must be {words} (got {got})", own if shifted else "fix the values")]


def settle_type(variable: xr.DataArray, domain: Domain) -> xr.DataArray:
    """Return a variable as the numbers that its domain asks for: whole ones without missing values as `int64`."""
    values = variable.values
    whole = domain in _WHOLE or values.dtype.kind == "b"
    if domain == "any" or not whole or values.dtype.kind not in "bf" or np.isnan(values.astype(float)).any():
        return variable
    return variable.astype(np.int64)


def _not_numeric(variable: xr.DataArray, role: Role) -> Problem:
    must = f"{role.kind} '{role.variable}' must be numbers"
    if variable.dtype != object:
        held = "dates" if variable.dtype.kind == "M" else f"values of type {variable.dtype}"
        return Problem(role.key, f"{must}, but holds {held}", "use another variable")
    odd = np.vectorize(_is_no_number, otypes=[bool])(variable.values)
    # numbers that came as text, all of them
    odd = odd if odd.any() else variable.notnull().values
    hint = "fix the values; labels become codes with data.factors"
    return Problem(role.key, f"{must} (got text: {shown_values(variable, variable.copy(data=odd))})", hint)


def _is_no_number(value: object) -> bool:
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value is not None
    return False


def _hint(role: Role) -> str:
    return _HINTS.get(role.domain, "fix the values, or choose another likelihood or variable")

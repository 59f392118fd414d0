"""The columns of the data that a model uses: numbers, dates, or labels with their levels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.factors import LABELS, row_column
from bayesrun.diagnostics.base import shorten
from bayesrun.figures import style as look
from bayesrun.figures.base import Subject
from bayesrun.figures.observations import codes_of, regression_of
from bayesrun.figures.selection import Array, group_of
from bayesrun.models.declarative import DeclarativeSpec
from bayesrun.models.declarative.definitions import definitions
from bayesrun.models.regression import MODEL as REGRESSION
from bayesrun.models.regression.regression_plan import plan


@dataclass(frozen=True)
class Predictor:
    """A column of the data that the model uses.

    Parameters
    ----------
    name
        Name of the column; for the codes of a factor, that of its labels.
    values
        Numbers, dates or labels, (row,).
    levels
        The levels of a categorical predictor in their order, None for numbers and dates.
    """

    name: str
    values: Array
    levels: tuple[Any, ...] | None

    @property
    def codes(self) -> Array:
        """Index of each value among the levels, (row,); -1 for a missing one."""
        assert self.levels is not None
        return codes_of(self.values, self.levels)


def label_of(predictor: Predictor) -> str:
    """Return the name of a predictor, and how many of its levels are shown if not all are."""
    count = len(predictor.levels or ())
    note = f" (the first {look.LEVELS} of {count} levels)" if count > look.LEVELS else ""
    return shorten(predictor.name) + note


def predictors_of(subject: Subject, response: xr.DataArray) -> list[Predictor]:
    """Return the columns over the rows of `response` that the model uses, without the response itself."""
    data = group_of(subject, "constant_data")
    names = _used(subject.model, data)
    labels = _used_as_labels(subject.model)
    return [_predictor(data, name, name in labels) for name in names if _is_predictor(data, name, response)]


def _used_as_labels(model: Any) -> set[str]:
    """Return the columns that a formula uses as labels alone: `C(rating)`."""
    regression = regression_of(model)
    population = None if regression is None or regression.responses() else plan(regression).main.population
    if population is None:
        return set()
    formula = population.formula
    within = {match[1].strip("` ") for term in formula.terms for match in re.finditer(r"\bC\(([^,()]*)", term)}
    return (within & set(formula.categorical)) - set(formula.terms)


def _used(model: Any, data: xr.Dataset) -> list[str]:
    """Return the names of the columns that the model uses; all of them if its type does not tell."""
    kind = model.get("type")
    regression = regression_of(model)
    if regression is not None:
        roles = REGRESSION.roles(regression)
        return list(dict.fromkeys(role.variable for role in roles if role.kind == "predictor"))
    if kind == "linear_regression":
        return list((model.get("options") or {}).get("predictors") or data.data_vars)
    if kind == "declarative":
        spec = DeclarativeSpec.model_validate(dict(model))
        used = {name for definition in definitions(spec) for name in definition.names}
        observed = {definition.observed for definition in definitions(spec)}
        return [str(name) for name in data.data_vars if name in used - observed]
    return [str(name) for name in data.data_vars]


def _is_predictor(data: xr.Dataset, name: str, response: xr.DataArray) -> bool:
    if name not in data or row_column(data, name).dims != response.dims:
        return False
    values = np.asarray(row_column(data, name).values)
    if values.dtype.kind in "iubf":
        return not np.array_equal(values.astype(float), np.asarray(response, float), equal_nan=True)
    return True


def _predictor(data: xr.Dataset, name: str, labelled: bool) -> Predictor:
    array = row_column(data, name)
    values = np.asarray(array.values)
    labels = array.attrs.get(LABELS)
    if labels in data.coords:
        levels = tuple(data[labels].values)
        whole = np.nan_to_num(values.astype(float), nan=-1).astype(int)
        named = np.array([levels[code] if code >= 0 else None for code in whole], dtype=object)
        return Predictor(str(labels), named, levels)
    given = array.attrs.get("levels")
    if values.dtype.kind in "iufM" and not labelled and given is None:
        return Predictor(name, values, None)
    return Predictor(name, values, tuple(_levels(values) if given is None else np.atleast_1d(given).tolist()))


def _levels(values: Array) -> list[Any]:
    return sorted({value for value in values.tolist() if not pd.isna(value)}, key=lambda v: (str(type(v)), v))

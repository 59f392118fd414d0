"""The predictors of a model: the data columns, over the rows of the response, that its formula or expressions use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data.factors import LABELS
from bayesrun.figures.base import Subject
from bayesrun.figures.selection import Array, group_of
from bayesrun.language.formulas import parse
from bayesrun.models.declarative import DeclarativeSpec
from bayesrun.models.declarative.definitions import definitions


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


def codes_of(values: Array, levels: Sequence[Any]) -> Array:
    """Return the index of each value among the levels, (row,); -1 for none."""
    return np.asarray(pd.Categorical(values, categories=list(levels)).codes)


def predictors_of(subject: Subject, response: xr.DataArray) -> list[Predictor]:
    """Return the columns over the rows of `response` that the model uses, without the response itself."""
    data = group_of(subject, "constant_data")
    names = _used(subject.model, data)
    return [_predictor(data, name) for name in names if _is_predictor(data, name, response)]


def _used(model: Any, data: xr.Dataset) -> list[str]:
    """Return the names of the columns that the model uses; of a type that can't tell, all."""
    kind = model.get("type")
    if kind == "glm":
        return list(parse(str(model["formula"]), "model.formula").variables)
    if kind == "linear_regression":
        return list((model.get("options") or {}).get("predictors") or data.data_vars)
    if kind == "declarative":
        spec = DeclarativeSpec.model_validate(dict(model))
        used = {name for definition in definitions(spec) for name in definition.names}
        observed = {definition.observed for definition in definitions(spec)}
        return [str(name) for name in data.data_vars if name in used - observed]
    return [str(name) for name in data.data_vars]


def _is_predictor(data: xr.Dataset, name: str, response: xr.DataArray) -> bool:
    if name not in data or data[name].dims != response.dims:
        return False
    values = np.asarray(data[name].values)
    if values.dtype.kind in "iubf":
        return not np.array_equal(values.astype(float), np.asarray(response, float), equal_nan=True)
    return True


def _predictor(data: xr.Dataset, name: str) -> Predictor:
    array = data[name]
    values = np.asarray(array.values)
    labels = array.attrs.get(LABELS)
    if labels in data.coords:
        levels = tuple(data[labels].values)
        whole = np.nan_to_num(values.astype(float), nan=-1).astype(int)
        named = np.array([levels[code] if code >= 0 else None for code in whole], dtype=object)
        return Predictor(str(labels), named, levels)
    if values.dtype.kind in "iufM":
        return Predictor(name, values, None)
    return Predictor(name, values, tuple(_levels(values)))


def _levels(values: Array) -> list[Any]:
    return sorted({value for value in values.tolist() if not pd.isna(value)}, key=lambda v: (str(type(v)), v))

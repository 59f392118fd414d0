"""The scope of an expression's names: data variables and coords, dim sizes, and the model's variables so far."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesrun.errors import did_you_mean
from bayesrun.language.calendar_dates import date_value
from bayesrun.language.time_steps import Times, times_along
from bayesrun.language.values import Fault, Value, constant
from bayesrun.lazy import xr

if TYPE_CHECKING:
    from bayesrun.language.learned import Learned

_SIZE = "n_"


class Scope:
    """Names and their values, while a model is built or data are derived.

    Parameters
    ----------
    data
        The data set whose variables, coords and dim sizes are known by name; None for a model without data.
    labels
        Labels of additional dims of the model; may grow while the scope is in use.
    columns
        Columns over the rows whose names refer, in the data set, to the dims of their labels.
    learned
        Reductions over the rows that are learned, or reused for new rows; None if there are none.
    """

    def __init__(
        self,
        data: xr.Dataset | None = None,
        labels: dict[str, Sequence[Any]] | None = None,
        columns: Mapping[str, xr.DataArray] | None = None,
        learned: Learned | None = None,
    ) -> None:
        self._data = data
        self._columns = dict(columns or {})
        self.learned = learned
        self._labels: dict[str, Sequence[Any]] = {} if labels is None else labels
        self._values: dict[str, Value] = {}
        self._kinds: dict[str, str] = {}

    def add(self, name: str, value: Value, replace: bool = False) -> None:
        """Register a value by name; with `replace` it replaces the data variable of the same name."""
        self._values[name] = value
        self._kinds[name] = "data variable" if replace else "variable of the model"

    def extended(self, values: Mapping[str, Value]) -> Scope:
        """Return a scope with further values, which does not change this one."""
        made = copy(self)
        made._values, made._kinds = dict(self._values), dict(self._kinds)
        for name, value in values.items():
            made.add(name, value)
        return made

    def add_labels(self, dim: str, labels: Sequence[Any]) -> None:
        """Register a dim with its labels."""
        self._labels[dim] = labels

    def labels(self, dim: str) -> Sequence[Any] | None:
        """Return the labels of a dim; None if it does not exist."""
        if dim in self._labels:
            return self._labels[dim]
        if self._data is not None and dim in self._data.sizes:
            known: Any = self._data[dim].values if dim in self._data.coords else range(self._data.sizes[dim])
            labels: Sequence[Any] = known
            return labels
        return None

    def size(self, dim: str) -> int | None:
        """Return the size of a dim; None if it does not exist."""
        labels = self.labels(dim)
        return None if labels is None else len(labels)

    def dims(self) -> list[str]:
        """Return the names of all known dims."""
        return list(dict.fromkeys([*self._data_dims(), *self._labels]))

    def lookup(self, name: str) -> Value:
        """Return the value of a name.

        Raises
        ------
        Fault
            When the name is unknown or ambiguous.
        """
        in_data = self._data is not None and name in self._data.variables
        if name in self._values:
            if in_data and self._kinds[name] != "data variable":
                raise Fault(f"'{name}' is both a variable of the model and of the data", "rename one of them")
            return self._values[name]
        if in_data:
            return self._from_data(name)
        if name.startswith(_SIZE) and self.size(name.removeprefix(_SIZE)) is not None:
            return constant(float(self.size(name.removeprefix(_SIZE)) or 0))
        if self.labels(name) is not None:
            return self._checked(name, self.labels(name), (name,))
        raise Fault(f"unknown name '{name}'", did_you_mean(name, self.names()))

    def knows(self, name: str) -> bool:
        """Return whether a name is known."""
        return name in self.names()

    def cells(self, name: str) -> tuple[Any, tuple[str, ...]] | None:
        """Return the raw values of a data variable or the labels of a dim, and their dims; None if it is neither."""
        if name in self._values and self._kinds[name] != "data variable":
            return None
        if self._data is not None and name in self._data.variables:
            array = self._columns.get(name, self._data[name])
            return array.values, tuple(str(d) for d in array.dims)
        labels = self.labels(name)
        return None if labels is None else (np.asarray(labels), (name,))

    def dates_along(self, dim: str | None) -> Times | None:
        """Return the dates of the rows along a dim of the data; None if it has none."""
        times = (
            times_along(self._data, dim)
            if self._data is not None and dim is not None and dim in self._data.sizes
            else None
        )
        return times if times is not None and times.dates else None

    def is_over_rows(self, name: str) -> bool:
        """Return whether a name refers to a value over the rows of the data."""
        cells = self.cells(name)
        return self.learned is not None and cells is not None and self.learned.rows in cells[1]

    def names(self) -> list[str]:
        """Return all known names."""
        in_data = [] if self._data is None else [str(v) for v in self._data.variables]
        return list(dict.fromkeys([*self._values, *in_data, *self.dims(), *(f"{_SIZE}{d}" for d in self.dims())]))

    def _data_dims(self) -> Iterable[str]:
        return [] if self._data is None else [str(d) for d in self._data.sizes]

    def _from_data(self, name: str) -> Value:
        assert self._data is not None
        array = self._columns.get(name, self._data[name])
        return self._checked(name, array.values, tuple(str(d) for d in array.dims))

    def _checked(self, name: str, numbers: Any, dims: tuple[str, ...]) -> Value:
        array = np.asarray(numbers)
        if array.dtype.kind == "M":
            return date_value(array, dims)
        if array.dtype.kind not in "biuf":
            because = self._data[name].attrs.get("text_because") if self._data is not None else None
            hint = f"compare it with text, {name} == '...', or turn its labels into codes with data.factors"
            raise Fault(f"'{name}' is not numeric" + (f": {because}" if because else ""), hint)
        return constant(array, dims)

"""Which scalars of a posterior a figure shows: all of a few, the worst of many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from bayesrun.figures._arrays import Array
from bayesrun.figures.base import NotDrawable, Subject

if TYPE_CHECKING:
    import arviz as az
    import pandas as pd
    import xarray as xr

_MIDNIGHT = re.compile(r"T00:00:00(\.0+)?")


@dataclass(frozen=True)
class Scalar:
    """One scalar of the posterior.

    Parameters
    ----------
    name
        Label, as in `summary.csv` (`theta[A]`); dates without their midnight.
    variable
        Name of the variable it is of.
    place
        Its place among the elements of the variable.
    values
        Draws, (chain, draw).
    r_hat
        From the summary; NaN where there is none.
    """

    name: str
    variable: str
    place: int
    values: Array
    r_hat: float

    @property
    def pooled(self) -> Array:
        """All finite draws of all chains."""
        flat = self.values.ravel()
        return flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat

    @property
    def discrete(self) -> bool:
        """Whether only whole numbers were drawn."""
        return is_discrete(self.pooled)


@dataclass(frozen=True)
class Picked:
    """Scalars to show, of `total` that there are."""

    shown: list[Scalar]
    total: int

    @property
    def note(self) -> str:
        """What to say of those left out; empty when there are none."""
        if len(self.shown) == self.total:
            return ""
        ranked = any(np.isfinite(s.r_hat) for s in self.shown)
        return f" ({len(self.shown)} of {self.total:,}: {'the worst R-hat' if ranked else 'the first'})"


@dataclass(frozen=True)
class _Element:
    """A scalar before its draws are looked up."""

    variable: str
    place: int
    size: int
    name: str
    r_hat: float


def is_discrete(values: Array) -> bool:
    """Whether `values` are whole numbers, also when stored as floats."""
    return values.dtype.kind in "iub" or (values.size > 0 and bool(np.all(values == np.round(values))))


def title_of(subject: Subject, what: str) -> str:
    """Title of a figure: the model's name and what is shown."""
    return f"{subject.model.get('name', 'model')} · {what}"


def group_of(subject: Subject, name: str) -> xr.Dataset:
    """Return a group of the InferenceData.

    Raises
    ------
    NotDrawable
        When it is not there.
    """
    if name not in subject.idata.groups():
        raise NotDrawable(f"there is no group '{name}' in posterior.nc")
    return subject.idata[name]  # type: ignore[no-any-return]


def pick(subject: Subject, limit: int) -> Picked:
    """Choose at most `limit` scalars: scalar variables first, then those with the worst R-hat."""
    elements = [e for variable in _variables(subject.idata) for e in _elements(subject, variable)]
    if not elements:
        raise NotDrawable("the posterior holds no numeric variable")
    chosen = _worst(elements, limit)
    return Picked(list(_with_draws(subject, chosen)), len(elements))


def pick_of_each(subject: Subject, variables: int, each: int) -> tuple[list[Picked], int]:
    """Choose at most `each` elements of each of the first `variables` variables; also says how many there are."""
    names = _variables(subject.idata)
    picked = []
    for variable in names[:variables]:
        elements = _elements(subject, variable)
        picked.append(Picked(list(_with_draws(subject, _worst(elements, each))), len(elements)))
    if not picked:
        raise NotDrawable("the posterior holds no numeric variable")
    return picked, len(names)


def draws_of(data: xr.DataArray) -> Array:
    """Draws of a variable as (chain, draw, element), elements in the order of their labels."""
    values = data.transpose("chain", "draw", ...).values
    return values.reshape(*values.shape[:2], -1)


def label_text(label: object) -> str:
    """Text of a coordinate's label; dates lose their midnight."""
    return _MIDNIGHT.sub("", str(label))


def _variables(idata: az.InferenceData) -> list[str]:
    if "posterior" not in idata.groups():
        raise NotDrawable("there is no posterior")
    return [str(name) for name, v in idata.posterior.data_vars.items() if v.dtype.kind in "iubf" and v.size]


def _elements(subject: Subject, variable: str) -> list[_Element]:
    data = subject.idata.posterior[variable]
    size = int(np.prod([data.sizes[d] for d in data.dims if d not in ("chain", "draw")]))
    rows = _rows(subject.summary, variable)
    if len(rows) == size:
        names, r_hat = [label_text(name) for name in rows.index], rows["r_hat"].to_numpy(float)
    else:
        names, r_hat = _labels(data, variable), np.full(size, np.nan)
    return [_Element(variable, i, size, names[i], float(r_hat[i])) for i in range(size)]


def _rows(summary: pd.DataFrame, variable: str) -> pd.DataFrame:
    names = summary.index.astype(str)
    return summary[(names == variable) | names.str.startswith(f"{variable}[")]


def _labels(data: xr.DataArray, variable: str) -> list[str]:
    dims = [d for d in data.dims if d not in ("chain", "draw")]
    if not dims:
        return [variable]
    labels = [[label_text(x) for x in data[d].values] for d in dims]
    return [f"{variable}[{', '.join(parts)}]" for parts in product(*labels)]


def _worst(elements: list[_Element], limit: int) -> list[_Element]:
    if len(elements) <= limit:
        return elements
    order = sorted(elements, key=lambda e: (e.size > 1, -np.nan_to_num(e.r_hat)))[:limit]
    kept = {(e.variable, e.place) for e in order}
    return [e for e in elements if (e.variable, e.place) in kept]


def _with_draws(subject: Subject, chosen: list[_Element]) -> Iterator[Scalar]:
    arrays: dict[str, Array] = {}
    for e in chosen:
        if e.variable not in arrays:
            arrays[e.variable] = draws_of(subject.idata.posterior[e.variable])
        yield Scalar(e.name, e.variable, e.place, arrays[e.variable][:, :, e.place], e.r_hat)

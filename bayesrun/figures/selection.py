"""Which scalars of a posterior a figure shows: all of a few, of many those with the largest R-hat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from bayesrun.diagnostics.base import shorten_all
from bayesrun.diagnostics.numerics.densities import is_discrete
from bayesrun.diagnostics.summary import SAMPLE, in_order, names_of
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.lazy import az

Array = NDArray[Any]
LABEL = 30  # characters of a scalar's label
ELEMENT = 12  # at least of them for its place in its variable


@dataclass(frozen=True)
class Scalar:
    """One scalar of the posterior.

    Parameters
    ----------
    name
        Name, as in `summary.csv` (`theta[A]`).
    variable
        Name of its variable.
    index
        Its index among the elements of the variable, flattened.
    values
        Draws, (chain, draw).
    r_hat
        From the summary; NaN where there is none.
    label
        The name, shortened, and unlike those of the others that are shown.
    """

    name: str
    variable: str
    index: int
    values: Array
    r_hat: float
    label: str

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
    """Scalars to show, out of `total`."""

    shown: list[Scalar]
    total: int

    @property
    def note(self) -> str:
        """Note on the scalars that are left out; empty when there are none."""
        if len(self.shown) == self.total:
            return ""
        ranked = any(np.isfinite(s.r_hat) for s in self.shown)
        return f" ({len(self.shown)} of {self.total:,}: {'largest R-hat' if ranked else 'the first'})"


@dataclass(frozen=True)
class _Element:
    """A scalar before its draws are looked up."""

    variable: str
    index: int
    size: int
    name: str
    r_hat: float


def title_of(subject: Subject, what: str) -> str:
    """Return the title of a figure: the model's name and what is shown."""
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
    """Choose at most `limit` scalars: scalar variables first, then those with the largest R-hat."""
    elements = [e for variable in _variables(subject.idata) for e in _elements(subject, variable)]
    if not elements:
        raise NotDrawable("the posterior holds no numeric variable")
    chosen = _worst(elements, limit)
    return Picked(list(_with_draws(subject, chosen)), len(elements))


def pick_of_each(subject: Subject, variables: int, each: int) -> tuple[list[Picked], int]:
    """Choose at most `each` elements of each of the first `variables` variables; also return their number."""
    names = _variables(subject.idata)
    picked = []
    for variable in names[:variables]:
        elements = _elements(subject, variable)
        picked.append(Picked(list(_with_draws(subject, _worst(elements, each))), len(elements)))
    if not picked:
        raise NotDrawable("the posterior holds no numeric variable")
    return picked, len(names)


def draws_of(data: xr.DataArray) -> Array:
    """Return the draws of a variable as (chain, draw, element), elements in the order of their labels."""
    values = data.transpose(*SAMPLE, ...).values
    return values.reshape(*values.shape[:2], -1)


def _variables(idata: az.InferenceData) -> list[str]:
    if "posterior" not in idata.groups():
        raise NotDrawable("there is no posterior")
    posterior = idata.posterior
    return [n for n in in_order(posterior) if posterior[n].dtype.kind in "iubf" and posterior[n].size]


def _elements(subject: Subject, variable: str) -> list[_Element]:
    names = names_of(subject.idata.posterior[variable], variable)
    r_hat = [subject.r_hat.get(name, np.nan) for name in names]
    return [_Element(variable, i, len(names), *pair) for i, pair in enumerate(zip(names, r_hat, strict=True))]


def _worst(elements: list[_Element], limit: int) -> list[_Element]:
    if len(elements) <= limit:
        return elements
    order = sorted(elements, key=lambda e: (e.size > 1, -np.nan_to_num(e.r_hat)))[:limit]
    kept = {(e.variable, e.index) for e in order}
    return [e for e in elements if (e.variable, e.index) in kept]


def _with_draws(subject: Subject, chosen: list[_Element]) -> Iterator[Scalar]:
    arrays: dict[str, Array] = {}
    for e, label in zip(chosen, _labels(chosen), strict=True):
        if e.variable not in arrays:
            arrays[e.variable] = draws_of(subject.idata.posterior[e.variable])
        yield Scalar(e.name, e.variable, e.index, arrays[e.variable][:, :, e.index], e.r_hat, label)


def _labels(elements: list[_Element]) -> Iterator[str]:
    """Shorten names; an element keeps the name of its variable, unless that is long, and what tells it from others."""
    for variable, group in groupby(elements, key=lambda e: e.variable):
        names = [e.name for e in group]
        room = LABEL - len(variable) - 2
        if len(names) > 1 and room >= ELEMENT and max(map(len, names)) > LABEL:
            yield from (f"{variable}[{text}]" for text in shorten_all([n[len(variable) + 1 : -1] for n in names], room))
        else:
            yield from shorten_all(names, LABEL)

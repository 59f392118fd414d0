"""Means of the response of any regression, at rows in which some predictors are set: what `effects` draws.

The rows go through the fitted model as new rows for predictions do, with known groups, and the distribution of the
response gives its mean. Link, family, group effects and other parameters are all in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from bayesrun.data.factors import row_column
from bayesrun.errors import UserError
from bayesrun.figures import style as look
from bayesrun.figures.base import NotDrawable, Subject
from bayesrun.figures.linear_predictors import DRAWS, evenly, expansion_of_stored
from bayesrun.figures.selection import group_of
from bayesrun.language.declaration import ModelDesign
from bayesrun.language.formulas import Formula
from bayesrun.models.base import NewRows, Quantity
from bayesrun.models.regression import MODEL
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.regression_plan import RegressionPlan
from bayesrun.models.regression.regression_spec import RegressionSpec
from bayesrun.models.regression.several_responses import plans_of
from bayesrun.predict.forward import Forward

Array = NDArray[Any]

ROWS = 200
"""Rows of the data over which predictions are averaged."""


def shown_levels(name: str, values: Array, formula: Formula, known: Mapping[str, Sequence[Any]]) -> list[Any] | None:
    """Return the levels of a categorical predictor, the most frequent ones of many; None for a numeric one.

    Parameters
    ----------
    name, values
        The predictor, (row,).
    formula
        Where it is used.
    known
        Levels in the order of the data, by name.
    """
    bare = name in formula.terms and name not in known
    if values.dtype.kind in "iuf" and (bare or name not in formula.categorical):
        return None
    frequent = set(pd.Series(values).value_counts().index[: look.LEVELS])
    levels = known.get(name) or sorted(set(values.tolist()), key=lambda v: (str(type(v)), v))
    return [level for level in levels if level in frequent]


@dataclass(frozen=True)
class RegressionMeans:
    """A response of a fitted regression.

    Parameters
    ----------
    name
        Name of the response.
    formula
        The population part of the formula of its mean.
    data
        The rows of the fit.
    new_rows
        What predictions take from the fit, without rows.
    spec
        The regression.
    draws
        Some draws of the posterior, (draw, ...).
    likelihood, place
        Name of the likelihood, and index of the response in it; None if it has one response.
    response
        Observed values, proportions for counts of trials, (row,); NaN where missing.
    trials
        Trials of each row; None if there are none.
    link
        Link of the mean.
    values
        Kind of the response, as its family has it.
    variables
        Columns of the data that the formula uses, (row,).
    known
        Levels of those of which the data state the order.
    """

    name: str
    formula: Formula
    data: xr.Dataset
    new_rows: NewRows
    spec: RegressionSpec
    draws: Mapping[str, Array]
    likelihood: str
    place: int | None
    response: Array
    trials: Array | None
    link: str
    values: str
    variables: Mapping[str, Array]
    known: Mapping[str, Sequence[Any]]

    @property
    def points(self) -> str:
        """Name of the points that are drawn beside the curves."""
        return "partial residuals" if self.link in ("identity", "log") else "observed"

    @property
    def mean_label(self) -> str:
        """What the curves show."""
        word = {"trials": "proportion", "binary": "probability"}.get(self.values, "mean")
        return f"{word} of {self.name}"

    def average(self, settings: Mapping[str, Array]) -> Array:
        """Return the predicted mean averaged over rows of the data, (draw, setting).

        Parameters
        ----------
        settings
            Values of the predictors that are set in all rows, (setting,); the others are as observed.
        """
        count, rows = len(next(iter(settings.values()))), evenly(len(self.response), ROWS)
        means = self._means(np.tile(rows, count), {n: np.repeat(values, len(rows)) for n, values in settings.items()})
        return np.asarray(means.reshape(len(means), count, len(rows)).mean(axis=2))

    def at_rows(self, rows: Array) -> Array:
        """Return the posterior mean of the predicted mean at some rows of the data, (row,)."""
        return np.asarray(self._means(rows, {}).mean(axis=0))

    def levels(self, name: str) -> list[Any] | None:
        """Return the levels of a categorical predictor that are shown; None for a numeric one."""
        return shown_levels(name, self.variables[name], self.formula, self.known)

    def _means(self, rows: Array, settings: Mapping[str, Array]) -> Array:
        dim = self.new_rows.dim
        table = self.data.isel({dim: rows}).assign_coords({dim: np.arange(len(rows))})
        table = table.assign({name: (dim, values) for name, values in settings.items()})
        declared = MODEL.at_rows(_replaced(self.new_rows, table), self.spec)  # type: ignore[misc]
        forward = Forward(self.draws, np.random.default_rng(0), _no_engine, (), dim)
        found = forward.run(declared)[self.likelihood].expected
        if found is None:
            raise NotDrawable(f"the distribution of '{self.name}' has no mean")
        means = found if self.place is None else found[..., self.place]
        return means if self.trials is None else means / np.maximum(self.trials[rows], 1)


def _replaced(rows: NewRows, table: xr.Dataset) -> NewRows:
    return NewRows(table, rows.design, rows.quantities, rows.likelihoods, {}, rows.draw_over_rows)


def _no_engine(distribution: str, parameters: Any, shape: tuple[int, ...], seed: int) -> Array:
    raise NotDrawable(f"there are no draws of {distribution} without an engine")


def regression_means(subject: Subject, spec: RegressionSpec) -> list[RegressionMeans]:
    """Return the responses of a regression.

    Raises
    ------
    NotDrawable
        When the posterior lacks what is needed, or the responses have no mean.
    """
    whole, plans = expansion_of_stored(subject, spec), plans_of(spec)
    data = subject.idata.constant_data
    dim = str(data.attrs.get("dim", next(iter(data.dims))))
    if any(this.family.categories for this in plans.values()):
        raise NotDrawable("the responses are levels, which have no mean")
    found = list(_responses(subject, spec, whole, plans, data.assign_attrs(dim=dim), dim))
    try:
        for one in found:
            one.at_rows(np.arange(1))
    except (UserError, KeyError) as error:  # a variable that store.exclude left out
        raise NotDrawable(f"the means can't be computed from posterior.nc: {error}") from error
    return found


def _responses(
    subject: Subject,
    spec: RegressionSpec,
    whole: Expansion,
    plans: Mapping[str, RegressionPlan],
    data: xr.Dataset,
    dim: str,
) -> Iterator[RegressionMeans]:
    posterior = group_of(subject, "posterior")
    total = posterior.sizes["chain"] * posterior.sizes["draw"]
    chosen = evenly(total, DRAWS)
    draws, quantities = dict[str, Array](), dict[str, Quantity]()
    for name, array in posterior.data_vars.items():
        of = array.transpose("chain", "draw", ...)
        draws[str(name)] = of.values.reshape(total, *of.shape[2:])[chosen]
        quantities[str(name)] = Quantity(tuple(map(str, of.dims[2:])), of.shape[2:])
    likelihoods = {
        name: (dim, *map(str, whole.columns[body["observed"]].dims[1:]))
        if body["observed"] in whole.columns
        else (dim,)
        for name, body in whole.model["likelihood"].items()
    }
    design = ModelDesign(rows=dim, terms=whole.state())
    rows = NewRows(data, design, quantities, likelihoods, {}, True)
    for place, (name, this) in enumerate(plans.items()):
        own = (whole.responses or {"": whole})[name]
        observed = next(iter(own.model["likelihood"].values()))["observed"]
        population = this.main.population
        if population is None:
            continue
        columns = {variable: row_column(data, variable) for variable in population.formula.variables}
        jointly = "responses_obs" in likelihoods
        trials = f"{this.prefix}trials"
        sizes = own.columns[trials].values.astype(float) if trials in own.columns else None
        values = own.columns[observed].values.astype(float)
        yield RegressionMeans(
            observed,
            population.formula,
            data,
            rows,
            spec,
            draws,
            "responses_obs" if jointly else next(iter(own.model["likelihood"])),
            place if jointly else None,
            values if sizes is None else values / np.maximum(sizes, 1),
            sizes,
            this.main.link,
            this.family.values,
            {variable: column.values for variable, column in columns.items()},
            {n: np.atleast_1d(c.attrs["levels"]).tolist() for n, c in columns.items() if "levels" in c.attrs},
        )

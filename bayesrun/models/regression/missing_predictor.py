"""`mi(x)`: a predictor with missing values, which are imputed within the model from a normal distribution.

    x ~ Normal(x_mean, x_sd),     eta += slope * x

The missing values are `x_missing` in the posterior, and their uncertainty propagates to the slope, `mi(x)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesrun.data.base import Role
from bayesrun.errors import fail
from bayesrun.language.declaration import Deterministic
from bayesrun.language.values import variable
from bayesrun.lazy import xr
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.term_priors import numbers_of, own_prior_of


@dataclass(frozen=True)
class MissingPredictor:
    """`mi(x)`.

    Parameters
    ----------
    column
        The predictor.
    key
        Config key of the formula.
    modelled
        Whether it has a formula of its own.
    """

    column: str
    key: str
    modelled: bool = False

    @property
    def label(self) -> str:
        """Name of the slope, as written."""
        return f"mi({self.column})"

    def roles(self) -> tuple[Role, ...]:
        """Return the column as a variable whose missing values are imputed."""
        return (Role(self.column, "observed", "real", self.key),)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of the slope, and of mean and sd of the predictor."""
        moments = () if self.modelled else (f"{self.column}_mean", f"{self.column}_sd")
        return (f"{prefix}{self.label}", *moments)

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedMissing, xr.Dataset]:
        """Store mean and sd of the observed values."""
        array = rows.data[self.column]
        if array.dims != (rows.dim,) or array.dtype.kind not in "biuf":
            raise fail(self.key, f"'{self.column}' must be numbers over the rows", "mi() takes one column of numbers")
        values = array.values.astype(float)
        spread = float(np.nanstd(values))
        if not spread > 0:
            raise fail(self.key, f"'{self.column}' is the same in all rows where it is known", "leave mi() out")
        fitted = FittedMissing(self, float(np.nanmean(values)), spread, setting.prefix)
        return fitted, fitted.columns(rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedMissing:
        """Rebuild it from the output of `plain`."""
        return FittedMissing(self, float(content["mean"]), float(content["sd"]), setting.prefix)


@dataclass(frozen=True)
class FittedMissing:
    """A predictor with missing values, and the moments of the observed ones."""

    term: MissingPredictor
    mean: float
    sd: float
    prefix: str

    @property
    def slope(self) -> str:
        """Name of the slope in expressions."""
        return f"{self.prefix}slope_of_{self.term.column}"

    def plain(self) -> Mapping[str, Any]:
        """Return the moments."""
        return {"mean": self.mean, "sd": self.sd}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the predictor; a column that new rows lack is missing in all of them."""
        there = self.term.column in rows.data.variables
        values = rows.data[self.term.column].values.astype(float) if there else np.full(rows.size, np.nan)
        return xr.Dataset({self.term.column: (rows.dim, values)})

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: it has no groups."""
        return {}

    def declare(self, setting: Setting) -> Part:
        """Declare the slope, and the distribution of the predictor."""
        column, scale = self.term.column, np.asarray(setting.spread / self.sd)
        key, given = own_prior_of(setting.priors, self.term.label, self.prefix)
        named = {f"{self.prefix}{self.term.label}": self.slope}
        if self.term.modelled:
            slope = numbers_of(given, f"model.priors.{key}", scale, setting.data)
            return Part(f"{self.slope} * {column}", {self.slope: slope}, named, helpers=frozenset({self.slope}))
        wide = {"dist": "Normal", "mu": self.mean, "sigma": 10 * self.sd}
        own = {
            f"{column}_mean": setting.priors.get(f"{column}_mean", wide),
            f"{column}_sd": setting.priors.get(f"{column}_sd", {"dist": "HalfNormal", "sigma": 10 * self.sd}),
        }
        spread = np.asarray(self.sd)
        priors = {name: numbers_of(prior, f"model.priors.{name}", spread, setting.data) for name, prior in own.items()}
        priors[self.slope] = numbers_of(given, f"model.priors.{key}", scale, setting.data)
        predictor = {"dist": "Normal", "mu": f"{column}_mean", "sigma": f"{column}_sd", "observed": column}
        return Part(f"{self.slope} * {column}", priors, named, {column: predictor}, frozenset({self.slope}))

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return the slope of the posterior."""
        return (Deterministic(self.slope, variable(f"{self.prefix}{self.term.label}", (), ())),)

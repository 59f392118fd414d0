"""`mi(x)`: a predictor with missing values, which are imputed within the model.

    eta += slope * x,     eta += slope * x * z    (`mi(x):z`; one slope per column of z)

`x` is a response with a formula of its own, `x | mi() ~ z`, otherwise `x ~ Normal(x_mean, x_sd)`. The missing values
are `x_missing` in the posterior, and their uncertainty propagates to the slope, `mi(x)`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.data.factors import formula_column
from bayesrun.errors import check, fail
from bayesrun.language.declaration import Deterministic
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, Formula, design, parse
from bayesrun.language.unicode_names import identifier_of
from bayesrun.language.values import variable
from bayesrun.lazy import xr
from bayesrun.models.regression.design_matrix import column_problems
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.group_terms import joined, summands
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.term_priors import numbers_of, own_prior_of

_CALL = re.compile(r"mi\s*\(\s*(\w+)\s*\)")
_HINT = "write mi(x), mi(x):z or mi(x) * z, where x is one column of numbers"


def without_missing(right: str, key: str, modelled: Collection[str]) -> tuple[str, list[MissingPredictor]]:
    """Extract the terms with missing values, `mi(x)` and its interactions, from the right side of a formula.

    Parameters
    ----------
    right
        The right side.
    key
        Config key of the formula.
    modelled
        Predictors that have a formula of their own.

    Returns
    -------
    rest : str
        The right side without them; `1` if nothing else is left.
    terms : list of MissingPredictor
        One per product with `mi(x)`.

    Raises
    ------
    UserError
        For anything else that is made of `mi(...)`.
    """
    kept, products = list[tuple[str, str]](), list[str]()
    for sign, part in summands(right):
        if not re.search(r"\bmi\s*\(", part) or part.startswith("("):
            kept.append((sign, part))
            continue
        if sign == "-":
            raise fail(key, f"'- {part}' removes a term", "leave the term out")
        for product in _products(part):
            if re.search(r"\bmi\s*\(", product):
                products.append(product)
            else:
                kept.append(("+", product))
    terms: list[MissingPredictor] = []
    mains = [call[1] for product in products if (call := _CALL.fullmatch(product))]
    for product in dict.fromkeys(products):
        factors = _split(product, ":")
        calls = [call[1] for factor in factors if (call := _CALL.fullmatch(factor))]
        others = [factor for factor in factors if not _CALL.fullmatch(factor)]
        if len(calls) != 1 or any(re.search(r"\bmi\s*\(|[*/^|]", factor) for factor in others):
            raise fail(key, f"'{product}' can't be read", _HINT)
        by = None
        if others:
            # beside mi(x) itself a factor has a slope for each level but the first, otherwise for all
            by = parse(f"_ ~ {'1' if calls[0] in mains else '0'} + {':'.join(others)}", key)
        terms.append(MissingPredictor(calls[0], key, calls[0] in modelled, by))
    return joined(kept), terms


def _products(part: str) -> list[str]:
    """Expand `a * b` into `a`, `b` and `a:b`."""
    factors = _split(part, "*")
    sizes = range(1, len(factors) + 1)
    return [":".join(chosen) for size in sizes for chosen in combinations(factors, size)]


def _split(text: str, sign: str) -> list[str]:
    """Split at a sign outside parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == sign and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts]


@dataclass(frozen=True)
class MissingPredictor:
    """`mi(x)`, or a product with it.

    Parameters
    ----------
    column
        The predictor.
    key
        Config key of the formula.
    modelled
        Whether it has a formula of its own.
    by
        The formula of the other factors of a product; None if there are none.
    """

    column: str
    key: str
    modelled: bool = False
    by: Formula | None = None

    @property
    def others(self) -> str:
        """The other factors as they are named; empty if there are none."""
        return "" if self.by is None else next(name for name in self.by.terms if name != INTERCEPT)

    @property
    def label(self) -> str:
        """Name of the slope, as written."""
        return f"mi({self.column})" + (f":{self.others}" if self.others else "")

    def roles(self) -> tuple[Role, ...]:
        """Return the column as a variable whose missing values are imputed, and the other factors."""
        found = [Role(self.column, "observed", "real", self.key)]
        if self.by is not None:
            categorical = self.by.categorical
            for name in self.by.variables:
                found.append(Role(name, "predictor", "any" if name in categorical else "number_or_date", self.key))
        return tuple(found)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of the slope, and of mean and sd of the predictor."""
        moments = () if self.modelled else (f"{self.column}_mean", f"{self.column}_sd")
        return (f"{prefix}{self.label}", *moments)

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedMissing, xr.Dataset]:
        """Store mean and sd of the observed values, and the columns of the other factors."""
        array = rows.data[self.column]
        if array.dims != (rows.dim,) or array.dtype.kind not in "biuf":
            raise fail(self.key, f"'{self.column}' must be numbers over the rows", "mi() takes one column of numbers")
        values = array.values.astype(float)
        spread = float(np.nanstd(values))
        if not spread > 0:
            raise fail(self.key, f"'{self.column}' is the same in all rows where it is known", "leave mi() out")
        fitted = FittedMissing(self, float(np.nanmean(values)), spread, setting.prefix)
        if self.by is None:
            return fitted, fitted.columns(rows)
        check(column_problems(rows.data, self.by, rows.dim))
        columns = {n: formula_column(rows.data, n, n in self.by.categorical) for n in self.by.variables}
        made = design(self.by, columns)
        fitted = replace(fitted, design=replace(made, matrix=made.matrix[:0].copy()))
        matrix = made.matrix[:, fitted.kept]
        sds = np.nanstd(values[:, None] * matrix, axis=0)
        return replace(fitted, sds=tuple(sds.tolist())), fitted.as_columns(values, matrix, rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedMissing:
        """Rebuild it from the output of `plain`."""
        fitted = FittedMissing(self, float(content["mean"]), float(content["sd"]), setting.prefix)
        if self.by is None:
            return fitted
        return replace(fitted, design=restored_design(content["design"], self.by), sds=tuple(content["sds"]))


@dataclass(frozen=True)
class FittedMissing:
    """A predictor with missing values, or a product with it.

    Parameters
    ----------
    term
        The term as written.
    mean, sd
        Moments of the observed values.
    prefix
        Prefix of its variables' names.
    design
        The columns of the other factors, without rows; None if there are none.
    sds
        Sds of their products with the observed values.
    """

    term: MissingPredictor
    mean: float
    sd: float
    prefix: str
    design: Design | None = None
    sds: tuple[float, ...] = ()

    @property
    def _safe(self) -> str:
        return identifier_of(f"{self.term.column}_{self.term.others}")

    @property
    def slope(self) -> str:
        """Name of the slope, or the vector of slopes, in expressions."""
        return f"{self.prefix}slope_of_{self._safe}"

    @property
    def factors(self) -> str:
        """Name of the columns of the other factors."""
        return f"{self.prefix}beside_{self._safe}"

    @property
    def kept(self) -> list[int]:
        """Columns of the other factors that have a slope."""
        assert self.design is not None
        return [j for j, name in enumerate(self.design.columns) if name != INTERCEPT]

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Labels of several slopes; None for one."""
        return None if self.design is None else next(t.labels for t in self.design.terms if t.name != INTERCEPT)

    @property
    def level_dim(self) -> str:
        """Dim of several slopes."""
        return f"{self.prefix}{self.term.label}_level"

    def plain(self) -> Mapping[str, Any]:
        """Return the moments, and the state of the other factors."""
        moments = {"mean": self.mean, "sd": self.sd}
        return moments if self.design is None else {**moments, "design": plain_design(self.design), "sds": [*self.sds]}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the predictor and its factors; a column that new rows lack is missing in all of them."""
        there = self.term.column in rows.data.variables
        values = rows.data[self.term.column].values.astype(float) if there else np.full(rows.size, np.nan)
        if self.design is None or self.term.by is None:
            return xr.Dataset({self.term.column: (rows.dim, values)})
        matrix = columns_at(self.term.by, self.design, rows.data, rows.dim)[:, self.kept]
        return self.as_columns(values, matrix, rows)

    def as_columns(self, values: NDArray[Any], matrix: NDArray[Any], rows: Rows) -> xr.Dataset:
        """Return the predictor and the columns of its factors as variables."""
        made = xr.Dataset({self.term.column: (rows.dim, values)})
        if self.labels is None:
            return made.assign({self.factors: (rows.dim, matrix[:, 0])})
        labelled = made.assign({self.factors: ((rows.dim, self.level_dim), matrix)})
        return labelled.assign_coords({self.level_dim: list(self.labels)})

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: it has no groups."""
        return {}

    def declare(self, setting: Setting) -> Part:
        """Declare the slope, and the distribution of a predictor that has no formula of its own."""
        column = self.term.column
        key, given = own_prior_of(setting.priors, self.term.label, self.prefix)
        scale = setting.spread / np.asarray(self.sd if self.design is None else self.sds)
        scale = scale if self.labels is not None else np.reshape(scale, ())
        slope = numbers_of(given, f"model.priors.{key}", scale, setting.data)
        name, helpers = f"{self.prefix}{self.term.label}", frozenset({self.slope})
        if self.labels is None:
            expression = f"{self.slope} * {column}" + (f" * {self.factors}" if self.design is not None else "")
            named: dict[str, Any] = {name: self.slope}
        else:
            expression = f"{column} * dot({self.factors}, {self.slope})"
            slope |= {"dims": [self.level_dim]}
            named = {name: {"expr": f"1 * {self.slope}", "dims": [self.level_dim]}}
        priors = {self.slope: slope}
        if self.term.modelled:
            return Part(expression, priors, named, helpers=helpers)
        wide = {"dist": "Normal", "mu": self.mean, "sigma": 10 * self.sd}
        own = {
            f"{column}_mean": setting.priors.get(f"{column}_mean", wide),
            f"{column}_sd": setting.priors.get(f"{column}_sd", {"dist": "HalfNormal", "sigma": 10 * self.sd}),
        }
        spread = np.asarray(self.sd)
        moments = {n: numbers_of(prior, f"model.priors.{n}", spread, setting.data) for n, prior in own.items()}
        predictor = {"dist": "Normal", "mu": f"{column}_mean", "sigma": f"{column}_sd", "observed": column}
        return Part(expression, {**moments, **priors}, named, {column: predictor}, helpers)

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return the slope of the posterior."""
        dims: tuple[str, ...] = () if self.labels is None else (self.level_dim,)
        shape = () if self.labels is None else (len(self.labels),)
        value = variable(f"{self.prefix}{self.term.label}", dims, shape)
        return (Deterministic(self.slope, value, dims),)

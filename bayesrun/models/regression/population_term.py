"""The population part of a linear predictor: a design matrix times one coefficient per column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.data.factors import formula_column
from bayesrun.errors import check
from bayesrun.language.declaration import Deterministic
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, Formula, design
from bayesrun.language.functions import concatenate
from bayesrun.language.values import variable
from bayesrun.lazy import xr
from bayesrun.models.regression.blocked_algebra import reach
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.term_priors import as_vector, numbers_of, prior_of


@dataclass(frozen=True)
class PopulationTerm:
    """The terms of a formula, without group terms.

    Parameters
    ----------
    formula
        The checked formula.
    intercept
        Whether its intercept is a coefficient; False if thresholds replace it.
    """

    formula: Formula
    intercept: bool = True

    def roles(self) -> tuple[Role, ...]:
        """Return its columns; those used as labels may have any type."""
        formula = self.formula
        return tuple(
            Role(n, "predictor", "any" if n in formula.categorical else "number_or_date", formula.key)
            for n in formula.variables
        )

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of its terms, and the default's."""
        return (*(f"{prefix}{name}" for name in self.formula.terms), f"{prefix}default", "default")

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedPopulation, xr.Dataset]:
        """Compute the columns, and store their levels, knots and means."""
        from bayesrun.models.regression.design_matrix import column_problems

        check(column_problems(rows.data, self.formula, rows.dim))
        columns = {n: formula_column(rows.data, n, n in self.formula.categorical) for n in self.formula.variables}
        made = design(self.formula, columns or {rows.dim: rows.data[rows.dim].values})
        by_spread, by_level = reach(made.matrix)
        without_rows = replace(made, matrix=made.matrix[:0].copy())
        fitted = FittedPopulation(self, without_rows, by_spread, by_level, setting.prefix)
        fitted = replace(fitted, centre=_least_squares(made.matrix[:, fitted.kept], setting.target))
        return fitted, fitted.as_columns(made.matrix, rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedPopulation:
        """Rebuild it from the output of `plain`."""
        made = restored_design(content["design"], self.formula)
        return FittedPopulation(
            self, made, np.array(content["by_spread"]), np.array(content["by_level"]), setting.prefix
        )


@dataclass(frozen=True)
class FittedPopulation:
    """The fitted columns, without rows.

    Parameters
    ----------
    term
        The term as written.
    design
        Its columns, and the state of its transforms.
    by_spread, by_level
        Natural range of each coefficient (`blocked_algebra.reach`).
    prefix
        Prefix of its variables' names.
    centre
        Initial values of the coefficients; None for new rows.
    """

    term: PopulationTerm
    design: Design
    by_spread: NDArray[Any]
    by_level: NDArray[Any]
    prefix: str
    centre: NDArray[Any] | None = None

    @property
    def dim(self) -> str:
        """Dim of the coefficients."""
        return f"{self.prefix}column"

    @property
    def coefficients(self) -> str:
        """Name of the vector of all coefficients."""
        return f"{self.prefix}coefficients"

    @property
    def kept(self) -> list[int]:
        """Columns that have a coefficient."""
        return [j for j, name in enumerate(self.design.columns) if self.term.intercept or name != INTERCEPT]

    def plain(self) -> Mapping[str, Any]:
        """Return the state of the transforms, and the scales of the priors."""
        scales = {"by_spread": self.by_spread.tolist(), "by_level": self.by_level.tolist()}
        return {"design": plain_design(self.design), **scales}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the design matrix of other rows."""
        return self.as_columns(columns_at(self.term.formula, self.design, rows.data, rows.dim), rows)

    def as_columns(self, matrix: NDArray[Any], rows: Rows) -> xr.Dataset:
        """Return a design matrix with its labels."""
        names = [self.design.columns[j] for j in self.kept]
        kept = matrix if len(names) == matrix.shape[1] else matrix[:, self.kept]
        coords = {self.dim: names, **{f"{self.prefix}{dim}": labels for dim, labels in self._label_dims().items()}}
        if not names:
            return xr.Dataset()
        return xr.Dataset({f"{self.prefix}design": ((rows.dim, self.dim), kept)}, coords=coords)

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: levels of the population part are those of the fit."""
        return {}

    def declare(self, setting: Setting) -> Part:
        """Declare one vector of coefficients, and each term as a part of it."""
        if not self.kept:
            return Part("")
        terms = [t for t in self.design.terms if self.term.intercept or t.name != INTERCEPT]
        scales = self._scales(setting)
        priors, sizes = [], []
        for term in terms:
            key, given = prior_of(setting.priors, term.name, self.prefix)
            scale = scales[term.start] if term.labels is None else scales[term.start : term.stop]
            priors.append(numbers_of(given, f"model.priors.{key}", scale, setting.data))
            sizes.append(term.stop - term.start)
        vector = as_vector(priors, sizes)
        deterministics: dict[str, Any] = {}
        if vector is not None:
            declared: dict[str, Any] = {self.coefficients: {**vector, "dims": [self.dim], **self._start(vector)}}
        else:
            names = [f"{self.coefficients}_{number}" for number in range(len(terms))]
            declared = {
                name: prior if term.labels is None else {**prior, "dims": [f"{self.prefix}{term.name}_level"]}
                for name, term, prior in zip(names, terms, priors, strict=True)
            }
            joined = f"concatenate({', '.join(names)})" if len(names) > 1 else f"stack({names[0]})"
            deterministics[self.coefficients] = {"expr": joined, "dims": [self.dim]}
        begin = 0
        for term, size in zip(terms, sizes, strict=True):
            where = f"{begin}" if term.labels is None else f"{begin}:{begin + size}"
            expression = f"{self.coefficients}[{where}]"
            dims = [f"{self.prefix}{term.name}_level"]
            named = expression if term.labels is None else {"expr": expression, "dims": dims}
            deterministics[f"{self.prefix}{term.name}"] = named
            begin += size
        expression = f"dot({self.prefix}design, {self.coefficients})"
        helpers = frozenset({*declared, self.coefficients})
        whitened = (self.coefficients, f"{self.prefix}design") if vector is not None else None
        return Part(expression, declared, deterministics, helpers=helpers, whitened=whitened)

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Reassemble the coefficients of the posterior."""
        if not self.kept:
            return ()
        terms = [t for t in self.design.terms if self.term.intercept or t.name != INTERCEPT]
        parts = [
            variable(f"{self.prefix}{t.name}", (None,) * bool(t.labels), (len(t.labels),) if t.labels else ())
            for t in terms
        ]
        return (Deterministic(self.coefficients, concatenate(*parts).named((self.dim,)), (self.dim,)),)

    def _start(self, prior: Mapping[str, Any]) -> dict[str, Any]:
        """Return the initial values; priors that are not on the real line use their own defaults."""
        whole = prior["dist"] in ("Normal", "StudentT", "Laplace", "Logistic", "Cauchy") and "lower" not in prior
        if self.centre is None or not whole or "upper" in prior:
            return {}
        return {"initval": self.start()}

    def start(self) -> list[float]:
        """Return the initial values, rounded for readability."""
        return [float(f"{value:.4g}") for value in (() if self.centre is None else self.centre)]

    def _label_dims(self) -> dict[str, list[str]]:
        terms = [t for t in self.design.terms if t.labels is not None]
        return {f"{t.name}_level": list(t.labels or ()) for t in terms}

    def _scales(self, setting: Setting) -> NDArray[Any]:
        """Return `term_scale` of each column, as `design_matrix.scales` has it."""
        return np.sqrt((setting.spread * self.by_spread) ** 2 + (setting.middle * self.by_level) ** 2)


def _least_squares(matrix: NDArray[Any], target: NDArray[Any] | float) -> NDArray[Any]:
    wanted = np.broadcast_to(target, len(matrix))
    known = np.isfinite(wanted)
    return np.asarray(np.linalg.lstsq(matrix[known], wanted[known], rcond=None)[0])

"""The population part of a linear predictor: a design matrix times one coefficient per column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.data.factors import formula_column
from bayesrun.errors import check
from bayesrun.language.declaration import Declaration, Deterministic
from bayesrun.language.formula_state import plain_design, restored_design
from bayesrun.language.formulas import INTERCEPT, Design, Formula, design
from bayesrun.language.formulas import DesignTerm as DesignTerm
from bayesrun.language.functions import concatenate
from bayesrun.language.values import variable
from bayesrun.lazy import xr
from bayesrun.models.regression.blocked_algebra import moments, reach
from bayesrun.models.regression.design_matrix import column_problems
from bayesrun.models.regression.formula_rows import columns_at
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.shrinkage_priors import is_shrinkage, shrunk, with_intercept_at_means
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
        check(column_problems(rows.data, self.formula, rows.dim))
        columns = {n: formula_column(rows.data, n, n in self.formula.categorical) for n in self.formula.variables}
        made = design(self.formula, columns or {rows.dim: rows.data[rows.dim].values})
        by_spread, by_level = reach(made.matrix)
        without_rows = replace(made, matrix=made.matrix[:0].copy())
        sds = moments(made.matrix)[1]
        fitted = FittedPopulation(self, without_rows, by_spread, by_level, setting.prefix, sds, rows.size)
        centre = _least_squares(made.matrix[:, fitted.kept], setting.target)
        fitted = replace(fitted, centre=centre, together=fitted.columns_together(setting))
        return fitted, fitted.as_columns(made.matrix, rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedPopulation:
        """Rebuild it from the output of `plain`."""
        made = restored_design(content["design"], self.formula)
        by_spread, by_level = np.array(content["by_spread"]), np.array(content["by_level"])
        sds = np.array(content["sds"]) if "sds" in content else 1.0 / by_spread  # runs of earlier versions lack it
        rows = int(content.get("rows", 1))
        fitted = FittedPopulation(self, made, by_spread, by_level, setting.prefix, sds, rows)
        return replace(fitted, together=fitted.columns_together(setting))


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
    sds
        Sds of the columns over the fitted rows.
    rows
        Number of those rows.
    centre
        Initial values of the coefficients; None for new rows.
    together
        Columns whose coefficients have a common prior.
    """

    term: PopulationTerm
    design: Design
    by_spread: NDArray[Any]
    by_level: NDArray[Any]
    prefix: str
    sds: NDArray[Any]
    rows: int
    centre: NDArray[Any] | None = None
    together: tuple[str, ...] = ()

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
        return {"design": plain_design(self.design), **scales, "sds": self.sds.tolist(), "rows": self.rows}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the design matrix of other rows."""
        return self.as_columns(columns_at(self.term.formula, self.design, rows.data, rows.dim), rows)

    def as_columns(self, matrix: NDArray[Any], rows: Rows) -> xr.Dataset:
        """Return a design matrix with its labels."""
        names = [self.design.columns[j] for j in self.kept]
        kept = matrix if len(names) == matrix.shape[1] else matrix[:, self.kept]
        coords: dict[str, Any] = {
            self.dim: names,
            **{f"{self.prefix}{dim}": labels for dim, labels in self._label_dims().items()},
        }
        if not names:
            return xr.Dataset()
        coords |= {f"{self.prefix}shrunk": list(self.together)} if self.together else {}
        return xr.Dataset({f"{self.prefix}design": ((rows.dim, self.dim), kept)}, coords=coords)

    def with_intercept_at_means(self, declared: Declaration, columns: xr.Dataset) -> Declaration:
        """Return a declaration that samples the intercept beside shrunk coefficients at their columns' means."""
        if not self.together or self.terms[0].name != INTERCEPT:
            return declared
        design = columns[f"{self.prefix}design"]
        means = design.sel({self.dim: list(self.together)}).values.mean(axis=0)
        vector = f"{self.prefix}shrunk_coefficients"
        return with_intercept_at_means(declared, f"{self.coefficients}_0", vector, means, self.coefficients)

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: levels of the population part are those of the fit."""
        return {}

    def declare(self, setting: Setting) -> Part:
        """Declare one vector of coefficients, and each term as a part of it."""
        if not self.kept:
            return Part("")
        terms = self.terms
        scales = self._scales(setting)
        if self.together:
            return self._declare_shrunk(setting, scales)
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
        deterministics |= self._named(sizes)
        expression = f"dot({self.prefix}design, {self.coefficients})"
        helpers = frozenset({*declared, self.coefficients})
        whitened = (self.coefficients, f"{self.prefix}design") if vector is not None else None
        return Part(expression, declared, deterministics, helpers=helpers, whitened=whitened)

    @property
    def terms(self) -> list[DesignTerm]:
        """The terms that have coefficients."""
        return [term for term in self.design.terms if self.term.intercept or term.name != INTERCEPT]

    def columns_together(self, setting: Setting) -> tuple[str, ...]:
        """Return the columns whose coefficients have a common prior; the intercept has its own."""
        return tuple(
            self.design.columns[j]
            for term in self.terms
            if term.name != INTERCEPT and is_shrinkage(prior_of(setting.priors, term.name, self.prefix)[1])
            for j in range(term.start, term.stop)
        )

    def _declare_shrunk(self, setting: Setting, scales: NDArray[Any]) -> Part:
        """Declare coefficients with a common prior, and those of other terms beside them."""
        together = [term for term in self.terms if self.design.columns[term.start] in self.together]
        key, given = prior_of(setting.priors, together[0].name, self.prefix)
        sds = np.concatenate([self.sds[term.start : term.stop] for term in together])
        made = shrunk(given, f"model.priors.{key}", self.prefix, sds, setting.spread, setting.noise, self.rows)
        declared: dict[str, Any] = dict(made.priors)
        pieces, begin = list[str](), 0
        for number, term in enumerate(self.terms):
            size = term.stop - term.start
            if term in together:
                pieces.append(f"{made.name}[{begin}:{begin + size}]")
                begin += size
                continue
            key, given = prior_of(setting.priors, term.name, self.prefix)
            scale = scales[term.start] if term.labels is None else scales[term.start : term.stop]
            name = f"{self.coefficients}_{number}"
            prior = numbers_of(given, f"model.priors.{key}", scale, setting.data)
            declared[name] = prior if term.labels is None else {**prior, "dims": [f"{self.prefix}{term.name}_level"]}
            pieces.append(name)
        whole = begin == sum(term.stop - term.start for term in self.terms)
        joined = f"1 * {made.name}" if whole else f"concatenate({', '.join(_merged(pieces, made.name))})"
        deterministics = {**made.deterministics, self.coefficients: {"expr": joined, "dims": [self.dim]}}
        deterministics |= self._named([term.stop - term.start for term in self.terms])
        helpers = made.helpers | {self.coefficients, *(name for name in declared if name.startswith(self.coefficients))}
        expression = f"dot({self.prefix}design, {self.coefficients})"
        return Part(expression, declared, deterministics, helpers=frozenset(helpers))

    def _named(self, sizes: Sequence[int]) -> dict[str, Any]:
        """Return each term as a part of the vector of coefficients."""
        found: dict[str, Any] = {}
        begin = 0
        for term, size in zip(self.terms, sizes, strict=True):
            where = f"{begin}" if term.labels is None else f"{begin}:{begin + size}"
            expression = f"{self.coefficients}[{where}]"
            dims = [f"{self.prefix}{term.name}_level"]
            named = expression if term.labels is None else {"expr": expression, "dims": dims}
            found[f"{self.prefix}{term.name}"] = named
            begin += size
        return found

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Reassemble the coefficients of the posterior."""
        if not self.kept:
            return ()
        parts = [
            variable(f"{self.prefix}{t.name}", (None,) * bool(t.labels), (len(t.labels),) if t.labels else ())
            for t in self.terms
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


def _merged(pieces: Sequence[str], name: str) -> list[str]:
    """Join neighbouring slices of a vector."""
    found: list[str] = []
    for piece in pieces:
        last = found[-1] if found else ""
        if piece.startswith(f"{name}[") and last.startswith(f"{name}["):
            found[-1] = f"{last.partition(':')[0]}:{piece.partition(':')[2]}"
        else:
            found.append(piece)
    return found


def _least_squares(matrix: NDArray[Any], target: NDArray[Any] | float) -> NDArray[Any]:
    wanted = np.broadcast_to(target, len(matrix))
    known = np.isfinite(wanted)
    return np.asarray(np.linalg.lstsq(matrix[known], wanted[known], rcond=None)[0])

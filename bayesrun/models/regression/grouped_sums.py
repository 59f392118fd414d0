"""Log likelihoods with group effects, as sums over the rows in one pass.

As in `likelihood_sums`, with the linear predictor `eta = X b + sum_k Z_k r_k[group] + offset`. Nothing over the rows is
left between two operations of an engine, and the gradient comes from the same pass (for a normal response with one
grouping over the fewer rows that `fewer_rows` makes of them):

    normal, identity:  -n log(sigma sqrt(2 pi)) - sum (y - eta)^2 / (2 sigma^2)
    binomial, logit:   y'eta - sum n log(1 + exp(eta)),    poisson, log:  y'eta - sum exp(eta)

`y'eta` is linear in coefficients and effects, and takes one number for each of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Declaration, Likelihood, Potential
from bayesrun.language.functions import dot, log, square
from bayesrun.language.values import Value, apply, compute, constant, fixed, replaceable, variable
from bayesrun.lazy import special
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.fewer_rows import fewer_rows
from bayesrun.models.regression.group_effects import FittedGroups
from bayesrun.models.regression.offset_term import FittedOffset
from bayesrun.models.regression.population_term import FittedPopulation
from bayesrun.models.regression.regression_plan import RegressionPlan

_OPERATIONS = {
    ("normal", "identity"): "square_sum_of_groups",
    ("bernoulli", "logit"): "softplus_sum_of_groups",
    ("binomial", "logit"): "softplus_sum_of_groups",
    ("poisson", "log"): "exponential_sum_of_groups",
}


def summed(declared: Declaration, expansion: Expansion, this: RegressionPlan, family: str) -> Declaration:
    """Return a declaration whose likelihood is one number, if it has such a form.

    Parameters
    ----------
    declared
        The sampled model, with or without other changes; it is reported as the model as written.
    expansion, this
        The regression.
    family
        Name of its family.
    """
    likelihoods = [item for item in declared.items if isinstance(item, Likelihood)]
    operation = _OPERATIONS.get((family, this.main.link))
    terms = expansion.terms[this.family.main] if len(expansion.terms) == 1 else ()
    known = (FittedPopulation, FittedGroups, FittedOffset)
    plain = bool(terms) and all(isinstance(term, known) for term in terms)
    population = terms[0] if terms and isinstance(terms[0], FittedPopulation) else None
    modified = this.response.weights or this.response.censored or this.response.at_least or this.response.at_most
    if operation is None or not plain or population is None or not population.kept:
        return declared
    if modified or this.response.error or len(likelihoods) != 1:
        return declared
    observed = likelihoods[0].observed
    if observed.missing is not None:
        return declared
    sums = _Sums(expansion, terms, observed.values.astype(float))
    potential = sums.potential(operation)
    items = tuple(potential if item is likelihoods[0] else item for item in declared.items)
    return replace(declared, items=items, reported=declared.reported or declared)


class _Sums:
    """The parts of a linear predictor, and sums over their rows."""

    def __init__(self, expansion: Expansion, terms: tuple[Any, ...], y: NDArray[Any]) -> None:
        self.columns, self.y = expansion.columns, y
        self.population: FittedPopulation = terms[0]
        self.groups = [term for term in terms if isinstance(term, FittedGroups)]
        self.matrix = self.columns[f"{self.population.prefix}design"].values
        self.offset = self.columns["offset"].values if "offset" in self.columns else None

    def potential(self, operation: str) -> Potential:
        """Return the log likelihood of all rows."""
        y = self.y
        if operation == "square_sum_of_groups":
            sigma = variable("sigma", (), ())
            apart = -y if self.offset is None else self.offset - y
            rows = fewer_rows(self.matrix, apart, self._settings())
            squares = compute(operation, self._variables(), (), rows.matrix, rows.apart, None, rows.groups)
            squares = replaceable(rows.rest) + squares
            half_log = 0.5 * float(np.log(2.0 * np.pi))
            return Potential("likelihood", -len(y) * (log(sigma) + half_log) - 0.5 * squares / square(sigma))
        if operation == "exponential_sum_of_groups":
            constant = -np.sum(special.gammaln(y + 1))
            whole = self._with_data() - self._sum(operation, self.offset, None)
            return Potential("likelihood", replaceable(constant) + whole)
        n = self.columns["trials"].values.astype(float) if "trials" in self.columns else np.ones_like(y)
        constant = np.sum(special.gammaln(n + 1) - special.gammaln(y + 1) - special.gammaln(n - y + 1))
        weights = n if "trials" in self.columns else None
        whole = self._with_data() - self._sum(operation, self.offset, weights)
        return Potential("likelihood", replaceable(constant) + whole)

    def _variables(self) -> list[Value]:
        coefficients = variable(self.population.coefficients, (None,), (self.matrix.shape[1],))
        effects = [
            variable(f"r_{one.name}", (None, None), (len(one.labels), len(one.design.columns))) for one in self.groups
        ]
        return [coefficients, *effects]

    def _settings(self) -> tuple[Any, ...]:
        """Return codes and columns of each grouping; no columns if only the intercept varies."""
        return tuple(
            (
                self.columns[f"{one.dim}_code"].values,
                self.columns[f"{one.name}_design"].values if f"{one.name}_design" in self.columns else None,
            )
            for one in self.groups
        )

    def _sum(self, operation: str, offset: NDArray[Any] | None, weights: NDArray[Any] | None) -> Value:
        return compute(operation, self._variables(), (), self.matrix, offset, weights, self._settings())

    def _with_data(self) -> Value:
        """Return `y'eta`."""
        coefficients, *effects = self._variables()
        total = dot(constant(self.matrix.T @ self.y), coefficients)
        total = total + (fixed(0.0) if self.offset is None else replaceable(self.y @ self.offset))
        for effect, (codes, columns) in zip(effects, self._settings(), strict=True):
            parts = [self.y] if columns is None else [self.y * column for column in columns.T]
            sums = np.stack([np.bincount(codes, part, effect.shape[0]) for part in parts], axis=1)
            total = total + compute("sum", [apply("multiply", [constant(sums), effect])], (), None)
        return total

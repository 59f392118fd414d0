"""Vectors of which some elements are missing: summed out of the likelihood, and drawn afterwards.

A row whose observed elements are `o` contributes their marginal density. Of a normal or Student-t vector it is of the
same family, with the elements `o` of the mean and of the (scale) matrix `S`, so that each row has one term whatever is
missing in it, as leaving a row out needs. The elements `m` that are missing are drawn from their conditional
distribution given the others: with `A = S[m, o] S[o, o]^-1`, `r` the residuals of the observed elements and
`q = r' S[o, o]^-1 r`,

    normal      mean mu_m + A r, covariance S[m, m] - A S[o, m];
    Student-t   the same mean, degrees of freedom nu + |o|, scale matrix (nu + q) / (nu + |o|) times that covariance

(Ding 2016, doi:10.1080/00031305.2016.1164756).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Container, Declaration, Likelihood, Observed, Random, Recover
from bayesrun.language.evaluation_at_draws import evaluate_at_draws, whole_factor
from bayesrun.language.plan import Plan
from bayesrun.language.values import node_of

Array = NDArray[Any]

SUMMED_OUT = ("MvNormal", "MvStudentT")
"""Distributions of vectors whose missing elements are summed out."""
MASK = "missing"
"""Flag of a plan with the places of the missing elements, over the likelihood's dims."""


def summed_out(this: Plan, observed: Observed) -> tuple[Plan, Observed]:
    """Return the plan and the data of a likelihood of vectors whose missing elements are summed out."""
    if observed.missing is None or this.family.name not in SUMMED_OUT:
        return this, observed
    plan = replace(this, flags={**this.flags, MASK: observed.missing.mask})
    return plan, replace(observed, missing=replace(observed.missing, summed_out=True))


def patterns(mask: Array) -> Iterator[tuple[Array, Array]]:
    """Yield which elements are missing, and the rows where they are; rows are counted over all axes but the last."""
    kinds, number = np.unique(mask.reshape(-1, mask.shape[-1]), axis=0, return_inverse=True)
    for place, gaps in enumerate(kinds):
        yield gaps, np.flatnonzero(np.ravel(number) == place)


def recovery_of(declared: Declaration) -> Recover | None:
    """Return what draws the missing elements of a model's vectors; None if there are none."""
    found = tuple(
        item
        for item in declared.items
        if isinstance(item, Likelihood) and item.observed.missing is not None and item.observed.missing.summed_out
    )
    return _Recovery(found, declared) if found else None


@dataclass(frozen=True)
class _Recovery:
    """Draws of the missing elements of vectors, as `NAME_missing`.

    Parameters
    ----------
    likelihoods
        The likelihoods of vectors.
    declared
        The model.
    """

    likelihoods: tuple[Likelihood, ...]
    declared: Declaration

    def __call__(self, draws: Mapping[str, Array], rng: np.random.Generator) -> dict[str, Array]:
        """Draw them at draws (chain, draw, ...)."""
        size = next(iter(draws.values())).shape[:2]
        flat = {name: np.reshape(values, (size[0] * size[1], *values.shape[2:])) for name, values in draws.items()}
        found = {}
        for item in self.likelihoods:
            drawn = self._missing(item, flat, rng)
            found[f"{item.name}_missing"] = drawn.reshape(*size, drawn.shape[1])
        return found

    def _missing(self, item: Likelihood, draws: Mapping[str, Array], rng: np.random.Generator) -> Array:
        """Draw the missing elements of one likelihood: (draw, place), places in the order of the data."""
        assert item.observed.missing is not None
        mask = item.observed.missing.mask
        size = mask.shape[-1]
        count, rows = len(next(iter(draws.values()))), mask.reshape(-1, size)
        values = np.asarray(item.observed.values, dtype=float).reshape(-1, size)
        mean, matrix, freedom = self._parameters(item, draws, count)
        full = np.zeros((count, *rows.shape))
        for gaps, places in patterns(mask):
            if not gaps.any():
                continue
            seen = ~gaps
            residuals = values[places][:, seen] - mean[:, places][..., seen]
            cross, inner = matrix[:, gaps][..., seen], matrix[:, seen][..., seen]
            weights = (
                np.linalg.solve(inner, np.swapaxes(cross, 1, 2)) if seen.any() else np.zeros((count, 0, gaps.sum()))
            )
            left = matrix[:, gaps][..., gaps] - cross @ weights
            noise = rng.standard_normal((count, len(places), int(gaps.sum()))) @ np.swapaxes(_root(left), 1, 2)
            if freedom is not None:
                solved = (
                    np.linalg.solve(inner, np.swapaxes(residuals, 1, 2)) if seen.any() else residuals.swapaxes(1, 2)
                )
                squares = np.sum(np.swapaxes(solved, 1, 2) * residuals, axis=-1)
                own = freedom[:, None] + seen.sum()
                scale = (freedom[:, None] + squares) / rng.chisquare(np.broadcast_to(own, squares.shape))
                noise = noise * np.sqrt(scale)[..., None]
            drawn = mean[:, places][..., gaps] + residuals @ weights + noise
            full[np.ix_(np.arange(count), places, np.flatnonzero(gaps))] = drawn
        return full[:, rows]

    def _parameters(
        self, item: Likelihood, draws: Mapping[str, Array], count: int
    ) -> tuple[Array, Array, Array | None]:
        """Return mean (draw, row, element), (scale) matrix and, of a Student-t, degrees of freedom at every draw."""
        containers = {i.name: i.numbers for i in self.declared.items if isinstance(i, Container)}
        factors = {
            i.name for i in self.declared.items if isinstance(i, Random) and i.plan.family.name == "LKJCholeskyCov"
        }
        values = item.plan.values
        nodes = [node_of(value) for value in values.values()]
        found = dict(
            zip(
                values,
                evaluate_at_draws(nodes, lambda n: whole_factor(draws[n]) if n in factors else draws[n], containers),
                strict=True,
            )
        )
        given = {name: np.broadcast_to(array, (count, *array.shape[1:])) for name, array in found.items()}
        shape, size = item.observed.shape, item.observed.shape[-1]
        middle = given["mu"].reshape(count, *(1,) * (len(shape) + 1 - given["mu"].ndim), *given["mu"].shape[1:])
        mean = np.broadcast_to(middle, (count, *shape)).reshape(count, -1, size)
        freedom = given["nu"].reshape(count) if "nu" in given else None
        if "tau" in given:
            return mean, np.linalg.inv(given["tau"]), freedom
        if "cov" in given:
            return mean, given["cov"], freedom
        factor = given["chol"] if item.plan.flags.get("lower", True) else np.swapaxes(given["chol"], 1, 2)
        return mean, factor @ np.swapaxes(factor, 1, 2), freedom


def _root(matrices: Array) -> Array:
    """Return a root of each positive semidefinite matrix."""
    values, vectors = np.linalg.eigh(matrices)
    root: Array = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
    return root

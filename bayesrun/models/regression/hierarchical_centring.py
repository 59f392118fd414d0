"""Centred group effects, sampled around the coefficients of the population instead of around 0.

Where a column varies between groups and has a coefficient as well, only their sum is well identified: `r_g` and the
coefficient are strongly correlated. So it is with a predictor `x_g` of groups and their intercepts. With
`u_g = r_g + x_g (b - c)`, `c` being the initial value and `x_g = 1` for a column that is an effect's, the linear
predictor depends on `u_g` alone, and `u_g ~ Normal(x_g (b - c), sd)` (Gelfand, Sahu and Carlin 1995,
doi:10.1093/biomet/82.3.479). The map is a shift, so the density is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Declaration, Deterministic, Item, Random
from bayesrun.language.formulas import INTERCEPT
from bayesrun.language.functions import dot
from bayesrun.language.plan import of_values
from bayesrun.language.values import constant, variable
from bayesrun.lazy import xr
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.group_effects import FittedGroups
from bayesrun.models.regression.linear_terms import FittedTerm
from bayesrun.models.regression.population_term import FittedPopulation

Array = NDArray[Any]


def around_population(declared: Declaration, expansion: Expansion) -> Declaration:
    """Return a declaration of the same model whose centred effects are sampled around the population's coefficients.

    Coefficients of columns that are constant within groups belong to the groups' intercepts. With several groupings,
    each coefficient is paired with the one with the fewest groups, which is most correlated.
    """
    chosen: dict[str, Array] = {}
    populations: dict[str, FittedPopulation] = {}
    for terms in expansion.terms.values():
        population = terms[0] if terms else None
        if isinstance(population, FittedPopulation):
            found = _chosen(population, terms, declared, expansion.columns)
            chosen |= found
            populations |= dict.fromkeys(found, population)
    items: list[Item] = []
    for item in declared.items:
        made = _shifted(item, populations[item.name], chosen[item.name]) if item.name in chosen else [item]
        items += made
    if not chosen:
        return declared
    helpers = declared.helpers | {f"{name}_shifted" for name in chosen}
    reported = declared.reported or declared
    return replace(declared, items=tuple(items), helpers=helpers, reported=reported)


def _chosen(
    population: FittedPopulation, terms: tuple[FittedTerm, ...], declared: Declaration, columns: xr.Dataset
) -> dict[str, Array]:
    """Return, by variable of effects, what each coefficient adds to them, over (group, effect, coefficient)."""
    centred = {item.name for item in declared.items if isinstance(item, Random)}
    groups = [term for term in terms if isinstance(term, FittedGroups) and f"r_{term.name}" in centred]
    design = columns[f"{population.prefix}design"].values if population.kept else np.empty((0, 0))
    left = list(range(design.shape[1]))
    found: dict[str, Array] = {}
    for group in sorted(groups, key=lambda one: len(one.labels)):
        shares = _shares(group, design, left, columns)
        left = [place for place in left if not shares[:, :, place].any()]
        if shares.any():
            found[f"r_{group.name}"] = shares
    return _around_means(found, design, groups, columns)


def _around_means(
    shares: dict[str, Array], design: Array, groups: Sequence[FittedGroups], columns: xr.Dataset
) -> dict[str, Array]:
    """Let the groups that have the intercept take it at their means of the other columns, which vary within groups.

    Otherwise a slope of a column that is far from 0 moves all effects of these groups, or of those where it is: of
    `x:z` that of the groups that are `z`. Columns that are constant within other groups vary around one mean for all.
    """
    constant_column = np.flatnonzero((design == 1.0).all(axis=0))
    dims = {f"r_{one.name}": one.dim for one in groups}
    places = {f"r_{one.name}": one.design.columns.index(INTERCEPT) for one in groups if INTERCEPT in one.design.columns}
    owner = next((name for name in shares if len(constant_column) and shares[name][:, :, constant_column[0]].any()), "")
    if owner not in places:
        return shares
    codes = columns[f"{dims[owner]}_code"].values
    sizes = np.bincount(codes)
    for place, mean in enumerate(design.mean(axis=0)):
        own = next((name for name in shares if shares[name][:, :, place].any()), "")
        slope = own and not (own in places and shares[own][:, places[own], place].any())
        if own == owner or slope:
            continue
        if own:
            shares[own][:, places[own], place] -= mean
            shares[owner][:, places[owner], place] = mean
        else:
            shares[owner][:, places[owner], place] = np.bincount(codes, design[:, place]) / sizes
    return shares


def _shares(group: FittedGroups, design: Array, places: Sequence[int], columns: xr.Dataset) -> Array:
    """Return the multiples of effects' columns that columns of the population are within each group.

    They are 1 for a column that is an effect's, and the values of a column that is constant within groups for the
    intercepts; 0 for columns that are no multiples of an effect's.
    """
    codes = columns[f"{group.dim}_code"].values
    effects = columns[f"{group.name}_design"].values if f"{group.name}_design" in columns else np.ones((len(codes), 1))
    found = np.zeros((len(group.labels), effects.shape[1], design.shape[1]))
    for k in range(effects.shape[1]):
        there = np.flatnonzero(effects[:, k])
        one = np.zeros(len(group.labels), dtype=np.int64)
        one[codes[there]] = there  # any row of the group that has the effect
        for place in places:
            column = design[:, place]
            if found[:, :, place].any():
                continue
            ratio = np.divide(column[one], effects[one, k], out=np.zeros(len(one)), where=effects[one, k] != 0)
            if np.allclose(column, ratio[codes] * effects[:, k], rtol=1e-12, atol=0.0):
                found[:, k, place] = ratio
    return found


def _shifted(item: Any, population: FittedPopulation, shares: Array) -> list[Item]:
    """Replace effects by their sums with coefficients, and define the effects as deterministics."""
    effect: Random = item
    dims, shape = effect.plan.dims, effect.plan.shape
    size = len(population.kept)
    same = bool((shares == shares[0]).all())  # for all groups
    picks = shares[0] if same else shares
    centre = np.zeros(size) if population.centre is None else np.array(population.start())
    coefficients = variable(population.coefficients, (None,), (size,))
    shift = (dot(constant(picks), coefficients) - constant(picks @ centre)).named(dims[1:] if same else dims)
    name = f"{effect.name}_shifted"
    values = {**effect.plan.values, "mu": shift}
    plan = of_values(name, effect.plan.family.name, values, dims, shape)
    around = variable(name, dims, shape)
    return [Random(plan, effect.dims), Deterministic(effect.name, around - shift, effect.dims)]

"""Centred group effects, sampled around the coefficients of the population instead of around 0.

Where a column varies between groups and has a coefficient as well, only their sum is well identified: `r_g` and the
coefficient are strongly correlated. With `u_g = r_g + b - c`, `c` being the initial value, the linear predictor depends
on `u_g` alone, and `u_g ~ Normal(b - c, sd)` (Gelfand, Sahu and Carlin 1995, doi:10.1093/biomet/82.3.479). The map is
a shift, so the density is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bayesrun.language.declaration import Declaration, Deterministic, Item, Random
from bayesrun.language.functions import dot
from bayesrun.language.plan import of_values
from bayesrun.language.values import constant, variable
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.group_effects import FittedGroups
from bayesrun.models.regression.linear_terms import FittedTerm
from bayesrun.models.regression.population_term import FittedPopulation


def around_population(declared: Declaration, expansion: Expansion) -> Declaration:
    """Return a declaration of the same model whose centred effects are sampled around the population's coefficients.

    With several groupings, each coefficient is paired with the one with the fewest groups, which is most correlated.
    """
    chosen: dict[str, dict[int, int]] = {}
    populations: dict[str, FittedPopulation] = {}
    for terms in expansion.terms.values():
        population = terms[0] if terms else None
        if isinstance(population, FittedPopulation):
            found = _chosen(population, terms, declared)
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
    population: FittedPopulation, terms: tuple[FittedTerm, ...], declared: Declaration
) -> dict[str, dict[int, int]]:
    """Return, by variable of effects, the pairs of effects and coefficients."""
    centred = {item.name for item in declared.items if isinstance(item, Random)}
    groups = [term for term in terms if isinstance(term, FittedGroups) and f"r_{term.name}" in centred]
    coefficients = {population.design.columns[j]: place for place, j in enumerate(population.kept)}
    found: dict[str, dict[int, int]] = {}
    for group in sorted(groups, key=lambda one: len(one.labels)):
        pairs = {k: coefficients.pop(c) for k, c in enumerate(group.design.columns) if c in coefficients}
        if pairs:
            found[f"r_{group.name}"] = pairs
    return found


def _shifted(item: Any, population: FittedPopulation, pairs: Mapping[int, int]) -> list[Item]:
    """Replace effects by their sums with coefficients, and define the effects as deterministics."""
    effect: Random = item
    dims, shape = effect.plan.dims, effect.plan.shape
    size = len(population.kept)
    picks = np.zeros((shape[1], size))
    for k, place in pairs.items():
        picks[k, place] = 1.0
    centre = np.zeros(size) if population.centre is None else np.array(population.start())
    coefficients = variable(population.coefficients, (None,), (size,))
    shift = (dot(constant(picks), coefficients) - constant(picks @ centre)).named(dims[1:])
    name = f"{effect.name}_shifted"
    values = {**effect.plan.values, "mu": shift}
    plan = of_values(name, effect.plan.family.name, values, dims, shape)
    around = variable(name, dims, shape)
    return [Random(plan, effect.dims), Deterministic(effect.name, around - shift, effect.dims)]

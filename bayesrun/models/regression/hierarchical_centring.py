"""Centred group effects, sampled around the coefficients of the population instead of around 0.

Where a column varies between groups and has a coefficient as well, only their sum is well identified: `r_g` and the
coefficient are strongly correlated. So it is with a predictor `x_g` of groups and their intercepts. With
`u_g = r_g + x_g (b - c)`, `c` being the initial value and `x_g = 1` for a column that is an effect's, the linear
predictor depends on `u_g` alone, and `u_g ~ Normal(x_g (b - c), sd)` (Gelfand, Sahu and Carlin 1995,
doi:10.1093/biomet/82.3.479). So it is with groups that are parts of larger ones, broods of locations: their effects are
sampled around those of the larger group. The map is a shift, so the density is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.declaration import Declaration, Deterministic, Item, Random
from bayesrun.language.formulas import INTERCEPT
from bayesrun.language.functions import dot, index, stack
from bayesrun.language.plan import of_values
from bayesrun.language.values import Value, constant, variable
from bayesrun.lazy import xr
from bayesrun.models.regression.expansion import Expansion
from bayesrun.models.regression.group_effects import FittedGroups, are_parts
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
    larger: dict[str, _Larger] = {}
    for terms in expansion.terms.values():
        population = terms[0] if terms else None
        if isinstance(population, FittedPopulation):
            found = _chosen(population, terms, declared, expansion.columns)
            chosen |= found
            populations |= dict.fromkeys(found, population)
        larger |= _larger_groups(terms, declared, expansion.columns)
    shifted = {*chosen, *larger}
    if not shifted:
        return declared
    items: list[Item] = []
    for item in declared.items:
        if item.name not in shifted:
            items.append(item)
            continue
        shift = _of_population(item, populations[item.name], chosen[item.name]) if item.name in chosen else None
        above = larger.get(item.name)
        items += _shifted(item, shift, above, above is not None and above.name in shifted)
    helpers = declared.helpers | {f"{name}_shifted" for name in shifted}
    reported = declared.reported or declared
    return replace(declared, items=_larger_first(items, larger), helpers=helpers, reported=reported)


@dataclass(frozen=True)
class _Larger:
    """The larger groups that groups are parts of.

    Parameters
    ----------
    name
        Name of their effects.
    codes
        The larger group of each group.
    places
        Place of each effect of the parts among those of the larger groups; None for one that these lack.
    shape
        Of the effects of the larger groups.
    """

    name: str
    codes: Array
    places: tuple[int | None, ...]
    shape: tuple[int, int]


def _larger_groups(terms: tuple[FittedTerm, ...], declared: Declaration, columns: xr.Dataset) -> dict[str, _Larger]:
    """Find, by variable of centred effects, the smallest groups that all its groups are parts of."""
    centred = {item.name for item in declared.items if isinstance(item, Random)}
    groups = [term for term in terms if isinstance(term, FittedGroups) and not term.effects.joint]
    found: dict[str, _Larger] = {}
    for part in (one for one in groups if f"r_{one.name}" in centred):
        codes = columns[f"{part.dim}_code"].values
        first = np.unique(codes, return_index=True)[1]
        for whole in sorted(groups, key=lambda one: -len(one.labels)):
            of = columns[f"{whole.dim}_code"].values
            names = list(whole.design.columns)
            places = tuple(names.index(name) if name in names else None for name in part.design.columns)
            if whole.dim == part.dim or not are_parts(codes, of) or set(places) == {None}:
                continue
            found[f"r_{part.name}"] = _Larger(f"r_{whole.name}", of[first], places, (len(whole.labels), len(names)))
            break
    return found


def _larger_first(items: Sequence[Item], larger: Mapping[str, _Larger]) -> tuple[Item, ...]:
    """Put effects of larger groups before those of their parts."""
    left, found = list(items), list[Item]()
    while left:
        later = {name for item in left for name in (item.name, item.name.removesuffix("_shifted"))}
        place = next(
            place
            for place, item in enumerate(left)
            if (above := larger.get(item.name.removesuffix("_shifted"))) is None or above.name not in later
        )
        found.append(left.pop(place))
    return tuple(found)


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


def _of_population(item: Any, population: FittedPopulation, shares: Array) -> Value:
    """Return what coefficients add to effects, over the effects, or (group, effect)."""
    dims = item.plan.dims
    size = len(population.kept)
    same = bool((shares == shares[0]).all())  # for all groups
    picks = shares[0] if same else shares
    centre = np.zeros(size) if population.centre is None else np.array(population.start())
    coefficients = variable(population.coefficients, (None,), (size,))
    return (dot(constant(picks), coefficients) - constant(picks @ centre)).named(dims[1:] if same else dims)


def _of_larger(item: Any, above: _Larger, shifted: bool) -> Value:
    """Return what the effects of larger groups, with what is added to them, add to those of their parts."""
    dims = item.plan.dims
    effects = variable(f"{above.name}_shifted" if shifted else above.name, (None, None), above.shape)
    codes = constant(above.codes, (dims[0],))
    if above.places == tuple(range(above.shape[1])):
        return index(effects, [codes]).named(dims)
    none = constant(np.zeros(len(above.codes)), (dims[0],))
    each = [none if place is None else index(effects, [slice(None), constant(place)]) for place in above.places]
    each = [one if place is None else index(one, [codes]) for one, place in zip(each, above.places, strict=True)]
    return stack(*each).named(dims)


def _shifted(item: Any, shift: Value | None, above: _Larger | None, above_shifted: bool) -> list[Item]:
    """Replace effects by their sums with what they are sampled around, and define the effects as deterministics."""
    effect: Random = item
    dims, shape = effect.plan.dims, effect.plan.shape
    if above is not None:
        more = _of_larger(item, above, above_shifted)
        shift = more if shift is None else shift + more
    assert shift is not None
    name = f"{effect.name}_shifted"
    values = {**effect.plan.values, "mu": shift}
    plan = of_values(name, effect.plan.family.name, values, dims, shape)
    around = variable(name, dims, shape)
    return [Random(plan, effect.dims), Deterministic(effect.name, around - shift, effect.dims)]

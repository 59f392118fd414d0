"""Sums over discrete variables that are independent of each other given the other parameters.

A variable has one axis with its values, and stands for one number, or for one per element of its dims (an individual,
a row). A factor is a term of the log density that depends on some variables: the distribution of a variable, or a
likelihood, over dims of its own. With `z` the variables and `y` what was observed,

    log p(y | theta) = log sum_z prod_f exp(f(z, y, theta))

is computed from the factors with the most dims to those with the fewest: a variable is summed out over its own dims as
soon as every factor that it is in has these, and what a factor says of a variable with fewer dims is added up first
(plated elimination of variables: Obermeyer et al. 2019, arXiv:1902.03210). The work is that of the factors, never that
of all combinations of elements.

The same tree of sums, at draws of the other parameters, gives draws of the variables from the top down, and the
density of each observation given all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.densities.base import choose
from bayesrun.language.functions import index, reduce_axis
from bayesrun.language.values import Fault, Value, apply, constant

Array = NDArray[Any]
DRAW = "draw"
_MEMBER = "one of a group"


@dataclass(frozen=True, eq=False)
class Link:
    """Codes over the rows of a factor that say which element of a variable each row belongs to.

    Parameters
    ----------
    rows
        The dim of the rows.
    groups
        The dim of the elements.
    codes
        The place of each row's element (row).
    size
        Number of elements.
    """

    rows: str
    groups: str
    codes: NDArray[np.int64]
    size: int

    def same(self, other: Link | None) -> bool:
        """Return whether another link is equal."""
        if other is None or (self.rows, self.groups) != (other.rows, other.groups):
            return False
        return bool(np.array_equal(self.codes, other.codes))


@dataclass(frozen=True, eq=False)
class Factor:
    """A term of the log density that depends on variables to be summed out.

    Parameters
    ----------
    name
        Of the likelihood, or the variable whose distribution it is.
    logs
        Its value, over the axes of the variables and its own dims; an axis that it lacks makes no difference.
    variables
        The variables by the name of the axis of their values, with the dims of each.
    dims
        Its own dims, with their sizes.
    link
        How rows find the elements of the variables in `linked`; None if all have dims of the factor.
    linked
        Variables that are found by the link.
    """

    name: str
    logs: Value
    variables: Mapping[str, tuple[str, ...]]
    dims: Mapping[str, int]
    link: Link | None = None
    linked: frozenset[str] = frozenset()

    @property
    def own(self) -> tuple[str, ...]:
        """The variables with exactly its dims, an element of which is in one element of the factor only."""
        return tuple(n for n, d in self.variables.items() if n not in self.linked and set(d) == set(self.dims))


@dataclass(frozen=True, eq=False)
class FactorTree:
    """A factor with the factors that it is made of.

    Parameters
    ----------
    factor
        The factor; of parts, their sum without `over`.
    parts
        The factors that were added to each other, all with its dims; or the one whose elements were added up.
    over
        Variables that were summed out of the sum of the parts.
    joint
        The sum of the parts before (`over`, ...).
    """

    factor: Factor
    parts: tuple[FactorTree, ...] = ()
    over: tuple[str, ...] = ()
    joint: Value | None = None


def summed(factors: Sequence[Factor]) -> list[FactorTree]:
    """Sum all variables out.

    Parameters
    ----------
    factors
        All factors that depend on a variable.

    Returns
    -------
    list of Node
        The last sums, each a single number; their total is the log density of all factors.

    Raises
    ------
    Fault
        When a factor depends on several elements of variables at once, so that they can't be summed one by one.
    """
    nodes = [FactorTree(factor) for factor in factors]
    done: list[FactorTree] = []
    while nodes:
        moved = [_added_up(node) for node in nodes]
        chosen = _together(moved)
        rest = [node for node in moved if all(node is not one for one in chosen)]
        made = _summed_out(chosen)
        if made.factor.variables:
            rest.append(made)
        else:
            done.append(_added_up(made))
        nodes = rest
    return done


def total(nodes: Sequence[FactorTree]) -> Value:
    """Return the log density of all factors."""
    found = nodes[0].factor.logs
    for node in nodes[1:]:
        found = found + node.factor.logs
    return found


def _added_up(node: FactorTree) -> FactorTree:
    """Add up the elements of a factor until one of its variables has its dims."""
    while not node.factor.own and (node.factor.dims or node.factor.variables):
        node = FactorTree(_over_fewer_dims(node.factor), (node,))
    return node


def _over_fewer_dims(factor: Factor) -> Factor:
    link = factor.link
    wanted = [dim for dims in factor.variables.values() for dim in dims]
    spare = [dim for dim in factor.dims if dim not in wanted and (link is None or dim != link.rows)]
    logs = _whole(factor.logs, {dim: factor.dims[dim] for dim in factor.dims if dim in spare})
    for dim in spare:
        logs = reduce_axis("sum", logs, dim)
    dims = {dim: size for dim, size in factor.dims.items() if dim not in spare}
    if link is None:
        if not spare:
            raise Fault(_entangled(factor), "sample one of them: write its distribution")
        return replace(factor, logs=logs, dims=dims)
    if any(link.rows in given for name, given in factor.variables.items() if name not in factor.linked):
        raise Fault(_entangled(factor), "sample one of them: write its distribution")
    logs = _grouped(_whole(logs, {link.rows: factor.dims[link.rows]}), link)
    dims = {**{dim: size for dim, size in dims.items() if dim != link.rows}, link.groups: link.size}
    return replace(factor, logs=logs, dims=dims, link=None, linked=frozenset())


def _entangled(factor: Factor) -> str:
    each = [f"'{name.removesuffix('_value')}' ({', '.join(dims)})" for name, dims in factor.variables.items()]
    return f"'{factor.name}' depends on {' and '.join(each)}, whose elements can't be summed out one by one"


def _whole(logs: Value, dims: Mapping[str, int]) -> Value:
    """Repeat a value over dims that it lacks."""
    absent = {dim: size for dim, size in dims.items() if dim not in logs.dims}
    return logs + constant(np.zeros(tuple(absent.values())), tuple(absent)) if absent else logs


def _grouped(logs: Value, link: Link) -> Value:
    """Add up the rows of each group."""
    order = np.argsort(link.codes, kind="stable")
    counts = np.bincount(link.codes, minlength=link.size)
    most = max(int(counts.max()), 1)
    within = np.arange(most) < counts[:, None]
    places = np.zeros((link.size, most), dtype=np.int64)
    places[within] = order
    axis = logs.dims.index(link.rows)
    picked = index(logs, [*[slice(None)] * axis, constant(places, (link.groups, _MEMBER))])
    kept = apply("where", [constant(within, (link.groups, _MEMBER)), picked, 0.0])
    return reduce_axis("sum", kept, _MEMBER)


def _together(nodes: Sequence[FactorTree]) -> list[FactorTree]:
    """Return factors that share variables of their own, none of which is in any other factor."""
    for start in nodes:
        chosen = [start]
        own = set(start.factor.own)
        grown = True
        while grown:
            more = [
                n for n in nodes if own & set(n.factor.own) and _same_dims(n, start) and all(n is not c for c in chosen)
            ]
            chosen += more
            own |= {name for node in more for name in node.factor.own}
            grown = bool(more)
        others = {name for node in nodes if all(node is not c for c in chosen) for name in node.factor.variables}
        if not own & others:
            return chosen
    raise Fault(_entangled(nodes[0].factor), "sample one of them: write its distribution")


def _same_dims(node: FactorTree, other: FactorTree) -> bool:
    return set(node.factor.dims) == set(other.factor.dims)


def _summed_out(nodes: Sequence[FactorTree]) -> FactorTree:
    """Add factors of the same dims, and sum their own variables out."""
    first = nodes[0].factor
    links = [node.factor.link for node in nodes if node.factor.link is not None]
    if any(not links[0].same(link) for link in links[1:]):
        raise Fault(_entangled(first), "use the same codes for all of them")
    joint = _whole(_sum([node.factor.logs for node in nodes]), first.dims)
    over = tuple(dict.fromkeys(name for node in nodes for name in node.factor.own))
    logs = joint
    for name in over:
        logs = reduce_axis("logsumexp", logs, name)
    variables = {n: d for node in nodes for n, d in node.factor.variables.items() if n not in over}
    linked = frozenset(name for node in nodes for name in node.factor.linked) - set(over)
    named = max((node.factor for node in nodes), key=lambda factor: len(factor.variables)).name
    factor = Factor(named, logs, variables, first.dims, links[0] if links else None, linked)
    return FactorTree(factor, tuple(nodes), over, joint)


def _sum(values: Sequence[Value]) -> Value:
    found = values[0]
    for value in values[1:]:
        found = found + value
    return found


def drawn(
    nodes: Sequence[FactorTree], count: int, sizes: Mapping[str, int], rng: np.random.Generator
) -> dict[str, Array]:
    """Draw the places of all variables among their values, given everything else.

    Parameters
    ----------
    nodes
        The last sums, of known factors with the axis `draw`.
    count
        Number of draws.
    sizes
        Size of each dim.
    rng
        Source of randomness.

    Returns
    -------
    dict
        By the axis of a variable's values: places (draw, *its dims).
    """
    found: dict[str, Array] = {}
    dims_of = {n: d for node in nodes for one in _all(node) for n, d in one.factor.variables.items()}
    for node in nodes:
        for one in _all(node):
            if one.joint is not None:
                _draw_at(one, count, sizes, dims_of, found, rng)
    return found


def _all(node: FactorTree) -> Iterator[FactorTree]:
    """Yield a node and its parts, from the top down."""
    yield node
    for part in node.parts:
        yield from _all(part)


def _draw_at(
    node: FactorTree,
    count: int,
    sizes: Mapping[str, int],
    dims_of: Mapping[str, tuple[str, ...]],
    found: dict[str, Array],
    rng: np.random.Generator,
) -> None:
    assert node.joint is not None
    rest, dims = tuple(node.factor.variables), dims_of[node.over[0]]
    shape = (count, *(sizes[dim] for dim in dims))
    order = (DRAW, *dims, *rest, *node.over)
    logs = _arranged(node.joint, order, {DRAW: count, **sizes})
    if rest:
        picks = [_at_rows(found[name], dims_of[name], node.factor, name, dims, shape) for name in rest]
        places = np.ix_(*[np.arange(size) for size in shape])
        logs = logs[tuple([*places, *picks])]
    ends = logs.shape[len(shape) :]
    flat = logs.reshape(*shape, -1)
    with np.errstate(invalid="ignore"):
        chosen = choose(np.exp(flat - flat.max(axis=-1, keepdims=True)), rng)
    for name, places_of in zip(node.over, np.unravel_index(chosen, ends), strict=True):
        # the dims of this variable are the same, perhaps in another order
        found[name] = np.moveaxis(places_of, [1 + dims.index(d) for d in dims_of[name]], range(1, 1 + len(dims)))


def _arranged(value: Value, dims: Sequence[str], sizes: Mapping[str, int]) -> Array:
    """Return known numbers over dims in this order, repeated over those that they lack."""
    own = [str(dim) for dim in value.dims]
    numbers = np.asarray(value.known)
    numbers = numbers.transpose([own.index(dim) for dim in dims if dim in own])
    wide = numbers.reshape([value.shape[own.index(dim)] if dim in own else 1 for dim in dims])
    have = dict(zip(own, value.shape, strict=True))
    return np.broadcast_to(wide, [sizes.get(dim, have.get(dim, 1)) for dim in dims])


def _at_rows(
    places: Array, own: Sequence[str], factor: Factor, name: str, dims: Sequence[str], shape: tuple[int, ...]
) -> Array:
    """Return the places of a variable with fewer dims at each element of a factor (draw, *dims)."""
    value = constant(places, (DRAW, *own))
    at_rows = _to_rows(value, factor) if name in factor.linked else value
    return np.broadcast_to(_arranged(at_rows, (DRAW, *dims), {}), shape)


def _to_rows(value: Value, factor: Factor) -> Value:
    """Return known numbers of groups at the rows of a factor that belong to them."""
    link = factor.link
    if link is None or link.groups not in value.dims:
        return value
    axis = value.dims.index(link.groups)
    dims = tuple(link.rows if dim == link.groups else dim for dim in value.dims)
    return constant(np.take(np.asarray(value.known), link.codes, axis=axis), dims)


def given_the_others(nodes: Sequence[FactorTree], wanted: Sequence[str]) -> dict[str, Value]:
    """Return the log density of each element of likelihoods given all others.

    Parameters
    ----------
    nodes
        The last sums, of known factors with the axis `draw`.
    wanted
        Names of the likelihoods.

    Returns
    -------
    dict
        By likelihood: `log p(y_i | y_-i, theta)`, over `draw` and its dims.
    """
    found: dict[str, Value] = {}
    for node in nodes:
        _descend(node, constant(0.0), frozenset(wanted), found)
    return found


def _descend(node: FactorTree, outside: Value, wanted: frozenset[str], found: dict[str, Value]) -> None:
    """Pass on to each factor what all others say of its variables, at each of its elements."""
    factor = node.factor
    if not node.parts:
        if factor.name in wanted:
            names = tuple(factor.variables)
            found[factor.name] = _over(outside + factor.logs, names) - _over(_whole_of(outside, factor), names)
        return
    if not any(one.factor.name in wanted for one in _all(node) if not one.parts):
        return
    if node.joint is None:
        (part,) = node.parts
        _descend(part, _others(part.factor) + _to_rows(outside, part.factor), wanted, found)
        return
    for part in node.parts:
        others = [one.factor.logs for one in node.parts if one is not part]
        inside = _sum([outside, *others])
        gone = tuple(n for n in (*node.over, *factor.variables) if n not in part.factor.variables)
        _descend(part, _over(inside, gone), wanted, found)


def _whole_of(outside: Value, factor: Factor) -> Value:
    """Give what others say of a factor the axes of the factor's variables."""
    sizes = {name: factor.logs.shape[factor.logs.dims.index(name)] for name in factor.variables}
    return _whole(outside, sizes)


def _over(logs: Value, names: Sequence[str]) -> Value:
    for name in names:
        if name in logs.dims:
            logs = reduce_axis("logsumexp", logs, name)
    return logs


def _others(factor: Factor) -> Value:
    """Return the sum of all elements that are added up with each one, without that one.

    Terms of minus infinity are counted apart, as they can't be subtracted from a sum.
    """
    logs = np.asarray(factor.logs.known)
    none = np.isneginf(logs)
    finite, impossible = (_without_own(factor, numbers) for numbers in (np.where(none, 0.0, logs), none.astype(float)))
    return constant(np.where(np.asarray(impossible.known) > 0.5, -np.inf, finite.known), finite.dims)


def _without_own(factor: Factor, numbers: Array) -> Value:
    own = constant(numbers, factor.logs.dims)
    return _to_rows(_over_fewer_dims(replace(factor, logs=own)).logs, factor) - own


__all__ = ["DRAW", "Factor", "FactorTree", "Link", "drawn", "given_the_others", "summed", "total"]

"""Distributions of categories: unordered ones by scores, ordered ones by a score `eta` and K - 1 cutpoints.

Unordered categories have a score each, except the first, whose score is 0. Parametrizations of ordered ones are those
of Bürkner and Vuorre 2019 (doi:10.1177/2515245918823199).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from bayesrun.language.densities.algebra import (
    at_most,
    categories,
    column,
    equals,
    exp,
    expm1,
    gammaln,
    less,
    log1mexp,
    log_sigmoid,
    only_where,
    over_last,
    picked,
    softplus,
    where,
)
from bayesrun.language.densities.base import Array, Declared, Density, Parameters, Values, choose, wide
from bayesrun.language.values import Value, apply, compute
from bayesrun.lazy import special


def _categorical(x: Value, p: Values) -> Value:
    logs = picked(p["eta"], x - 1) - softplus(over_last("logsumexp", p["eta"]))
    return only_where(logs, at_most(x, p["eta"].shape[-1]))


def _multinomial(x: Value, p: Values) -> Value:
    others = compute("index", [x], x.dims, (Ellipsis, slice(1, None)))
    ways = gammaln(p["n"] + 1.0) - over_last("sum", gammaln(x + 1.0))
    logs = over_last("sum", others * p["eta"]) - p["n"] * softplus(over_last("logsumexp", p["eta"]))
    return only_where(ways + logs, equals(over_last("sum", x), p["n"]))


def _probabilities(eta: Array) -> Array:
    reference = np.zeros((*eta.shape[:-1], 1))
    return np.asarray(special.softmax(np.concatenate([reference, eta], axis=-1), axis=-1))


def _draw_categorical(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return choose(wide(_probabilities(p["eta"]), shape, 1), rng)


def _draw_multinomial(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    shares = wide(_probabilities(p["eta"]), shape[:-1], 1)
    return rng.multinomial(np.rint(wide(p["n"], shape[:-1])).astype(np.int64), shares)


_Probabilities = Callable[[Array], Array]


def _cutpoint(cutpoints: Value, number: Value) -> Value:
    """Return each value's cutpoint at this index, clipped to the valid range."""
    last = cutpoints.shape[-1] - 1
    if cutpoints.ndim > 1:
        return picked(cutpoints, apply("clip", [number, 0, last]))
    place = compute("as_integer", [apply("clip", [number, 0, last])])
    first = replace(place, sample=np.zeros(place.shape, dtype=np.int64))
    return compute("index", [cutpoints, first], place.dims, (None,))


def _cloglog(x: Value, p: Values) -> Value:
    """Return `log(F(c_x - eta) - F(c_(x - 1) - eta))`, with `F(z) = 1 - exp(-exp(z))`."""
    last = p["cutpoints"].shape[-1]
    below = _cutpoint(p["cutpoints"], x - 1) - p["eta"]
    above = _cutpoint(p["cutpoints"], x) - p["eta"]
    first, final = equals(x, 0), equals(x, last)
    hazard = where(first, 0.0, exp(below))
    step = where(first, exp(above), hazard * expm1(where(first, 1.0, where(final, 1.0, above - below))))
    return only_where(-hazard + where(final, 0.0, log1mexp(-step)), at_most(x, last))


def _sequential(x: Value, p: Values) -> Value:
    """Return the log probability of continuing at every lower cutpoint and stopping at this one (stopping ratio)."""
    last = p["cutpoints"].shape[-1]
    distance, place = p["cutpoints"] - column(p["eta"]), categories(last)
    passed, reached = less(place, column(x)), at_most(place, column(x))
    terms = where(reached, log_sigmoid(distance) - where(passed, distance, 0.0), 0.0)
    return only_where(over_last("sum", terms), at_most(x, last))


def _adjacent(x: Value, p: Values) -> Value:
    """Return the log probability whose odds of neighbouring categories are `exp(eta - c_x)`."""
    last = p["cutpoints"].shape[-1]
    scores = (categories(last) + 1.0) * column(p["eta"]) - over_last("cumsum", p["cutpoints"])
    logs = picked(scores, x - 1) - softplus(over_last("logsumexp", scores))
    return only_where(logs, at_most(x, last))


def _distances(p: Parameters) -> Array:
    """Return `c - eta` over (draw, ..., cutpoint)."""
    eta, cutpoints = p["eta"][..., None], p["cutpoints"]
    wide = cutpoints.reshape(cutpoints.shape[0], *(1,) * (eta.ndim - cutpoints.ndim), *cutpoints.shape[1:])
    return np.asarray(wide - eta)


def _with_ends(first: float, middle: Array, last: float) -> Array:
    ends = np.ones((*middle.shape[:-1], 1))
    return np.concatenate([first * ends, middle, last * ends], axis=-1)


def _cloglog_probabilities(distance: Array) -> Array:
    return -np.diff(_with_ends(1.0, np.exp(-np.exp(distance)), 0.0), axis=-1)


def _sequential_probabilities(distance: Array) -> Array:
    going_on = np.cumprod(special.expit(-distance), axis=-1)
    return -np.diff(_with_ends(1.0, going_on, 0.0), axis=-1)


def _adjacent_probabilities(distance: Array) -> Array:
    scores = np.concatenate([np.zeros((*distance.shape[:-1], 1)), np.cumsum(-distance, axis=-1)], axis=-1)
    return np.asarray(special.softmax(scores, axis=-1))


def _ordinal(log_density: Density, of_distances: _Probabilities) -> Declared:
    def shares(p: Parameters) -> Array:
        return of_distances(_distances(p))

    def draw(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
        return choose(wide(shares(p), shape, 1), rng)

    return Declared(log_density, draw, shares=shares)


DISTRIBUTIONS: Mapping[str, Declared] = MappingProxyType(
    {
        "CategoricalLogit": Declared(_categorical, _draw_categorical, shares=lambda p: _probabilities(p["eta"])),
        "MultinomialLogit": Declared(_multinomial, _draw_multinomial),
        "AdjacentLogistic": _ordinal(_adjacent, _adjacent_probabilities),
        "OrderedCloglog": _ordinal(_cloglog, _cloglog_probabilities),
        "SequentialLogistic": _ordinal(_sequential, _sequential_probabilities),
    }
)

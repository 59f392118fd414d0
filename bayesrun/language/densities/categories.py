"""Distributions of unordered categories, by the scores of all but the first category, whose score is 0."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from bayesrun.language.densities.algebra import (
    at_most,
    equals,
    gammaln,
    only_where,
    over_last,
    picked,
    softplus,
)
from bayesrun.language.densities.base import Declared, Values
from bayesrun.language.densities.draws import Array, Parameters, choose, wide
from bayesrun.language.values import Value, compute
from bayesrun.lazy import special


def _categorical(x: Value, p: Values) -> Value:
    logs = picked(p["eta"], x - 1) - softplus(over_last("logsumexp", p["eta"]))
    return only_where(logs, at_most(x, p["eta"].shape[-1]))


def _multinomial(x: Value, p: Values) -> Value:
    others = compute("index", [x], x.dims, (Ellipsis, slice(1, None)))
    ways = gammaln(p["n"] + 1.0) - over_last("sum", gammaln(x + 1.0))
    logs = over_last("sum", others * p["eta"]) - p["n"] * softplus(over_last("logsumexp", p["eta"]))
    return only_where(ways + logs, equals(over_last("sum", x), p["n"]))


def _shares(eta: Array) -> Array:
    reference = np.zeros((*eta.shape[:-1], 1))
    return np.asarray(special.softmax(np.concatenate([reference, eta], axis=-1), axis=-1))


def _draw_categorical(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return choose(wide(_shares(p["eta"]), shape, 1), rng)


def _draw_multinomial(p: Parameters, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    shares = wide(_shares(p["eta"]), shape[:-1], 1)
    return rng.multinomial(np.rint(wide(p["n"], shape[:-1])).astype(np.int64), shares)


DISTRIBUTIONS: Mapping[str, Declared] = MappingProxyType(
    {
        "CategoricalLogit": Declared(_categorical, _draw_categorical, shares=lambda p: _shares(p["eta"])),
        "MultinomialLogit": Declared(_multinomial, _draw_multinomial),
    }
)

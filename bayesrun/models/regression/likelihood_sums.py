"""Log likelihoods of GLMs as sums over the rows, which give the same numbers at a fraction of the cost.

normal, identity link: with residuals `r` at the whitened coordinates' centre, `X T z` the change from there,

    log p(y) = -n log(sigma sqrt(2 pi)) - (r'r - 2 (T'X'r)'z + z'(T'X'XT)z) / (2 sigma^2),

and `T'X'XT` is diagonal: a gradient costs the same for a hundred rows and for a million.

binomial with logit and poisson with log link are exponential families in `eta = X beta + offset`: `y` enters as `y'X`
alone, and one pass over the rows is left,

    binomial: y'eta - sum n log(1 + exp(eta)),    poisson: y'eta - sum exp(eta).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.functions import dot, log, square
from bayesrun.language.values import Value, compute, constant, fixed, replaceable
from bayesrun.lazy import special
from bayesrun.models.regression.design_matrix import Prepared
from bayesrun.models.regression.whitening import Whitening


@dataclass(frozen=True)
class State:
    """The inputs of a log likelihood.

    Parameters
    ----------
    prepared
        The GLM's data.
    whitening
        The coordinates that are sampled.
    base
        The whitened coordinates, over (column).
    coefficients
        The coefficients, over (column).
    auxiliaries
        The family's further parameters by name.
    """

    prepared: Prepared
    whitening: Whitening
    base: Value
    coefficients: Value
    auxiliaries: Mapping[str, Value]


def summed(family: str, link: str, state: State) -> Value | None:
    """Return the log likelihood of all rows as one number; None if it has no such form."""
    known: dict[tuple[str, str], Callable[[State], Value]] = {
        ("normal", "identity"): _normal,
        ("binomial", "logit"): _binomial,
        ("poisson", "log"): _poisson,
    }
    if (family, link) not in known or bool(state.prepared.response.isnull().any()):
        return None
    return known[family, link](state)


def _normal(state: State) -> Value:

    made, sigma = state.whitening, state.auxiliaries["sigma"]
    residual = _response(state.prepared) - state.prepared.design.matrix @ made.centre
    if state.prepared.offset is not None:
        residual = residual - state.prepared.offset
    slope = made.basis.T @ (state.prepared.design.matrix.T @ residual)
    linear, curved = dot(constant(slope), state.base), dot(constant(made.information), square(state.base))
    squares = replaceable(residual @ residual) - 2.0 * linear + curved
    half_log = 0.5 * float(np.log(2.0 * np.pi))
    return -len(residual) * (log(sigma) + half_log) - 0.5 * squares / square(sigma)


def _binomial(state: State) -> Value:
    successes = _response(state.prepared)
    trials = state.prepared.trials
    n = np.ones_like(successes) if trials is None else trials.astype(float)
    ways = replaceable(
        np.sum(special.gammaln(n + 1) - special.gammaln(successes + 1) - special.gammaln(n - successes + 1))
    )
    weights = None if trials is None else n
    return ways + _with_data(successes, state) - _row_sum("softplus_sum", state, weights)


def _poisson(state: State) -> Value:
    counts = _response(state.prepared)
    constant = replaceable(-np.sum(special.gammaln(counts + 1)))
    return constant + _with_data(counts, state) - _row_sum("exponential_sum", state, None)


def _row_sum(operation: str, state: State, weights: NDArray[Any] | None) -> Value:
    """Return the sum over the rows of a function of the linear predictor, which an engine computes in one pass."""
    settings = (state.prepared.design.matrix, state.prepared.offset, weights)
    return compute(operation, [state.coefficients], (), *settings)


def _with_data(values: NDArray[Any], state: State) -> Value:
    """Return `y'eta`."""
    offset = state.prepared.offset
    fixed_part = fixed(0.0) if offset is None else replaceable(values @ offset)
    return dot(constant(state.prepared.design.matrix.T @ values), state.coefficients) + fixed_part


def _response(prepared: Prepared) -> NDArray[Any]:
    return np.asarray(prepared.response.values, dtype=float)

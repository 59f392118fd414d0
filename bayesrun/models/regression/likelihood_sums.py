"""Log likelihoods of GLMs by sums over the rows, which are the same numbers for a fraction of the work.

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
from typing import TYPE_CHECKING, Any

from bayesrun.language._numbers import number
from bayesrun.models.regression.design_matrix import Prepared
from bayesrun.models.regression.whitening import Whitening

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class State:
    """What a log likelihood is computed from.

    Parameters
    ----------
    prepared
        The GLM's data.
    whitening
        The coordinates that are sampled.
    base
        The whitened coordinates, a tensor over (column).
    coefficients
        The coefficients, a tensor over (column).
    auxiliaries
        The family's further parameters, tensors by name.
    """

    prepared: Prepared
    whitening: Whitening
    base: Any
    coefficients: Any
    auxiliaries: Mapping[str, Any]


def summed(family: str, link: str, state: State) -> Any:
    """Return the log likelihood of all rows as one tensor; None where it has no such form."""
    known: dict[tuple[str, str], Callable[[State], Any]] = {
        ("normal", "identity"): _normal,
        ("binomial", "logit"): _binomial,
        ("poisson", "log"): _poisson,
    }
    if (family, link) not in known or bool(state.prepared.response.isnull().any()):
        return None
    return known[family, link](state)


def _normal(state: State) -> Any:
    import numpy as np
    import theano.tensor as tt

    made, sigma = state.whitening, state.auxiliaries["sigma"]
    residual = _response(state.prepared) - state.prepared.design.matrix @ made.centre
    if state.prepared.offset is not None:
        residual = residual - state.prepared.offset
    slope = made.basis.T @ (state.prepared.design.matrix.T @ residual)
    squares = (
        number(residual @ residual) - 2.0 * tt.dot(slope, state.base) + tt.dot(made.information, tt.sqr(state.base))
    )
    return -len(residual) * (tt.log(sigma) + 0.5 * np.log(2.0 * np.pi)) - 0.5 * squares / tt.sqr(sigma)


def _binomial(state: State) -> Any:
    import numpy as np
    from scipy.special import gammaln

    from bayesrun.models.regression.row_sums import row_sum, softplus

    successes = _response(state.prepared)
    trials = state.prepared.trials
    n = np.ones_like(successes) if trials is None else trials.astype(float)
    ways = number(np.sum(gammaln(n + 1) - gammaln(successes + 1) - gammaln(n - successes + 1)))
    weights = None if trials is None else n
    matrix, offset = state.prepared.design.matrix, state.prepared.offset
    return ways + _with_data(successes, state) - row_sum(softplus, matrix, state.coefficients, offset, weights)


def _poisson(state: State) -> Any:
    import numpy as np
    from scipy.special import gammaln

    from bayesrun.models.regression.row_sums import exponential, row_sum

    counts = _response(state.prepared)
    constant = number(-np.sum(gammaln(counts + 1)))
    matrix, offset = state.prepared.design.matrix, state.prepared.offset
    return constant + _with_data(counts, state) - row_sum(exponential, matrix, state.coefficients, offset)


def _with_data(values: NDArray[Any], state: State) -> Any:
    """Return `y'eta`."""
    import theano.tensor as tt

    offset = 0.0 if state.prepared.offset is None else number(values @ state.prepared.offset)
    return tt.dot(state.prepared.design.matrix.T @ values, state.coefficients) + offset


def _response(prepared: Prepared) -> NDArray[Any]:
    import numpy as np

    return np.asarray(prepared.response.values, dtype=float)

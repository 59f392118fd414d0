"""Distributions of PyMC3 that are computed in another way.

Random walks go along the last axis: PyMC3's go along the first, and count the density of all steps once per element of
the other axes. The variance of a GARCH(1, 1) is filtered in one pass: PyMC3's `theano.scan` is a hundred times slower.
Small Cholesky factors are sums and products of their elements: PyMC3's own index by arrays, calls into Python that cost
more than the rest of a group model's gradient. Draws of angles and of ordered vectors are in the support of the
density. Levels far in the tails of an ordered logistic distribution keep their probabilities, and a beta-binomial one
of large precision is a binomial one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc3 as pm
import theano.tensor as tt
from numpy.typing import NDArray
from pymc3.distributions.dist_math import bound, factln, logpow
from pymc3.distributions.distribution import draw_values
from pymc3.distributions.multivariate import _lkj_normalizing_constant, _LKJCholeskyCov
from pymc3.distributions.transforms import CholeskyCovPacked
from scipy.signal import lfilter
from theano.graph.basic import Apply
from theano.graph.op import Op

from bayesrun.engines.pymc3.factored_normal import LARGEST
from bayesrun.engines.pymc3.random_draws import walks
from bayesrun.language.densities.algebra import LARGEST_PRECISION

Array = NDArray[Any]

_MAX_REDRAWS = 1_000


class GaussianRandomWalk(pm.GaussianRandomWalk):  # type: ignore[misc]
    """`x_0 ~ init`, `x_t ~ Normal(x_{t-1} + mu_t, sigma_t)`; `mu_0` and `sigma_0` have no meaning."""

    def logp(self, x: Any) -> Any:
        """Return the log density, a single number.

        Parameters
        ----------
        x
            The walks: (..., time).
        """
        x = tt.as_tensor_variable(x)
        steps = x[..., 1:] - x[..., :-1]
        density = pm.Normal.dist(mu=_of_steps(self.mu), sigma=_of_steps(self.sigma)).logp(steps)
        return tt.sum(self.init.logp(x[..., 0])) + tt.sum(density)

    def random(self, point: Any = None, size: Any = None) -> Any:
        """Draw walks, as PyMC3 calls it; a walk with a flat distribution of its first value begins at 0."""
        parameters = [tt.as_tensor_variable(p) for p in (self.mu, self.sigma)]
        values = draw_values(parameters, point=point, size=size)
        draws = 1 if size is None else int(np.prod(size))
        mu, sigma = (_per_draw(v, p.ndim, draws) for v, p in zip(values, parameters, strict=True))
        shape = tuple(int(n) for n in self.shape)
        start = 0.0 if isinstance(self.init, pm.Flat) else self.init.random(point=point, size=size)
        first = np.broadcast_to(start, (draws, *shape[:-1]))
        made = walks(mu, sigma, first, shape, np.random.normal)
        return made[0] if size is None else made


def _of_steps(parameter: Any) -> Any:
    """Leave out a parameter's element for the first point, which no step leads to."""
    along = parameter.ndim > 0 and not parameter.broadcastable[-1]
    return parameter[..., 1:] if along else parameter


def _per_draw(values: Any, ndim: int, draws: int) -> Array:
    """Add the axis of draws to a parameter that is the same at every draw."""
    array = np.asarray(values, dtype=float)
    return np.broadcast_to(array, (draws, *array.shape)) if array.ndim == ndim else array


class Recurrence(Op):  # type: ignore[misc]
    """`(u, b, v_0) -> v`, of `n - 1`, one, one and `n` numbers; with `backwards` the adjoint `(g, b) -> l`."""

    __props__ = ("backwards",)

    def __init__(self, backwards: bool = False) -> None:
        self.backwards = backwards

    def make_node(self, *inputs: Any) -> Apply:
        """Declare the types of inputs and output."""
        variables = [tt.as_tensor_variable(x).astype("float64") for x in inputs]
        return Apply(self, variables, [tt.dvector()])

    def perform(self, node: Apply, inputs: list[Any], outputs: list[list[Any]]) -> None:
        """Filter forwards, or backwards."""
        coefficients = [1.0, -float(inputs[1])]
        if self.backwards:
            outputs[0][0] = lfilter([1.0], coefficients, inputs[0][::-1])[::-1].copy()
        else:
            outputs[0][0] = lfilter([1.0], coefficients, np.concatenate([[inputs[2]], inputs[0]]))

    def infer_shape(self, fgraph: Any, node: Apply, shapes: list[Any]) -> list[Any]:
        """Return the length of the output."""
        return [(shapes[0][0],) if self.backwards else (shapes[0][0] + 1,)]

    def grad(self, inputs: list[Any], gradients: list[Any]) -> list[Any]:
        """Return the gradient by `u`, `b` and `v_0`."""
        assert not self.backwards, "no second derivative"
        u, b, start = inputs
        adjoint = Recurrence(backwards=True)(gradients[0], b)
        values = self(u, b, start)
        return [adjoint[1:], tt.sum(adjoint[1:] * values[:-1]), adjoint[0]]


class GARCH11(pm.GARCH11):  # type: ignore[misc]
    """PyMC3's distribution with a fast volatility."""

    def get_volatility(self, x: Any) -> Any:
        """Return the standard deviation at each time.

        Parameters
        ----------
        x
            The series.
        """
        shocks = self.omega + self.alpha_1 * tt.sqr(tt.as_tensor_variable(x)[:-1])
        return tt.sqrt(Recurrence()(shocks, self.beta_1, tt.sqr(self.initial_vol)))


class Multinomial(pm.Multinomial):  # type: ignore[misc]
    """`pm.Multinomial` with one log probability for each vector of counts, also where others are impossible."""

    def logp(self, x: Any) -> Any:
        """Return the log probability of each vector of counts (..., category)."""
        count = _of_vectors(self.n)
        logs = factln(count) + tt.sum(logpow(self.p, x) - factln(x), axis=-1)
        return bound(logs, tt.all(x >= 0, axis=-1), tt.eq(tt.sum(x, axis=-1), count))


class DirichletMultinomial(pm.DirichletMultinomial):  # type: ignore[misc]
    """`pm.DirichletMultinomial` with one log probability for each vector of counts, as `Multinomial` has."""

    def logp(self, value: Any) -> Any:
        """Return the log probability of each vector of counts (..., category)."""
        count, total = _of_vectors(self.n), tt.sum(self.a, axis=-1)
        logs = tt.gammaln(count + 1.0) + tt.gammaln(total) - tt.gammaln(count + total)
        logs = logs + tt.sum(tt.gammaln(value + self.a) - tt.gammaln(value + 1.0) - tt.gammaln(self.a), axis=-1)
        possible = tt.all(value >= 0, axis=-1), tt.all(self.a > 0, axis=-1), tt.eq(tt.sum(value, axis=-1), count)
        return bound(logs, *possible)


def _of_vectors(count: Any) -> Any:
    """Take off the axis that PyMC3 puts behind the numbers of trials."""
    return count[..., 0] if count.ndim else count


class _PackedFactor(_LKJCholeskyCov):  # type: ignore[misc]
    """The elements of a factor with an LKJ prior, without PyMC3's indexing by arrays."""

    def __init__(self, *arguments: Any, n: int, **options: Any) -> None:
        super().__init__(*arguments, n=n, **options)
        self.rows, self.transform = n, _PackedFactorTransform(n)

    def logp(self, x: Any) -> Any:
        """Return the log density of a covariance with this factor, a single number.

        Parameters
        ----------
        x
            The elements of the factor (element,), row by row.
        """
        elements = _rows(x, self.rows)
        sds = _sds(elements)
        density = _lkj_normalizing_constant(self.eta, self.rows) + tt.sum(self.sd_dist.logp(tt.stack(sds)))
        for i, sd in enumerate(sds):
            density += (2 * self.eta - 2 + self.rows - i) * tt.log(elements[i][i] / sd) - i * tt.log(sd)
        return density


class _PackedFactorTransform(CholeskyCovPacked):  # type: ignore[misc]
    """The logarithm of the diagonal, by a mask."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.is_diagonal = np.isin(np.arange(n * (n + 1) // 2), self.diag_idxs)

    def backward(self, x: Any) -> Any:
        """Return the elements of the factor."""
        return tt.switch(self.is_diagonal, tt.exp(tt.switch(self.is_diagonal, x, 0.0)), x)

    def forward(self, y: Any) -> Any:
        """Return the numbers that are sampled."""
        return tt.switch(self.is_diagonal, tt.log(tt.switch(self.is_diagonal, y, 1.0)), y)

    def jacobian_det(self, y: Any) -> Any:
        """Return the logarithm of the determinant, a single number."""
        return tt.sum(tt.switch(self.is_diagonal, y, 0.0))


def covariance_factor(name: str, eta: Any, n: int, sd_dist: Any) -> Any:
    """Make the Cholesky factor of a covariance with an LKJ prior; correlations and sds are deterministics.

    Parameters
    ----------
    name
        Of the factor; `NAME_corr` and `NAME_stds` are named after it.
    eta
        Of the LKJ distribution.
    n
        Number of rows.
    sd_dist
        Distribution of the sds.

    Returns
    -------
    variable
        The whole factor (row, column).
    """
    if n > LARGEST:
        return pm.LKJCholeskyCov(name, eta=eta, n=n, sd_dist=sd_dist, compute_corr=True)[0]
    rows = _rows(_PackedFactor(name, eta=eta, n=n, sd_dist=sd_dist), n)
    sds = _sds(rows)
    pm.Deterministic(f"{name}_stds", tt.stack(sds))
    correlations = [[_correlation(rows, sds, i, j) for j in range(n)] for i in range(n)]
    pm.Deterministic(f"{name}_corr", _matrix(correlations))
    zero = tt.constant(0.0)
    return _matrix([[*row, *([zero] * (n - len(row)))] for row in rows])


def _rows(packed: Any, n: int) -> list[list[Any]]:
    return [[packed[i * (i + 1) // 2 + j] for j in range(i + 1)] for i in range(n)]


def _sds(rows: list[list[Any]]) -> list[Any]:
    return [tt.sqrt(sum(element**2 for element in row)) for row in rows]


def _correlation(rows: list[list[Any]], sds: list[Any], i: int, j: int) -> Any:
    if i == j:
        return tt.constant(1.0)
    shared = min(i, j) + 1
    return sum(rows[i][k] * rows[j][k] for k in range(shared)) / (sds[i] * sds[j])


def _matrix(elements: list[list[Any]]) -> Any:
    flat = [element for row in elements for element in row]
    return tt.stack(flat).reshape((len(elements), len(elements)))


class VonMises(pm.VonMises):  # type: ignore[misc]
    """PyMC3's distribution, with draws in its support; PyMC3 draws angles around `mu` that may lie beyond it."""

    def random(self, point: Any = None, size: Any = None) -> Any:
        """Draw angles from -pi to pi."""
        drawn = np.asarray(super().random(point=point, size=size))
        return (drawn + np.pi) % (2.0 * np.pi) - np.pi


class BetaBinomial(pm.BetaBinomial):  # type: ignore[misc]
    """PyMC3's distribution, whose density stays that of a binomial one where `alpha + beta` is large."""

    def logp(self, value: Any) -> Any:
        """Return the log probability of numbers of successes.

        Parameters
        ----------
        value
            The numbers.
        """
        shrink = tt.minimum(1.0, LARGEST_PRECISION / (self.alpha + self.beta))
        return pm.BetaBinomial.dist(alpha=shrink * self.alpha, beta=shrink * self.beta, n=self.n).logp(value)


class OrderedLogistic(pm.OrderedLogistic):  # type: ignore[misc]
    """PyMC3's distribution, whose density stays exact where cutpoints are far from `eta`.

    PyMC3 subtracts distribution functions, which are 1 beyond 37: probabilities are then 0. With `a < b` the cutpoints
    of a level less `eta`, and `F` the logistic function, `F(b) - F(a) = F(b) F(-a) (1 - exp(a - b))`.
    """

    def logp(self, value: Any) -> Any:
        """Return the log probability of levels.

        Parameters
        ----------
        value
            Codes of levels, from 0.
        """
        value = tt.as_tensor_variable(value)
        apart = self.cutpoints - tt.shape_padright(self.eta)
        width = self.cutpoints[..., 1:] - self.cutpoints[..., :-1]
        increases = tt.gt(width, 0.0)
        # where cutpoints do not increase the level is impossible, and nothing is differentiated
        inside = tt.log(-tt.expm1(-tt.switch(increases, width, 1.0)))
        middle = -tt.nnet.softplus(-apart[..., 1:]) - tt.nnet.softplus(apart[..., :-1])
        middle = tt.switch(increases, middle + inside, -np.inf)
        ends = -tt.nnet.softplus(-apart[..., :1]), -tt.nnet.softplus(apart[..., -1:])
        logs = tt.concatenate([ends[0], middle, ends[1]], axis=-1)
        levels = tt.arange(self.cutpoints.shape[-1] + 1)
        chosen = tt.eq(tt.shape_padright(value), levels)
        total = tt.sum(tt.switch(chosen, logs, 0.0), axis=-1)
        return tt.switch(tt.any(chosen, axis=-1), total, -np.inf)


def ordered(distribution: type, exchangeable: bool) -> type:
    """Return a distribution whose draws increase along the last axis, as the density of `transform: ordered` has them.

    Parameters
    ----------
    distribution
        The distribution of the numbers.
    exchangeable
        Whether they have the same distribution: then their draws are sorted. Otherwise draws that do not increase are
        drawn again.
    """

    def random(self: Any, point: Any = None, size: Any = None) -> Any:
        drawn = np.asarray(distribution.random(self, point=point, size=size))  # type: ignore[attr-defined]
        if exchangeable:
            return np.sort(drawn, axis=-1)
        for _ in range(_MAX_REDRAWS):
            wrong = np.any(np.diff(drawn, axis=-1) <= 0, axis=-1, keepdims=True)
            if not wrong.any():
                return drawn
            again = distribution.random(self, point=point, size=size)  # type: ignore[attr-defined]
            drawn = np.where(wrong, again, drawn)
        raise ValueError("hardly any draws increase along the last axis, as transform: ordered wants them to")

    return type(distribution.__name__, (distribution,), {"random": random})

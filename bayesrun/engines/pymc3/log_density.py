"""A model's log density as a compiled function of one vector, and its priors' at all draws without compiling.

Priors that depend on no other parameter go element by element for most distributions. Their density is then one
expression of all draws, which Theano's Python operations compute in milliseconds; optimising a graph for one draw takes
0.1 s. The result is compared with the density of single draws.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import theano
import theano.tensor as tt
from numpy.typing import NDArray
from theano.compile.mode import Mode
from theano.tensor import discrete_dtypes

from bayesrun.engines.base import Block, LogDensity, TemperedDensity
from bayesrun.engines.pymc3.compiled_functions import compile_function
from bayesrun.engines.pymc3.declared_distributions import Modified, name_of
from bayesrun.engines.pymc3.theano_setup import building, compiling
from bayesrun.language.distributions import family

if TYPE_CHECKING:
    import pymc3 as pm

Vector = NDArray[np.float64]


def blocks_of(model: pm.Model) -> tuple[Block, ...]:
    """Lay out the free variables of a model in one vector."""
    blocks, begin = [], 0
    for variable in model.free_RVs:
        shape = tuple(variable.tag.test_value.shape)
        end = begin + math.prod(shape)
        blocks.append(Block(variable.name, begin, end, shape, variable.dtype in discrete_dtypes))
        begin = end
    return tuple(blocks)


def initial_point(model: pm.Model) -> Vector:
    """Return the model's own initial values as one vector (parameter)."""
    return np.concatenate([np.ravel(np.asarray(v.tag.test_value, float)) for v in model.free_RVs])


def test_points(model: pm.Model) -> list[list[Vector]]:
    """Return points at which to compare two ways to compute the same thing, as arguments of a function."""
    start, rng = initial_point(model), np.random.default_rng(0)
    return [[start + 0.1 * rng.normal(size=start.size)] for _ in range(2)]


def of_vector(model: pm.Model, outputs: Sequence[Any], vector: Any) -> list[Any]:
    """Return expressions of a model as functions of its vector, in place of its free variables."""
    shares = {v: pick(vector, block) for v, block in zip(model.free_RVs, blocks_of(model), strict=True)}
    whole = {v: tt.cast(share, v.dtype) if v.dtype in discrete_dtypes else share for v, share in shares.items()}
    clones: list[Any] = theano.clone(list(outputs), whole)
    return clones


def pick(vector: Any, block: Block) -> Any:
    """Return one variable's share of the vector, in its shape."""
    return vector[block.begin] if not block.shape else vector[block.begin : block.end].reshape(block.shape)


def gradient_graph(model: pm.Model) -> tuple[Any, Any, Any]:
    """Return the vector, the log density and its gradient as Theano variables.

    Raises
    ------
    NotImplementedError, theano.gradient.NullTypeGradError, ...
        Theano's own complaint when the model has an operation without a gradient.
    """
    with building(), theano.config.change_flags(compute_test_value="off"):
        variables, vector = model.free_RVs, tt.dvector("point")
        # one gradient per variable, joined: the gradient of each slice would be a whole vector, mostly of zeros
        parts = tt.grad(model.logpt, variables, disconnected_inputs="ignore")
        gradient = tt.join(0, *[g.flatten() if g.ndim else tt.shape_padleft(g) for g in parts])
        return vector, *of_vector(model, [model.logpt, gradient], vector)


def compile_log_density(model: pm.Model, graph: tuple[Any, Any, Any]) -> LogDensity:
    """Compile the `gradient_graph` of a model whose free variables are all continuous."""
    vector, density, gradient = graph
    function = compile_function([vector], [density, gradient], test_points(model))
    return LogDensity(blocks_of(model), initial_point(model), _direct(function))


def _direct(function: Any) -> Callable[[Vector], tuple[float, Vector]]:
    """Call a compiled function without Theano's checks of its arguments: they cost as much as a small model does."""
    run, given = function.fn, function.input_storage[0].storage
    value, gradient = (container.storage for container in function.output_storage)

    def evaluate(point: Vector) -> tuple[float, Vector]:
        given[0] = point
        try:
            run()
        except (np.linalg.LinAlgError, FloatingPointError):
            return -math.inf, np.zeros_like(point)
        # that of a sum over a dim, `cumsum`, may be a view that runs backwards, which compiled samplers refuse
        return float(value[0]), np.ascontiguousarray(gradient[0])

    return evaluate


def compile_tempered(model: pm.Model, missing: Mapping[str, NDArray[np.bool_]]) -> TemperedDensity:
    """Compile the log prior and the log likelihood of a model's unconstrained parameters.

    Parameters
    ----------
    model
        The model.
    missing
        Where each likelihood has imputed values, over its dims. Their terms belong to the prior, as they do in the
        draws of it; potentials belong to the likelihood.
    """
    discrete = np.concatenate([np.full(block.end - block.begin, block.discrete) for block in blocks_of(model)])
    with building():
        outputs = _prior_and_likelihood(model, missing)
        with theano.config.change_flags(compute_test_value="off"):
            vector = tt.dvector("point")
            outputs = of_vector(model, outputs, vector)
    with compiling():
        function = theano.function([vector], outputs, on_unused_input="ignore")
    function.trust_input = True
    return TemperedDensity(_vectorized(function, discrete), discrete)


def _prior_and_likelihood(model: pm.Model, missing: Mapping[str, NDArray[np.bool_]]) -> list[Any]:
    prior = [tt.sum(v.logpt) for v in model.free_RVs]
    likelihood = [tt.sum(p) for p in model.potentials]
    for variable in model.observed_RVs:
        imputed = missing.get(variable.name)
        if imputed is None:
            likelihood.append(tt.sum(variable.logpt))
        else:
            terms = variable.logp_elemwiset
            prior.append(tt.sum(terms[imputed.nonzero()]))
            likelihood.append(tt.sum(terms[(~imputed).nonzero()]))
    return [_total(prior), _total(likelihood)]


def _total(terms: Sequence[Any]) -> Any:
    return tt.sum(tt.stack(terms)) if terms else tt.constant(0.0)


def _vectorized(function: Any, discrete: NDArray[np.bool_]) -> Callable[[Vector], tuple[Vector, Vector]]:
    def evaluate(points: Vector) -> tuple[Vector, Vector]:
        whole = np.ascontiguousarray(np.where(discrete, np.floor(points), points))
        values = np.array([_at(function, point) for point in whole]).reshape(-1, 2)
        values = np.where(np.isnan(values), -np.inf, values)
        return values[:, 0], values[:, 1]

    return evaluate


def _at(function: Any, point: Vector) -> tuple[float, float]:
    try:
        prior, likelihood = function(point)
    except np.linalg.LinAlgError:
        return -np.inf, -np.inf
    return float(prior), float(likelihood)


Array = NDArray[Any]

log = logging.getLogger("bayesrun.theano")

_MOST = 2_000_000
"""Numbers of all draws up to which the steps of an expression of them may stay in memory."""
_TOLERANCE = 1e-8


class PriorDensity:
    """The sum of the log densities of priors; its function of all draws is made once, for all runs of a model.

    Parameters
    ----------
    priors
        Distribution, variable on its own scale, and term of the log density, of each prior.
    """

    def __init__(self, priors: Sequence[tuple[Any, Any, Any]]) -> None:
        self._priors = priors
        with building():
            terms = [term for _, _, term in priors]
            self.total = tt.sum(tt.stack(terms)) if terms else tt.constant(0.0)

    @cached_property
    def _function(self) -> Any:
        return _function_of(self._priors)

    @cached_property
    def _goes_by_elements(self) -> bool:
        return bool(self._priors) and all(_is_elementwise(of) for of, _, _ in self._priors)

    def at_all_draws(self, draws: Mapping[str, Array]) -> Array | None:
        """Return the sum at each draw.

        Parameters
        ----------
        draws
            Draws (chain, draw, ...) of each variable.

        Returns
        -------
        array or None
            Over chain, draw; None where a prior is not known to go element by element, or is found not to.
        """
        columns = [np.asarray(draws[own.name], own.dtype) for _, own, _ in self._priors]
        if not self._goes_by_elements or sum(column.size for column in columns) > _MOST:
            return None
        chains, length = columns[0].shape[:2]
        flat = [np.ascontiguousarray(column).reshape(chains * length, *column.shape[2:]) for column in columns]
        try:
            total, first = self._function(*flat, *(values[0, ...] for values in flat))
            _, last = self._function(*(values[-1:] for values in flat), *(values[-1, ...] for values in flat))
        except Exception:  # whatever a distribution raises about a dimension more than it has
            log.debug("priors are evaluated draw by draw", exc_info=True)
            return None
        agree = total.shape == (len(flat[0]),) and np.allclose(
            total[[0, -1]], [first, last], rtol=_TOLERANCE, atol=_TOLERANCE
        )
        return total.reshape(chains, length) if agree else None


def _is_elementwise(distribution: Any) -> bool:
    known = None if isinstance(distribution, Modified) else family(name_of(distribution))
    return known is not None and not known.event and not any(p.axes for p in known.parameters.values())


def _function_of(priors: Sequence[tuple[Any, Any, Any]]) -> Any:
    """Return a function of the values of all draws and of one draw: densities of these draws, and of that one."""
    with building(), theano.config.change_flags(compute_test_value="off"):
        every = [tt.TensorType(own.dtype, (False,) * (own.ndim + 1))() for _, own, _ in priors]
        one = [own.type() for _, own, _ in priors]
        densities = [of.logp(values) for (of, _, _), values in zip(priors, every, strict=True)]
        sums = [d.sum(axis=tuple(range(1, d.ndim))) if d.ndim > 1 else d for d in densities]
        given = {own: value for (_, own, _), value in zip(priors, one, strict=True)}
        outputs = [sum(sums), sum(theano.clone([tt.sum(term) for _, _, term in priors], given))]
        mode = Mode(linker="py", optimizer=None)
        return theano.function([*every, *one], outputs, mode=mode, on_unused_input="ignore")

"""A model's log density and gradient as one compiled function of one flat vector."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.inference._fast_function import compile_function
from bayesrun.inference.theano_setup import building

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

    LogDensity = Callable[[NDArray[Any]], tuple[float, NDArray[Any]]]


@dataclass(frozen=True)
class Part:
    """Where one free variable lies in the flat vector: elements `begin` to `end`, in C order, of `shape`."""

    name: str
    begin: int
    end: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Gradient:
    """The compiled function and what it is a function of.

    Parameters
    ----------
    parts
        The free variables, on their unconstrained scale, in the order of the flat vector.
    start
        The model's own starting values (parameter).
    density
        `(point) -> (log density, gradient)` of a float64 vector (parameter). The gradient's memory is used again by
        the next call. A point where linear algebra fails has log density -inf.
    """

    parts: tuple[Part, ...]
    start: NDArray[Any]
    density: LogDensity

    @property
    def size(self) -> int:
        """Number of unconstrained parameters."""
        return self.parts[-1].end


def parts_of(model: pm.Model) -> tuple[Part, ...]:
    """Lay the free variables of a model out in one vector."""
    parts, begin = [], 0
    for variable in model.free_RVs:
        shape = tuple(variable.tag.test_value.shape)
        parts.append(Part(variable.name, begin, begin + math.prod(shape), shape))
        begin = parts[-1].end
    return tuple(parts)


def pick(vector: Any, part: Part) -> Any:
    """Return one variable's share of the flat vector, in its shape."""
    return vector[part.begin] if not part.shape else vector[part.begin : part.end].reshape(part.shape)


def graph(model: pm.Model) -> tuple[Any, Any, Any]:
    """Return the flat vector, the log density and its gradient as Theano variables; made once a model.

    Raises
    ------
    NotImplementedError, theano.gradient.NullTypeGradError, ...
        Theano's own complaint when the model has an operation without a gradient.
    """
    if not hasattr(model, "bayesrun_gradient"):
        with building():
            model.bayesrun_gradient = _graph(model)
    return model.bayesrun_gradient  # type: ignore[no-any-return]


def _graph(model: pm.Model) -> tuple[Any, Any, Any]:
    import theano
    import theano.tensor as tt

    with theano.config.change_flags(compute_test_value="off"):
        variables, vector = model.free_RVs, tt.dvector("point")
        # one gradient a variable, joined: the gradient of a slice would be a vector of zeros for each of them
        parts = tt.grad(model.logpt, variables, disconnected_inputs="ignore")
        gradient = tt.join(0, *[g.flatten() if g.ndim else tt.shape_padleft(g) for g in parts])
        shares = {v: pick(vector, part) for v, part in zip(variables, parts_of(model), strict=True)}
        return vector, *theano.clone([model.logpt, gradient], shares)


def compile_gradient(model: pm.Model) -> Gradient:
    """Compile the log density and gradient of a model whose free variables are all continuous."""
    vector, density, gradient = graph(model)
    function = compile_function([vector], [density, gradient], [[p] for p in probes(model)])
    return Gradient(parts_of(model), start_of(model), _direct(function))


def start_of(model: pm.Model) -> NDArray[Any]:
    """Return the model's own starting values as one vector."""
    import numpy as np

    return np.concatenate([np.ravel(np.asarray(v.tag.test_value, float)) for v in model.free_RVs])


def probes(model: pm.Model) -> list[NDArray[Any]]:
    """Return points at which to compare two ways to compute the same thing."""
    import numpy as np

    start, rng = start_of(model), np.random.default_rng(0)
    return [start + 0.1 * rng.normal(size=start.size) for _ in range(2)]


def _direct(function: Any) -> LogDensity:
    """Call a compiled function without Theano's checks of its arguments: they cost as much as a small model does."""
    import numpy as np

    run, given = function.fn, function.input_storage[0].storage
    value, gradient = (container.storage for container in function.output_storage)

    def density(point: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        given[0] = point
        try:
            run()
        except (np.linalg.LinAlgError, FloatingPointError):
            return -math.inf, np.zeros_like(point)
        return float(value[0]), gradient[0]

    return density

"""Theano expressions of a model at many draws, and the map from unconstrained points to draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import theano
import theano.tensor as tt
from numpy.typing import NDArray
from pymc3.util import get_untransformed_name, is_transformed_name

from bayesrun.engines.pymc3.compiled_functions import compile_function
from bayesrun.engines.pymc3.log_density import blocks_of, of_vector, test_points
from bayesrun.engines.pymc3.theano_setup import building

if TYPE_CHECKING:
    import pymc3 as pm


Draws = Mapping[str, NDArray[Any]]


def own_name(variable: Any) -> str:
    """Return the name of a variable on its own scale."""
    name: str = variable.name
    return get_untransformed_name(name) if is_transformed_name(name) else name


def own_variables(model: pm.Model) -> list[Any]:
    """Return free variables, imputed values and deterministics, all on their own scale."""
    return [v for v in model.unobserved_RVs if not is_transformed_name(v.name)]


def at_draws(model: pm.Model, outputs: Sequence[Any], draws: Draws) -> list[NDArray[Any]]:
    """Evaluate expressions at every draw.

    Graphs are cut at the nearest variables that have draws, so no deterministic is computed again.

    Parameters
    ----------
    model
        The model that the expressions belong to.
    outputs
        Theano variables.
    draws
        Name to array (chain, draw, ...), of free variables and deterministics on their own scale.

    Returns
    -------
    list of ndarray
        One array (chain, draw, ...) per output.
    """
    at = AtDraws(compile_at_draws(model, outputs, draws), draws)
    return [values.reshape(*at.size, *values.shape[1:]) for values in at.values(0, at.count)]


@dataclass(frozen=True)
class Compiled:
    """Expressions of a model, compiled as a function of variables that have draws.

    Parameters
    ----------
    inputs
        Names and types of the variables.
    function
        Takes their values at one draw.
    """

    inputs: Sequence[tuple[str, str]]
    function: Any

    def columns(self, draws: Draws) -> list[NDArray[Any]]:
        """Return the draws of each input, those of all chains one after another."""
        chosen = [np.asarray(draws[name], dtype) for name, dtype in self.inputs]
        return [values.reshape(-1, *values.shape[2:]) for values in chosen]


def compile_at_draws(model: pm.Model, outputs: Sequence[Any], draws: Draws) -> Compiled:
    """Compile expressions to be evaluated at draws of the same variables as those given; as for `at_draws`."""
    inputs = _cut(model, outputs, draws)
    made = Compiled([(v.name, v.dtype) for v in inputs], None)
    columns = made.columns(draws)
    points: list[Any] = [[column[at, ...] for column in columns] for at in (0, -1)]
    return replace(made, function=compile_function(inputs, outputs, points))


class AtDraws:
    """Compiled expressions at many draws, some of them at a time.

    Parameters
    ----------
    compiled
        What is evaluated.
    draws
        Name to array (chain, draw, ...).
    """

    def __init__(self, compiled: Compiled, draws: Draws) -> None:
        chains, length = next(iter(draws.values())).shape[:2]
        self.size = (chains, length)
        self._columns, self._function = compiled.columns(draws), compiled.function

    @property
    def count(self) -> int:
        """Number of draws in all chains."""
        return self.size[0] * self.size[1]

    def values(self, begin: int, end: int) -> list[NDArray[Any]]:
        """Return one array (draw, ...) per output, of the draws from number `begin` of all chains to before `end`."""
        columns = [column[None, begin:end] for column in self._columns]
        return [values[0] for values in _at_each(self._function, columns, (1, end - begin))]

    def blocks(self, draws: int) -> Iterator[tuple[int, list[NDArray[Any]]]]:
        """Yield the number of the first draw, and the values, of blocks of so many draws."""
        for begin in range(0, self.count, draws):
            yield begin, self.values(begin, min(begin + draws, self.count))


def _cut(model: pm.Model, outputs: Sequence[Any], draws: Draws) -> list[Any]:
    """Return the variables nearest above the outputs that have draws."""
    known = {model[name]: name for name in draws if name in model.named_vars}
    found: dict[Any, None] = {}
    seen, queue = set(), list(outputs)
    while queue:
        variable = queue.pop()
        if variable in seen:
            continue
        seen.add(variable)
        if variable in known:
            found[variable] = None
        elif variable.owner is not None:
            queue.extend(variable.owner.inputs)
    return sorted(found, key=lambda v: str(v.name))


def _at_each(function: Any, columns: Sequence[NDArray[Any]], size: tuple[int, ...]) -> list[NDArray[Any]]:
    """Call a compiled function at every draw, and put its results into one array (chain, draw, ...) per output.

    Its storage is set and read directly: Theano's own call takes five times as long as a small model.
    """
    run = function.fn
    given = [container.storage for container in function.input_storage[: len(columns)]]
    found = [container.storage for container in function.output_storage]
    results: list[NDArray[Any]] = []
    for chain in range(size[0]):
        rows = [column[chain] for column in columns]
        for draw in range(size[1]):
            for storage, row in zip(given, rows, strict=True):
                storage[0] = row[draw, ...]  # an array also where it holds one number
            try:
                run()
            except Exception:
                function(*(storage[0] for storage in given))  # whose error names the operation
                raise
            results = results or [np.empty((*size, *np.shape(v)), np.result_type(v)) for (v,) in found]
            for result, storage in zip(results, found, strict=True):
                result[chain, draw] = storage[0]
    for storage in given:
        storage[0] = None  # a function that is kept must not keep the draws
    return results


def compile_constrain(model: pm.Model) -> Callable[[NDArray[Any]], dict[str, NDArray[Any]]]:
    """Compile the map from points (chain, draw, parameter) to all variables on their own scale (chain, draw, ...).

    Variables that are not transformed are blocks of the point already; the others go through one compiled function.
    """
    blocks = {block.name: block for block in blocks_of(model) if not block.discrete}
    wanted = own_variables(model)
    plain = [blocks[v.name] for v in wanted if v.name in blocks]
    computed = [v for v in wanted if v.name not in blocks]
    names, function = [v.name for v in computed], _compile(model, computed) if computed else None

    def constrain(points: NDArray[Any]) -> dict[str, NDArray[Any]]:
        size = points.shape[:2]
        draws = {b.name: points[..., b.begin : b.end].reshape(*size, *b.shape) for b in plain}
        if function is not None:
            draws.update(zip(names, _at_each(function, [np.ascontiguousarray(points)], size), strict=True))
        return draws

    return constrain


def _compile(model: pm.Model, outputs: Sequence[Any]) -> Any:
    with building(), theano.config.change_flags(compute_test_value="off"):
        vector = tt.dvector("point")
        outputs = of_vector(model, outputs, vector)
    return compile_function([vector], outputs, test_points(model))


def unconstrain(model: pm.Model, draws: Draws) -> NDArray[np.float64]:
    """Return the points (draw, parameter) of draws (draw, ...) of all free variables on their own scale."""
    one_chain = {name: values[None] for name, values in draws.items()}
    with building():
        own = [model[own_name(v)] for v in model.free_RVs]
        outputs = [v.transformation.forward(v) if hasattr(v, "transformation") else v for v in own]
    with np.errstate(all="ignore"):
        values = at_draws(model, outputs, one_chain)
    count = values[0].shape[1]
    return np.concatenate([np.asarray(v[0], float).reshape(count, -1) for v in values], axis=1)

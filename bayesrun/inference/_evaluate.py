"""Theano expressions of a model at every draw of a posterior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.inference._fast_function import compile_function

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray


def at_draws(model: pm.Model, outputs: Sequence[Any], draws: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Evaluate expressions at every draw.

    Graphs are cut at the nearest variables whose draws are at hand, so no deterministic is computed again.

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
        One array (chain, draw, ...) an output.
    """
    import numpy as np

    inputs = cut(model, outputs, draws)
    columns = [np.asarray(draws[v.name], v.dtype) for v in inputs]
    probes: list[Any] = [[column[0, 0, ...] for column in columns], [column[-1, -1, ...] for column in columns]]
    function = compile_function(inputs, outputs, probes)
    chains, length = next(iter(draws.values())).shape[:2]
    results: list[NDArray[Any]] = []
    for index in np.ndindex(chains, length):
        at: Any = (*index, ...)  # an array also where it holds one number
        values = function(*(column[at] for column in columns))
        results = results or [np.empty((chains, length, *np.shape(v)), np.result_type(v)) for v in values]
        for result, value in zip(results, values, strict=True):
            result[index] = value
    return results


def cut(model: pm.Model, outputs: Sequence[Any], draws: Mapping[str, NDArray[Any]]) -> list[Any]:
    """Return the variables nearest above the outputs whose draws are at hand."""
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

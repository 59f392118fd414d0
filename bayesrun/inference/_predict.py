"""Draws of a likelihood at every draw of a posterior, or of a prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.random_draws import Recipe, recipe
from bayesrun.inference._evaluate import at_draws
from bayesrun.inference.theano_setup import building
from bayesrun.language.distributions import family

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

_AT_ONCE = 4_000_000


def predict(model: pm.Model, variable: Any, draws: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Draw a likelihood once at every draw of what it depends on.

    Parameters
    ----------
    model
        The model.
    variable
        Its likelihood.
    draws
        Name to array (chain, draw, ...) of free variables and deterministics.

    Returns
    -------
    ndarray
        (chain, draw, ...) over the likelihood's dims. NumPy's global generator decides it.
    """
    own = recipe(variable.distribution, variable.tag.test_value)
    if own is not None:
        return _by_recipe(model, variable, own, draws)
    parameters = _parameters(variable.distribution)
    if parameters is None:
        return _one_by_one(model, variable, draws)
    return _all_at_once(model, variable, parameters, draws)


def _parameters(law: Any) -> dict[str, Any] | None:
    """Return what the distribution can be made of again; None where its draws are not made element by element."""
    known = family(type(law).__name__)
    if known is None or known.event or any(p.axes for p in known.parameters.values()):
        return None
    named = {name for group in known.required for alternatives in group for name in alternatives}
    chosen = {name for group in known.required for name in group[0]}
    names = [name for name in known.parameters if name in chosen or name not in named]
    found = {name: getattr(law, name, None) for name in names}
    if any(found[name] is None for name in chosen):
        return None
    return {name: value for name, value in found.items() if value is not None}


def _all_at_once(
    model: pm.Model, variable: Any, parameters: Mapping[str, Any], draws: Mapping[str, NDArray[Any]]
) -> NDArray[Any]:
    import numpy as np
    import theano
    import theano.tensor as tt

    shape = variable.tag.test_value.shape
    values = at_draws(model, [tt.as_tensor_variable(p) for p in parameters.values()], draws)
    chains, length = values[0].shape[:2]
    flat = [v.reshape(chains * length, *(1,) * (len(shape) - v.ndim + 2), *v.shape[2:]) for v in values]
    step = max(1, _AT_ONCE // max(1, int(np.prod(shape))))
    parts = []
    for begin in range(0, chains * length, step):
        part = {p: v[begin : begin + step] for p, v in zip(parameters, flat, strict=True)}
        size = (len(next(iter(part.values()))), *shape)
        # test values of all draws, which nothing asks for, would take longer than drawing
        with building(), theano.config.change_flags(compute_test_value="off"):
            law = type(variable.distribution).dist(**part, shape=size)
            parts.append(np.asarray(law.random()).reshape(size))
    drawn: NDArray[Any] = np.concatenate(parts).reshape(chains, length, *shape)
    return drawn


def _by_recipe(model: pm.Model, variable: Any, own: Recipe, draws: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    import numpy as np

    shape = variable.tag.test_value.shape
    rng = np.random.default_rng(np.random.randint(2**31))
    values = at_draws(model, own.parameters, draws)
    chains, length = values[0].shape[:2]
    flat = [v.reshape(chains * length, *v.shape[2:]) for v in values]
    step = max(1, _AT_ONCE // max(1, int(np.prod(shape))))
    parts = [own.draw([v[i : i + step] for v in flat], shape, rng) for i in range(0, chains * length, step)]
    drawn: NDArray[Any] = np.concatenate(parts).reshape(chains, length, *shape)
    return drawn


def _one_by_one(model: pm.Model, variable: Any, draws: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    import numpy as np
    import pymc3 as pm

    chains, length = next(iter(draws.values())).shape[:2]
    points = [{n: v[index] for n, v in draws.items()} for index in np.ndindex(chains, length)]
    with model, building():
        drawn = pm.sample_posterior_predictive(
            points, samples=len(points), var_names=[variable.name], progressbar=False
        )[variable.name]
    return np.asarray(drawn).reshape(chains, length, *np.shape(drawn)[1:])

"""The log density of a model's priors at all draws at once, without compiling anything.

Priors that depend on no other parameter go element by element for most distributions. Their density is then one
expression of all draws, which Theano's Python operations compute in milliseconds; optimising a graph for one draw takes
0.1 s. The result is compared with the density of single draws.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import theano
import theano.tensor as tt
from numpy.typing import NDArray
from theano.compile.mode import Mode

from bayesrun.engines.pymc3.declared_distributions import Modified, name_of
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.language.distributions import family

Array = NDArray[Any]

log = logging.getLogger("bayesrun.theano")

_MOST = 2_000_000
"""Numbers of all draws up to which the steps of an expression of them may stay in memory."""
_TOLERANCE = 1e-8


def at_all_draws(priors: Sequence[tuple[Any, Any, Any]], columns: Sequence[Array]) -> Array | None:
    """Return the sum of the log densities of priors at each draw.

    Parameters
    ----------
    priors
        Distribution, variable on its own scale, and term of the log density, of each prior.
    columns
        Draws (chain, draw, ...) of each variable.

    Returns
    -------
    array or None
        Over chain, draw; None where a prior is not known to go element by element, or is found not to.
    """
    if sum(column.size for column in columns) > _MOST or not all(_is_elementwise(of) for of, _, _ in priors):
        return None
    chains, length = columns[0].shape[:2]
    flat = [np.ascontiguousarray(column).reshape(chains * length, *column.shape[2:]) for column in columns]
    try:
        function = _function(priors)
        total, first = function(*flat, *(values[0, ...] for values in flat))
        _, last = function(*(values[-1:] for values in flat), *(values[-1, ...] for values in flat))
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


def _function(priors: Sequence[tuple[Any, Any, Any]]) -> Any:
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

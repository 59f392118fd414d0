"""From points of the unconstrained space to draws of a model's variables on their own scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.inference._fast_function import compile_function
from bayesrun.inference._gradient import Part, parts_of, pick, probes
from bayesrun.inference.theano_setup import building

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray


class Draws:
    """Computes a model's variables at unconstrained points.

    Variables that are not transformed are parts of the point already; the others go through one compiled function.

    Parameters
    ----------
    model
        The model whose variables are wanted; compiles at once.
    """

    def __init__(self, model: pm.Model) -> None:
        from pymc3.util import is_transformed_name

        whole = {v.name for v in model.disc_vars}
        plain = {part.name: part for part in parts_of(model) if part.name not in whole}
        wanted = [v for v in model.unobserved_RVs if not is_transformed_name(v.name)]
        self._plain: list[Part] = [plain[v.name] for v in wanted if v.name in plain]
        computed = [v for v in wanted if v.name not in plain]
        self._names = [v.name for v in computed]
        self._function = _compile(model, computed) if computed else None

    def at(self, points: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return every variable at each point.

        Parameters
        ----------
        points
            Unconstrained points (chain, draw, parameter).

        Returns
        -------
        dict
            Name to array (chain, draw, ...).
        """
        draws = {p.name: points[..., p.begin : p.end].reshape(*points.shape[:2], *p.shape) for p in self._plain}
        if self._function is not None:
            draws.update(zip(self._names, _evaluate(self._function, points), strict=True))
        return draws


def _compile(model: pm.Model, outputs: Sequence[Any]) -> Any:
    import theano
    import theano.tensor as tt

    with building(), theano.config.change_flags(compute_test_value="off"):
        vector = tt.dvector("point")
        parts = zip(model.free_RVs, parts_of(model), strict=True)
        shares = {v: tt.cast(pick(vector, part), v.dtype) for v, part in parts}  # SMC has whole numbers among them
        outputs = theano.clone(list(outputs), shares)
    return compile_function([vector], outputs, [[p] for p in probes(model)])


def _evaluate(function: Any, points: NDArray[Any]) -> list[NDArray[Any]]:
    import numpy as np

    chains, length = points.shape[:2]
    results: list[NDArray[Any]] = []
    for index in np.ndindex(chains, length):
        values = function(np.ascontiguousarray(points[index]))
        results = results or [np.empty((chains, length, *np.shape(v)), np.asarray(v).dtype) for v in values]
        for result, value in zip(results, values, strict=True):
            result[index] = value
    return results

"""A model's prior and likelihood as one compiled function of one flat vector, and starting points from its prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.metadata import metadata as notes
from bayesrun.errors import fail
from bayesrun.inference._evaluate import at_draws
from bayesrun.inference._gradient import parts_of, pick
from bayesrun.inference._prior import prior_draws
from bayesrun.inference.theano_setup import building, compiling

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    from numpy.typing import NDArray

    Densities = Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]

_TRIES = 20
"""Batches of prior draws that are made, at the most, to get enough inside the density's support."""


@dataclass(frozen=True)
class Tempered:
    """A model as SMC sees it.

    Parameters
    ----------
    densities
        `(points) -> (log prior, log likelihood)` of points (particle, parameter); what is not a number is -inf.
    discrete
        Which parameters are whole numbers (parameter): the cell [k, k + 1) stands for k.
    """

    densities: Densities
    discrete: NDArray[np.bool_]

    def whole(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (..., parameter) with the numbers that their cells stand for."""
        import numpy as np

        return np.where(self.discrete, np.floor(points), points)


def compile_tempered(model: pm.Model) -> Tempered:
    """Compile the log prior and the log likelihood of a model's unconstrained parameters.

    The terms of imputed values belong to the prior, as they do in the draws that SMC starts from; potentials belong
    to the likelihood.
    """
    import numpy as np
    import theano
    import theano.tensor as tt
    from theano.tensor import discrete_dtypes

    kinds = [np.full(int(v.tag.test_value.size), v.dtype in discrete_dtypes) for v in model.free_RVs]
    with building():
        outputs = list(_prior_and_likelihood(model))
        with theano.config.change_flags(compute_test_value="off"):
            vector = tt.dvector("point")
            parts = zip(model.free_RVs, parts_of(model), strict=True)
            outputs = theano.clone(outputs, {v: tt.cast(pick(vector, part), v.dtype) for v, part in parts})
    with compiling():
        function = theano.function([vector], outputs, on_unused_input="ignore")
    function.trust_input = True
    discrete = np.concatenate(kinds)
    return Tempered(_vectorised(function, discrete), discrete)


def _prior_and_likelihood(model: pm.Model) -> tuple[Any, Any]:
    import theano.tensor as tt

    prior = [tt.sum(v.logpt) for v in model.free_RVs]
    likelihood = [tt.sum(p) for p in model.potentials]
    for variable in model.observed_RVs:
        gaps = notes(model).missing.get(variable.name)
        if gaps is None:
            likelihood.append(tt.sum(variable.logpt))
        else:
            terms = variable.logp_elemwiset
            prior.append(tt.sum(terms[gaps.nonzero()]))
            likelihood.append(tt.sum(terms[(~gaps).nonzero()]))
    return _total(prior), _total(likelihood)


def _total(terms: Sequence[Any]) -> Any:
    import theano.tensor as tt

    return tt.sum(tt.stack(terms)) if terms else tt.constant(0.0)


def _vectorised(function: Any, discrete: NDArray[np.bool_]) -> Densities:
    import numpy as np

    def densities(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        whole = np.ascontiguousarray(np.where(discrete, np.floor(points), points))
        values = np.array([_at(function, point) for point in whole]).reshape(-1, 2)
        values = np.where(np.isnan(values), -np.inf, values)
        return values[:, 0], values[:, 1]

    return densities


def _at(function: Any, point: NDArray[np.float64]) -> tuple[float, float]:
    import numpy as np

    try:
        prior, likelihood = function(point)
    except np.linalg.LinAlgError:
        return -np.inf, -np.inf
    return float(prior), float(likelihood)


def prior_points(model: pm.Model, tempered: Tempered, count: int, seed: int) -> NDArray[np.float64]:
    """Draw starting points from the prior.

    Draws outside the density's support (unordered values of an ordered vector) are drawn again: the prior that is
    left is the model's.

    Parameters
    ----------
    model
        The model.
    tempered
        Its densities.
    count
        Number of points.
    seed
        Decides them.

    Returns
    -------
    ndarray
        Unconstrained points (particle, parameter).

    Raises
    ------
    UserError
        When the prior can't be drawn from, or lies outside of its own density's support.
    """
    import numpy as np

    kept: list[NDArray[np.float64]] = []
    for attempt in np.random.SeedSequence(seed).generate_state(_TRIES):
        points = _one_batch(model, count, int(attempt))
        points = points + tempered.discrete * np.random.default_rng(attempt).uniform(size=points.shape)
        kept.append(points[np.isfinite(points).all(1) & np.isfinite(tempered.densities(points)[0])])
        if sum(map(len, kept)) >= count:
            return np.concatenate(kept)[:count]
    message = "smc starts from draws of the prior, and too few of them have a positive prior density"
    raise fail("sampler.method", message, "check the priors' `transform` and bounds, or use sampler=nuts")


def _one_batch(model: pm.Model, count: int, seed: int) -> NDArray[np.float64]:
    import numpy as np
    from pymc3.util import get_untransformed_name, is_transformed_name

    drawn = {name: values[None] for name, values in prior_draws(model, count, seed).items()}
    names = [get_untransformed_name(v.name) if is_transformed_name(v.name) else v.name for v in model.free_RVs]
    with building():
        own = [model[name] for name in names]
        outputs = [v.transformation.forward(v) if hasattr(v, "transformation") else v for v in own]
    with np.errstate(all="ignore"):
        values = at_draws(model, outputs, drawn)
    return np.concatenate([np.asarray(v[0], float).reshape(count, -1) for v in values], axis=1)

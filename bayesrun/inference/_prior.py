"""Draws from a model's prior, and why there are none."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.metadata import metadata as notes
from bayesrun.errors import Problem, fail
from bayesrun.inference._predict import predict
from bayesrun.inference.theano_setup import building

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

log = logging.getLogger("bayesrun.predictive")


def draw_prior(model: pm.Model, draws: int, seed: int) -> Arrays:
    """Draw every variable of a model, likelihoods too, ahead of the data.

    Parameters
    ----------
    model
        The model.
    draws
        How many.
    seed
        Decides them.

    Returns
    -------
    dict
        Name to array (draw, ...) on the variable's own scale; `NAME_missing` are the imputed places of `NAME`.

    Raises
    ------
    Exception
        Whatever a distribution's generator raises; a flat prior has none.
    """
    import numpy as np
    import pymc3 as pm
    from pymc3.util import is_transformed_name

    imputed = {v.name for v in model.missing_values}
    names = [v.name for v in model.unobserved_RVs if not is_transformed_name(v.name) and v.name not in imputed]
    with building(), np.errstate(all="ignore"):
        found = pm.sample_prior_predictive(draws, model=model, var_names=names, random_seed=seed)
    drawn = {n: _each(np.asarray(found[n]), model[n].tag.test_value.shape, draws) for n in names}
    for variable in model.observed_RVs:
        drawn |= _likelihood(model, variable, drawn)
    return drawn


def _each(values: NDArray[Any], shape: tuple[int, ...], draws: int) -> NDArray[Any]:
    """Repeat what depends on no random variable at every draw; PyMC3 computes it once."""
    import numpy as np

    return np.broadcast_to(values, (draws, *shape)) if values.shape == shape else values


def _likelihood(model: pm.Model, variable: Any, drawn: Arrays) -> Arrays:
    """Draw a likelihood, and the values that would be imputed in it; nothing where it has no generator."""
    try:
        predicted = predict(model, variable, {name: values[None] for name, values in drawn.items()})[0]
    except Exception as error:  # PyMC3 raises whatever a distribution's generator raises
        log.info("no prior draws of %s: %s", variable.name, error, exc_info=True)
        return {}
    gaps = notes(model).missing.get(variable.name)
    missing = {} if gaps is None else {f"{variable.name}_missing": predicted[:, gaps]}
    return {variable.name: predicted, **missing}


def why_none(model: pm.Model, error: Exception) -> str:
    """Say why a prior could not be drawn from."""
    flat = flat_priors(model)
    return f"'{flat[0]}' has a flat prior" if flat else f"{type(error).__name__}: {error}"


def flat_priors(model: pm.Model) -> list[str]:
    """Name the variables whose prior is flat, from which nothing can be drawn."""
    import pymc3 as pm

    laws = {v.name: v.distribution for v in [*model.free_RVs, *model.deterministics] if hasattr(v, "distribution")}
    return [name for name, law in laws.items() if isinstance(law, (pm.Flat, pm.HalfFlat))]


def check_proper(model: pm.Model) -> list[Problem]:
    """Name the flat priors, for a sampler that draws from the prior."""
    flat = flat_priors(model)
    message = f"this method draws from the prior, and these variables have a flat prior: {', '.join(flat)}"
    return [Problem("sampler.method", message, "give them a proper prior, or use sampler=nuts")] if flat else []


def prior_draws(model: pm.Model, draws: int, seed: int) -> Arrays:
    """Draw from the prior as `draw_prior` does, for a sampler that can't do without.

    Raises
    ------
    UserError
        When there are none.
    """
    try:
        return draw_prior(model, draws, seed)
    except Exception as error:  # PyMC3 raises whatever a distribution's generator raises
        message = f"this method draws from the prior, and that can't be drawn from: {why_none(model, error)}"
        raise fail("sampler.method", message, "give it a proper prior, or use sampler=nuts") from error

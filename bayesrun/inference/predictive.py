"""Draws from the prior, from the posterior predictive, and pointwise terms of the likelihood.

PyMC3 draws predictions one posterior draw at a time. Here the parameters of a likelihood are evaluated at every draw,
and its own random generator is then called once for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bayesrun.engines.pymc3.metadata import metadata as notes
from bayesrun.inference._evaluate import at_draws
from bayesrun.inference._predict import predict
from bayesrun.inference._prior import draw_prior, why_none
from bayesrun.inference.theano_setup import building

if TYPE_CHECKING:
    import pymc3 as pm
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

log = logging.getLogger("bayesrun.predictive")

LARGEST = 50_000_000
"""Numbers up to which a group of predictive draws is made."""


@dataclass(frozen=True)
class Predicted:
    """Draws by name, (chain, draw, ...), and why any could not be had."""

    draws: Arrays = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)


def prior(model: pm.Model, draws: int, seed: int, helpers: set[str]) -> tuple[Predicted, Predicted]:
    """Draw from the prior and the prior predictive.

    Parameters
    ----------
    model
        The model.
    draws
        How many; 0 = none.
    seed
        Seed of the draws.
    helpers
        Variables to leave out.

    Returns
    -------
    prior, prior_predictive
        Arrays of one chain. A prior that can't be drawn from (flat) has none, and says so.
    """
    size = draws * sum(int(v.tag.test_value.size) for v in model.observed_RVs)
    if draws == 0 or size > LARGEST:
        reason = {} if draws == 0 else {"prior": f"{size:,} numbers are too many"}
        return Predicted(missing=reason), Predicted()
    try:
        drawn = draw_prior(model, draws, seed)
    except Exception as error:  # PyMC3 raises whatever a distribution's generator raises
        log.info("no prior draws: %s: %s", type(error).__name__, error, exc_info=True)
        return Predicted(missing={"prior": why_none(model, error)}), Predicted()
    observed = {v.name for v in model.observed_RVs}
    drawn = {name: values[None] for name, values in drawn.items() if name not in helpers}
    return (
        Predicted({n: v for n, v in drawn.items() if n not in observed}),
        Predicted({n: v for n, v in drawn.items() if n in observed}),
    )


def posterior(model: pm.Model, draws: Mapping[str, NDArray[Any]], seed: int) -> Predicted:
    """Draw each likelihood once a posterior draw.

    Parameters
    ----------
    model
        The model.
    draws
        Name to array (chain, draw, ...) of its free variables and deterministics.
    seed
        Seed of the draws.

    Returns
    -------
    Predicted
        Arrays (chain, draw, ...) over the dims of each likelihood.
    """
    import numpy as np

    np.random.seed(seed % 2**32)
    found, missing = {}, {}
    n = int(np.prod(next(iter(draws.values())).shape[:2]))
    for variable in model.observed_RVs:
        size = n * int(variable.tag.test_value.size)
        try:
            if size > LARGEST:
                raise ValueError(f"{size:,} numbers are too many")
            found[variable.name] = predict(model, variable, draws)
        except Exception as error:  # PyMC3 raises whatever a distribution's generator raises
            log.info("no predictions of %s", variable.name, exc_info=True)
            missing[f"posterior_predictive {variable.name}"] = f"{type(error).__name__}: {error}"
    return Predicted(found, missing)


def log_likelihood(model: pm.Model, draws: Mapping[str, NDArray[Any]], largest: int) -> Predicted:
    """Evaluate the pointwise terms of each likelihood at every draw; imputed points are NaN.

    Parameters
    ----------
    model
        The model.
    draws
        Name to array (chain, draw, ...).
    largest
        Numbers up to which the terms are kept.

    Returns
    -------
    Predicted
        Arrays (chain, draw, ...) by likelihood; why a likelihood has none.
    """
    import numpy as np

    n = int(np.prod(next(iter(draws.values())).shape[:2]))
    pointwise, missing = [], {}
    for variable in model.observed_RVs:
        reason = _no_terms(variable, n, largest)
        if reason:
            missing[f"log_likelihood {variable.name}"] = reason
        else:
            pointwise.append(variable)
    if not pointwise:
        return Predicted({}, missing)
    with building():
        terms = [v.logp_elemwiset for v in pointwise]
    values = at_draws(model, terms, draws)
    for variable, terms_of in zip(pointwise, values, strict=True):
        gaps = notes(model).missing.get(variable.name)
        if gaps is not None:
            terms_of[:, :, gaps] = np.nan
    return Predicted({v.name: t for v, t in zip(pointwise, values, strict=True)}, missing)


def _no_terms(variable: Any, draws: int, largest: int) -> str:
    shape = variable.tag.test_value.shape
    with building():
        terms = variable.logp_elemwiset.tag.test_value.shape
    if terms != shape:
        return f"{type(variable.distribution).__name__} has no pointwise terms"
    size = draws * int(variable.tag.test_value.size)
    return f"{size:,} numbers are above diagnostics.log_likelihood_max" if size > largest else ""


def log_prior(model: pm.Model, draws: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """Evaluate the log density of all priors at every draw, on their own scales (without Jacobians).

    Parameters
    ----------
    model
        The model.
    draws
        Name to array (chain, draw, ...).

    Returns
    -------
    ndarray
        Over (chain, draw). Imputed values belong to the likelihood, not to it.
    """
    import theano.tensor as tt
    from pymc3.util import get_untransformed_name, is_transformed_name

    imputed = {f"{name}_missing" for name in notes(model).missing}
    with building():
        terms = []
        for variable in model.free_RVs:
            if is_transformed_name(variable.name):
                own = model[get_untransformed_name(variable.name)]
                terms.append(tt.sum(variable.distribution.dist.logp(own)))
            elif variable.name not in imputed:
                terms.append(tt.sum(variable.distribution.logp(variable)))
        total = tt.sum(tt.stack(terms)) if terms else tt.constant(0.0)
    return at_draws(model, [total], draws)[0]

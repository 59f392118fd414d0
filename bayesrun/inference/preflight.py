"""Whether a model can be sampled at all, told before the first draw: the log density at the start, per variable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bayesrun.errors import Problem, check

if TYPE_CHECKING:
    import pymc3 as pm


def preflight(model: pm.Model) -> dict[str, float]:
    """Check that the log density of every variable is finite where the chains start.

    Parameters
    ----------
    model
        The model, built under `theano_setup.building`, whose test values are those of its starting point.

    Returns
    -------
    dict
        Log density at the start by variable, on its own scale's name.

    Raises
    ------
    UserError
        One problem a variable whose density is zero or not a number there.
    """
    import numpy as np

    from bayesrun.inference.theano_setup import building

    observed = {v.name for v in model.observed_RVs}
    with building():
        densities = {
            v.name: float(np.sum(v.logpt.tag.test_value))
            for v in [*model.basic_RVs, *model.potentials]
            if hasattr(v, "logpt")
        }
    check([_problem(name, value, name in observed) for name, value in densities.items() if not np.isfinite(value)])
    return densities


def _problem(name: str, value: float, observed: bool) -> Problem:
    from pymc3.util import get_untransformed_name, is_transformed_name

    name = get_untransformed_name(name) if is_transformed_name(name) else name
    what = "not a number" if value != value else "zero"
    if observed:
        message = f"the likelihood of '{name}' is {what} at the starting values"
        hint = "the data lie outside what the model allows there: check their range, or set `initval` of the priors"
        return Problem(f"model ({name})", message, hint)
    message = f"the prior density is {what} at the starting value"
    return Problem(f"model.priors.{name}", message, "set an `initval` inside the support, or check the parameters")

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
        Log density at the start by free variable, likelihood and potential.

    Raises
    ------
    UserError
        One problem a variable or potential whose density is zero or not a number there.
    """
    import numpy as np

    from bayesrun.inference.theano_setup import building

    observed = {v.name for v in model.observed_RVs}
    with building():
        terms = {v.name: v.logpt for v in model.basic_RVs} | {p.name: p for p in model.potentials}
        densities = {name: float(np.sum(term.tag.test_value)) for name, term in terms.items()}
    potentials = {p.name for p in model.potentials}
    bad = {name: value for name, value in densities.items() if not np.isfinite(value)}
    check([_problem(name, value, name in observed, name in potentials) for name, value in bad.items()])
    return densities


def _problem(name: str, value: float, observed: bool, potential: bool) -> Problem:
    from pymc3.util import get_untransformed_name, is_transformed_name

    if potential:
        message, hint = f"is {value} at the starting values", "set an `initval` of the priors where it is finite"
        return Problem(f"model.potentials.{name}", message, hint)
    name = get_untransformed_name(name) if is_transformed_name(name) else name
    what = "not a number" if value != value else "zero"
    if observed:
        message = f"the likelihood of '{name}' is {what} at the starting values"
        hint = "the data lie outside what the model allows there: check their range, or set `initval` of the priors"
        return Problem(f"model ({name})", message, hint)
    message = f"the prior density is {what} at the starting value"
    return Problem(f"model.priors.{name}", message, "set an `initval` inside the support, or check the parameters")

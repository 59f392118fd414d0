"""From a prior in YAML to a variable of the model: what every builder declares its variables with.

with pm.Model() as model:
    scope = Scope(data)
    tau = declare("tau", {"dist": "HalfCauchy", "beta": 5}, scope, "model.priors.tau")
    theta = declare("theta", {"dist": "Normal", "mu": 0, "sigma": "tau", "dims": ["school"]}, scope, "...")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesrun.errors import BayesrunError, check, fail
from bayesrun.language.prior_checks import check_prior
from bayesrun.language.scope import Scope


def declare(
    name: str,
    prior: Mapping[str, Any],
    scope: Scope,
    key: str,
    dims: tuple[str, ...] | None = None,
    observed: Any = None,
) -> Any:
    """Make a variable from its prior in YAML, inside the model in context.

    Parameters
    ----------
    name
        Name of the variable.
    prior
        What the YAML says: `dist`, its parameters, and the options `dims`, `shape`, `initval`, `transform`,
        `parameterization`.
    scope
        What the names in its expressions mean; grows by the new variable.
    key
        Config key of the prior, for messages.
    dims
        Its dims, where the builder decides on them; None leaves them to the prior. Labels come from the model's
        coords, the data set or `scope.add_labels`; an axis without a name is labelled 0, 1, ...
    observed
        Observed values over those dims; masked ones are imputed.

    Returns
    -------
    variable
        PyMC3's variable; for a non-centred or whitened prior the deterministic of that name, whose helper variables
        are noted in `notes(model).helpers`; for `LKJCholeskyCov` the whole Cholesky factor.

    Raises
    ------
    UserError
        When the prior is wrong, or its parameters do not fit its dims.
    """
    from bayesrun.language.plan import plan

    check(check_prior(key, prior))
    try:
        this = plan(name, prior, scope, key, dims)
        made = _made(this, scope, observed)
    except BayesrunError:
        raise
    except (ValueError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
        raise fail(key, f"PyMC3 can't make this {prior['dist']}: {str(error).splitlines()[0]}") from error
    _check_start(made.variable, prior, key)
    for new, (variable, names) in made.names.items() if observed is None else ():
        scope.add(new, variable, tuple(names))
    return made.variable


def _check_start(variable: Any, prior: Mapping[str, Any], key: str) -> None:
    """Tell a start outside of a transformed variable's range: what is built upon it would be not a number either."""
    import numpy as np

    transformed = getattr(variable, "transformed", None)
    if transformed is not None and not np.isfinite(transformed.tag.test_value).all():
        start = np.asarray(variable.tag.test_value)
        message = f"the prior density of {prior['dist']} is zero at the starting value" + (
            f" {prior['initval']}" if "initval" in prior else f" {start}" if start.size == 1 else ""
        )
        raise fail(key, message, "set an `initval` inside the support, or check the parameters")


def _made(this: Any, scope: Scope, observed: Any) -> Any:
    from bayesrun.language._make import make
    from bayesrun.language._reparameterize import noncentered, whitened

    form = this.option("parameterization")
    if form in ("noncentered", "whitened") and observed is not None:
        raise fail(f"{this.key}.parameterization", "has no meaning for an observed variable", "remove it")
    if form == "noncentered":
        return noncentered(this, scope)
    return whitened(this, scope) if form == "whitened" else make(this, scope, observed)


__all__ = ["Scope", "declare"]

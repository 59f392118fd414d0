"""A variable computed by any registered Python function, as in the PyMC3 tutorial's "arbitrary deterministics".

    a ~ Poisson(1),    b = function(a)

The function has no gradient, so what it depends on is moved by Metropolis steps. `b` may be observed: then
`b_obs ~ likelihood`, by default `Constant(c=b)`, which holds `a` to the values that give exactly what was observed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import Role
from bayesrun.errors import Problem, UserError
from bayesrun.language.distributions import family
from bayesrun.language.prior_checks import check_prior
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, notes, observed_values
from bayesrun.models.functions.base import FUNCTIONS, Function
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr

    from bayesrun.language.priors import Scope


class Options(Section):
    """Options of the type.

    Parameters
    ----------
    function
        Registered name of the function that gives `b`.
    observed
        Name of the data variable with observed values of `b`; it counts when the data have it.
    likelihood
        Their distribution, which may name `b`; null = `{dist: Constant, c: b}`, exactly `b`.
    """

    function: str = "modulo3"
    observed: str = "b"
    likelihood: dict[str, Any] | None = None


class ArbitraryDeterministicSpec(ModelSpec):
    """Config of `type: arbitrary_deterministic`."""

    options: Options = Options()

    def likelihood(self) -> dict[str, Any]:
        """Return the distribution of what is observed."""
        return self.options.likelihood or {"dist": "Constant", "c": "b"}


def roles(spec: ArbitraryDeterministicSpec) -> tuple[Role, ...]:
    """Needs no data; observed values are looked at by `check`."""
    return ()


def static_check(spec: ArbitraryDeterministicSpec) -> list[Problem]:
    """Find what is wrong with the function, the likelihood and how they fit the prior of `a`."""
    try:
        function = FUNCTIONS.load(spec.options.function, "model.options.function")
    except UserError as error:
        return list(error.problems)
    return [*_misfit(function, spec.priors.get("a", {})), *check_prior("model.options.likelihood", spec.likelihood())]


def _misfit(function: Function, prior: Mapping[str, Any]) -> Iterator[Problem]:
    known = family(str(prior.get("dist")))
    if function.takes == "integer" and known is not None and not known.discrete:
        message = f"the function takes whole numbers, and {known.name} is continuous"
        yield Problem("model.priors.a.dist", message, "use a discrete distribution, such as Poisson")


def check(data: xr.Dataset, spec: ArbitraryDeterministicSpec) -> list[Problem]:
    """Find what is wrong with the observed values."""
    name, key = spec.options.observed, "model.options.observed"
    if name not in data.data_vars:
        hint = "name the observed variable there, or use no data: data=null"
        return [Problem(key, f"the data have no variable '{name}' (they have {', '.join(map(str, data))})", hint)]
    if data[name].dtype.kind not in "biuf" or bool(data[name].isnull().any()):
        return [Problem(key, f"'{name}' must be numbers without gaps", "drop_missing: rows drops rows with gaps")]
    return list(_contradictions(data[name], spec))


def _contradictions(observed: xr.DataArray, spec: ArbitraryDeterministicSpec) -> Iterator[Problem]:
    if not _is_exact(spec):
        return
    if _function(spec).gives == "real":
        hint = "give a distribution around b, such as {dist: Normal, mu: b, sigma: 0.1}"
        yield Problem("model.options.likelihood", "a real b can't be observed exactly", hint)
    elif not spec.priors["a"].get("dims") and bool(observed.min() != observed.max()):
        message = f"one a gives one b, but '{spec.options.observed}' takes several values"
        dims = ", ".join(map(str, observed.dims))
        hint = f"give each row an a of its own: dims: [{dims}] in model.priors.a; or another likelihood"
        yield Problem("model.options.likelihood", message, hint)


def build(data: xr.Dataset | None, spec: ArbitraryDeterministicSpec) -> pm.Model:
    """Build the model: `a`, the deterministic `b` with the dims of `a`, and `b_obs` when `b` is observed.

    A whole-numbered `a` whose `b` is observed exactly is sampled as a choice among the values that give it.
    """
    import pymc3 as pm

    from bayesrun.language.priors import declare

    with pm.Model() as model:
        scope = _scope(data, spec)
        a = declare("a", spec.priors["a"], scope, "model.priors.a")
        _observe(_transform(a, spec), data, spec, scope)
    function, observed = _function(spec), spec.options.observed
    if data is None or not _is_exact(spec) or function.takes != "integer":
        return model
    if a.ndim and a.tag.test_value.shape != data[observed].shape:
        return model
    return _conditioned(model, data, spec)


def _conditioned(model: pm.Model, data: xr.Dataset, spec: ArbitraryDeterministicSpec) -> pm.Model:
    import pymc3 as pm

    from bayesrun.models._preimage import categorical, preimage

    dims = model.RV_dims.get("a")
    possible = preimage(model["a"], _function(spec), data[spec.options.observed].values, "model.options.observed")
    with pm.Model(coords=model.coords) as conditioned:
        a = pm.Deterministic("a", categorical("a_place", possible), dims=dims)
        _observe(_transform(a, spec, dims), data, spec, _scope(data, spec))
    notes(conditioned).helpers.add("a_place")
    notes(conditioned).reported = model
    return conditioned


def _function(spec: ArbitraryDeterministicSpec) -> Function:
    return FUNCTIONS.load(spec.options.function, "model.options.function")


def _is_exact(spec: ArbitraryDeterministicSpec) -> bool:
    given = spec.likelihood()
    return given.get("dist") in ("Constant", "ConstantDist") and given.get("c") == "b"


def _scope(data: xr.Dataset | None, spec: ArbitraryDeterministicSpec) -> Scope:
    """Return what names in priors mean; `b` is the model's there, not the data's."""
    from bayesrun.language.priors import Scope

    return Scope(None if data is None else data.drop_vars([spec.options.observed]))


def _transform(a: Any, spec: ArbitraryDeterministicSpec, dims: tuple[str, ...] | None = None) -> Any:
    """Add the deterministic `b`, with the dims of `a`."""
    import pymc3 as pm

    from bayesrun.models._black_box import BlackBox

    dims = dims or pm.modelcontext(None).RV_dims.get("a")
    return pm.Deterministic("b", BlackBox(spec.options.function, _function(spec))(a), dims=dims)


def _observe(b: Any, data: xr.Dataset | None, spec: ArbitraryDeterministicSpec, scope: Scope) -> None:
    """Add the likelihood of the observed values, if there are any."""
    import pymc3 as pm

    from bayesrun.language.priors import declare

    if data is None:
        return
    values, dims = observed_values(data, spec.options.observed, "b_obs")
    scope.add("b", b, pm.modelcontext(None).RV_dims.get("b"))
    declare("b_obs", spec.likelihood(), scope, "model.options.likelihood", dims=dims, observed=values)


MODEL = ModelType(ArbitraryDeterministicSpec, PriorNames(("a",)), roles, build, check, static_check)

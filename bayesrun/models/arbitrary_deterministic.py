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
from bayesrun.language.distributions import check_prior, family
from bayesrun.models.base import ModelSpec, ModelType, PriorNames, observed_values
from bayesrun.models.functions.base import FUNCTIONS, Function
from bayesrun.schema import Section

if TYPE_CHECKING:
    import pymc3 as pm
    import xarray as xr
    from numpy.typing import NDArray

_FURTHEST = 1000
"""Values of `a` up to which a start is looked for that gives what was observed."""


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
    return [*_misfit(function, spec.priors["a"]), *check_prior("model.options.likelihood", spec.likelihood())]


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
    if spec.likelihood().get("dist") not in ("Constant", "ConstantDist"):
        return
    if FUNCTIONS.load(spec.options.function, "model.options.function").gives == "real":
        hint = "give a distribution around b, such as {dist: Normal, mu: b, sigma: 0.1}"
        yield Problem("model.options.likelihood", "a real b can't be observed exactly", hint)
    elif not spec.priors["a"].get("dims") and bool(observed.min() != observed.max()):
        message = f"one a gives one b, but '{spec.options.observed}' takes several values"
        dims = ", ".join(map(str, observed.dims))
        hint = f"give each row an a of its own: dims: [{dims}] in model.priors.a; or another likelihood"
        yield Problem("model.options.likelihood", message, hint)


def build(data: xr.Dataset | None, spec: ArbitraryDeterministicSpec) -> pm.Model:
    """Build the model: `a`, the deterministic `b` with the dims of `a`, and `b_obs` when `b` is observed."""
    import pymc3 as pm

    from bayesrun.language.priors import Scope, declare

    options = spec.options
    function = FUNCTIONS.load(options.function, "model.options.function")
    with pm.Model() as model:
        scope = Scope(None if data is None else data.drop_vars([options.observed], errors="ignore"))
        a = declare("a", spec.priors["a"], scope, "model.priors.a")
        if data is None:
            _transform(a, options.function, function)
            return model
        values, dims = observed_values(data, options.observed, "b_obs")
        if "initval" not in spec.priors["a"]:
            _start(a, function, values)
        scope.add("b", _transform(a, options.function, function), model.RV_dims.get("a"))
        declare("b_obs", spec.likelihood(), scope, "model.options.likelihood", dims=dims, observed=values)
    return model


def _transform(a: Any, name: str, function: Function) -> Any:
    """Add the deterministic `b`, with the dims of `a`."""
    import pymc3 as pm

    from bayesrun.models._black_box import BlackBox

    return pm.Deterministic("b", BlackBox(name, function)(a), dims=pm.modelcontext(None).RV_dims.get("a"))


def _start(a: Any, function: Function, values: NDArray[Any]) -> None:
    """Start where the prior is positive and the function gives what was observed, as nearly as it can."""
    import numpy as np

    if function.takes != "integer" or a.ndim > 1:
        return
    candidates = np.arange(-_FURTHEST, _FURTHEST + 1)
    possible = candidates[np.isfinite(a.distribution.logp(candidates[:, None]).eval()).all(axis=-1)]
    possible = possible[np.argsort(np.abs(possible), kind="stable")]
    if not possible.size:
        return
    given = np.array([function.call(int(c)) for c in possible])
    wanted = np.atleast_1d(values) if a.ndim else np.atleast_1d(np.mean(values))
    nearest = np.abs(given[:, None] - wanted).argmin(axis=0)
    a.tag.test_value = possible[nearest].astype(a.dtype).reshape(a.tag.test_value.shape)


MODEL = ModelType(ArbitraryDeterministicSpec, PriorNames(("a",)), roles, build, check, static_check)

"""A variable computed by any registered Python function, as in the PyMC3 tutorial's "arbitrary deterministics".

    a ~ Poisson(1),    b = function(a)

The function has no gradient, so the variables it depends on are sampled by Metropolis steps. `b` may be observed: then
`b_obs ~ likelihood`, by default `Constant(c=b)`, which restricts `a` to values that give the exact observations.
Metropolis steps can't leave such a value: the next possible value may be several steps away, and everything in
between has probability 0. So an integer `a` is then sampled as a choice among the possible values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.errors import Problem, UserError, fail
from bayesrun.language.declaration import Declaration, Draft, observed_values
from bayesrun.language.distributions import family
from bayesrun.language.functions import index
from bayesrun.language.plan import Plan, of_values
from bayesrun.language.prior_checks import check_prior
from bayesrun.language.priors import declare, declare_likelihood
from bayesrun.language.probability_masses import log_probability
from bayesrun.language.values import Value, compute, constant
from bayesrun.lazy import xr
from bayesrun.models.base import ModelSpec, ModelType, PriorNames
from bayesrun.models.functions.base import FUNCTIONS, Function
from bayesrun.schema import Section

MAX_VALUE = 100_000
"""Largest absolute value of `a` that is considered."""
_NEGLIGIBLE = 1e-12
"""Values with a prior probability below this fraction of the largest are omitted."""


class Options(Section):
    """Options of the model type.

    Parameters
    ----------
    function
        Registered name of the function that gives `b`.
    observed
        Name of the data variable with observed values of `b`; ignored if the data do not have it.
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
        """Return the distribution of the observed values."""
        return self.options.likelihood or {"dist": "Constant", "c": "b"}


def roles(spec: ArbitraryDeterministicSpec) -> tuple[Role, ...]:
    """Return no roles: the model needs no data; `check` examines observed values."""
    return ()


def static_check(spec: ArbitraryDeterministicSpec) -> list[Problem]:
    """Find errors in the function and the likelihood, and whether they fit the prior of `a`."""
    try:
        function = FUNCTIONS.load(spec.options.function, "model.options.function")
    except UserError as error:
        return list(error.problems)
    return [*_misfit(function, spec.priors.get("a", {})), *check_prior("model.options.likelihood", spec.likelihood())]


def _misfit(function: Function, prior: Mapping[str, Any]) -> Iterator[Problem]:
    known = family(str(prior.get("dist")))
    if function.takes == "integer" and known is not None and not known.discrete:
        message = f"the function takes whole numbers, but {known.name} is continuous"
        yield Problem("model.priors.a.dist", message, "use a discrete distribution, such as Poisson")


def check(data: xr.Dataset, spec: ArbitraryDeterministicSpec) -> list[Problem]:
    """Find errors in the observed values."""
    name, key = spec.options.observed, "model.options.observed"
    if name not in data.data_vars:
        hint = "name the observed variable there, or use no data: data=null"
        return [Problem(key, f"the data have no variable '{name}' (they have {', '.join(map(str, data))})", hint)]
    if data[name].dtype.kind not in "biuf" or bool(data[name].isnull().any()):
        return [
            Problem(
                key,
                f"'{name}' must be numeric, without missing values",
                "drop_missing: rows drops rows with missing values",
            )
        ]
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


def build(data: xr.Dataset | None, spec: ArbitraryDeterministicSpec) -> Declaration:
    """Declare the model: `a`, the deterministic `b` with the dims of `a`, and `b_obs` when `b` is observed.

    An integer `a` whose `b` is observed exactly is sampled as a choice among the values that reproduce it.
    """
    draft = _draft(data, spec)
    a = declare(draft, "a", spec.priors["a"], "model.priors.a")
    dims = draft.name_axes("a", a.dims, a.shape, draft.scope)
    _observe(draft, _transform(draft, a, dims, spec), data, spec)
    plain = draft.declaration()
    if data is None or not _is_exact(spec) or _function(spec).takes != "integer":
        return plain
    if a.ndim and a.shape != data[spec.options.observed].shape:
        return plain
    conditioned = _conditioned(data, spec, plain.random("a").plan, dims)
    return replace(conditioned, reported=plain)


def _conditioned(data: xr.Dataset, spec: ArbitraryDeterministicSpec, prior: Plan, dims: tuple[str, ...]) -> Declaration:
    possible = preimage(prior, _function(spec), data[spec.options.observed].values, "model.options.observed")
    draft = _draft(data, spec)
    draft.name_axes("a", prior.dims, prior.shape, draft.scope)
    a = draft.deterministic("a", _chosen(draft, possible).named(prior.dims), dims)
    _observe(draft, _transform(draft, a, dims, spec), data, spec)
    return draft.declaration()


def _draft(data: xr.Dataset | None, spec: ArbitraryDeterministicSpec) -> Draft:
    """Start a draft; in priors, `b` refers to the model's variable, not to one of the data."""
    return Draft(None if data is None else data.drop_vars([spec.options.observed]))


def _function(spec: ArbitraryDeterministicSpec) -> Function:
    return FUNCTIONS.load(spec.options.function, "model.options.function")


def _is_exact(spec: ArbitraryDeterministicSpec) -> bool:
    given = spec.likelihood()
    return given.get("dist") in ("Constant", "ConstantDist") and given.get("c") == "b"


def _transform(draft: Draft, a: Value, dims: tuple[str, ...], spec: ArbitraryDeterministicSpec) -> Value:
    """Add the deterministic `b`, with the dims of `a`."""
    return draft.deterministic("b", compute("black_box", [a], None, _function(spec), spec.options.function), dims)


def _observe(draft: Draft, b: Value, data: xr.Dataset | None, spec: ArbitraryDeterministicSpec) -> None:
    """Add the likelihood of the observed values, if there are any."""
    if data is None:
        return
    draft.scope.add("b", b)
    observed = observed_values(data[spec.options.observed])
    draft.add_coords(observed.coords)
    declare_likelihood(draft, "b_obs", spec.likelihood(), "model.options.likelihood", observed)


@dataclass(frozen=True)
class Preimage:
    """Possible values and their prior probabilities, over (place) or (row, place); rows are padded with 0."""

    values: NDArray[Any]
    probabilities: NDArray[Any]


def preimage(prior: Plan, function: Function, observed: NDArray[Any], key: str) -> Preimage:
    """List the values of a discrete variable that reproduce the observations.

    Parameters
    ----------
    prior
        The variable, a scalar or one per row, under its prior.
    function
        The function of it whose value was observed.
    observed
        The observed values, over the rows.
    key
        Config key of the observed variable, for messages.

    Raises
    ------
    UserError
        When no value in the prior's support reproduces the observations.
    """
    values, logs = _support(prior)
    given = np.array([function.call(int(value)) for value in values])
    wanted = observed if prior.shape else observed[:1]
    found = [_possible(values, logs[:, row], given == b) for row, b in enumerate(wanted)]
    for b, (possible, _) in zip(wanted, found, strict=True):
        if not possible.size:
            message = f"{b} was observed, but no a in the support of its prior gives it"
            raise fail(key, message, "correct the data, or give a distribution around b: model.options.likelihood")
    longest = max(len(possible) for possible, _ in found)
    table = np.array([np.pad(possible, (0, longest - len(possible)), mode="edge") for possible, _ in found])
    weights = np.array([np.pad(shares, (0, longest - len(shares))) for _, shares in found])
    return Preimage(table, weights) if prior.shape else Preimage(table[0], weights[0])


def _chosen(draft: Draft, possible: Preimage) -> Value:
    """Add the choice among possible values, a helper, and return the chosen ones."""
    rows = possible.values.shape[:-1]
    plan = of_values("a_place", "Categorical", {"p": constant(possible.probabilities)}, (None,) * len(rows), rows)
    place = draft.random(plan, helper=True)["a_place"]
    parts = [constant(np.arange(rows[0])), place] if rows else [place]
    return index(constant(possible.values), parts)


def _support(prior: Plan) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values in the prior's support, and their log probabilities over (value, row)."""
    values = np.arange(-MAX_VALUE, MAX_VALUE + 1)
    logs = log_probability(prior, values[:, None])
    logs = np.broadcast_to(logs, (len(values), int(np.prod(prior.shape))))
    kept = (logs > logs.max(axis=0) + np.log(_NEGLIGIBLE)).any(axis=1)
    return values[kept], logs[kept]


def _possible(values: NDArray[Any], logs: NDArray[Any], fits: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    fits = fits & (logs > logs.max() + np.log(_NEGLIGIBLE))
    shares = np.exp(logs[fits] - logs.max())
    return values[fits], shares / shares.sum() if shares.size else shares


MODEL = ModelType(ArbitraryDeterministicSpec, PriorNames(("a",)), roles, build, check, static_check)

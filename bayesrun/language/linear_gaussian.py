"""Structural time series: levels, trends, seasonal effects and autoregressions, summed out by the Kalman filter.

likelihood:
  y:
    dist: LinearGaussian
    level: {sd: sd_level, init: {dist: Normal, mu: 1000, sigma: 500}}
    trend: {sd: sd_trend, init: {dist: Normal, sigma: 10}}
    seasonal: {period: 12, sd: sd_seasonal, init: {dist: Normal, sigma: 50}}
    ar: {rho: rho, sd: sd_ar}
    mu: dot(X, beta)                                  # what the components are added to
    sigma: sigma                                      # of an observation
    steps: days(date)                                 # times of the rows; by default a row is one step
    observed: y

With the level `l`, its slope `b`, the seasonal effects `s` of `S` rows and the autoregression `u`,

    y_t = mu_t + l_t + s_t + u_t + e_t,          e_t ~ Normal(0, sigma)
    l_t = l_{t-1} + b_{t-1} + w_t,               w_t ~ Normal(0, sd_level)
    b_t = b_{t-1} + v_t,                         v_t ~ Normal(0, sd_trend)
    s_t = -(s_{t-1} + ... + s_{t-S+1}) + r_t,    r_t ~ Normal(0, sd_seasonal)
    u_t = rho_1 u_{t-1} + ... + n_t,             n_t ~ Normal(0, sd_ar)

The likelihood has a term for each row given those before; rows without a value have none. The components are drawn
afterwards, given all rows. Harvey 1989 (doi:10.1017/CBO9781107049994); Durbin and Koopman 2012.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import Problem, UserError, did_you_mean, fail
from bayesrun.language.densities.algebra import at_most, less, where
from bayesrun.language.distributions import Distribution, DistributionParameter
from bayesrun.language.expressions import read
from bayesrun.language.functions import index
from bayesrun.language.hidden_markov import as_input
from bayesrun.language.kalman_filter import Component, StateSpace
from bayesrun.language.modifiers import Modifiers
from bayesrun.language.operations import Call
from bayesrun.language.plan import Plan
from bayesrun.language.prior_checks import check_prior, value_problems
from bayesrun.language.scope import Scope
from bayesrun.language.time_steps import step_lengths
from bayesrun.language.values import Fault, Value, compute, conform, constant, fixed, node_of

Array = NDArray[Any]

LINEAR_GAUSSIAN = "LinearGaussian"
COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "level": ("sd", "init"),
    "trend": ("sd", "init"),
    "seasonal": ("period", "sd", "init"),
    "ar": ("rho", "sd", "init"),
}
"""Keys of each component."""
KEYS = ("dist", *COMPONENTS, "mu", "sigma", "steps")
MAX_PERIOD, MAX_LAGS, MAX_STEPS = 60, 10, 1_000_000
_TERMS = Distribution(LINEAR_GAUSSIAN, "real", 0, {"terms": DistributionParameter("terms", "real")}, (), declared=True)
_INIT = "write init: {dist: Normal, mu: 0, sigma: 5}, its distribution at the first row"


@dataclass(frozen=True)
class LinearGaussian:
    """A linear Gaussian state space model over the last dim of what was observed.

    Parameters
    ----------
    name
        Name of the likelihood; its components are `NAME_level` and so on, and `NAME_end` are the states at the last
        row, from which forecasts go on.
    dims, shape
        Axes of what was observed.
    system
        The model over its steps, of which rows may be some only.
    inputs
        Inputs of the system.
    mu, sigma
        Mean and sd of an observation about the components, over the rows.
    places
        The step of each row.
    kept
        Which values were observed.
    terms
        Log density of each row given those before.
    """

    name: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    system: StateSpace
    inputs: tuple[Value, ...]
    mu: Value
    sigma: Value
    places: NDArray[np.int64]
    kept: NDArray[np.bool_]
    terms: Value

    def plan(self, key: str) -> Plan:
        """Return its distribution, whose density is that of the terms."""
        modifiers = None if self.kept.all() else Modifiers(kept=self.kept)
        return Plan(self.name, key, _TERMS, self.dims, self.shape, {"terms": self.terms}, modifiers=modifiers)

    @property
    def parts(self) -> dict[str, int]:
        """State of each component by name."""
        return {f"{self.name}_{name}": state for name, state in parts_of(self.system).items()}


def parts_of(system: StateSpace) -> dict[str, int]:
    """Return the state of each component."""
    found: dict[str, int] = {}
    for component in system.components:
        found["level" if component.kind == "trend" else component.kind] = component.start
        found |= {"trend": component.start + 1} if component.kind == "trend" else {}
    return found


def labels_of(system: StateSpace) -> list[str]:
    """Return a label for each state."""
    found = []
    for one in system.components:
        if one.kind == "trend":
            found += ["level", "trend"]
        else:
            found += [one.kind, *(f"{one.kind}[t-{lag}]" for lag in range(1, one.size))]
    return found


# ---------------------------------------------------------------- checks without data


def linear_gaussian_problems(key: str, body: Mapping[str, Any]) -> Iterator[Problem]:
    """Find the errors in a structural time series that can be detected without data."""
    for name in body:
        if name not in KEYS:
            yield Problem(f"{key}.{name}", f"{LINEAR_GAUSSIAN} has no key '{name}'", did_you_mean(str(name), KEYS[1:]))
    if body.get("sigma") is None:
        yield Problem(f"{key}.sigma", "is required: the sd of an observation about the components", "sigma: sigma")
    for name, domain in (("mu", "real"), ("sigma", "nonnegative"), ("steps", "steps")):
        if body.get(name) is not None:
            yield from value_problems(f"{key}.{name}", body[name], DistributionParameter(name, domain))
    given = [name for name in COMPONENTS if body.get(name) is not None]
    if not set(given) - {"trend"}:
        hint = "write level: {sd: sd_level, init: {dist: Normal, mu: 0, sigma: 5}}"
        message = "a trend is the slope of a level" if given else "has no component"
        yield Problem(f"{key}.level", message, hint)
    elif "trend" in given and "level" not in given:
        yield Problem(f"{key}.level", "is required: a trend is the slope of a level", "its sd may be 0: level: {sd: 0}")
    for name in given:
        if isinstance(body[name], Mapping):
            yield from _component_problems(f"{key}.{name}", name, body[name])
        else:
            example = ", ".join(f"{each}: ..." for each in COMPONENTS[name])
            yield Problem(f"{key}.{name}", f"must be {{{example}}} (got {body[name]!r})")


def _component_problems(key: str, name: str, body: Mapping[str, Any]) -> Iterator[Problem]:
    for each in body:
        if each not in COMPONENTS[name]:
            hint = "here sd" if each == "sigma" else did_you_mean(str(each), COMPONENTS[name])
            yield Problem(f"{key}.{each}", f"the component '{name}' has no key '{each}'", hint)
    if body.get("sd") is None:
        yield Problem(f"{key}.sd", "is required: the sd of its change from row to row", "0 if it does not change")
    else:
        yield from value_problems(f"{key}.sd", body["sd"], DistributionParameter("sd", "nonnegative"))
    if name == "seasonal":
        period = body.get("period")
        is_whole = isinstance(period, int) and not isinstance(period, bool)
        if not is_whole or not 2 <= int(period or 0) <= MAX_PERIOD:
            message = f"must be a whole number of rows from 2 to {MAX_PERIOD} (got {period!r})"
            hint = "12 for months of a year; a longer one is a sum of sines and cosines in mu"
            yield Problem(f"{key}.period", message, hint)
    if name == "ar" and body.get("rho") is None:
        yield Problem(
            f"{key}.rho", "is required: the coefficients of the rows before", "a prior, with shape: 2 for two"
        )
    elif name == "ar":
        yield from value_problems(f"{key}.rho", body["rho"], DistributionParameter("rho", "real"))
    yield from _init_problems(f"{key}.init", name, body.get("init"))


def _init_problems(key: str, name: str, init: Any) -> Iterator[Problem]:
    if init is None:
        if name != "ar":
            yield Problem(key, "is required: what is known of it at the first row", _INIT)
    elif not isinstance(init, Mapping):
        if name in ("level", "trend"):
            yield from value_problems(key, init, DistributionParameter("init", "real"))
        else:
            yield Problem(key, f"must be a normal distribution (got {init!r})", _INIT)
    elif init.get("dist") != "Normal" or set(init) - {"dist", "mu", "sigma"}:
        yield Problem(key, f"must be {{dist: Normal, mu: , sigma: }} (got {dict(init)!r})", _INIT)
    else:
        yield from check_prior(key, init, observed=True)
        if name in ("seasonal", "ar") and init.get("mu") not in (None, 0, 0.0):
            yield Problem(f"{key}.mu", f"must be 0 (got {init['mu']!r}): a level holds the mean", "remove it")


# ---------------------------------------------------------------- from YAML to the filter


@dataclass(frozen=True)
class SeriesReader:
    """Reads the parts of a series, aligned with its axes.

    Parameters
    ----------
    body
        The likelihood in YAML.
    scope
        Values of the names in its expressions.
    key
        Its config key.
    dims, shape
        Its axes; the series goes along the last one.
    """

    body: Mapping[str, Any]
    scope: Scope
    key: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]

    def value(self, where: str, given: Any, by_row: bool = True) -> Value:
        """Return a value; it may differ between rows unless `by_row` is false."""
        key = f"{self.key}.{where}"
        found = read(given, self.scope, key, self.dims)
        try:
            fitted = conform(found, self.dims, self.shape)
        except Fault as fault:
            raise UserError([Problem(key, fault.message, fault.hint)]) from None
        if not by_row and fitted.ndim and fitted.shape[-1] > 1:
            raise fail(key, f"must be one number for all of '{self.dims[-1]}'", "it may differ between series")
        return fitted

    def whole(self, where: str, given: Any) -> Value:
        """Return a value over all axes."""
        value = self.value(where, given)
        return compute("add", [value, constant(np.zeros(self.shape), self.dims)], self.dims)

    def components(self) -> tuple[Component, ...]:
        """Return the components."""
        found, start = list[Component](), 0
        for name in ("level", "seasonal", "ar"):
            given = self.body.get(name)
            if given is None:
                continue
            kind: Any = "trend" if name == "level" and self.body.get("trend") is not None else name
            size = {"level": 1, "trend": 2}.get(kind) or (
                int(given["period"]) - 1 if name == "seasonal" else len(self.coefficients())
            )
            found.append(Component(kind, start, size))
            start += size
        return tuple(found)

    def coefficients(self) -> list[Value]:
        """Return the coefficients of an autoregression: a number, or the elements of the last axis."""
        key = f"{self.key}.ar.rho"
        value = read(self.body["ar"]["rho"], self.scope, key)
        over_series = value.ndim and set(value.dims) <= set(self.dims[:-1])
        if not value.ndim or over_series:
            return [self.value("ar.rho", self.body["ar"]["rho"], by_row=False)]
        if value.shape[-1] > MAX_LAGS or value.dims[-1] in self.dims:
            raise fail(key, f"has {value.shape[-1]} coefficients", f"up to {MAX_LAGS} are possible")
        before = [slice(None)] * (value.ndim - 1)
        each = [index(value, [*before, constant(lag)]) for lag in range(value.shape[-1])]
        try:
            return [conform(one, self.dims, self.shape) for one in each]
        except Fault as fault:
            raise UserError([Problem(key, fault.message, fault.hint)]) from None

    def starts(self, components: Sequence[Component]) -> tuple[list[Value], list[Value]]:
        """Return the mean and the variance of each state at the first row."""
        means, variances = list[Value](), list[Value]()
        for one in components:
            names = ("level", "trend") if one.kind == "trend" else (one.kind,) * one.size
            for name in names:
                mean, variance = self._start(name, one)
                means.append(mean)
                variances.append(variance)
        return means, variances

    def _start(self, name: str, one: Component) -> tuple[Value, Value]:
        init, zero = self.body[name].get("init"), fixed(0.0)
        if init is None:
            if one.size > 1:
                message = f"is required: an autoregression of {one.size} rows has no simple distribution to begin with"
                raise fail(f"{self.key}.{name}.init", message, _INIT)
            rho, sd = self.coefficients()[0], self.value(f"{name}.sd", self.body[name]["sd"], by_row=False)
            return zero, where(less(rho**2, 1.0), squared(sd) / (1.0 - rho**2), float("nan"))
        if not isinstance(init, Mapping):
            return self.value(f"{name}.init", init, by_row=False), zero
        mean = zero if init.get("mu") is None else self.value(f"{name}.init.mu", init["mu"], by_row=False)
        return mean, squared(self.value(f"{name}.init.sigma", init["sigma"], by_row=False))

    def disturbances(self, components: Sequence[Component], by_row: bool) -> list[Value]:
        """Return the variance of the change of each state that changes."""
        names = [name for one in components for name in (("level", "trend") if one.kind == "trend" else (one.kind,))]
        return [squared(self.value(f"{name}.sd", self.body[name]["sd"], by_row)) for name in names]


def squared(sd: Value) -> Value:
    """Return a variance; NaN, for which the density is 0, of a negative sd."""
    return sd**2 if sd.known is not None else where(at_most(constant(0.0), sd), sd**2, float("nan"))


def read_linear_gaussian(
    name: str, body: Mapping[str, Any], scope: Scope, key: str, observed: Array, dims: Sequence[str]
) -> LinearGaussian:
    """Compute the terms of a structural time series.

    Parameters
    ----------
    name
        Name of the likelihood.
    body
        The likelihood in YAML, checked by `linear_gaussian_problems`.
    scope
        Values of the names in its expressions.
    key
        Its config key.
    observed
        The data over the dims, NaN where missing.
    dims
        Names of its axes; the series goes along the last one.

    Raises
    ------
    UserError
        When a parameter does not fit, or times do not increase.
    """
    axes, shape = tuple(map(str, dims)), observed.shape
    reader = SeriesReader(body, scope, key, axes, shape)
    components = reader.components()
    lengths = _lengths(body, scope, key, shape[-1])
    places, steps = placed(lengths, components, f"{key}.steps")
    kept = ~np.isnan(observed.astype(float))
    if not kept.any():
        raise fail(f"{key}.observed", "has no value: all are missing", "observe another variable")
    mu, sigma = reader.whole("mu", body.get("mu", 0)), reader.value("sigma", body["sigma"])
    noise = sigma
    means, variances = reader.starts(components)
    changes = reader.disturbances(components, by_row=_every_step(places))
    residual = constant(np.where(kept, observed, 0.0), axes) - mu
    count = int(places[-1]) + 1
    rows = np.zeros(count, dtype=np.int64)
    rows[places] = np.arange(len(places))
    of_steps = [residual, constant(kept.astype(float), axes)]
    seen = np.zeros(count)
    seen[places] = 1.0
    if not _every_step(places):
        of_steps = [_at_steps(value, rows) for value in of_steps]
        of_steps[1] = constant(of_steps[1].known * seen, axes)
        noise = _at_steps(sigma, rows)
    coefficients = reader.coefficients() if any(c.kind == "ar" for c in components) else []
    values = [*of_steps, constant(steps), squared(noise), *means, *variances, *changes, *coefficients]
    inputs, kinds = zip(*[as_input(value, axes, (*shape[:-1], count)) for value in values], strict=True)
    system = StateSpace(tuple(kinds), tuple(shape[:-1]), count, components)
    terms = Value(axes, system.shape, node=Call("kalman_filter", tuple(map(node_of, inputs)), (system,)))
    if not _every_step(places):
        terms = index(terms, [*[slice(None)] * (len(shape) - 1), constant(places)]).named(axes)
    return LinearGaussian(
        name, axes, shape, system, inputs, mu, reader.value("sigma", body["sigma"]), places, kept, terms
    )


def _lengths(body: Mapping[str, Any], scope: Scope, key: str, rows: int) -> Array:
    """Return the length of each step between rows."""
    if body.get("steps") is None:
        return np.ones(rows - 1)
    try:
        return step_lengths(read(body["steps"], scope, f"{key}.steps"), rows)
    except Fault as fault:
        raise UserError([Problem(f"{key}.steps", fault.message, fault.hint)]) from None


def placed(lengths: Array, components: Sequence[Component], key: str) -> tuple[NDArray[np.int64], Array]:
    """Return the step of each row, and the length of the step into each.

    A random walk alone goes on in steps of any length; for other components a longer step is several steps of 1.
    """
    if all(component.kind == "level" for component in components):
        return np.arange(len(lengths) + 1), np.concatenate([np.ones(1), lengths])
    whole = np.round(lengths)
    wrong = np.flatnonzero((np.abs(lengths - whole) > 1e-6) | (whole < 1))
    if wrong.size:
        message = f"must be whole numbers of steps for anything but a level (got {lengths[wrong[0]]:g})"
        raise fail(key, message, "count periods, such as 12 * year(date) + month(date), or days(date) / 7")
    places = np.concatenate([np.zeros(1), np.cumsum(whole)]).astype(np.int64)
    if places[-1] >= MAX_STEPS:
        raise fail(key, f"are {places[-1]:,} steps of 1 in all (up to {MAX_STEPS:,})", "count longer periods")
    return places, np.ones(int(places[-1]) + 1)


def _every_step(places: NDArray[np.int64]) -> bool:
    """Return whether there is a row at each step."""
    return bool(places[-1] + 1 == len(places))


def _at_steps(value: Value, rows: NDArray[np.int64]) -> Value:
    """Return a value over the rows at all steps; what it is where there is no row does not matter."""
    if not value.ndim or value.shape[-1] == 1:
        return value
    dims = value.dims
    return index(value, [*[slice(None)] * (value.ndim - 1), constant(rows)]).named(dims)

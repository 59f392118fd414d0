"""Counts whose rate switches once, at an unknown year, as in the PyMC3 tutorial's coal-mining disasters.

    switchpoint ~ DiscreteUniform(first year, last year),  early_rate, late_rate ~ Exponential
    disasters_t ~ Poisson(early_rate if switchpoint >= t else late_rate)

Missing counts are imputed. Form `compound` samples the discrete variables with Metropolis steps beside NUTS; form
`marginal` sums them out and draws them afterwards, from the same posterior. Given both rates, the years are
independent, so with `c_s` the number of observed years up to `s`, `t_s` the sum of their counts, and `C`, `T` the
totals,

    log p(y, s | early, late) = log p(s) + t_s log early - c_s early + (T - t_s) log late - (C - c_s) late + const.

`p(y | early, late)` is the sum of this over all `s`: NUTS samples a smooth, two-dimensional density. Missing counts
carry no information about the rates and are left out. Afterwards `s` is drawn from `p(s | y, early, late)` and missing
counts from Poisson distributions given `s` and the rates, both exactly (Rao-Blackwellisation in reverse; Stan User's
Guide, "Latent discrete parameters"). The joint posterior is that of form `compound`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.language.declaration import Declaration, Draft, observed_values
from bayesrun.language.functions import log as log_value
from bayesrun.language.functions import reduce_axis, where
from bayesrun.language.priors import declare
from bayesrun.language.probability_masses import log_probability
from bayesrun.language.values import apply, constant, replaceable
from bayesrun.lazy import special, xr
from bayesrun.models.base import ModelSpec, ModelType, PriorNames
from bayesrun.schema import Section

if TYPE_CHECKING:
    from bayesrun.language.plan import Plan

log = logging.getLogger("bayesrun.models")


class Options(Section):
    """Options of the model type.

    Parameters
    ----------
    form
        How it is sampled: `marginal` sums the discrete variables out and draws them afterwards, `compound` moves them
        by Metropolis beside NUTS.
    response
        Data variable with the counts.
    time
        Dim of the counts; the switchpoint is in its units.
    """

    form: Literal["marginal", "compound"] = "marginal"
    response: str = "disasters"
    time: str = "year"


class SwitchpointSpec(ModelSpec):
    """Config of `type: switchpoint`."""

    options: Options = Options()


def roles(spec: SwitchpointSpec) -> tuple[Role, ...]:
    """Return the roles: counts by year; missing counts are imputed."""
    return (Role(spec.options.response, "observed", "count", key="model.options.response"),)


def build(data: xr.Dataset, spec: SwitchpointSpec) -> Declaration:
    """Declare the model in its form; `marginal` is reported as `compound`, the fallback if the prior is unsuitable."""
    compound = _compound(data, spec)
    if spec.options.form == "compound":
        return compound
    try:
        return _marginal(data, spec, compound)
    except Unsuitable as reason:
        log.warning("form 'marginal' is not possible: %s; form 'compound' is used", reason)
        return compound


def _compound(data: xr.Dataset, spec: SwitchpointSpec) -> Declaration:
    """Declare the model over the dim of the counts; `disasters_missing` is labelled by year."""
    response, draft = data[spec.options.response], Draft(data)
    switchpoint = declare(draft, "switchpoint", spec.priors["switchpoint"], "model.priors.switchpoint")
    early = declare(draft, "early_rate", spec.priors["early_rate"], "model.priors.early_rate")
    late = declare(draft, "late_rate", spec.priors["late_rate"], "model.priors.late_rate")
    time = data[spec.options.time]
    years = constant(time.values, tuple(map(str, time.dims)))
    rate = where(switchpoint >= years, early, late)
    draft.observe(spec.options.response, "Poisson", {"mu": rate}, observed_values(response))
    return draft.declaration()


class Unsuitable(Exception):
    """The switchpoint can't be marginalized; the message gives the reason."""


@dataclass(frozen=True)
class Evidence:
    """The evidence of the data and the switchpoint's prior on each candidate switchpoint.

    Parameters
    ----------
    candidates
        Possible values of the switchpoint (candidate).
    log_prior
        Their log prior probabilities (candidate).
    years_before, counts_before
        Number of observed years up to each candidate, and the sum of their counts (candidate).
    years, counts
        The same of all years.
    constant
        Part of the log likelihood that depends on nothing.
    missing
        Years whose count is missing.
    """

    candidates: NDArray[np.int64]
    log_prior: NDArray[np.float64]
    years_before: NDArray[np.float64]
    counts_before: NDArray[np.float64]
    years: Any
    counts: Any
    constant: Any
    missing: NDArray[Any]

    def log_terms(self, early: Any, late: Any, log: Callable[[Any], Any]) -> Any:
        """Return `log p(y, s | early, late)` of each candidate (..., candidate).

        Parameters
        ----------
        early, late
            Rates, with a last axis of 1 or scalar: NumPy arrays, or values of the model.
        log
            The logarithm of such rates.
        """
        before = self.counts_before * log(early) - self.years_before * early
        after = (self.counts - self.counts_before) * log(late) - (self.years - self.years_before) * late
        return before + after + self.log_prior + self.constant


def _marginal(data: xr.Dataset, spec: SwitchpointSpec, compound: Declaration) -> Declaration:
    """Declare the marginalized model: free variables `early_rate` and `late_rate`, and a function to recover the rest.

    Raises
    ------
    Unsuitable
        When the switchpoint's prior is not 0 outside the years, or depends on other variables.
    """
    evidence = _evidence(
        data[spec.options.response], data[spec.options.time].values, compound.random("switchpoint").plan
    )
    draft = Draft(data)
    early = declare(draft, "early_rate", spec.priors["early_rate"], "model.priors.early_rate")
    late = declare(draft, "late_rate", spec.priors["late_rate"], "model.priors.late_rate")
    sums: dict[str, Any] = {name: replaceable(getattr(evidence, name)) for name in ("years", "counts", "constant")}
    terms = replace(evidence, **sums).log_terms(early, late, log_value)
    density = apply("bounded", [reduce_axis("logsumexp", terms), early > 0, late > 0])
    draft.potential(f"{spec.options.response}_marginal", density)
    return replace(draft.declaration(), recover=_Recovery(evidence, spec.options.response), reported=compound)


@dataclass(frozen=True)
class _Recovery:
    """Draws the switchpoint and the missing counts, given the rates."""

    evidence: Evidence
    response: str

    def __call__(self, draws: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        early, late = draws["early_rate"], draws["late_rate"]
        switchpoint = draw_switchpoints(self.evidence, early, late, rng)
        drawn: dict[str, NDArray[Any]] = {"switchpoint": switchpoint}
        if self.evidence.missing.size:
            before = switchpoint[..., None] >= self.evidence.missing
            drawn[f"{self.response}_missing"] = rng.poisson(np.where(before, early[..., None], late[..., None]))
        return drawn


def draw_switchpoints(
    evidence: Evidence, early: NDArray[Any], late: NDArray[Any], rng: np.random.Generator
) -> NDArray[Any]:
    """Draw a switchpoint from its exact conditional at every draw of the rates.

    Parameters
    ----------
    evidence
        The evidence on the candidates.
    early, late
        Draws of the rates (chain, draw).
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Switchpoints (chain, draw).
    """
    chosen = np.empty(early.shape, dtype=int)
    for chain in range(early.shape[0]):  # one chain at a time: (draw, candidate) is in memory, not (chain, ...)
        terms = evidence.log_terms(early[chain, :, None], late[chain, :, None], np.log)
        weights = np.cumsum(np.exp(terms - terms.max(axis=1, keepdims=True)), axis=1)
        at = rng.uniform(size=(weights.shape[0], 1)) * weights[:, -1:]
        chosen[chain] = (weights < at).sum(axis=1)
    return np.asarray(evidence.candidates[chosen])


def _evidence(response: xr.DataArray, years: NDArray[Any], switchpoint: Plan) -> Evidence:
    seen, counts = ~response.isnull().values, response.fillna(0).values.astype(float)
    candidates, log_prior = _prior(switchpoint, years)
    before = (candidates[:, None] >= years).astype(float)
    return Evidence(
        candidates=candidates,
        log_prior=log_prior,
        years_before=before @ seen.astype(float),
        counts_before=before @ counts,
        years=float(seen.sum()),
        counts=float(counts.sum()),
        constant=-float(special.gammaln(counts[seen] + 1).sum()),
        missing=np.asarray(years)[~seen],
    )


def _prior(switchpoint: Plan, years: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the switchpoint's possible values and their log probabilities."""
    if not switchpoint.discrete:
        raise Unsuitable("the switchpoint's prior is continuous")
    if any(value.known is None for value in switchpoint.values.values()):
        raise Unsuitable("the switchpoint's prior depends on other variables")
    candidates = np.arange(*_support(switchpoint, years))
    log_prior = log_probability(switchpoint, candidates)
    possible = log_prior > -np.inf
    if abs(np.exp(log_prior[possible]).sum() - 1) > 1e-6:
        raise Unsuitable("the switchpoint's prior is not 0 outside the years of the data")
    return candidates[possible], log_prior[possible]


def _support(switchpoint: Plan, years: NDArray[Any]) -> tuple[int, int]:
    if switchpoint.family.name == "DiscreteUniform":
        return int(switchpoint.values["lower"].known), int(switchpoint.values["upper"].known) + 1
    return min(0, int(years.min()) - 1), int(years.max()) + 2


MODEL = ModelType(SwitchpointSpec, PriorNames(("switchpoint", "early_rate", "late_rate")), roles, build)

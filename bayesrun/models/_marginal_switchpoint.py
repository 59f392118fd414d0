"""The switchpoint model with its discrete variables summed out and drawn afterwards.

Given both rates, the years are independent, so with `c_s` the number of observed years up to `s`, `t_s` the sum of
their counts, and `C`, `T` the totals,

    log p(y, s | early, late) = log p(s) + t_s log early - c_s early + (T - t_s) log late - (C - c_s) late + const.

`p(y | early, late)` is the sum of this over all `s`: what NUTS samples is smooth and of two dimensions. Missing counts
carry no information about the rates and are left out. Afterwards `s` is drawn from `p(s | y, early, late)` and missing
counts from Poisson distributions given `s` and the rates, both exactly (Rao-Blackwellisation in reverse; Stan User's
Guide, "Latent discrete parameters"). The joint posterior is that of form `compound`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bayesrun.language._numbers import number
from bayesrun.models.base import Notes, notes

if TYPE_CHECKING:
    import numpy as np
    import pymc3 as pm
    import xarray as xr
    from numpy.typing import NDArray


class Unsuitable(Exception):
    """The switchpoint can't be summed out; the message says why."""


@dataclass(frozen=True)
class Evidence:
    """What the data and the switchpoint's prior say about each candidate switchpoint.

    Parameters
    ----------
    candidates
        Values that the switchpoint can have (candidate).
    log_prior
        Their log prior probabilities (candidate).
    years_before, counts_before
        Number of observed years up to each candidate, and the sum of their counts (candidate).
    years, counts
        The same of all years.
    constant
        Part of the log likelihood that depends on nothing.
    gaps
        Years whose count is missing.
    """

    candidates: NDArray[np.int64]
    log_prior: NDArray[np.float64]
    years_before: NDArray[np.float64]
    counts_before: NDArray[np.float64]
    years: Any
    counts: Any
    constant: Any
    gaps: NDArray[Any]

    def in_theano(self) -> Evidence:
        """Return the same with numbers of the data that are not compiled into functions."""
        return replace(self, years=number(self.years), counts=number(self.counts), constant=number(self.constant))

    def log_terms(self, early: Any, late: Any, log: Any) -> Any:
        """Return `log p(y, s | early, late)` of each candidate, for NumPy or Theano rates with a last axis of 1."""
        before = self.counts_before * log(early) - self.years_before * early
        after = (self.counts - self.counts_before) * log(late) - (self.years - self.years_before) * late
        return before + after + self.log_prior + self.constant


def build(data: xr.Dataset, spec: Any, compound: pm.Model) -> pm.Model:
    """Build the summed-out model.

    Parameters
    ----------
    data
        Counts over years; a gap is a count that is missing.
    spec
        The `SwitchpointSpec`.
    compound
        The same spec's model in form `compound`: gives the switchpoint's prior, and is what the run reports.

    Returns
    -------
    pm.Model
        With free variables `early_rate` and `late_rate`, and notes that recover the others.

    Raises
    ------
    Unsuitable
        When the switchpoint's prior is not 0 outside the years, or depends on other variables.
    """
    import pymc3 as pm
    import theano.tensor as tt
    from pymc3.distributions.dist_math import bound

    from bayesrun.language.priors import Scope, declare

    evidence = _evidence(data[spec.options.response], data[spec.options.time].values, compound["switchpoint"])
    scope = Scope(data)
    with pm.Model() as model:
        early = declare("early_rate", spec.priors["early_rate"], scope, "model.priors.early_rate")
        late = declare("late_rate", spec.priors["late_rate"], scope, "model.priors.late_rate")
        terms = evidence.in_theano().log_terms(tt.shape_padright(early), tt.shape_padright(late), tt.log)
        density = bound(pm.math.logsumexp(terms), early > 0, late > 0)
        pm.Potential(f"{spec.options.response}_marginal", density)
    _note(notes(model), evidence, spec.options.response, compound)
    return model


def _note(note: Notes, evidence: Evidence, response: str, compound: pm.Model) -> None:
    def recover(draws: Mapping[str, NDArray[Any]], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        early, late = draws["early_rate"], draws["late_rate"]
        switchpoint = draw_switchpoints(evidence, early, late, rng)
        drawn: dict[str, NDArray[Any]] = {"switchpoint": switchpoint}
        if evidence.gaps.size:
            before = switchpoint[..., None] >= evidence.gaps
            drawn[f"{response}_missing"] = rng.poisson(_where(before, early, late))
        return drawn

    note.recover, note.reported = recover, compound


def _where(before: NDArray[Any], early: NDArray[Any], late: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    return np.where(before, early[..., None], late[..., None])


def draw_switchpoints(
    evidence: Evidence, early: NDArray[Any], late: NDArray[Any], rng: np.random.Generator
) -> NDArray[Any]:
    """Draw a switchpoint from its exact conditional at every draw of the rates.

    Parameters
    ----------
    evidence
        What is known of the candidates.
    early, late
        Draws of the rates (chain, draw).
    rng
        Source of randomness.

    Returns
    -------
    ndarray
        Switchpoints (chain, draw).
    """
    import numpy as np

    chosen = np.empty(early.shape, dtype=int)
    for chain in range(early.shape[0]):  # one chain at a time: (draw, candidate) is in memory, not (chain, ...)
        terms = evidence.log_terms(early[chain, :, None], late[chain, :, None], np.log)
        weights = np.cumsum(np.exp(terms - terms.max(axis=1, keepdims=True)), axis=1)
        at = rng.uniform(size=(weights.shape[0], 1)) * weights[:, -1:]
        chosen[chain] = (weights < at).sum(axis=1)
    return np.asarray(evidence.candidates[chosen])


def _evidence(response: xr.DataArray, years: NDArray[Any], switchpoint: Any) -> Evidence:
    import numpy as np
    from scipy.special import gammaln

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
        constant=-float(gammaln(counts[seen] + 1).sum()),
        gaps=np.asarray(years)[~seen],
    )


def _prior(switchpoint: Any, years: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the switchpoint's possible values and their log probabilities."""
    import numpy as np

    candidates = np.arange(*_support(switchpoint, years))
    log_prior = _evaluated(switchpoint.distribution.logp(candidates))
    possible = log_prior > -np.inf
    if abs(np.exp(log_prior[possible]).sum() - 1) > 1e-6:
        raise Unsuitable("the switchpoint's prior is not 0 outside the years of the data")
    return candidates[possible], log_prior[possible]


def _support(switchpoint: Any, years: NDArray[Any]) -> tuple[int, int]:
    import pymc3 as pm

    distribution = switchpoint.distribution
    if isinstance(distribution, pm.DiscreteUniform):
        return int(_evaluated(distribution.lower)), int(_evaluated(distribution.upper)) + 1
    return min(0, int(years.min()) - 1), int(years.max()) + 2


def _evaluated(expression: Any) -> Any:
    """Return the value of an expression of constants."""
    from theano.graph.fg import MissingInputError

    try:
        return expression.eval()
    except MissingInputError as error:
        raise Unsuitable("the switchpoint's prior depends on other variables") from error

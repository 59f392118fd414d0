"""Draws from the prior in the posterior's place: what the model believes before it sees the data.

Every file and figure of a run comes out as for a posterior, so that both can be laid side by side.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem, fail
from bayesrun.samplers.base import Monitor, Sampled, Sampler, SamplerSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PriorSpec(SamplerSpec):
    """Config of `method: prior`: `chains * draws` independent draws."""

    method: str = "prior"


def sample(model: CompiledModel, spec: PriorSpec, seed: int, monitor: Monitor) -> Sampled:
    """Draw every variable of the model from the prior.

    Parameters
    ----------
    model
        The model; of one that is sampled in another form, the form that is reported.
    spec
        The config section.
    seed
        Decides every draw.
    monitor
        Told once per chain, when all draws are made.

    Returns
    -------
    Sampled
        Draws without statistics.

    Raises
    ------
    UserError
        When the prior can't be drawn from, as a flat one.
    """
    monitor.begin()
    began = time.perf_counter()
    shown = model.reported
    drawn = prior_draws(shown, spec.chains * spec.draws, seed)
    size = spec.chains, spec.draws
    draws = {n: v.reshape(*size, *v.shape[1:]) for n, v in drawn.items() if n not in shown.likelihoods}
    for chain in range(spec.chains):
        monitor.draw(chain, spec.draws, False, False)
    steps = {name: "prior" for name in draws if name not in shown.deterministics}
    return Sampled(draws, {}, steps, 0.0, time.perf_counter() - began)


def prior_draws(model: CompiledModel, draws: int, seed: int) -> Mapping[str, NDArray[Any]]:
    """Draw from the prior (see `CompiledModel.draw_prior`), for a sampler that can't do without.

    Raises
    ------
    UserError
        When there are no draws.
    """
    try:
        return model.draw_prior(draws, seed)
    except Exception as error:  # an engine raises whatever a distribution's generator raises
        message = f"this method draws from the prior, and that can't be drawn from: {why_no_draws(model, error)}"
        raise fail("sampler.method", message, "give it a proper prior, or use sampler=nuts") from error


def why_no_draws(model: CompiledModel, error: Exception) -> str:
    """Say why a prior could not be drawn from."""
    flat = model.flat_priors()
    return f"'{flat[0]}' has a flat prior" if flat else f"{type(error).__name__}: {error}"


def check_proper(model: CompiledModel) -> list[Problem]:
    """Name the flat priors, for a sampler that draws from the prior."""
    flat = model.flat_priors()
    message = f"this method draws from the prior, and these variables have a flat prior: {', '.join(flat)}"
    return [Problem("sampler.method", message, "give them a proper prior, or use sampler=nuts")] if flat else []


SAMPLER = Sampler(PriorSpec, sample, lambda model, spec: check_proper(model.reported))

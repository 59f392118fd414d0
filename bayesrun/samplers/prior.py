"""Draws from the prior in place of the posterior: what the model implies before it sees the data.

Every file and figure of a run is made as for a posterior, so that both can be compared.
"""

from __future__ import annotations

import time

from bayesrun.engines.base import CompiledModel
from bayesrun.samplers.base import Monitor, Sampled, Sampler, SamplerSpec, check_proper, prior_draws


class PriorSpec(SamplerSpec):
    """Config of `method: prior`: `chains * draws` independent draws."""

    method: str = "prior"


def sample(model: CompiledModel, spec: PriorSpec, seed: int, monitor: Monitor) -> Sampled:
    """Draw every variable of the model from the prior.

    Parameters
    ----------
    model
        The model; if it is sampled in another form, the form that is reported.
    spec
        The config section.
    seed
        Decides every draw.
    monitor
        Notified once per chain, when all draws are made.

    Returns
    -------
    Sampled
        Draws without statistics.

    Raises
    ------
    UserError
        When the prior can't be drawn from, because it is flat for instance.
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


SAMPLER = Sampler(PriorSpec, sample, lambda model, spec: check_proper(model.reported))

"""NUTS for continuous variables, PyMC3's own choice of step for the others; on PyMC3's engine or nutpie's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from bayesrun.errors import fail
from bayesrun.inference import _pymc3
from bayesrun.inference.base import Monitor, NutsSpec, Sampled, Sampler

if TYPE_CHECKING:
    import pymc3 as pm

log = logging.getLogger("bayesrun.sampling")


def sample(model: pm.Model, spec: NutsSpec, seed: int, monitor: Monitor) -> Sampled:
    """Sample with the engine that the config asks for, or the quickest that can sample this model."""
    if _engine(model, spec) == "pymc3":
        return _pymc3.sample(model, spec, seed, monitor)
    from bayesrun.inference import _nutpie

    return _nutpie.sample(model, spec, seed, monitor)


def _engine(model: pm.Model, spec: NutsSpec) -> str:
    if spec.engine == "pymc3":
        log.info("engine: pymc3 (asked for)")
        return "pymc3"
    from bayesrun.inference import _nutpie

    reason = "step methods are set in sampler.step" if spec.step else _nutpie.usable(model, spec)
    if reason and spec.engine == "nutpie":
        raise fail("sampler.engine", f"nutpie can't sample this model: {reason}", "use engine=auto or engine=pymc3")
    if reason:
        log.info("engine: pymc3 (%s)", reason)
        return "pymc3"
    log.info("engine: nutpie (every free variable is continuous and has a gradient)")
    return "nutpie"


SAMPLER = Sampler(NutsSpec, sample)

"""One gradient and sampling of a large GLM with bayesrun's functions, without the rest of a run."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import xarray as xr

from bayesrun.engines.pymc3.theano_setup import building, import_pymc3
from bayesrun.engines.pymc3.theano_setup import import_pymc3


class _Nobody:
    def begin(self) -> None:
        pass

    def draw(self, chain: int, done: int, tuning: bool, diverging: bool) -> None:
        """Listen to nothing."""


def peak_mb() -> float:
    """Return the peak memory of this process and of its children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def main(path: Path, draws: int, family: str) -> None:
    """Fit `y ~ x0 + ... + x9` and print what it took."""
    import_pymc3()
    from bayesrun.engines.pymc3.model import PyMC3Model
    from bayesrun.models import glm
    from bayesrun.samplers import nutpie
    from bayesrun.samplers.base import NutsSpec

    base = peak_mb()
    with np.load(path) as arrays:
        data = xr.Dataset({name: ("obs", arrays[name]) for name in arrays.files})
    formula = "y ~ " + " + ".join(name for name in data if name != "y")
    prior = {"dist": "Normal", "mu": 0, "sigma": 10}
    priors = {"default": prior, "Intercept": prior}
    if family == "normal":
        priors["sigma"] = {"dist": "HalfNormal", "sigma": 1}
    spec = glm.MODEL.spec.model_validate(
        {"name": "large", "type": "glm", "formula": formula, "family": family, "priors": priors}
    )
    began = time.perf_counter()
    with building():
        model = PyMC3Model(glm.MODEL.build(data, spec))
    density = model.log_density()
    ready = time.perf_counter() - began
    times = []
    for _ in range(20):
        at = time.perf_counter()
        density.evaluate(density.initial_point + 0.01)
        times.append(time.perf_counter() - at)
    one = peak_mb() - base
    at = time.perf_counter()
    nutpie.sample(model, NutsSpec(draws=draws, tune=draws, chains=1), 1, _Nobody())
    sampling = time.perf_counter() - at
    found = {"ready": ready, "gradient": min(times), "gradient_mb": one, "sampling": sampling}
    print("RESULT", json.dumps({**found, "sampling_mb": peak_mb() - base}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

"""One gradient and sampling of a large GLM in PyMC 6 with nutpie."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pymc as pm


def peak_mb() -> float:
    """Return the peak memory of this process and of its children."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024


def main(path: Path, draws: int, family: str) -> None:
    """Fit `y ~ x0 + ... + x9` and print what it took."""
    import nutpie

    base = peak_mb()
    with np.load(path) as arrays:
        names = [name for name in arrays.files if name != "y"]
        y, design = arrays["y"], np.column_stack([arrays[name] for name in names])
    began = time.perf_counter()
    with pm.Model() as model:
        intercept, slopes = pm.Normal("Intercept", 0, 10), pm.Normal("slopes", 0, 10, shape=len(names))
        if family == "normal":
            pm.Normal("y", intercept + design @ slopes, pm.HalfNormal("sigma", 1), observed=y)
        else:
            pm.Bernoulli("y", logit_p=intercept + design @ slopes, observed=y)
    compiled = nutpie.compile_pymc_model(model)
    ready = time.perf_counter() - began
    function = model.compile_fn(model.dlogp(), inputs=model.value_vars, mode="NUMBA")
    point = model.initial_point()
    function(point)
    times = []
    for _ in range(20):
        at = time.perf_counter()
        function(point)
        times.append(time.perf_counter() - at)
    one = peak_mb() - base
    at = time.perf_counter()
    nutpie.sample(compiled, draws=draws, tune=draws, chains=1, seed=1, progress_bar=False)
    sampling = time.perf_counter() - at
    found = {"ready": ready, "gradient": min(times), "gradient_mb": one, "sampling": sampling}
    print("RESULT", json.dumps({**found, "sampling_mb": peak_mb() - base}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

"""Milliseconds of a gradient of structural time series, beside the same local level written as a recurrence.

python benchmarks/state_space.py [--rows 10000] [--repeats 30]

Each time is the least processor time of a log density with its gradient, compiled as sampling uses it; that of the
recurrence is measured in the same process.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import numpy as np
import yaml
from measure import ROOT
from results import report

sys.path.insert(0, str(ROOT))

_LEVEL = "level: {sd: s, init: {dist: Normal, mu: 0, sigma: 5}}"
_TREND = "trend: {sd: s, init: {dist: Normal, sigma: 1}}"
_SEASONAL = "seasonal: {period: 12, sd: s, init: {dist: Normal, sigma: 1}}"
_LAGS = "ar: {rho: rho, sd: s, init: {dist: Normal, sigma: 1}}"
MODELS: dict[str, list[str]] = {
    "level": [_LEVEL],
    "level, trend": [_LEVEL, _TREND],
    "level, trend, ar of 2": [_LEVEL, _TREND, _LAGS],
    "level, seasonal of 12": [_LEVEL, _SEASONAL],
    "level, trend, seasonal of 12": [_LEVEL, _TREND, _SEASONAL],
}
STATES = {"level": 1, "trend": 1, "seasonal": 11, "ar": 2}
PRIORS = "{s: {dist: HalfNormal, sigma: 1}, sigma: {dist: HalfNormal, sigma: 1}"
RECURRENCE = """
over: obs
state: {level: 0, variance: 25}
first: {}
step:
  width: "variance[t-1] + s ** 2 + sigma ** 2"
  forecast: "level[t-1]"
  level: "forecast + (width - sigma ** 2) / width * (y - forecast)"
  variance: "sigma ** 2 * (width - sigma ** 2) / width"
"""


def milliseconds(parts: dict[str, Any], data: Any, repeats: int) -> float:
    """Build a model, and measure its log density with the gradient."""
    from bayesrun.engines.pymc3.build import build as build_model
    from bayesrun.engines.pymc3.model import PyMC3Model
    from bayesrun.models.declarative import DeclarativeSpec, build

    spec = DeclarativeSpec.model_validate({"name": "m", "type": "declarative", **parts})
    density = PyMC3Model(build_model(build(data, spec))).log_density()
    point = np.array(density.initial_point, dtype=float)
    found = []
    for _ in range(repeats):
        began = time.process_time()
        density.evaluate(point)
        found.append(time.process_time() - began)
    return 1000.0 * min(found)


def main() -> None:
    """Measure all models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=30)
    options = parser.parse_args()
    import xarray as xr

    rng = np.random.default_rng(1)
    y = np.cumsum(rng.normal(size=options.rows)) * 0.1 + rng.normal(size=options.rows)
    data = xr.Dataset({"y": ("obs", y)})
    likelihood = {"o": {"dist": "Normal", "mu": "forecast", "sigma": "sqrt(width)", "observed": "y"}}
    recurrence = {"priors": yaml.safe_load(PRIORS + "}"), "recurrence": yaml.safe_load(RECURRENCE)}
    base = milliseconds({**recurrence, "likelihood": likelihood}, data, options.repeats)
    rows = [{"model": "level, as a recurrence", "states": 1, "ms": base, "ratio": 1.0}]
    for name, components in MODELS.items():
        priors = PRIORS + (", rho: {dist: Normal, mu: 0, sigma: 0.3, shape: 2}" if "ar" in name else "") + "}"
        body = "{dist: LinearGaussian, " + ", ".join(components) + ", sigma: sigma, observed: y}"
        parts = {"priors": yaml.safe_load(priors), "likelihood": {"o": yaml.safe_load(body)}}
        took = milliseconds(parts, data, options.repeats)
        states = sum(STATES[one.partition(":")[0]] for one in components)
        rows.append({"model": name, "states": states, "ms": took, "ratio": took / base})
    report("state_space", rows, vars(options))


if __name__ == "__main__":
    main()

"""Overdispersed counts whose precision is large: the limit without overdispersion, where rounding would leave noise."""

from __future__ import annotations

import numpy as np
import pymc3 as pm
import pytest
import scipy.stats as st
import xarray as xr

from bayesrun.engines.pymc3.build import build
from bayesrun.engines.pymc3.theano_setup import building
from bayesrun.models import regression
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.contract.numpy_engine.engine import log_densities

COUNTS, TRIALS = np.array([0, 3, 7, 12, 4]), np.full(5, 12)
# family, its precision, and the log probability of all counts without overdispersion, whose zeros are as likely
CASES = {
    "beta_binomial": ("phi", st.binom.logpmf(COUNTS, 12, 0.5).sum()),
    "negative_binomial": ("alpha", st.poisson.logpmf(COUNTS, 1.0).sum()),
    "hurdle_negative_binomial": ("alpha", None),
    "zero_inflated_beta_binomial": ("phi", None),
}


@pytest.mark.parametrize("family", CASES)
def test_the_density_and_its_gradient_are_those_of_the_limit(family: str) -> None:
    columns = {"y": COUNTS, "n": TRIALS, "x": np.arange(5.0)}
    data = xr.Dataset({name: ("obs", of) for name, of in columns.items()}, coords={"obs": np.arange(5)})
    left = "y | trials(n)" if "binomial" in family and "negative" not in family else "y"
    options = {"form": "direct"}
    keys = {"name": "m", "type": "regression", "formula": f"{left} ~ x", "family": family, "options": options}
    declared = regression.MODEL.build(data.assign_attrs(dim="obs"), RegressionSpec.model_validate(keys))
    name, limit = CASES[family]
    values = []
    with building():
        model = build(declared)
        logs = model["y_obs"].logpt
        function = model.fastfn([logs, pm.gradient(logs, [model[f"{name}_log__"]])])
    point = {key: np.zeros_like(value) for key, value in model.test_point.items()}
    for size in (1e6, 1e12, 1e15, 1e21):
        density, slope = function({**point, f"{name}_log__": np.asarray(np.log(size))})
        values.append(float(density))
        assert np.abs(slope).max() < 1e-3
        at = {"coefficients": np.zeros(2), "Intercept": 0.0, "x": 0.0, name: size, "zi": 0.5, "hu": 0.5}
        assert log_densities(declared, at)["y_obs"] == pytest.approx(values[-1], abs=1e-4)
    np.testing.assert_allclose(values, values[0] if limit is None else limit, atol=1e-3)

"""Test values of long vectors take no memory, and nothing but test values changes."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.theano_setup import building, import_pymc3

ROWS = 20_001


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    random = np.random.default_rng(3)
    x = random.normal(size=ROWS)
    counts = random.poisson(np.exp(0.3 + 0.2 * x))
    return xr.Dataset({"x": ("obs", x), "y": ("obs", counts), "z": ("obs", 1.0 + x + random.standard_t(3, size=ROWS))})


def _build(data: xr.Dataset, formula: str, family: str, form: str):
    import_pymc3()
    from bayesrun.models.regression import glm_type as glm

    prior = {"dist": "Normal", "mu": 0, "sigma": 5}
    own = {"sigma": {"dist": "HalfNormal", "sigma": 1}, "nu": {"dist": "Gamma", "alpha": 2, "beta": 0.1}}
    priors = {"default": prior, "Intercept": prior, **(own if family == "student" else {})}
    said = {"name": "g", "type": "glm", "formula": formula, "family": family, "priors": priors}
    spec = glm.MODEL.spec.model_validate({**said, "options": {"form": form}})
    with building():
        return pymc3_model(glm.MODEL.build(data, spec))


@pytest.mark.parametrize("form", ["direct", "whitened"])
@pytest.mark.parametrize(("formula", "family"), [("y ~ x", "poisson"), ("z ~ x", "student")])
def test_densities_are_the_same_and_test_values_are_small(
    data: xr.Dataset, monkeypatch: pytest.MonkeyPatch, formula: str, family: str, form: str
) -> None:
    from bayesrun.engines.pymc3.patches import small_test_values

    small = _build(data, formula, family, form)
    monkeypatch.setattr(small_test_values, "LARGE", np.inf)
    whole = _build(data, formula, family, form)
    point = {name: value + 0.1 for name, value in whole.test_point.items()}
    assert small.logp(point) == pytest.approx(whole.logp(point), rel=1e-12)
    assert _kept(whole) > 3 * data["x"].nbytes > _kept(small)


def _kept(model) -> int:
    """Memory of the test values of all steps between the variables and the density."""
    from theano.graph.basic import ancestors

    from bayesrun.engines.pymc3.build import metadata

    reported = metadata(model).reported or model
    terms = [v.logp_elemwiset for v in (*reported.observed_RVs, *model.observed_RVs)]
    values = [getattr(v.tag, "test_value", None) for v in ancestors(terms) if v.owner is not None]
    return sum(v.nbytes if v.strides[0] else v.itemsize for v in values if isinstance(v, np.ndarray) and v.ndim)


def test_theanos_own_function_is_put_back_after_a_fault() -> None:
    import_pymc3()
    from theano.graph import op

    from bayesrun.engines.pymc3.patches.base import applied

    before = op.compute_test_value
    with pytest.raises(ValueError, match="fault"), applied("small_test_values"):
        raise ValueError("fault")
    assert op.compute_test_value is before

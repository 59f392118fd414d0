"""The registered function is what `b` is computed with, has no gradient, and its faults are named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pymc3 as pm
import pytest
import theano
import theano.tensor as tt
import xarray as xr
from scipy.stats import poisson

from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.engines.pymc3.build import metadata
from bayesrun.engines.pymc3.python_operations import BlackBox
from bayesrun.errors import UserError
from bayesrun.models import arbitrary_deterministic as model_type
from bayesrun.models.base import MODELS
from bayesrun.models.functions.base import FUNCTIONS, Function
from bayesrun.models.functions.modulo3 import modulo3

POISSON = {"dist": "Poisson", "mu": 1}


def built(data: Any, spec: Any) -> pm.Model:
    return pymc3_model(model_type.build(data, spec))


@pytest.fixture(autouse=True)
def _no_c() -> Iterator[None]:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"):
        yield


def _spec(prior: dict[str, Any] = POISSON, **options: Any) -> model_type.ArbitraryDeterministicSpec:
    return model_type.ArbitraryDeterministicSpec(
        name="mine", type="arbitrary_deterministic", priors={"a": prior}, options=options
    )


def _observed(*values: float) -> xr.Dataset:
    return xr.Dataset({"b": ("obs", np.array(values))}, coords={"obs": np.arange(len(values))})


@pytest.mark.parametrize(("a", "b"), [(-1, 2), (0, 1), (1, 1), (2, 2), (3, 0), (4, 1), (-3, 1)])
def test_modulo3_is_the_tutorials(a: int, b: int) -> None:
    assert modulo3(a) == b


def test_b_is_the_function_of_a() -> None:
    model = built(None, _spec())
    compute = model.fastfn([model["b"]])
    for a in range(7):
        assert compute({"a": np.array(a)})[0] == modulo3(a)
    assert model["b"].dtype == "int64"


def test_it_works_on_each_element_of_a_tensor_and_keeps_the_shape() -> None:
    with theano.config.change_flags(compute_test_value="off"):
        value = tt.lmatrix("value")
        compute = theano.function([value], BlackBox("modulo3", Function(modulo3, "integer", "integer"))(value))
    given = np.arange(-3, 3).reshape(2, 3)
    np.testing.assert_array_equal(compute(given), np.vectorize(modulo3)(given))


def test_there_is_no_gradient() -> None:
    op = BlackBox("half", Function(lambda x: x / 2))
    with theano.config.change_flags(compute_test_value="off"):
        value = tt.dscalar("value")
        with pytest.raises(NotImplementedError, match="half"):
            theano.grad(op(value), value)


def test_a_function_of_whole_numbers_refuses_reals() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        BlackBox("modulo3", Function(modulo3, "integer", "integer"))(tt.dscalar("value"))


def test_observed_b_holds_a_to_what_gives_it() -> None:
    model = built(_observed(2), _spec())
    density, value = model.fastfn(model.logpt), model.fastfn([model["a"]])
    found = {}
    for place in range(int(model["a_place"].distribution.k)):
        found[int(value({"a_place": np.array(place)})[0])] = float(density({"a_place": np.array(place)}))
    weights = {a: poisson.pmf(a, 1) for a in range(40) if modulo3(a) == 2}
    expected = {a: np.log(w / sum(weights.values())) for a, w in weights.items() if w > 1e-11}
    assert found.keys() >= expected.keys() and all(modulo3(a) == 2 for a in found)
    assert {a: found[a] for a in expected} == pytest.approx(expected, rel=1e-6)
    assert metadata(model).helpers == {"a_place"}
    reported = metadata(model).reported
    assert reported is not None and isinstance(reported["a"].distribution, pm.Poisson)


def test_each_row_may_have_an_a_of_its_own() -> None:
    model = built(_observed(0, 1, 2), _spec({**POISSON, "dims": ["obs"]}))
    assert model.RV_dims["a"] == model.RV_dims["b"] == ("obs",)
    compute, density = model.fastfn([model["a"], model["b"]]), model.fastfn(model.logpt)
    for places in ([0, 0, 0], [1, 2, 1]):
        a, b = compute({"a_place": np.array(places)})
        np.testing.assert_array_equal(b, [0, 1, 2])
        np.testing.assert_array_equal([modulo3(int(value)) for value in a], b)
        assert np.isfinite(density({"a_place": np.array(places)}))


def test_what_no_a_gives_is_an_error() -> None:
    with pytest.raises(UserError, match="7 was observed, but no a in the support of its prior gives it"):
        built(_observed(7), _spec())


def test_a_distribution_around_b_may_be_given() -> None:
    spec = _spec(likelihood={"dist": "Normal", "mu": "b", "sigma": 0.5})
    model = built(_observed(0.1, 1.2), spec)
    assert isinstance(model["b_obs"].distribution, pm.Normal)
    got = model["b_obs"].logp_elemwise({"a": np.array(4)})
    np.testing.assert_allclose(got, -0.5 * ((np.array([0.1, 1.2]) - 1) / 0.5) ** 2 - np.log(0.5 * np.sqrt(2 * np.pi)))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_spec(function="modulo4"), "did you mean 'modulo3'"),
        (_spec({"dist": "Normal", "mu": 0, "sigma": 1}), "Normal is continuous"),
        (_spec(likelihood={"dist": "Normal", "mu": "b", "sgima": 1}), "model.options.likelihood"),
    ],
)
def test_faults_of_the_config_are_named(spec: Any, message: str) -> None:
    assert message in "\n".join(map(str, model_type.static_check(spec)))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_observed(1, 2), "takes several values"),
        (_observed(1, np.nan), "without missing values"),
        (_observed(1).rename(b="c"), "no variable 'b'"),
    ],
)
def test_faults_of_the_data_are_named(data: xr.Dataset, message: str) -> None:
    assert message in "\n".join(map(str, model_type.check(data, _spec())))


def test_the_folder_of_functions_is_a_registry_and_no_model() -> None:
    assert "modulo3" in FUNCTIONS.names()
    assert "functions" not in MODELS.names()

"""Predictions for new rows: labels of the fit, rows of their own, means that are exact."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import theano
import xarray as xr
import yaml

from bayesrun.engines.pymc3 import ENGINE
from bayesrun.errors import UserError
from bayesrun.models.declarative import MODEL, DeclarativeSpec
from bayesrun.predict.new_rows import like_fitted, predictions

FITTED = xr.Dataset(
    {
        "y": ("obs", np.zeros(4)),
        "x": ("obs", np.arange(4.0)),
        "county": ("obs", np.array([0, 1, 2, 0])),
        "u": ("county_name", np.array([1.0, 2.0, 3.0])),
    },
    coords={"obs": np.arange(4), "county_name": ["a", "b", "c"]},
)
# four rows as well, so that draws of the fitted rows would fit by their shape; labels b and c get the codes 0 and 1
NEW = xr.Dataset(
    {"x": ("obs", np.array([10.0, 20, 30, 40])), "county": ("obs", np.array([0, 1, 1, 0]))},
    coords={"obs": np.arange(4), "county_name": ["b", "c"]},
)
FACTORS = {"county": "county_name"}
TEXT = """
name: m
type: declarative
priors: {a: {dist: Normal, sigma: 1, dims: [county_name]}, b: {dist: Normal, sigma: 1}}
deterministics: {line: "a[county] + b * x"}
likelihood: {out: {dist: Normal, mu: 'line + u[county]', sigma: 0.5, observed: y}}
"""


@pytest.fixture(autouse=True)
def _quick() -> Any:
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_rows_get_the_codes_of_the_fit_and_what_is_over_other_dims() -> None:
    rows = like_fitted(NEW, FITTED, FACTORS, ["y"])
    assert list(rows["county"].values) == [1, 2, 2, 1]
    assert list(rows["county_name"].values) == ["a", "b", "c"]
    assert list(rows["u"].values) == [1, 2, 3]
    assert rows["y"].shape == (4,)


def test_a_label_that_is_new_is_named() -> None:
    strange = NEW.assign_coords(county_name=["b", "z"])
    with pytest.raises(UserError) as caught:
        like_fitted(strange, FITTED, FACTORS, ["y"])
    assert [(p.key, "'z'" in p.message) for p in caught.value.problems] == [("predict.data.factors.county", True)]


def test_means_are_those_of_the_new_rows() -> None:
    rng = np.random.default_rng(1)
    draws = {
        "a": np.array([1.0, 2.0, 3.0]) + 0.1 * rng.normal(size=(4, 500, 3)),
        "b": 0.5 + 0.01 * rng.normal(size=(4, 500)),
        "line": np.full((4, 500, 4), -99.0),  # of the fitted rows: must not be used
    }
    rows = like_fitted(NEW, FITTED, FACTORS, ["y"])
    spec = DeclarativeSpec.model_validate(yaml.safe_load(TEXT))
    table = predictions(ENGINE, MODEL, spec, rows, draws, seed=3)
    assert list(table.columns) == ["variable", "obs", "mean", "sd", "hdi_3%", "hdi_97%"]
    effect, x = np.array([2.0, 3, 3, 2]), NEW["x"].values
    expected, sd = 2 * effect + 0.5 * x, np.sqrt(0.25 + 0.01 + (0.01 * x) ** 2)
    assert np.all(np.abs(table["mean"] - expected) < 4.5 * sd / np.sqrt(2000))
    np.testing.assert_allclose(table["sd"], sd, rtol=0.1)
    assert np.all((table["hdi_3%"] < table["mean"]) & (table["mean"] < table["hdi_97%"]))


def test_a_walk_over_the_rows_can_not_be_predicted() -> None:
    text = """
    name: m
    type: declarative
    priors: {w: {dist: GaussianRandomWalk, sigma: 1, dims: [obs]}}
    likelihood: {out: {dist: Normal, mu: w, sigma: 1, observed: y}}
    """
    rows = like_fitted(NEW.isel(obs=[0, 1]), FITTED, FACTORS, ["y"])
    spec = DeclarativeSpec.model_validate(yaml.safe_load(text))
    with pytest.raises(UserError, match="random variable over the rows"):
        predictions(ENGINE, MODEL, spec, rows, {"w": np.zeros((1, 10, 4))}, seed=3)


def test_what_the_rows_lack_is_named() -> None:
    rows = like_fitted(NEW.drop_vars("x"), FITTED, FACTORS, ["y"])
    spec = DeclarativeSpec.model_validate(yaml.safe_load(TEXT))
    with pytest.raises(UserError, match="unknown name 'x'"):
        predictions(ENGINE, MODEL, spec, rows, {"b": np.zeros((1, 10))}, seed=3)

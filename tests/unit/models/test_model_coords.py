"""Dims of the model itself, and matrices whose size is that of a dim."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayesrun.language.prior_checks import check_prior
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check

DATA = xr.Dataset(
    {"y": ("obs", np.arange(6.0)), "county": ("obs", np.arange(6) % 3)}, coords={"county_name": ["a", "b", "c"]}
)
PRIORS: dict[str, Any] = {
    "chol": {"dist": "LKJCholeskyCov", "eta": 2, "sd_dist": {"dist": "HalfNormal", "sigma": 1}, "dims": ["effect"]},
    "theta": {
        "dist": "MvNormal",
        "mu": 0,
        "chol": "chol",
        "dims": ["county_name", "effect"],
        "parameterization": "noncentered",
    },
}


def spec(coords: Any, **chol: Any) -> DeclarativeSpec:
    return DeclarativeSpec(
        name="m",
        type="declarative",
        coords=coords,
        priors={**PRIORS, "chol": {**PRIORS["chol"], **chol}},
        likelihood={"y_obs": {"dist": "Normal", "mu": "theta[county, 1]", "sigma": 1, "observed": "y"}},
    )


def problems(of: DeclarativeSpec) -> list[Any]:
    static = [p for name, prior in of.priors.items() for p in check_prior(f"model.priors.{name}", prior)]
    return static or static_check(of) or check(DATA, of)


def test_a_matrix_has_the_size_of_its_dim_and_its_labels() -> None:
    made = build(DATA, spec({"effect": ["intercept", "slope"]}))
    assert made.random("chol").plan.shape == (2,) and made.random("chol").dims == ("effect", "effect_bis")
    assert list(made.coords["effect"]) == list(made.coords["effect_bis"]) == ["intercept", "slope"]
    assert made.random("theta_offset").plan.shape == (3, 2)


@pytest.mark.parametrize(
    ("of", "key", "words"),
    [
        (spec({"obs": [1, 2]}), "model.coords.obs", "taken by the data"),
        (spec({"theta": ["a", "b"]}), "model.coords.theta", "taken by model.priors.theta"),
        (spec({"effect": ["a", "a"]}), "model.coords.effect", "a label twice"),
        (spec({"effect": []}), "model.coords.effect", "must be a list of labels"),
        (spec({"effect": ["a", "b"]}, n=3), "model.priors.chol.n", "is 3, but 'effect' has 2 labels"),
        (spec({"effect": ["a", "b"]}, dims=None), "model.priors.chol", "needs n"),
        (spec({"effect": ["a", "b"]}, dims=["effect", "county_name"]), "model.priors.chol.dims", "has one dim"),
        (spec({}), "model.priors.chol.dims", "unknown dim 'effect'"),
    ],
)
def test_dims_that_do_not_fit_are_told(of: DeclarativeSpec, key: str, words: str) -> None:
    found = problems(of)
    assert [p.key for p in found][:1] == [key]
    assert words in found[0].message

"""Declarative models against their builders, and against a published posterior."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pymc3 as pm
import pytest
import theano
import xarray as xr
import yaml

from bayesrun.data.prepare import load
from bayesrun.data.section import parse_data
from bayesrun.engines.pymc3.build import build as pymc3_model
from bayesrun.errors import Problem
from bayesrun.language.random_walks import fast_length
from bayesrun.models.base import MODELS
from bayesrun.models.stochastic_volatility import INFORMATION
from tests.conftest import ROOT, Command, only_run

PAIRS = [
    ("linear_regression", {}),
    ("switchpoint", {"form": "compound"}),
    ("stochastic_volatility", {"form": "whitened"}),
    ("stochastic_volatility", {"form": "centered"}),
]


def yaml_of(path: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "conf" / path).read_text())
    return found


def data_of(name: str) -> xr.Dataset:
    problems: list[Problem] = []
    spec = parse_data(yaml_of(f"data/{name}.yaml"), ROOT / "data", problems)
    assert spec is not None and not problems
    return load(spec, ROOT / "data")


def built(path: str, data: xr.Dataset, options: dict[str, Any]) -> pm.Model:
    raw = yaml_of(path)
    raw.pop("defaults")
    raw["options"] = {**(raw.get("options") or {}), **options}
    if options == {"form": "centered"} and raw["type"] == "declarative":
        raw["options"] = {}
        raw["priors"]["s"].pop("parameterization")
    elif raw["type"] == "declarative":
        raw["options"] = {}
    kind = MODELS.load(raw["type"], "model.type")
    spec = kind.spec.model_validate(raw)
    assert kind.check(data, spec) == []
    return pymc3_model(kind.build(data, spec))


@pytest.mark.parametrize(("name", "options"), PAIRS, ids=str)
def test_density_equals_the_builders(name: str, options: dict[str, Any]) -> None:
    """At the start and at random points, to rounding: a sum of 3,000 terms keeps 11 digits."""
    dataset = yaml_of(f"model/{name}.yaml")["defaults"][0]["/data@_global_.data"]
    data = data_of(dataset)
    with theano.config.change_flags(cxx="", mode="FAST_COMPILE"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = (built(f"model/{path}.yaml", data, options) for path in (name, f"declarative/{name}"))
        densities = theirs.fn(theirs.logpt), ours.fn(ours.logpt)
        assert {v.name for v in theirs.free_RVs} == {v.name for v in ours.free_RVs}
        rng = np.random.default_rng(11)
        for point in (theirs.test_point, *(_moved(theirs.test_point, rng) for _ in range(5))):
            expected = float(densities[0](point))
            assert np.isfinite(expected)
            assert float(densities[1](_same_walk(point, options))) == pytest.approx(expected, rel=1e-11)


def _same_walk(point: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Give the declarative walk the level that makes it the builder's, whose level is counted from log(1 + 1 / nu).

    The shift has a Jacobian of 1, so that the densities of both are equal.
    """
    if options.get("form") != "whitened":
        return point
    scale = np.sqrt(fast_length(point["s_waves"].size + 1) * INFORMATION)
    return {**point, "s_level": point["s_level"] + scale * np.log1p(np.exp(-point["nu_log__"]))}


def _moved(point: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A point nearby: whole numbers by one, others by a tenth."""
    return {
        name: value + (rng.integers(0, 2, value.shape) if value.dtype.kind == "i" else rng.normal(0, 0.1, value.shape))
        for name, value in ((n, np.asarray(v)) for n, v in point.items())
    }


# mean, sd of a long reference posterior (design part 9)
EIGHT_SCHOOLS = {"mu": (4.4105, 3.3093), "tau": (3.6021, 3.1985), "theta[A]": (6.1505, 5.6159)}


@pytest.mark.slow
def test_eight_schools_meets_its_published_posterior(bayesrun: Command, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    done = bayesrun("model=eight_schools", "model.figures=[]", "tracking=none", f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    folder = only_run(outputs)
    summary = pd.read_csv(folder / "summary.csv", index_col=0)
    for name, (mean, sd) in EIGHT_SCHOOLS.items():
        row = summary.loc[name]
        assert abs(row["mean"] - mean) < 4 * np.sqrt(row["mcse_mean"] ** 2 + (sd / 100) ** 2), name
        assert row["sd"] == pytest.approx(sd, rel=0.1), name
    assert "theta_offset[A]" not in summary.index
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"

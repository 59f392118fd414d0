"""Every example of docs/regression.md is checked, built, and printed as a declarative model."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from bayesrun.models import declarative, regression
from bayesrun.models.regression.families import FAMILY_TABLE
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.conftest import ROOT

TEXT = (ROOT / "docs/regression.md").read_text()
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
ROWS = 60


def data() -> xr.Dataset:
    rng = np.random.default_rng(2)
    size = rng.integers(5, 20, ROWS)
    height = np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(170, 10, ROWS))
    columns = {
        "Reaction": rng.normal(300, 50, ROWS),
        "Days": np.tile(np.arange(10), 6),
        "Subject": np.repeat(np.arange(308, 314), 10),
        "y": rng.normal(size=ROWS),
        "x": rng.normal(size=ROWS),
        "z": rng.normal(size=ROWS),
        "age": rng.uniform(20, 70, ROWS),
        "g": np.array(list("abcdef") * 10),
        "h": np.array(["u", "v", "w"] * 20),
        "time": rng.weibull(1.5, ROWS),
        "status": np.where(rng.random(ROWS) < 0.3, "right", "none"),
        "w": rng.uniform(0.5, 2, ROWS),
        "height": height,
        "size": size,
        "sick": rng.binomial(size, 0.3),
        "period": np.array([1, 2, 3, 4] * 15),
        "rating": np.array(["bad", "fair", "good"])[rng.integers(0, 3, ROWS)],
        "count": rng.poisson(1.5, ROWS) * (rng.random(ROWS) < 0.8),
    }
    made = xr.Dataset({name: ("obs", values) for name, values in columns.items()}, coords={"obs": np.arange(ROWS)})
    made["rating"].attrs["levels"] = ["bad", "fair", "good"]
    return made.assign_attrs(dim="obs")


@pytest.mark.parametrize("raw", EXAMPLES, ids=lambda raw: str(raw["formula"]))
def test_an_example_is_built_and_expands_into_a_model_of_the_language(raw: dict[str, Any]) -> None:
    given = {key: value for key, value in raw.items() if key != "defaults"}
    spec = RegressionSpec.model_validate({"name": "m", "type": "regression", **given})
    assert not regression.MODEL.static_check(spec) and not regression.MODEL.check(data(), spec)
    assert regression.MODEL.build(data(), spec).items
    expansion = expansion_of(data(), spec)
    again = yaml.safe_load(yaml.safe_dump(dict(expansion.model)))
    assert not declarative.static_check(declarative.DeclarativeSpec.model_validate(again))


def test_every_family_and_its_links_are_in_the_table() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    for name, family in FAMILY_TABLE.items():
        plain = name.removeprefix("zero_inflated_")
        (row,) = [r for r in rows if f"`{name}`" in r or ("`zero_inflated_` of" in r and f"`{plain}`" in r)][:1]
        assert all(link in row for link in family.parameters["mu"].links), name
        assert all(f"`{parameter}`" in row for parameter in family.parameters if parameter != "mu"), name

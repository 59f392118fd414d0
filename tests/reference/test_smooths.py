"""Smooths, Gaussian processes and monotonic effects through the real command: truth, new rows, the expanded model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from bayesrun.models import declarative, regression
from bayesrun.models.regression.linear_terms import Rows
from bayesrun.models.regression.regression_model import expansion_of
from bayesrun.models.regression.regression_spec import RegressionSpec
from tests.conftest import Command, only_run
from tests.contract.numpy_engine.engine import log_densities

pytestmark = pytest.mark.slow
FORMULA = {"mu": "y ~ g + s(x, by = g, k = 8) + mo(q) + hsgp(z, m = 12, c = 2) + (1 | h)", "sigma": "~ s(x, k = 5)"}
LEVELS = ["low", "mid", "high"]
NEW = {"x": [2.5, 7.0, 12.0], "z": [0.5, -1.0, 0.0], "g": ["a", "b", "a"], "q": ["mid", "low", "high"], "h": [0, 3, 5]}
FEW = ("tracking=none", "model.figures=[effects]", "sampler.chains=2", "sampler.tune=400", "predictive.prior=0")


def simulated() -> pd.DataFrame:
    rng = np.random.default_rng(31)
    size = 300
    table = pd.DataFrame({"x": rng.uniform(0, 10, size), "z": rng.uniform(-2, 2, size), "h": np.arange(size) % 6})
    table["g"], table["q"] = rng.choice(["a", "b"], size), rng.choice(LEVELS, size)
    rise = table["q"].map({"low": 0.0, "mid": 1.2, "high": 1.5})
    wave = np.where(table["g"] == "a", np.sin(table["x"]), 0.2 * table["x"] - 1)
    table["y"] = wave + rise + np.cos(2 * table["z"]) + 0.3 * rng.normal(size=size)
    return table.round(4)


def rows_of(table: Any) -> xr.Dataset:
    """Return a table as prepared data."""
    made = xr.Dataset({n: ("obs", np.asarray(v)) for n, v in table.items()}, {"obs": np.arange(len(table["x"]))})
    made["q"].attrs["levels"] = LEVELS
    return made.assign_attrs(dim="obs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("smooths")
    simulated().to_csv(made / "rows.csv", index=False)
    model = {"name": "curves", "type": "regression", "formula": FORMULA}
    contents = {
        "model/curves": {"defaults": [{"/data@_global_.data": "rows"}, "_self_"], **model},
        "data/rows": {"name": "rows", "source": "csv", "path": str(made / "rows.csv"), "levels": {"q": LEVELS}},
        "data/new": {"name": "new", "source": "inline", "values": NEW},
    }
    for name, content in contents.items():
        path = made / f"conf/{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    return made


def test_new_rows_are_predicted_by_the_curves_of_the_fit(folder: Path, bayesrun: Command) -> None:
    words = ("model=curves", "sampler.draws=300", "predict.data=new", f"paths.outputs={folder}/out", "seed=3")
    done = bayesrun(f"--config-dir={folder}/conf", *words, *FEW)
    assert done.returncode in (0, 3), done.stderr
    assert "'x' is outside the range of the fit" in done.stdout + done.stderr
    assert "mo(q) is monotonic in the order low < mid < high" in done.stdout + done.stderr
    run = only_run(folder / "out")
    assert (run / "figures/effects.png").stat().st_size > 10_000
    posterior = az.from_netcdf(run / "posterior.nc").posterior
    spec = RegressionSpec.model_validate({"name": "curves", "type": "regression", "formula": FORMULA})
    rows = Rows(rows_of(NEW), "obs", "key")
    total: Any = posterior["Intercept"] + posterior["g"][..., 0] * xr.DataArray([0, 1, 0], dims="obs")
    total = total + posterior["r_h"][..., 0].sel(h=xr.DataArray(NEW["h"], dims="obs"))
    curves = [t for t in expansion_of(rows_of(simulated()), spec).terms["mu"] if hasattr(t, "curve")]
    assert len(curves) == 3
    for term in curves:
        total = total + term.curve(term.columns(rows), posterior)
    table = pd.read_csv(run / "predictions.csv").query("kind == 'mu'")
    wanted = total.mean(("chain", "draw")).values
    np.testing.assert_allclose(table["mean"].values, wanted, rtol=1e-6, atol=1e-8)
    # the truth at the first two rows, relative to each other; what the third one adds is beyond the data
    truth = (np.sin(2.5) + 1.2 + np.cos(1.0)) - (0.2 * 7.0 - 1 + np.cos(-2.0))
    difference = total.isel(obs=0) - total.isel(obs=1)
    assert abs(float(difference.mean()) - truth) < 4 * float(difference.std())


def test_the_expanded_model_has_the_same_log_density(folder: Path, bayesrun: Command) -> None:
    done = bayesrun(f"--config-dir={folder}/conf", "task=expand", "model=curves", f"expand.folder={folder}/expanded")
    assert done.returncode == 0, done.stderr
    spec = RegressionSpec.model_validate(
        {"name": "m", "type": "regression", "formula": FORMULA, "options": {"form": "direct"}}
    )
    written = declarative.DeclarativeSpec.model_validate(yaml.safe_load(done.stdout))
    columns = xr.load_dataset(folder / "expanded/curves_expanded.nc")
    ours = regression.MODEL.build(rows_of(simulated()), spec)
    theirs = declarative.build(columns.assign_attrs(dim="obs"), written)
    rng = np.random.default_rng(1)
    shapes = {
        item.name: item.plan.shape for item in ours.items if hasattr(item, "plan") and not hasattr(item, "observed")
    }
    for _ in range(3):
        point = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
        point |= {n: np.exp(v) for n, v in point.items() if n.startswith(("sd", "lscale"))}
        point["simo_mo_q"] = np.array([0.3, 0.7])
        wanted = sum(log_densities(ours, point).values())
        assert sum(log_densities(theirs, point).values()) == pytest.approx(wanted, rel=1e-9)

"""Group effects with an id through the real command: estimates, predictions of new groups, the written model."""

from __future__ import annotations

from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.conftest import Command

GROUPS, ROWS, CORRELATION = 60, 8, 0.8
FEW = ("sampler.chains=2", "sampler.tune=400", "sampler.draws=400", "predictive.prior=0", "tracking=none", "seed=4")


def write(folder: Path) -> None:
    """Simulate two responses of groups whose levels are correlated, and rows of new groups."""
    rng = np.random.default_rng(5)
    effects = rng.multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]], GROUPS)
    group = np.repeat(np.arange(GROUPS), ROWS)
    y, z = effects[group].T + rng.normal(0, 0.5, (2, len(group)))
    np.savetxt(folder / "two.csv", np.c_[y, z, group], "%.6g", ",", header="y,z,g", comments="")
    new = {"name": "new", "source": "inline", "values": {"g": [7, 900]}}
    data = {"name": "two", "source": "csv", "path": str(folder / "two.csv")}
    model = {"defaults": [{"/data@_global_.data": "two"}, "_self_"], "name": "two", "type": "regression"}
    model |= {"formula": "mvbind(y, z) ~ 1 + (1 | p | g)", "figures": ["shrinkage"]}
    for kind, content in (("data", new), ("data", data), ("model", model)):
        (folder / kind).mkdir(exist_ok=True)
        (folder / kind / f"{content['name']}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.slow
def test_correlations_are_found_and_new_groups_have_them(tmp_path: Path, bayesrun: Command) -> None:
    write(tmp_path)
    at = (f"--config-dir={tmp_path}", f"paths.outputs={tmp_path}/out")
    done = bayesrun(*at, "model=two", *FEW, "model.options.rescor=false", timeout=900)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert "effects of 60 groups of 'g' on several parameters are correlated, and sampled centred" in done.stdout
    (path,) = (tmp_path / "out/runs").glob("2*/*/posterior.nc")
    posterior = az.from_netcdf(path).posterior
    cor = posterior["cor_g"].sel(g_pair="y_Intercept, z_Intercept").values
    assert abs(cor.mean() - CORRELATION) < 3 * cor.std() and cor.std() < 0.1
    assert (path.parent / "figures" / "shrinkage.png").exists()
    asked = ("task=predict", f"run={path.parent}", "predict.data=new", "predict.new_levels=population")
    done = bayesrun(*at, *asked, "tracking=none", timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (table,) = (tmp_path / "out/runs").glob("2*/*/predictions.csv")
    mu = pd.read_csv(table).query("kind == 'mu'").set_index(["variable", "obs"])
    for name in ("y", "z"):
        known = posterior[f"{name}_Intercept"] + posterior["r_g"].sel(g=7, g_effect=f"{name}_Intercept")
        assert mu.loc[(f"{name}_obs", 0), "mean"] == pytest.approx(float(known.mean()), abs=1e-6)
        sd = posterior["sd_g"].sel(g_effect=f"{name}_Intercept").values
        between = (sd**2).mean() + posterior[f"{name}_Intercept"].values.var()
        assert mu.loc[(f"{name}_obs", 1), "sd"] == pytest.approx(np.sqrt(between), rel=0.12)

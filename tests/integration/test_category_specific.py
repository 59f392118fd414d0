"""`cs(x)` through the real command: estimates beside maximum likelihood, predictions of new rows, and LOO."""

from __future__ import annotations

import json
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.optimize import minimize
from scipy.special import expit

from tests.conftest import Command, only_run

ROWS = 500
NEW = {"x": [0.0, 2.0, 4.0], "w": [0.0, 1.0, -1.0]}


def chances(eta: np.ndarray, cutpoints: np.ndarray, slopes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the probabilities of levels, (row, level), of stopping at a threshold once it is reached."""
    stop = expit(cutpoints - eta[:, None] - np.outer(x, slopes))
    going_on = np.cumprod(1 - stop, axis=1)
    ends = np.ones((len(x), 1))
    return -np.diff(np.concatenate([ends, going_on, 0 * ends], axis=1), axis=1)


def simulated() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    x, w = rng.normal(2.0, 1.0, ROWS), rng.normal(size=ROWS)
    shares = chances(0.6 * w, np.array([-0.5, 0.6, 0.3]), np.array([0.9, 0.2, -0.5]), x)
    y = (rng.random((ROWS, 1)) > np.cumsum(shares, axis=1)).sum(axis=1)
    return {"y": y, "x": x, "w": w}


def maximum(rows: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Maximise the log likelihood of stopping or not at each threshold that a row reaches; return standard errors."""

    def loss(point: np.ndarray) -> float:
        distance = point[:3] - point[6] * rows["w"][:, None] - np.outer(rows["x"], point[3:6])
        place, y = np.arange(3), rows["y"][:, None]
        terms = np.where(
            place == y, -np.logaddexp(0.0, -distance), np.where(place < y, -np.logaddexp(0.0, distance), 0.0)
        )
        return -float(terms.sum())

    found = minimize(loss, np.zeros(7), method="BFGS", options={"gtol": 1e-5})
    return found.x, np.sqrt(np.diag(found.hess_inv))


@pytest.mark.slow
def test_effects_at_thresholds_are_those_of_maximum_likelihood(tmp_path: Path, bayesrun: Command) -> None:
    rows = simulated()
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    contents = {
        "data/rows": {"name": "rows", "source": "csv", "path": str(tmp_path / "rows.csv")},
        "data/new": {"name": "new", "source": "inline", "values": NEW},
        "model/m": {
            "defaults": [{"/data@_global_.data": "rows"}, "_self_"], "name": "m", "type": "regression",
            "formula": "y ~ w + cs(x)", "family": "sequential", "figures": ["ppc"],
        },
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    few = ("sampler.draws=500", "sampler.tune=400", "sampler.chains=2", "predictive.prior=50", "tracking=none")
    at = (f"--config-dir={tmp_path}", f"paths.outputs={tmp_path}/out")
    done = bayesrun(*at, "model=m", *few, "predict.data=new", "seed=3", timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = only_run(tmp_path / "out")
    posterior = az.from_netcdf(folder / "posterior.nc").posterior.stack(sample=("chain", "draw"))
    assert list(posterior["cutpoint"].values) == ["0|1", "1|2", "2|3"]
    draws = np.concatenate([posterior["cutpoints"].values, posterior["cs_x"].values, posterior["w"].values[None]])
    estimates, errors = maximum(rows)
    # the priors are weak: posterior means are within a part of a standard error of the maximum
    assert np.abs((draws.mean(axis=1) - estimates) / errors).max() < 0.3
    assert np.abs(draws.std(axis=1) / errors - 1).max() < 0.15

    table = pd.read_csv(folder / "predictions.csv").query("kind == 'probability'")
    each = [chances(np.array(NEW["w"]) * p[6], p[:3], p[3:6], np.array(NEW["x"])) for p in draws.T]
    np.testing.assert_allclose(table["mean"].to_numpy().reshape(3, 4), np.mean(each, axis=0), rtol=2e-3)
    metrics = json.loads((folder / "metrics.json").read_text())
    own = np.mean([chances(rows["w"] * p[6], p[:3], p[3:6], rows["x"]) for p in draws.T], axis=0)
    lppd = np.log(own[np.arange(ROWS), rows["y"]]).sum()
    assert metrics["elpd_loo"] + metrics["p_loo"] == pytest.approx(lppd, abs=0.05)
    assert 5 < metrics["p_loo"] < 9  # seven parameters
    assert (folder / "figures" / "ppc.png").exists()
    assert "cs(x)" in (folder / "model.json").read_text()

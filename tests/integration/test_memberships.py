"""`(1 | mm(a, b))` through the real command: levels beside an exact posterior, predictions of known and new groups."""

from __future__ import annotations

from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.conftest import Command, only_run

ROWS, GROUPS = 300, 25
NEW = {
    "x": [0.0, 0.0, 0.0],
    "a": ["s3", "s3", "s98"],
    "b": ["s3", "s99", "s99"],
    "u": [2.0, 3.0, 1.0],
    "v": [1.0, 1.0, 3.0],
}


def simulated() -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return pupils who went to one or two schools for some years each, and the share of each school in each row."""
    rng = np.random.default_rng(12)
    a, b = rng.integers(GROUPS, size=(2, ROWS))
    u, v = rng.integers(1, 6, size=(2, ROWS)).astype(float)
    shares = np.zeros((ROWS, GROUPS))
    np.add.at(shares, (np.arange(ROWS), a), u / (u + v))
    np.add.at(shares, (np.arange(ROWS), b), v / (u + v))
    x = rng.normal(size=ROWS)
    y = 1.0 + 0.5 * x + shares @ rng.normal(0, 1.2, GROUPS) + rng.normal(0, 0.8, ROWS)
    names = np.array([f"s{i}" for i in range(GROUPS)])
    return {"y": y, "x": x, "a": names[a], "b": names[b], "u": u, "v": v}, shares


def exact(
    rows: dict[str, np.ndarray], shares: np.ndarray, sds: np.ndarray, sigmas: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and sd of the levels, averaged over draws of both sds; given them, all else is normal."""
    design = np.column_stack([np.ones(ROWS), rows["x"], shares])
    means, squares = [], []
    for sd, sigma in zip(sds, sigmas, strict=True):
        precision = design.T @ design / sigma**2
        precision[2:, 2:] += np.eye(GROUPS) / sd**2
        precision[:2, :2] += np.eye(2) * 1e-4
        cov = np.linalg.inv(precision)
        mean = cov @ design.T @ rows["y"] / sigma**2
        means.append(mean)
        squares.append(np.diag(cov) + mean**2)
    mean = np.mean(means, axis=0)
    return mean, np.sqrt(np.mean(squares, axis=0) - mean**2)


@pytest.mark.slow
def test_levels_are_those_of_the_exact_posterior_and_new_groups_have_the_distribution(
    tmp_path: Path, bayesrun: Command
) -> None:
    rows, shares = simulated()
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    contents = {
        "data/rows": {"name": "rows", "source": "csv", "path": str(tmp_path / "rows.csv")},
        "data/new": {"name": "new", "source": "inline", "values": NEW},
        "model/m": {
            "defaults": [{"/data@_global_.data": "rows"}, "_self_"], "name": "m", "type": "regression",
            "formula": "y ~ x + (1 | mm(a, b, weights = cbind(u, v)))", "figures": ["effects", "shrinkage"],
        },
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    few = (
        "sampler.draws=600",
        "sampler.tune=500",
        "sampler.chains=2",
        "predictive.prior=50",
        "tracking=none",
        "seed=5",
    )
    at = (f"--config-dir={tmp_path}", f"paths.outputs={tmp_path}/out")
    new = ("predict.data=new", "predict.new_levels=population")
    done = bayesrun(*at, "model=m", *few, *new, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "levels of 25 groups of 'mm(a, b)' are sampled non-centred" in done.stdout
    folder = only_run(tmp_path / "out")
    idata = az.from_netcdf(folder / "posterior.nc")
    posterior = idata.posterior.stack(sample=("chain", "draw"))
    names = [f"s{i}" for i in range(GROUPS)]
    levels = posterior["r_mm_a_b"].sel(mm_a_b_effect="Intercept", mm_a_b=names).transpose("mm_a_b", "sample").values
    sd, sigma = posterior["sd_mm_a_b"].values[0], posterior["sigma"].values
    mean, spread = exact(rows, shares, sd[::10], sigma[::10])
    summary = pd.read_csv(folder / "summary.csv", index_col="name")
    errors = summary.loc[[f"r_mm_a_b[{name}, Intercept]" for name in names], "mcse_mean"].to_numpy()
    assert np.abs((levels.mean(axis=1) - mean[2:]) / np.hypot(errors, 0.05 * spread[2:])).max() < 4
    np.testing.assert_allclose(levels.std(axis=1), spread[2:], rtol=0.15)
    assert summary.loc["x", "mean"] == pytest.approx(mean[1], abs=0.01)

    table = pd.read_csv(folder / "predictions.csv").query("kind == 'mu'").set_index("obs")
    known, intercept = levels[3], posterior["Intercept"].values
    assert table.loc[0, "mean"] == pytest.approx((intercept + known).mean(), abs=1e-6)
    for row, (own, others) in {1: (0.75, [0.25]), 2: (0.0, [0.25, 0.75])}.items():
        expected = (intercept + own * known).var() + np.sum(np.square(others)) * (sd**2).mean()
        assert table.loc[row, "sd"] == pytest.approx(np.sqrt(expected), rel=0.12)
        assert table.loc[row, "mean"] == pytest.approx(
            (intercept + own * known).mean(), abs=4 * np.sqrt(expected / 1000)
        )
    assert "log_likelihood" in idata.groups() and (folder / "figures" / "effects.png").exists()

    strict = ("predict.data=new", "predict.new_levels=error")
    refused = bayesrun(*at, "task=predict", f"run={folder}", *strict, "tracking=none", timeout=600)
    assert refused.returncode == 1
    assert "the model was not fitted to 's99' of 'mm(a, b)'" in refused.stderr + refused.stdout


@pytest.mark.slow
def test_slopes_of_known_and_new_groups_are_predicted_from_their_effects(tmp_path: Path, bayesrun: Command) -> None:
    rows, shares = simulated()
    slopes = np.random.default_rng(3).normal(0, 0.6, GROUPS)
    rows["y"] = rows["y"] + rows["x"] * (shares @ slopes)
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    contents = {
        "data/rows": {"name": "rows", "source": "csv", "path": str(tmp_path / "rows.csv")},
        "data/new": {"name": "new", "source": "inline", "values": {**NEW, "x": [2.0, 2.0, -1.0]}},
        "model/m": {
            "defaults": [{"/data@_global_.data": "rows"}, "_self_"], "name": "m", "type": "regression",
            "formula": "y ~ x + (x | mm(a, b, weights = cbind(u, v)))", "figures": ["effects", "shrinkage"],
            "priors": {
                "sd": {"mm(a, b)": {"dist": "HalfNormal", "sigma": 2}}, "cor": {"mm_a_b": {"dist": "LKJ", "eta": 1}},
            },
        },
    }  # fmt: skip
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    few = ("sampler.draws=500", "sampler.tune=500", "sampler.chains=2", "predictive.prior=50", "tracking=none")
    at = (f"--config-dir={tmp_path}", f"paths.outputs={tmp_path}/out")
    new = ("predict.data=new", "predict.new_levels=population")
    done = bayesrun(*at, "model=m", *few, *new, "seed=5", timeout=1200)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    assert "effects of 25 groups of 'mm(a, b)' are sampled non-centred" in done.stdout
    folder = only_run(tmp_path / "out")
    posterior = az.from_netcdf(folder / "posterior.nc").posterior.stack(sample=("chain", "draw"))
    found = posterior["r_mm_a_b"].sel(mm_a_b=[f"s{i}" for i in range(GROUPS)]).transpose("mm_a_b_effect", "mm_a_b", ...)
    assert np.corrcoef(found.values[1].mean(axis=1), slopes)[0, 1] > 0.6  # of 24 slopes, with 1/5 of the rows' variance
    (sd, sd_x), cor = posterior["sd_mm_a_b"].transpose("mm_a_b_effect", "sample").values, posterior["cor_mm_a_b"].values
    # averages of the draws of known groups, and the spread of new ones
    table = pd.read_csv(folder / "predictions.csv").query("kind == 'mu'").set_index("obs")
    known = found.sel(mm_a_b="s3").values
    fixed = posterior["Intercept"].values, posterior["x"].values
    assert table.loc[0, "mean"] == pytest.approx((fixed[0] + known[0] + 2 * (fixed[1] + known[1])).mean(), abs=1e-6)
    for row, (x, own, others) in {1: (2.0, 0.75, [0.25]), 2: (-1.0, 0.0, [0.25, 0.75])}.items():
        middle = fixed[0] + x * fixed[1] + own * (known[0] + x * known[1])
        between = sd**2 + 2 * x * cor[0] * sd * sd_x + x**2 * sd_x**2
        expected = middle.var() + np.sum(np.square(others)) * between.mean()
        assert table.loc[row, "sd"] == pytest.approx(np.sqrt(expected), rel=0.15)
        assert table.loc[row, "mean"] == pytest.approx(middle.mean(), abs=4 * np.sqrt(expected / 1000))
    assert (folder / "figures" / "effects.png").exists()

    expanded = bayesrun(*at, "task=expand", "model=m", timeout=600)
    assert expanded.returncode == 0 and "sum((mm_a_b_weight_1 * r_mm_a_b[mm_a_b_code_1]" in expanded.stdout

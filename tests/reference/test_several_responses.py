"""Several responses through the real command: multivariate least squares, and predictions of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
import yaml

from tests.conftest import Command, only_run

RADON = Path(__file__).parent / "published/radon.csv"


def _simulated() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    x = rng.normal(50, 2, size=40)
    residuals = rng.multivariate_normal([0, 0], [[1.0, -1.8], [-1.8, 9.0]], size=40)
    return pd.DataFrame({"a": 3 + 0.5 * x + residuals[:, 0], "b": -2 - x + residuals[:, 1], "x": x})


CASES: Mapping[str, tuple[Any, str, tuple[str, str]]] = {
    "radon": (RADON, "floor", ("log_radon", "log_uranium")),
    "simulated": (_simulated, "x", ("a", "b")),
}


def _exact(y: Any, x: Any) -> tuple[Any, Any, tuple[float, float]]:
    """Return mean and sd of the coefficients, and of the correlation, under flat priors of the coefficients.

    With k coefficients a response and S the residuals' cross products, p(Sigma | y) is proportional to
    p(Sigma) |Sigma|^-((n - k) / 2) exp(-tr(Sigma^-1 S) / 2) (Box and Tiao 1973, section 8.2), here on a grid of the two
    sds and the correlation, whose prior is uniform; the sds' HalfNormal of 10 sds of the response.
    """
    design = np.c_[np.ones(len(x)), x]
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ design.T @ y
    rest = y - design @ found
    s = rest.T @ rest
    freedom = len(x) - 2
    sds = np.sqrt(np.diag(s) / freedom)
    wide = 1 + np.linspace(-6, 9, 121) / np.sqrt(2 * freedom)
    one, two = sds[0] * wide[:, None, None], sds[1] * wide[None, :, None]
    rho = np.linspace(-0.999, 0.999, 1201)[None, None, :]
    scale = y.std(axis=0) * 10
    log = st.halfnorm.logpdf(one, scale=scale[0]) + st.halfnorm.logpdf(two, scale=scale[1])
    log = log - freedom * (np.log(one) + np.log(two) + 0.5 * np.log(1 - rho**2))
    trace = s[0, 0] / one**2 + s[1, 1] / two**2 - 2 * rho * s[0, 1] / (one * two)
    weight = log - 0.5 * trace / (1 - rho**2)
    weight = np.exp(weight - weight.max())
    weight /= weight.sum()
    mean = float((weight * rho).sum())
    variances = np.array([(weight * one**2).sum(), (weight * two**2).sum()])
    spread = np.sqrt(np.diag(inverse)[:, None] * variances[None, :])
    return found, spread, (mean, float(np.sqrt((weight * (rho - mean) ** 2).sum())))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_posterior_is_that_of_multivariate_least_squares(name: str, tmp_path: Path, bayesrun: Command) -> None:
    source, predictor, (first, second) = CASES[name]
    table = source() if callable(source) else pd.read_csv(source)
    table = table[[predictor, first, second]].dropna()
    table.to_csv(tmp_path / "table.csv", index=False)
    model = {"defaults": [{"/data@_global_.data": "table"}, "_self_"], "name": "m", "type": "regression"}
    model |= {"formula": f"mvbind({first}, {second}) ~ {predictor}"}
    middle = float(table[predictor].mean())
    sections = {
        ("model", "m"): model,
        ("data", "table"): {"name": "table", "source": "csv", "path": str(tmp_path / "table.csv")},
        ("data", "new"): {"name": "new", "source": "inline", "values": {predictor: [middle, middle + 1]}},
    }
    for (group, label), content in sections.items():
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / f"{label}.yaml").write_text(yaml.safe_dump(content))
    words = ("sampler.draws=1000", "sampler.tune=500", "sampler.chains=2", "tracking=none", "model.figures=[ppc]")
    words = ("model=m", "predict.data=new", *words)
    done = bayesrun(f"--config-dir={tmp_path}", *words, f"paths.outputs={tmp_path}/out")
    assert done.returncode == 0, done.stderr + done.stdout
    assert f"residuals of {first}, {second} are correlated" in done.stdout
    folder = only_run(tmp_path / "out")
    idata = az.from_netcdf(folder / "posterior.nc")
    posterior, coefficients = idata.posterior, {}
    found, spread, (rho, rho_sd) = _exact(table[[first, second]].to_numpy(), table[predictor].to_numpy())
    for k, response in enumerate((first, second)):
        for j, term in enumerate(("Intercept", predictor)):
            values = posterior[f"{response}_{term}"].values
            error = float(az.mcse(values))
            # the priors' sds are 10 times that of a predictor which explains everything
            assert abs(values.mean() - found[j, k]) < 4 * error + 0.02 * spread[j, k]
            assert values.std() == pytest.approx(spread[j, k], rel=0.12)
            coefficients[response, term] = values
    values = posterior["rescor"].values[..., 0]
    assert posterior["rescor"]["response_pair"].item() == f"{first}, {second}"
    assert abs(values.mean() - rho) < 4 * float(az.mcse(values))
    assert values.std() == pytest.approx(rho_sd, rel=0.12)
    terms = idata.log_likelihood["responses_obs"]
    assert terms.dims[2:] == (idata.posterior_predictive["responses_obs"].dims[2],) and terms.shape[2] == len(table)
    predicted = pd.read_csv(folder / "predictions.csv").set_index(["kind", "obs", "response"])
    for response in (first, second):
        mu = coefficients[response, "Intercept"] + coefficients[response, predictor] * (middle + 1)
        assert predicted.loc[("mu", 1, response), "mean"] == pytest.approx(mu.mean(), rel=1e-6)
        sigma = posterior[f"{response}_sigma"].values
        assert predicted.loc[("observation", 1, response), "sd"] == pytest.approx(
            np.sqrt(mu.var() + (sigma**2).mean()), rel=0.1
        )

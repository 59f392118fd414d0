"""The models of docs/coming-from-stan.md have the log density of their Stan programs, and run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.special import expit, logsumexp

from bayesrun.language.prior_checks import check_prior
from bayesrun.models.declarative import DeclarativeSpec, build, check, static_check
from tests.conftest import ROOT, Command
from tests.contract.numpy_engine.engine import log_densities

TEXT = (ROOT / "docs" / "coming-from-stan.md").read_text(encoding="utf-8")
MODELS = {one["name"]: one for one in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))}
RNG = np.random.default_rng(6)
N = 12
X, Y = np.sort(RNG.normal(size=N)), RNG.normal(size=N)
FEATURES = RNG.normal(size=(N, 3))
COLUMNS: dict[str, tuple[Any, Any]] = {
    "y": ("obs", Y),
    "x": ("obs", X),
    "X": (("obs", "feature"), FEATURES),
    "passed": ("obs", np.arange(N) % 2),
    "counts": ("obs", RNG.poisson(3, N)),
    "exposure": ("obs", RNG.uniform(1, 3, N)),
    "county": ("obs", np.arange(N) % 3),
    "level": ("obs", np.arange(N) % 3),
    "time": ("obs", np.sort(RNG.uniform(0.5, 4, N))),
    "dropped_out": ("obs", np.arange(N) % 2),
    "y_positive": ("obs", np.exp(0.3 * Y)),
}
GROUPS = {"county_name": ["a", "b", "c"], "feature": ["f", "g", "h"]}
norm, D = stats.norm.logpdf, {name: np.asarray(values) for name, (_, values) in COLUMNS.items()}


def data_of(name: str) -> xr.Dataset:
    body = yaml.safe_dump(MODELS[name])
    used = {n: v for n, v in COLUMNS.items() if re.search(rf"\b{n}\b", body) and n not in MODELS[name]["priors"]}
    return xr.Dataset(used, coords={dim: labels for dim, labels in GROUPS.items() if dim in body})


# ---------------------------------------------------------------- target of each Stan program, with all constants


def _regression(p: Any) -> Any:
    prior = norm(p["alpha"], 0, 10) + norm(p["beta"], 0, 2).sum() + stats.expon.logpdf(p["sigma"])
    return prior + norm(Y, p["alpha"] + FEATURES @ p["beta"], p["sigma"]).sum()


def _binary(p: Any) -> Any:
    prior = stats.t.logpdf(p["alpha"], 3, 0, 2.5) + norm(p["beta"], 0, 1)
    return prior + stats.bernoulli.logpmf(D["passed"], expit(p["alpha"] + p["beta"] * X)).sum()


def _counts(p: Any) -> Any:
    mu, phi = np.exp(p["alpha"]) * D["exposure"], p["phi"]
    prior = norm(p["alpha"], 0, 5) + stats.expon.logpdf(phi, scale=10)
    return prior + stats.nbinom.logpmf(D["counts"], phi, phi / (phi + mu)).sum()


def _groups(p: Any) -> Any:
    theta = p["mu"] + p["tau"] * p["theta_offset"]
    prior = norm(p["mu"], 0, 5) + stats.halfcauchy.logpdf(p["tau"], scale=5) + norm(p["theta_offset"], 0, 1).sum()
    return prior + stats.halfnorm.logpdf(p["sigma"], scale=2) + norm(Y, theta[D["county"]], p["sigma"]).sum()


def _correlated(p: Any) -> Any:
    b = p["chol"] @ p["z"]
    tau = np.sqrt((p["chol"] ** 2).sum(axis=1))
    r = (p["chol"] @ p["chol"].T / np.outer(tau, tau))[0, 1]
    # lkj_corr(2) of two dimensions is Beta(2, 2) on (-1, 1); the Jacobian is that from (tau, r) to the factor
    scaled = stats.beta.logpdf((r + 1) / 2, 2, 2) - np.log(2) + stats.expon.logpdf(tau).sum()
    jacobian = np.log(p["chol"][1, 1] / tau[1]) - np.log(tau[1])
    mean = b[0][D["county"]] + b[1][D["county"]] * X
    prior = scaled + jacobian + norm(p["z"], 0, 1).sum() + stats.expon.logpdf(p["sigma"])
    return prior + norm(Y, mean, p["sigma"]).sum()


def _mixture(p: Any) -> Any:
    logs = [np.log(w) + norm(Y, m, p["sigma"]) for w, m in zip((p["w"], 1 - p["w"]), p["mu"], strict=True)]
    prior = norm(p["mu"], 0, 3).sum() + stats.halfnorm.logpdf(p["sigma"], scale=2) + stats.beta.logpdf(p["w"], 2, 2)
    return prior + logsumexp(logs, axis=0).sum()


def _ordered(p: Any) -> Any:
    below = np.column_stack([np.zeros(N), expit(p["cut"] - p["beta"] * X[:, None]), np.ones(N)])
    chances = np.diff(below, axis=1)[np.arange(N), D["level"]]
    return norm(p["cut"], 0, 3).sum() + norm(p["beta"], 0, 1) + np.log(chances).sum()


def _censored(p: Any) -> Any:
    of = stats.weibull_min(p["alpha"], scale=p["scale"])
    prior = stats.halfnorm.logpdf(p["alpha"], scale=2) + stats.lognorm.logpdf(p["scale"], 1)
    return prior + np.where(D["dropped_out"] == 1, of.logsf(D["time"]), of.logpdf(D["time"])).sum()


def _process(p: Any) -> Any:
    kernel = p["alpha"] ** 2 * np.exp(-0.5 * ((X[:, None] - X) / p["rho"]) ** 2) + (p["sigma"] ** 2 + 1e-8) * np.eye(N)
    prior = stats.invgamma.logpdf(p["rho"], 5, scale=5) + stats.halfnorm.logpdf([p["alpha"], p["sigma"]]).sum()
    return prior + stats.multivariate_normal.logpdf(Y, np.zeros(N), kernel)


def _level(p: Any) -> Any:
    # the levels of the Stan program, summed out: y is jointly normal
    steps = np.arange(N)
    covariance = 25.0 + p["drift"] ** 2 * np.minimum(steps[:, None], steps) + p["sigma"] ** 2 * np.eye(N)
    prior = stats.halfnorm.logpdf([p["sigma"], p["drift"]]).sum()
    return prior + stats.multivariate_normal.logpdf(Y, np.zeros(N), covariance)


def _decay(p: Any) -> Any:
    exact = solve_ivp(
        lambda t, c: 2.5 * np.exp(-t) - p["k"] * c, (0, 4), [0.1], "DOP853", D["time"], rtol=1e-12, atol=1e-12
    ).y[0]
    prior = stats.lognorm.logpdf(p["k"], 1) + stats.halfnorm.logpdf(p["sigma"])
    return prior + stats.lognorm.logpdf(D["y_positive"], p["sigma"], scale=exact).sum()


STAN: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "regression": (_regression, {"alpha": 0.3, "beta": np.array([0.5, -1.0, 0.2]), "sigma": 0.8}),
    "binary": (_binary, {"alpha": 0.3, "beta": -0.7}),
    "counts": (_counts, {"alpha": 0.6, "phi": 4.0}),
    "groups": (_groups, {"mu": 0.2, "tau": 1.3, "theta_offset": np.array([0.5, -1.0, 0.2]), "sigma": 0.9}),
    "correlated_effects": (
        _correlated,
        {"chol": np.array([[0.8, 0.0], [0.3, 0.6]]), "z": np.array([[0.5, -1.0, 0.2], [0.1, 0.4, -0.3]]), "sigma": 0.9},
    ),
    "mixture": (_mixture, {"mu": np.array([-0.8, 1.1]), "sigma": 0.7, "w": 0.4}),
    "ordered_categories": (_ordered, {"cut": np.array([-0.8, 1.1]), "beta": 0.6}),
    "censored_times": (_censored, {"alpha": 1.4, "scale": 2.2}),
    "gaussian_process": (_process, {"rho": 0.8, "alpha": 1.2, "sigma": 0.5}),
    "moving_level": (_level, {"sigma": 0.6, "drift": 0.8}),
    "decay": (_decay, {"k": 0.7, "sigma": 0.4}),
}


def test_the_page_has_eleven_models_each_with_its_stan_program() -> None:
    assert list(MODELS) == list(STAN)
    assert len(re.findall(r"```stan\n", TEXT)) == len(STAN) == 11


@pytest.mark.parametrize("name", STAN)
def test_a_model_has_the_log_density_of_its_stan_program(name: str) -> None:
    spec, here = DeclarativeSpec.model_validate(MODELS[name]), data_of(name)
    assert [p for prior, body in spec.priors.items() for p in check_prior(prior, body)] == []
    assert [*static_check(spec), *check(here, spec)] == []
    target, point = STAN[name]
    made, rel = build(here, spec), 1e-6 if name == "decay" else 1e-9
    other = {parameter: value * 0.9 for parameter, value in point.items()}
    ours = [sum(log_densities(made, p).values()) for p in (point, other)]
    stans = [float(target(p)) for p in (point, other)]
    assert ours[0] - ours[1] == pytest.approx(stans[0] - stans[1], rel=10 * rel)
    if name != "correlated_effects":  # PyMC3's LKJ density has another constant
        assert ours == pytest.approx(stans, rel)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAN)
def test_a_model_runs(name: str, bayesrun: Command, tmp_path: Path) -> None:
    here = data_of(name)
    values = {str(n): here[n].values.tolist() for n in here.data_vars}
    dims = {str(n): list(map(str, here[n].dims)) for n in here.data_vars}
    source = {"name": "d", "source": "json", "path": str(tmp_path / "d.json"), "dims": dims}
    if name == "groups":
        values["county_name"] = ["abc"[i] for i in values.pop("county")]
        source = {**source, "dims": {"y": ["obs"], "county_name": ["obs"]}, "factors": {"county": "county_name"}}
    (tmp_path / "d.json").write_text(json.dumps(values))
    for folder, content in (("model", MODELS[name]), ("data", source)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    short = ["sampler=prior", "sampler.draws=20", "tracking=none", "report=false", f"paths.outputs={tmp_path / 'out'}"]
    done = bayesrun("--config-dir", str(tmp_path), "model=mine", "data=mine", *short)
    assert done.returncode == 0, done.stderr

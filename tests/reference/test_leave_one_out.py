"""Leave-one-out densities of the roaches and radon data, repaired by moment matching and by refits, against exact ones.

The exact densities of the roaches use no sampler: the posterior without a row is integrated over by importance sampling
from a t distribution at its mode, whose effective sample size is checked. Those of the radon data integrate all
coefficients and effects in closed form, given three scales and a correlation.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import gammaln, logsumexp

from tests.conftest import Command

pytestmark = pytest.mark.slow
PUBLISHED = Path(__file__).parent / "published"
PRIORS = "priors: {Intercept: {dist: Normal, mu: 0, sigma: 5}, default: {dist: Normal, mu: 0, sigma: 5}"
MODELS = {
    "poisson": f"""
        defaults: [{{/data@_global_.data: roaches}}, _self_]
        name: poisson
        type: regression
        family: poisson
        formula: y ~ roach100 + treatment + senior + offset(log(exposure2))
        {PRIORS}}}
        figures: []
    """,
    "radon": f"""
        defaults: [{{/data@_global_.data: radon}}, _self_]
        name: radon
        type: regression
        formula: log_radon ~ floor + log_uranium + (floor | county)
        {PRIORS},
          sd: {{dist: HalfNormal, sigma: 2}}, sigma: {{dist: HalfNormal, sigma: 2}}, cor: {{dist: LKJ, eta: 2}}}}
        figures: []
    """,
}
DRAWS = 4000
SOME = slice(110, 190)
Floats = np.ndarray


@pytest.fixture(scope="module")
def fit(bayesrun: Command, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that runs a command and returns the folder that it made."""
    folder = tmp_path_factory.mktemp("loo")
    for name in ("model", "data"):
        (folder / name).mkdir()
    for name, derive in (("roaches", "derive: {roach100: roach1 / 100}\n"), ("radon", "")):
        text = f"name: {name}\nsource: csv\npath: {PUBLISHED / name}.csv\n{derive}"
        (folder / "data" / f"{name}.yaml").write_text(text)
    _roaches()[SOME].to_csv(folder / "some_roaches.csv", index=False)
    text = (
        (folder / "data" / "roaches.yaml").read_text().replace(str(PUBLISHED / "roaches"), str(folder / "some_roaches"))
    )
    (folder / "data" / "some_roaches.yaml").write_text(text)
    for name, text in MODELS.items():
        (folder / "model" / f"{name}.yaml").write_text(textwrap.dedent(text))

    def call(*words: str) -> Path:
        given = ["--config-dir", str(folder)] if not any(word.startswith("run=") for word in words) else []
        done = bayesrun(*given, *words, f"paths.outputs={folder / 'outputs'}", "tracking=none", timeout=1500)
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.rpartition("folder: ")[2].split("\n")[0].strip())

    return call


# ---------------------------------------------------------------- roaches


def _roaches() -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / "roaches.csv")


def _terms(table: pd.DataFrame, points: Floats) -> Floats:
    """Return Poisson log densities of all counts (point, row) at coefficients."""
    y = table["y"].to_numpy(float)
    design = np.column_stack([np.ones(len(table)), table["roach1"] / 100, table["treatment"], table["senior"]])
    line = points @ design.T + np.log(table["exposure2"].to_numpy())
    return np.asarray(y * line - np.exp(line) - gammaln(y + 1))


def _newton(log_density: Callable[[Floats], Floats], start: Floats, rounds: int = 6) -> tuple[Floats, Floats]:
    """Return the mode of a log density, and the covariance of the normal density that fits there."""
    step, size = 1e-4, len(start)
    sides = step * np.eye(size)
    point = start
    for _ in range(rounds):
        gradient = (log_density(point + sides) - log_density(point - sides)) / (2 * step)
        corners = [log_density(point + a * sides[:, None] + b * sides).ravel() for a in (1, -1) for b in (1, -1)]
        hessian = (corners[0] - corners[1] - corners[2] + corners[3]).reshape(size, size) / (4 * step**2)
        point = point - np.linalg.solve(hessian, gradient)
    return point, -np.linalg.inv(hessian)


def _exact_of_roaches(table: pd.DataFrame, rows: Sequence[int]) -> Floats:
    """Return the log density of some counts, each given all others: evidence with it over evidence without it."""
    rng = np.random.default_rng(1)

    def evidence(left_out: int | None, start: Floats) -> tuple[float, Floats]:
        def density(points: Floats) -> Floats:
            points = points.reshape(-1, len(start))
            terms = _terms(table, points)
            lost = 0.0 if left_out is None else terms[:, left_out]
            return np.asarray(stats.norm.logpdf(points, 0, 5).sum(axis=1) + terms.sum(axis=1) - lost)

        mode, covariance = _newton(density, start)
        proposal = stats.multivariate_t(mode, covariance, df=10, seed=rng)
        points = proposal.rvs(DRAWS)
        weights = density(points) - proposal.logpdf(points)
        assert np.exp(2 * logsumexp(weights) - logsumexp(2 * weights)) > DRAWS / 2, "the reference is inaccurate"
        return float(logsumexp(weights) - np.log(DRAWS)), mode

    whole, mode = evidence(None, np.array([3.0, 0.7, -0.5, -0.4]))
    return np.array([whole - evidence(row, mode)[0] for row in rows])


def test_roaches_left_out_by_refits_have_exact_densities(fit: Callable[..., Path]) -> None:
    run = fit("model=poisson", "sampler.chains=2", "report=false")
    made = fit("task=loo", f"run={run}")
    points = pd.read_csv(made / "pointwise.csv")
    assert list(points["point"]) == [f"y_obs[{row}]" for row in range(262)]
    refits = np.flatnonzero(points["method"] == "refit")
    others = np.setdiff1d(np.arange(0, 262, 8), refits)
    exact = _exact_of_roaches(_roaches(), refits)
    off = (points["elpd"][refits] - exact) / points["mcse"][refits]
    assert len(refits) > 10 and off.abs().max() < 4.5 and points["mcse"][refits].max() < 1
    # without row 15, the posterior has nothing in common with that of all rows
    assert abs(points["before"][15] - exact[list(refits).index(15)]) > 20
    assert points["fits"][15] > 1 and (points["fits"][refits] == 1).sum() > 5
    assert (points["elpd"][others] - _exact_of_roaches(_roaches(), others)).abs().max() < 0.5


def test_roaches_repaired_by_moment_matching_have_exact_densities(fit: Callable[..., Path]) -> None:
    run = fit("model=poisson", "data=some_roaches", "sampler.chains=2", "report=false")
    repaired = xr.load_dataset(run / "posterior.nc", group="loo")
    rows = [int(str(name)[len("y_obs[") : -1]) for name in repaired["point"].values]
    exact = _exact_of_roaches(_roaches()[SOME].reset_index(drop=True), rows)
    assert len(rows) > 3 and float(repaired["pareto_k"].max()) < 0.7
    assert np.abs(repaired["elpd"].values - exact).max() < 0.25


# ---------------------------------------------------------------- radon


def _exact_of_radon(run: Path, rows: Sequence[int]) -> Floats:
    """Return the log density of some rows given all others: exact given the scales, whose draws are weighted."""
    table = pd.read_csv(PUBLISHED / "radon.csv")
    y, county = table["log_radon"].to_numpy(), pd.factorize(table["county"])[0]
    floor = table["floor"].to_numpy(float)
    fixed = np.column_stack([np.ones(len(y)), floor, table["log_uranium"]])
    effects, known = np.column_stack([np.ones(len(y)), floor]), np.column_stack([y, fixed])
    squares, products = np.zeros((county.max() + 1, 2, 2)), np.zeros((county.max() + 1, 2, 4))
    np.add.at(squares, county, effects[:, :, None] * effects[:, None, :])
    np.add.at(products, county, effects[:, :, None] * known[:, None, :])
    posterior = xr.load_dataset(run / "posterior.nc", group="posterior")
    sds = posterior["sd_county"].values.reshape(-1, 2)
    cors, sigmas = posterior["cor_county"].values.reshape(-1), posterior["sigma"].values.reshape(-1)
    found = []
    for (one, other), cor, sigma in zip(sds, cors, sigmas, strict=True):
        covariance = np.array([[one**2, cor * one * other], [cor * one * other, other**2]])
        inner = np.linalg.inv(sigma**2 * np.linalg.inv(covariance) + squares)
        solved = (known - np.einsum("ri,rij->rj", effects, (inner @ products)[county])) / sigma**2
        diagonal = (1 - np.einsum("ri,rij,rj->r", effects, inner[county], effects)) / sigma**2
        outer = np.linalg.inv(np.eye(3) / 25 + fixed.T @ solved[:, 1:])
        precision = diagonal - np.einsum("ri,ij,rj->r", solved[:, 1:], outer, solved[:, 1:])
        off = (solved[:, 0] - solved[:, 1:] @ outer @ (fixed.T @ solved[:, 0])) / precision
        found.append(stats.norm.logpdf(off[rows], 0, 1 / np.sqrt(precision[rows])))
    weights = -np.array(found)
    share = np.exp(2 * logsumexp(weights, axis=0) - logsumexp(2 * weights, axis=0)) / len(weights)
    assert share.min() > 0.2, "the reference itself is inaccurate"
    return np.asarray(np.log(len(weights)) - logsumexp(weights, axis=0))


def test_radon_left_out_by_refits_has_exact_densities(fit: Callable[..., Path]) -> None:
    short = ("sampler.chains=2", "sampler.draws=700", "sampler.tune=500", "report=false")
    run = fit("model=radon", *short)
    points = pd.read_csv(fit("task=loo", f"run={run}") / "pointwise.csv")
    refits = np.flatnonzero(points["method"] == "refit")
    off = points["elpd"][refits] - _exact_of_radon(run, refits)
    assert len(refits) and (off / points["mcse"][refits]).abs().max() < 4.5 and points["mcse"][refits].max() < 0.3
    others = np.setdiff1d(np.arange(919), refits)
    off = (points["elpd"][others] - _exact_of_radon(run, others)).abs()
    # of points this unlikely few draws carry the weights, so that Pareto k itself is inaccurate
    decides = (points["lppd"] - points["elpd"])[others] > 2
    assert off[~decides].max() < 0.3 and decides.sum() < 5 and off[decides].max() < 1

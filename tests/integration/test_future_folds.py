"""Leave-future-out of series through the real command, against exact densities one step ahead."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import logsumexp
from scipy.stats import halfnorm, norm

from tests.conftest import Command

pytestmark = pytest.mark.slow
ROWS, NOISE = 40, 0.7
_HEAD = "defaults: [{/data@_global_.data: series}, _self_]\ntype: declarative\nfigures: []\n"
_MODELS = {
    "autoregression": """
        priors: {rho: {dist: Normal, mu: 0, sigma: 1, shape: 3}}
        likelihood: {y: {dist: AR, rho: rho, sigma: 0.7, constant: true, observed: y}}
    """,
    "level": """
        priors: {sd_level: {dist: HalfNormal, sigma: 1}}
        likelihood:
          y:
            dist: LinearGaussian
            level: {sd: sd_level, init: {dist: Normal, mu: 1, sigma: 2}}
            sigma: 0.7
            observed: y
    """,
    "moving_average": """
        priors: {theta: {dist: Normal, mu: 0, sigma: 1}}
        recurrence: {over: obs, state: {error: 0.0}, step: {forecast: "theta * error[t-1]", error: "y - forecast"}}
        likelihood: {y: {dist: Normal, mu: forecast, sigma: 0.7, observed: y}}
    """,
    "chain": """
        priors: {other: {dist: Normal, mu: 0, sigma: 1}}
        likelihood:
          y:
            dist: HiddenMarkov
            initial: [0.5, 0.5]
            transition: [[0.9, 0.1], [0.2, 0.8]]
            emission: {dist: Normal, mu: "stack(0, other)", sigma: 0.7}
            observed: y
    """,
    "volatility": """
        priors: {step: {dist: Normal, mu: 0, sigma: 0.4, dims: [obs]}}
        deterministics: {log_variance: "cumsum(step)"}
        likelihood: {y: {dist: Normal, mu: 0, sigma: "exp(log_variance / 2)", observed: y}}
    """,
    "walk": """
        priors: {sd: {dist: HalfNormal, sigma: 1}}
        likelihood: {y: {dist: GaussianRandomWalk, sigma: sd, observed: y}}
    """,
    "returns": """
        priors: {omega: {dist: HalfNormal, sigma: 1}}
        likelihood: {y: {dist: GARCH11, omega: omega, alpha_1: 0.2, beta_1: 0.3, initial_vol: 1.0, observed: y}}
    """,
}


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """Write the models and a series; returns the folder and the values."""
    folder = tmp_path_factory.mktemp("series")
    for name in ("model", "data"):
        (folder / name).mkdir()
    rng = np.random.default_rng(5)
    y = np.zeros(ROWS)
    for t in range(2, ROWS):
        y[t] = 0.4 + 0.5 * y[t - 1] + 0.2 * y[t - 2] + rng.normal(0, NOISE)
    pd.DataFrame({"y": y}).to_csv(folder / "series.csv", index=False)
    (folder / "data" / "series.yaml").write_text(f"name: series\nsource: csv\npath: {folder / 'series.csv'}\n")
    for name, text in _MODELS.items():
        (folder / "model" / f"{name}.yaml").write_text(f"name: {name}\n{_HEAD}{textwrap.dedent(text)}")
    return folder, y


@pytest.fixture(scope="module")
def cross_validate(bayesrun: Command, series: tuple[Path, np.ndarray]) -> Callable[..., pd.DataFrame]:
    runs: dict[str, Path] = {}

    def folder(stdout: str) -> Path:
        return Path(stdout.rpartition("folder: ")[2].split("\n")[0].strip())

    def call(model: str, *words: str, refused: bool = False) -> pd.DataFrame | str:
        given = (f"paths.outputs={series[0] / 'outputs'}", "tracking=none")
        small = ("sampler.draws=1000", "sampler.tune=500", "sampler.chains=2", "report=false")
        if model not in runs:
            done = bayesrun("--config-dir", series[0], f"model={model}", *small, *given)
            assert done.returncode == 0, done.stderr
            runs[model] = folder(done.stdout)
        done = bayesrun("task=kfold", f"run={runs[model]}", *words, *given)
        if refused:
            assert done.returncode == 1
            return done.stderr
        assert done.returncode == 0, done.stderr
        assert "nan" not in done.stdout
        points = pd.read_csv(folder(done.stdout) / "pointwise.csv")
        return points.assign(row=points["point"].str.extract(r"y\[(\d+)\]")[0].astype(int))

    return call


def _autoregression(y: np.ndarray, known: np.ndarray, row: int) -> float:
    """Return the exact density of a row, given the coefficients' posterior of known rows and the two rows before."""
    design = np.column_stack([np.ones(ROWS), np.r_[0, y[:-1]], np.r_[0, 0, y[:-2]]])
    covariance = np.linalg.inv(np.eye(3) + design[known].T @ design[known] / NOISE**2)
    mean = covariance @ design[known].T @ y[known] / NOISE**2
    sd = np.sqrt(NOISE**2 + design[row] @ covariance @ design[row])
    return float(norm.logpdf(y[row], design[row] @ mean, sd))


def _one_step_terms(y: np.ndarray, sd_level: np.ndarray) -> np.ndarray:
    """Return the log density of each row given those before (row, sd), by a Kalman filter for each sd of the level."""
    mean, variance, terms = np.full(len(sd_level), 1.0), np.full(len(sd_level), 4.0), []
    for value in y:
        total = variance + NOISE**2
        terms.append(norm.logpdf(value, mean, np.sqrt(total)))
        mean = mean + variance / total * (value - mean)
        variance = variance * NOISE**2 / total + sd_level**2
    return np.array(terms)


def _level(y: np.ndarray, first: int) -> np.ndarray:
    """Return the exact density of each row given those before, with the posterior of sd_level of the first rows."""
    grid = np.linspace(1e-4, 6, 20_001)
    terms = _one_step_terms(y, grid)
    posterior = halfnorm.logpdf(grid) + terms[:first].sum(axis=0)
    return logsumexp(terms + posterior, axis=1) - logsumexp(posterior)


def _check(points: pd.DataFrame, exact: np.ndarray) -> None:
    z = (points["elpd"] - exact) / points["mcse"].clip(lower=1e-9)  # the first variance of GARCH is known
    assert z.abs().max() < 5, "a point differs from its exact refit"


@pytest.mark.parametrize("kind", ["future", "random"])
def test_rows_of_an_autoregression_are_predicted_from_the_rows_before(
    series: tuple[Path, np.ndarray], cross_validate: Callable[..., pd.DataFrame], kind: str
) -> None:
    """The first two values are taken as given, and have no density."""
    y, rows = series[1], np.arange(ROWS)
    words = ("kfold.kind=future", "kfold.k=4", "kfold.first=0.6") if kind == "future" else ("kfold.k=4",)
    points = cross_validate("autoregression", *words)
    assert list(points["row"]) == list(range(24 if kind == "future" else 2, ROWS))
    fold = np.full(ROWS, -1)
    fold[points["row"]] = points["fold"]
    others = {k: (fold < k if kind == "future" else fold != k) & (rows >= 2) for k in range(4)}
    exact = [_autoregression(y, others[k], row) for k, row in zip(points["fold"], points["row"], strict=True)]
    _check(points, np.array(exact))


def test_rows_of_a_level_are_predicted_by_the_kalman_filter_of_the_past(
    series: tuple[Path, np.ndarray], cross_validate: Callable[..., pd.DataFrame]
) -> None:
    points = cross_validate("level", "kfold.kind=future", "kfold.k=4", "kfold.first=0.6")
    assert list(points["row"]) == list(range(24, ROWS))
    for _, block in points.groupby("fold"):
        _check(block, _level(series[1], int(block["row"].min()))[block["row"]])


def _garch(y: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the exact density of each row given those before, with omega's posterior of known rows, by a grid."""
    omega = np.linspace(1e-6, 6, 20_001)
    variance, terms = np.full(len(omega), 1.0), []
    for t, value in enumerate(y):
        variance = omega + 0.2 * y[t - 1] ** 2 + 0.3 * variance if t else variance
        terms.append(norm.logpdf(value, 0, np.sqrt(variance)))
    posterior = halfnorm.logpdf(omega) + np.array(terms)[known].sum(axis=0)
    return logsumexp(np.array(terms) + posterior, axis=1) - logsumexp(posterior)


@pytest.mark.parametrize("kind", ["future", "random"])
def test_rows_of_garch_are_predicted_from_the_rows_before(
    series: tuple[Path, np.ndarray], cross_validate: Callable[..., pd.DataFrame], kind: str
) -> None:
    words = ("kfold.kind=future", "kfold.k=4", "kfold.first=0.6") if kind == "future" else ("kfold.k=4",)
    points = cross_validate("returns", *words)
    assert list(points["row"]) == list(range(24 if kind == "future" else 0, ROWS))
    fold = np.full(ROWS, -1)
    fold[points["row"]] = points["fold"]
    for k, block in points.groupby("fold"):
        _check(block, _garch(series[1], fold < k if kind == "future" else fold != k)[block["row"]])


def _moving_average(y: np.ndarray, first: int) -> np.ndarray:
    """Return the exact density of each row given those before, with theta's posterior of the first rows, by a grid."""
    theta = np.linspace(-8, 8, 40_001)
    error, terms = np.zeros(len(theta)), []
    for value in y:
        terms.append(norm.logpdf(value, theta * error, NOISE))
        error = value - theta * error
    posterior = norm.logpdf(theta) + np.array(terms)[:first].sum(axis=0)
    return logsumexp(np.array(terms) + posterior, axis=1) - logsumexp(posterior)


def _chain(y: np.ndarray, first: int) -> np.ndarray:
    """Return the exact density of each row given those before, with the posterior of a mean, by forward filters."""
    mean = np.linspace(-6, 6, 4_001)
    moves = np.array([[0.9, 0.1], [0.2, 0.8]])
    share, terms = np.full((2, len(mean)), 0.5), []
    for value in y:
        of_states = np.stack([norm.logpdf(value, 0, NOISE) * np.ones(len(mean)), norm.logpdf(value, mean, NOISE)])
        joint = np.log(share) + of_states
        terms.append(logsumexp(joint, axis=0))
        share = moves.T @ np.exp(joint - terms[-1])
    posterior = norm.logpdf(mean) + np.array(terms)[:first].sum(axis=0)
    return logsumexp(np.array(terms) + posterior, axis=1) - logsumexp(posterior)


@pytest.mark.parametrize(("model", "exact"), [("moving_average", _moving_average), ("chain", _chain)])
def test_series_with_hidden_parts_are_predicted_one_step_ahead(
    series: tuple[Path, np.ndarray],
    cross_validate: Callable[..., pd.DataFrame],
    model: str,
    exact: Callable[[np.ndarray, int], np.ndarray],
) -> None:
    points = cross_validate(model, "kfold.kind=future", "kfold.k=4", "kfold.first=0.6")
    assert list(points["row"]) == list(range(24, ROWS))
    for _, block in points.groupby("fold"):
        _check(block, exact(series[1], int(block["row"].min()))[block["row"]])


def _volatility(y: np.ndarray, first: int) -> np.ndarray:
    """Return the exact density of each row given the first ones, by a filter of the log variance on a grid."""
    grid = np.linspace(-8, 8, 1_601)
    moves = norm.pdf(grid[:, None], grid, 0.4)
    moves /= moves.sum(axis=0)
    share, terms = moves[:, len(grid) // 2], []  # the first step starts at 0
    for t, value in enumerate(y):
        joint = share * norm.pdf(value, 0, np.exp(grid / 2))
        terms.append(np.log(joint.sum()))
        share = moves @ (joint / joint.sum() if t < first else share)
    return np.array(terms)


def test_stochastic_volatility_is_predicted_from_the_past_alone(
    series: tuple[Path, np.ndarray], cross_validate: Callable[..., pd.DataFrame]
) -> None:
    """Later states have their prior given those before: rows of a block say nothing of each other."""
    points = cross_validate("volatility", "kfold.kind=future", "kfold.k=4", "kfold.first=0.6")
    assert list(points["row"]) == list(range(24, ROWS))
    for _, block in points.groupby("fold"):
        _check(block, _volatility(series[1], int(block["row"].min()))[block["row"]])


def test_a_series_whose_rows_have_no_terms_is_refused_with_what_to_write(
    cross_validate: Callable[..., pd.DataFrame],
) -> None:
    said = cross_validate("walk", "kfold.kind=future", refused=True)
    assert "'y' is GaussianRandomWalk, whose rows can't be weighted one by one\n    write it as a recurrence" in said

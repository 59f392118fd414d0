"""The switchpoint model's density in both forms, its likelihood and predictions against SciPy; its steps."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from bayesrun.engines.base import StepSettings
from bayesrun.engines.pymc3.build import metadata
from bayesrun.errors import UserError
from bayesrun.pipeline import PreparedRun, prepare
from tests.composing import parsed

POINTS = [(1890, 3.0, 0.9), (1851, 1.0, 2.0), (1961, 0.3, 5.0), (1934, 2.2, 2.1)]


@pytest.fixture(scope="module")
def compound() -> PreparedRun:
    return prepare(parsed("model=switchpoint", "model.options.form=compound"))


@pytest.fixture(scope="module")
def marginal() -> PreparedRun:
    return prepare(parsed("model=switchpoint"))


@pytest.fixture(scope="module")
def counts(compound: PreparedRun) -> tuple[np.ndarray, np.ndarray]:
    """Years and counts; a missing count is NaN."""
    assert compound.data is not None
    return compound.data["year"].values, compound.data["disasters"].values.astype(float)


def rates(years: np.ndarray, switchpoint: float, early: float, late: float) -> np.ndarray:
    return np.where(switchpoint >= years, early, late)


def log_rates(early: float, late: float, jacobian: bool = True) -> float:
    """Exponential(1) for both rates; with the Jacobian of the logarithms."""
    density = stats.expon.logpdf(early) + stats.expon.logpdf(late)
    return float(density + (np.log(early) + np.log(late) if jacobian else 0.0))


@pytest.mark.parametrize(("switchpoint", "early", "late"), POINTS)
def test_the_compound_density_is_scipys(
    compound: PreparedRun, counts: tuple[np.ndarray, np.ndarray], switchpoint: int, early: float, late: float
) -> None:
    years, seen = counts
    missing = np.array([2, 1])
    filled = seen.copy()
    filled[np.isnan(seen)] = missing
    expected = stats.poisson(rates(years, switchpoint, early, late)).logpmf(filled).sum()
    expected += log_rates(early, late) - np.log(1961 - 1851 + 1)
    point = {
        "switchpoint": switchpoint, "early_rate_log__": np.log(early), "late_rate_log__": np.log(late),
        "disasters_missing": missing,
    }  # fmt: skip
    found = float(compound.model.model.fastfn(compound.model.model.logpt)(point))
    assert found == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("early", "late"), [p[1:] for p in POINTS])
def test_the_marginal_density_is_the_sum_over_all_years(
    marginal: PreparedRun, counts: tuple[np.ndarray, np.ndarray], early: float, late: float
) -> None:
    years, seen = counts
    known = ~np.isnan(seen)
    terms = [
        stats.poisson(rates(years, s, early, late)[known]).logpmf(seen[known]).sum() - np.log(len(years)) for s in years
    ]
    point = {"early_rate_log__": np.log(early), "late_rate_log__": np.log(late)}
    found = float(marginal.model.model.fastfn(marginal.model.model.logpt)(point))
    assert found == pytest.approx(float(logsumexp(terms)) + log_rates(early, late), rel=1e-10)


def test_what_is_reported_of_the_marginal_form_is_the_compound_model(
    marginal: PreparedRun, compound: PreparedRun
) -> None:
    reported = metadata(marginal.model.model).reported
    assert reported is not None
    assert {v.name for v in reported.free_RVs} == {v.name for v in compound.model.model.free_RVs}


@pytest.fixture(scope="module")
def draws() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        "switchpoint": rng.integers(1880, 1900, (2, 300)),
        "early_rate": rng.gamma(100, 0.03, (2, 300)),
        "late_rate": rng.gamma(50, 0.02, (2, 300)),
        "disasters_missing": rng.poisson(2, (2, 300, 2)),
    }


def rates_at(years: np.ndarray, draws: dict[str, np.ndarray]) -> np.ndarray:
    return np.where(
        draws["switchpoint"][..., None] >= years, draws["early_rate"][..., None], draws["late_rate"][..., None]
    )


def test_pointwise_log_likelihood_is_scipys_and_nan_at_gaps(
    compound: PreparedRun, counts: tuple[np.ndarray, np.ndarray], draws: dict[str, np.ndarray]
) -> None:
    years, seen = counts
    found = compound.model.log_likelihood(["disasters"], draws)["disasters"]
    known = ~np.isnan(seen)
    np.testing.assert_allclose(found[..., known], stats.poisson(rates_at(years, draws)).logpmf(seen)[..., known])
    assert np.isnan(found[..., ~known]).all()
    assert list(years[~known]) == [1890, 1934]


def test_log_prior_is_scipys(compound: PreparedRun, draws: dict[str, np.ndarray]) -> None:
    expected = stats.expon.logpdf(draws["early_rate"]) + stats.expon.logpdf(draws["late_rate"]) - np.log(111)
    np.testing.assert_allclose(compound.model.log_prior(draws), expected)


def test_predictions_have_the_likelihoods_moments(
    compound: PreparedRun, counts: tuple[np.ndarray, np.ndarray], draws: dict[str, np.ndarray]
) -> None:
    y = compound.model.predict(["disasters"], draws, 1)[0]["disasters"]
    rate = rates_at(counts[0], draws)
    z = ((y - rate) / np.sqrt(rate)).ravel()
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs((z**2).mean() - 1) < 4 * (z**2).std() / np.sqrt(z.size)


def test_the_steps_are_compound_and_cannot_be_forced(compound: PreparedRun) -> None:
    settings = StepSettings(2, 1, {}, "auto", 0.8, 10)
    assert compound.model.step_sampler(settings, 1).steps == {
        "switchpoint": "Metropolis", "disasters_missing": "Metropolis", "early_rate": "NUTS", "late_rate": "NUTS",
    }  # fmt: skip
    forced = {"switchpoint": "NUTS", "disasters_missing": "NUTS"}
    keys = {p.key: p.message for p in compound.model.check_steps(forced)}
    assert set(keys) == {"sampler.step.switchpoint", "sampler.step.disasters_missing"}
    assert all("needs a gradient" in message for message in keys.values())


def test_preflight_has_a_density_for_every_variable(compound: PreparedRun) -> None:
    assert set(compound.model.check_initial_point()) == {
        "switchpoint", "early_rate_log__", "late_rate_log__", "disasters", "disasters_missing",
    }  # fmt: skip


def test_a_start_outside_of_a_prior_is_told_by_its_key() -> None:
    prior = "model.priors.early_rate={dist: Uniform, lower: 1, upper: 2, initval: 5}"
    with pytest.raises(UserError) as caught:
        prepare(parsed("model=switchpoint", "model.options.form=compound", prior))
    assert [p.key for p in caught.value.problems] == ["model.priors.early_rate"]
    assert "initval" in caught.value.problems[0].hint

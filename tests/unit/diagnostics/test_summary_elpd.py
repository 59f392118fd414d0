"""LOO and WAIC of many points at once, against `az.loo` and `az.waic`, and which points they are of."""

import logging
import warnings

import arviz as az
import numpy as np
import pytest
from scipy import stats

from bayesrun.diagnostics.base import DiagnosticsSpec, Judged
from bayesrun.diagnostics.numerics.psis import leave_one_out
from bayesrun.diagnostics.predictive_accuracy import by_point, check_loo, check_waic, observed_terms
from bayesrun.diagnostics.summary import summarise

CHAINS, DRAWS, POINTS = 4, 150, 40


def gaussian(rng, spread=0.3):
    y = rng.standard_t(2.5, size=POINTS)
    return stats.norm.logpdf(y, rng.normal(0, spread, size=(CHAINS, DRAWS, POINTS)), 1.0)


def sticky(rng):
    terms = gaussian(rng)
    for t in range(1, DRAWS):
        terms[:, t] = np.where(rng.uniform(size=(CHAINS, 1)) < 0.8, terms[:, t - 1], terms[:, t])
    return terms


def odd_ones(rng):
    """Points that never change, that are impossible in one draw, or whose largest weights are all alike."""
    terms = gaussian(rng)
    terms[..., 0] = -1.5
    terms[0, 3, 1] = -np.inf
    terms[..., 2] = np.where(rng.uniform(size=(CHAINS, DRAWS)) < 0.5, -1.0, -2.0)
    terms[..., 3] = np.where(np.arange(DRAWS) < 3, -900.0, -1.0)
    return terms


KINDS = {
    "gaussian": gaussian,
    "high k": lambda rng: gaussian(rng, spread=1.2),
    "nearly flat": lambda rng: gaussian(rng, spread=1e-7),
    "sticky": sticky,
    "odd": odd_ones,
}


def idata_of(terms, **more):
    mu = np.random.default_rng(9).normal(size=terms.shape[:2])
    return az.from_dict(posterior={"mu": mu}, log_likelihood={"y": terms}, **more)


def arviz(function, idata, **settings):
    logging.getLogger("arviz").setLevel(logging.ERROR)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(idata, pointwise=True, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("efficiency", [1.0, 0.13])
def test_loo_is_that_of_arviz(kind, efficiency):
    idata = idata_of(KINDS[kind](np.random.default_rng(4)))
    ours = leave_one_out(by_point(observed_terms(idata)[0]), efficiency)
    theirs = arviz(az.loo, idata, reff=efficiency)
    np.testing.assert_allclose(ours.elpd_i, theirs.loo_i, rtol=1e-8)
    np.testing.assert_allclose(ours.pareto_k, theirs.pareto_k, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose([ours.elpd, ours.se], [theirs.loo, theirs.loo_se], rtol=1e-8)
    np.testing.assert_allclose(ours.p_loo, theirs.p_loo, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("draws", [5, 8, 20])
def test_loo_of_few_draws_is_that_of_arviz(draws):
    idata = idata_of(gaussian(np.random.default_rng(6))[:1, :draws])
    ours, theirs = leave_one_out(by_point(observed_terms(idata)[0]), 1.0), arviz(az.loo, idata, reff=1.0)
    np.testing.assert_allclose(ours.elpd_i, theirs.loo_i, rtol=1e-8)
    np.testing.assert_allclose(ours.pareto_k, theirs.pareto_k, rtol=1e-8)


def judged(idata):
    return Judged(idata, summarise(idata), "nuts", DiagnosticsSpec())


def test_the_checks_report_the_numbers_of_arviz():
    idata = idata_of(gaussian(np.random.default_rng(7)))
    efficiency = summarise(idata)["ess_bulk"].mean() / (CHAINS * DRAWS)
    theirs = arviz(az.loo, idata, reff=min(1.0, efficiency))
    metrics = check_loo(judged(idata)).metrics
    assert metrics["elpd_loo"] == pytest.approx(theirs.loo, rel=1e-8)
    assert metrics["pareto_k_max"] == pytest.approx(float(theirs.pareto_k.max()), rel=1e-8)
    found = check_waic(judged(idata)).metrics["elpd_waic"]
    assert found == pytest.approx(arviz(az.waic, idata).waic, rel=1e-8)


def test_imputed_points_count_nowhere_and_days_are_named_plainly():
    terms = gaussian(np.random.default_rng(8), spread=0.05)
    terms[..., 5] += np.where(np.arange(DRAWS) < 2, -60.0, 0.0)
    gapped = terms.copy()
    gapped[..., [0, 7]] = np.nan
    days = np.datetime64("2008-05-02", "ns") + np.arange(POINTS) * np.timedelta64(1, "D")
    idata = idata_of(gapped, coords={"date": days}, dims={"y": ["date"]})
    stacked, left_out = observed_terms(idata)
    assert left_out == 2
    assert list(stacked["point"].values[:2]) == ["y[2008-05-03]", "y[2008-05-04]"]
    result = check_loo(judged(idata))
    assert result.findings[0].variable == "y[2008-05-07]"
    whole = arviz(az.loo, idata_of(np.delete(terms, [0, 7], axis=2)), reff=1.0)
    np.testing.assert_allclose(leave_one_out(by_point(stacked), 1.0).elpd_i, whole.loo_i, rtol=1e-8)

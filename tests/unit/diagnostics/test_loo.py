"""LOO and WAIC of observed points: those of ArviZ on complete data, the same with imputed points left out."""

from __future__ import annotations

from typing import Any

import arviz as az
import numpy as np
import pytest
from scipy import stats

from bayesrun.diagnostics import predictive_accuracy
from bayesrun.diagnostics.numerics import psis
from bayesrun.diagnostics.predictive_accuracy import loo_of, observed_terms
from tests.unit.diagnostics.conftest import judged, normal, only, run

POINTS = 12


@pytest.fixture(scope="module")
def draws() -> np.ndarray:
    return 0.3 * normal()


@pytest.fixture(scope="module")
def terms(draws: np.ndarray) -> np.ndarray:
    y = np.random.default_rng(2).normal(size=POINTS)
    return stats.norm(draws[..., None], 1.0).logpdf(y)


def subject(draws: np.ndarray, terms: np.ndarray):  # type: ignore[no-untyped-def]
    coords = {"year": np.arange(1900, 1900 + terms.shape[-1])}
    return judged({"mu": draws}, log_likelihood={"y": terms}, coords=coords, dims={"y": ["year"]})


def test_loo_is_that_of_arviz(draws: np.ndarray, terms: np.ndarray) -> None:
    case = subject(draws, terms)
    result = run("loo", case)
    expected = az.loo(case.idata, pointwise=True, reff=min(1.0, float(case.summary["ess_bulk"].mean()) / draws.size))
    assert result.metrics["elpd_loo"] == pytest.approx(expected.loo, abs=1e-8)
    assert result.metrics["elpd_loo_se"] == pytest.approx(expected.loo_se, abs=1e-8)
    assert result.metrics["p_loo"] == pytest.approx(expected.p_loo, abs=1e-8)
    assert result.metrics["pareto_k_max"] == pytest.approx(float(expected.pareto_k.max()), abs=1e-8)
    assert only(result).severity == "ok"
    assert run("waic", case).metrics["elpd_waic"] == pytest.approx(az.waic(case.idata).waic, abs=1e-8)


def test_imputed_points_are_left_out_and_that_is_said(draws: np.ndarray, terms: np.ndarray) -> None:
    with_gaps = np.insert(terms, [3, 7], np.nan, axis=-1)
    complete, gaps = run("loo", subject(draws, terms)), run("loo", subject(draws, with_gaps))
    assert gaps.metrics == pytest.approx(dict(complete.metrics))
    assert "2 missing points are left out" in only(gaps).message
    assert f"{POINTS} observed points" in only(gaps).message
    waics = [run("waic", subject(draws, t)).metrics["elpd_waic"] for t in (terms, with_gaps)]
    assert waics[0] == pytest.approx(waics[1])


def test_points_with_a_high_pareto_k_are_named_and_only_warn(draws: np.ndarray, terms: np.ndarray) -> None:
    wild = np.repeat(stats.norm(20 * draws[..., None], 0.5).logpdf([40.0, -40.0]), 3, axis=-1)
    result = run("loo", subject(draws, np.concatenate([terms, wild], axis=-1)))
    finding = only(result)
    assert finding.severity == "warn"
    assert finding.variable == "y[1912]"
    assert finding.value is not None
    assert finding.value > 0.7


def test_a_point_that_every_draw_is_sure_of_has_no_tail(draws: np.ndarray, terms: np.ndarray) -> None:
    sure = np.concatenate([terms, np.zeros_like(terms[..., :1]), terms[..., :1] * 0 - 0.3], axis=-1)
    result = run("loo", subject(draws, sure))
    assert only(result).severity == "ok"
    assert result.metrics["pareto_k_max"] < 0.7
    without = run("loo", subject(draws, terms)).metrics["elpd_loo"]
    assert result.metrics["elpd_loo"] == pytest.approx(without - 0.3)


def test_several_likelihoods_and_any_dims_are_laid_side_by_side(draws: np.ndarray, terms: np.ndarray) -> None:
    case = judged(
        {"mu": draws},
        log_likelihood={"y": terms.reshape(*draws.shape, 3, 4), "single": terms[..., 0]},
        coords={"a": ["p", "q", "r"], "b": [1, 2, 3, 4]},
        dims={"y": ["a", "b"]},
    )
    found = observed_terms(case.idata)
    assert found is not None
    stacked, left_out = found
    assert left_out == 0
    assert stacked.sizes["point"] == POINTS + 1
    assert {"y[p, 1]", "y[r, 4]", "single"} <= set(stacked["point"].values)
    np.testing.assert_array_equal(stacked.sel(point="y[q, 3]"), terms[..., 6])


def test_without_terms_there_is_no_loo(draws: np.ndarray) -> None:
    assert not run("loo", judged({"mu": draws})).findings
    nothing = subject(draws, np.full((*draws.shape, 2), np.nan))
    assert not run("loo", nothing).findings
    assert not run("waic", nothing).metrics


def test_what_repair_check_and_figures_need_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    computed = []

    def leave_one_out(*arguments: Any) -> Any:
        computed.append(arguments)
        return psis.leave_one_out(*arguments)

    monkeypatch.setattr(predictive_accuracy, "leave_one_out", leave_one_out)
    rng = np.random.default_rng(3)
    mu = 0.1 * rng.normal(size=(4, 1000))
    found = observed_terms(subject(mu, stats.norm(mu[..., None], 1.0).logpdf(rng.normal(size=300))).idata)
    assert found is not None
    summary = subject(mu, mu[..., None]).summary
    loos = [loo_of(found[0], summary) for _ in range(2)]
    assert len(computed) == 1
    assert np.array_equal(loos[0].elpd_i, loos[1].elpd_i)
    loos[1].elpd_i[:] = 0.0
    assert loo_of(found[0], summary).elpd == loos[0].elpd
    other = found[0] + np.linspace(0.0, 1.0, 1000)[None, :, None]
    assert loo_of(other, summary).elpd != loos[0].elpd
    assert len(computed) == 2

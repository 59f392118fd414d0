"""The compound switchpoint against SciPy: log density with imputed counts, pointwise terms of observed years only."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesrun.inference import predictive
from bayesrun.pipeline import Prepared, prepare
from tests.composing import parsed

POINTS = [(1890, 3.1, 0.9, (2, 1)), (1851, 1.0, 2.0, (0, 0)), (1961, 2.4, 0.2, (7, 3))]


@pytest.fixture(scope="module")
def switchpoint() -> Prepared:
    return prepare(parsed("model=switchpoint", "model.options.form=compound"))


def _rates(prepared: Prepared, switch: int, early: float, late: float) -> np.ndarray:
    assert prepared.data is not None
    return np.where(switch >= prepared.data["year"].values, early, late)


@pytest.mark.parametrize(("switch", "early", "late", "missing"), POINTS)
def test_log_density(switchpoint: Prepared, switch: int, early: float, late: float, missing: tuple[int, int]) -> None:
    counts = switchpoint.data["disasters"].values.copy()
    counts[np.isnan(counts)] = missing
    point = {
        "switchpoint": switch, "early_rate_log__": np.log(early), "late_rate_log__": np.log(late),
        "disasters_missing": np.array(missing),
    }  # fmt: skip
    expected = (
        -np.log(111)
        + stats.expon(scale=1).logpdf([early, late]).sum()
        + np.log(early * late)  # Jacobians of the log transforms
        + stats.poisson(_rates(switchpoint, switch, early, late)).logpmf(counts).sum()
    )
    assert float(switchpoint.model.logp(point)) == pytest.approx(expected, rel=1e-10)


def test_pointwise_terms_leave_imputed_years_out(switchpoint: Prepared) -> None:
    switches, earlies, lates, missing = zip(*POINTS, strict=True)
    draws = {
        "switchpoint": np.array([switches]), "early_rate": np.array([earlies]), "late_rate": np.array([lates]),
        "disasters_missing": np.array([missing]),
    }  # fmt: skip
    found = predictive.log_likelihood(switchpoint.model, draws, 10**6).draws["disasters"]
    counts, years = switchpoint.data["disasters"].values, switchpoint.data["year"].values
    assert years[np.isnan(found[0, 0])].tolist() == [1890, 1934]
    seen = ~np.isnan(counts)
    for index, (switch, early, late, _) in enumerate(POINTS):
        expected = stats.poisson(_rates(switchpoint, switch, early, late)).logpmf(counts)
        np.testing.assert_allclose(found[0, index][seen], expected[seen], rtol=1e-10)


def test_imputed_values_are_labelled_by_year(switchpoint: Prepared) -> None:
    from bayesrun.inference.posterior import labels

    coords, dims = labels(switchpoint.model)
    assert dims["disasters_missing"] == ["year_missing"]
    assert coords["year_missing"] == [1890, 1934]

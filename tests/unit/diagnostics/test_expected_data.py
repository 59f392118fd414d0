"""Data that the prior simulates, against the range in which they are plausible."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from bayesrun.diagnostics.base import DiagnosticsSpec
from tests.unit.diagnostics.conftest import CHAINS, DRAWS, judged, normal, only, run


def _found(values: np.ndarray, method: str = "prior", **expect: tuple[float, float]):  # type: ignore[no-untyped-def]
    group = "posterior_predictive" if method == "prior" else "prior_predictive"
    settings = DiagnosticsSpec(expect=expect)
    return run("expected_data", judged({"x": normal()}, method, settings=settings, **{group: {"y": values}}))


@pytest.mark.parametrize("method", ["prior", "nuts"])
@pytest.mark.parametrize(("limit", "severity"), [(2.5, "ok"), (1.5, "warn"), (0.5, "fail")])
def test_the_share_outside_the_range_is_judged(method: str, limit: float, severity: str) -> None:
    values = normal(shape=(50,), seed=2)
    result = _found(values, method, y=(-limit, limit))
    share = result.metrics["outside_expected/y"]
    exact = 2 * norm.sf(limit)
    assert abs(share - exact) < 4 * np.sqrt(exact * (1 - exact) / values.size)
    assert only(result).severity == severity
    assert f"{share:.1%} of the values of y that the prior simulates are outside" in only(result).message


def test_values_that_are_no_numbers_are_outside_and_the_point_is_named() -> None:
    values = np.zeros((CHAINS, DRAWS, 5))
    values[:2, :, 3] = np.nan
    found = only(_found(values, y=(-1.0, 1.0)))
    assert found.severity == "warn"
    assert "10.0% are not finite numbers; most often y[3] (50.0%)" in found.message


def test_a_range_for_which_nothing_was_simulated_is_told() -> None:
    result = run("expected_data", judged({"x": normal()}, settings=DiagnosticsSpec(expect={"y": (0.0, 1.0)})))
    assert only(result).severity == "warn"
    assert "`predictive.prior=500`" in only(result).remedy
    assert not _found(normal(shape=(2,))).findings

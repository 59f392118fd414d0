"""All checks together: the worst first, the verdict the worst, by what applies to the method."""

from __future__ import annotations

import numpy as np
import pytest

from bayesrun.diagnostics.base import CHECKS, Check, DiagnosticsSpec, Finding, judge, verdict
from bayesrun.errors import UserError
from tests.unit.diagnostics.conftest import judged, normal


def bad(method: str):  # type: ignore[no-untyped-def]
    """Chains that disagree, divergences, and pointwise terms."""
    x = normal()
    x[0] += 3.0
    return judged(
        {"x": x}, method, sample_stats={"diverging": np.ones((4, 1000), bool)}, log_likelihood={"y": normal(shape=(5,))}
    )


def test_the_verdict_is_the_worst() -> None:
    findings = [Finding("a", "ok", ""), Finding("b", "fail", ""), Finding("c", "warn", "")]
    assert verdict(findings) == "fail"
    assert verdict(findings[::2]) == "warn"
    assert verdict([]) == "ok"


def test_findings_come_worst_first() -> None:
    severities = [f.severity for f in judge(bad("nuts")).findings]
    assert severities == sorted(severities, key=["fail", "warn", "ok"].index)
    assert severities[0] == "fail"


def test_good_draws_are_ok() -> None:
    stats = {"diverging": np.zeros((4, 1000), bool), "energy": normal(seed=5), "tree_depth": np.full((4, 1000), 3)}
    result = judge(judged({"x": normal()}, sample_stats=stats))
    assert verdict(result.findings) == "ok"
    assert {"r_hat_max", "ess_bulk_min", "ess_tail_min", "divergences", "bfmi_min", "n_draws"} <= set(result.metrics)


@pytest.mark.parametrize("method", ["prior", "advi"])
def test_prior_and_advi_are_judged_by_what_applies_to_them(method: str) -> None:
    result = judge(bad(method))
    assert not {f.check for f in result.findings} & {"r_hat", "ess", "divergences", "loo"}
    assert verdict(result.findings) == "ok"


def test_smc_is_judged_by_its_populations() -> None:
    found = {f.check for f in judge(bad("smc")).findings}
    assert {"r_hat", "ess"} <= found
    assert "divergences" not in found


def test_only_the_checks_that_are_asked_for_run() -> None:
    subject = judged({"x": normal(chains=1)}, settings=DiagnosticsSpec(checks=["ess"]))
    assert {f.check for f in judge(subject).findings} == {"ess"}


def test_an_unknown_check_is_told() -> None:
    with pytest.raises(UserError, match=r"diagnostics\.checks\[0\]: unknown check 'esss'"):
        judge(judged({"x": normal()}, settings=DiagnosticsSpec(checks=["esss"])))


def test_a_check_that_breaks_is_a_finding_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(subject):  # type: ignore[no-untyped-def]
        raise ZeroDivisionError("by zero")

    load = CHECKS.load
    monkeypatch.setattr(
        CHECKS, "load", lambda name, key: Check(breaks) if name == "ess" else load(name, key), raising=False
    )
    result = judge(judged({"x": normal()}))
    (finding,) = [f for f in result.findings if f.check == "ess"]
    assert finding.severity == "warn"
    assert "ZeroDivisionError: by zero" in finding.message
    assert "r_hat_max" in result.metrics

"""The check of the basis of `hsgp` follows the rules of Riutort-Mayol et al., and its remedy is one that passes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from bayesrun.diagnostics.base import Finding, Judged
from tests.conftest import ROOT
from tests.unit.diagnostics.conftest import judged, run

X, Z = np.linspace(100.0, 160.0, 50), np.linspace(0.0, 1.0, 50)


def subject(call: str, lengthscale: Any, name: str = "hsgp_x", parameter: str = "mu") -> Judged:
    """Return draws of the lengthscale around a value, 5% in log, and the data."""
    draws = np.exp(0.05 * np.random.default_rng(2).normal(size=(4, 200, *np.shape(lengthscale)))) * lengthscale
    found = judged({f"lscale_{name}": draws}, constant_data={"x": X, "z": Z, "g": np.array(["a", "b"] * 25)})
    formula = f"y ~ {call}" if parameter == "mu" else {"mu": "y ~ z", parameter: f"~ {call}"}
    model = {"type": "regression", "formula": formula, "family": "normal"}
    return Judged(**{**vars(found), "model": model})


def findings(*given: Any, **more: Any) -> tuple[Finding, ...]:
    return run("basis_size", subject(*given, **more)).findings


def test_a_basis_that_is_large_enough_is_ok() -> None:
    (finding,) = findings("hsgp(x)", 0.5 * 30)
    assert finding.severity == "ok" and finding.variable == "lscale_hsgp_x" and not finding.remedy


@pytest.mark.parametrize(
    ("call", "ratio", "told"),
    [
        ("hsgp(x)", 0.1, "23 basis functions along x are too few"),  # 1.75 * 2.56 / 0.1 = 44.8
        ("hsgp(x, m = 12, c = 1.5)", 0.2, "14 are needed"),  # 1.75 * 1.5 / 0.2 = 13.1
        ("hsgp(x, m = 40, c = 1.5)", 1.0, "the boundary along x (c = 1.5) is too near"),
        ("hsgp(x, m = 40, c = 4, cov = 'matern52')", 1.5, "c = 6.1 is needed"),  # 4.1 * 1.5 = 6.15
    ],
)
def test_a_basis_that_is_too_small_is_told_with_one_that_is_enough(call: str, ratio: float, told: str) -> None:
    (finding,) = findings(call, ratio * 30)
    assert finding.severity == "warn" and told in finding.message, finding.message
    found = re.search(r"Write (hsgp\(.*\)) into", finding.remedy)
    assert found and [one.severity for one in findings(found[1], ratio * 30)] == ["ok"], finding.remedy


def test_the_example_of_the_docs_is_a_finding() -> None:
    (finding,) = findings("hsgp(x)", 0.1 * 30)
    docs = (ROOT / "docs/regression.md").read_text()
    assert f"warn basis_size: {finding.message}" in docs and finding.remedy in docs


def test_each_input_and_each_level_counts() -> None:
    both = findings("hsgp(x, z)", np.array([0.1 * 30, 0.6 * 0.5]), name="hsgp_x_z")
    assert ["along x" in finding.message for finding in both] == [True]
    short = findings("g + hsgp(x, by = g)", np.array([0.5, 0.1]) * 30, name="hsgp_x_by_g")
    assert "too few" in short[0].message and "by = g" in short[0].remedy
    scaled = findings("hsgp(x, scale = TRUE)", 0.1)
    assert "too few" in scaled[0].message and "scale = TRUE" in scaled[0].remedy
    of_sigma = findings("hsgp(x)", 3.0, name="sigma_hsgp_x", parameter="sigma")
    assert of_sigma[0].variable == "lscale_sigma_hsgp_x" and of_sigma[0].severity == "warn"


def test_each_response_counts() -> None:
    given = subject("hsgp(x)", 3.0, name="y_hsgp_x")
    model = {**given.model, "formula": "mvbind(y, z) ~ hsgp(x)"}
    (finding,) = run("basis_size", Judged(**{**vars(given), "model": model})).findings
    assert finding.variable == "lscale_y_hsgp_x" and finding.severity == "warn"


def test_other_models_have_no_basis() -> None:
    assert not run("basis_size", judged({"x": np.zeros((4, 10))})).findings

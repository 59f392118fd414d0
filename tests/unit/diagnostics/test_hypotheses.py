"""Probabilities, odds and density ratios against closed forms, within their own Monte Carlo errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from bayesrun.diagnostics.numerics.hypotheses import (
    Estimate,
    effective_draws,
    evidence_ratio,
    probability,
    ratio_of_odds,
    rope_decision,
    savage_dickey,
)

_REPLICATES = 200


def _chains(rng: np.random.Generator, mean: float, sd: float, correlation: float, draws: int = 1000) -> np.ndarray:
    """Draw four stationary autoregressive chains of a normal."""
    noise = rng.standard_normal((4, draws))
    values = np.empty_like(noise)
    values[:, 0] = noise[:, 0]
    for i in range(1, draws):
        values[:, i] = correlation * values[:, i - 1] + math.sqrt(1 - correlation**2) * noise[:, i]
    return mean + sd * values


def _spread_of_errors(errors: list[float]) -> tuple[float, float]:
    scores = np.array(errors)
    return float(scores.mean()), float(np.sqrt((scores**2).mean()))


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_a_probability_has_the_error_that_it_states(correlation: float) -> None:
    rng, errors = np.random.default_rng(1), []
    for _ in range(_REPLICATES):
        holds = _chains(rng, 0.5, 1.0, correlation) > 0
        found = probability(holds, effective_draws(holds.astype(float)))
        errors.append((found.value - norm.cdf(0.5)) / found.mcse)
    bias, spread = _spread_of_errors(errors)
    assert abs(bias) < 4 / math.sqrt(_REPLICATES)
    assert abs(spread - 1) < 5 / math.sqrt(2 * _REPLICATES)


@pytest.mark.parametrize("correlation", [0.0, 0.7])
@pytest.mark.parametrize("point", [0.0, 0.4, 0.8])
def test_a_density_ratio_has_the_error_that_it_states(correlation: float, point: float) -> None:
    # prior Normal(0, 1), one observation 0.5 with sd 0.5: posterior Normal(0.4, sqrt(0.2))
    rng, sd = np.random.default_rng(2), math.sqrt(0.2)
    true = norm.pdf(point, 0.4, sd) / norm.pdf(point)
    errors = []
    for _ in range(_REPLICATES):
        found = savage_dickey(_chains(rng, 0.4, sd, correlation), rng.standard_normal((1, 500)), point)
        assert found is not None
        errors.append((found.value - true) / found.mcse)
    bias, spread = _spread_of_errors(errors)
    assert abs(bias) < 0.5  # of one standard error: the kernel's own bias
    assert 0.8 < spread < 1.25


def test_a_density_far_from_all_draws_is_not_guessed() -> None:
    rng = np.random.default_rng(3)
    assert savage_dickey(_chains(rng, 5.0, 0.5, 0.0), rng.standard_normal((1, 500)), 0.0) is None


def test_a_statement_that_holds_in_every_draw_is_not_certain() -> None:
    found = probability(np.ones((4, 1000), dtype=bool), 4000)
    assert found.value == 1.0
    assert 0 < found.mcse < 0.001
    assert evidence_ratio(found.value) == math.inf
    assert math.isnan(ratio_of_odds(found, Estimate(0.5, 0.01)).value)


def test_an_interval_is_compared_with_a_region_of_practical_equivalence() -> None:
    assert rope_decision(-0.05, 0.08, (-0.1, 0.1)) == "equivalent"
    assert rope_decision(0.2, 0.4, (-0.1, 0.1)) == "different"
    assert rope_decision(-0.05, 0.4, (-0.1, 0.1)) == "undecided"

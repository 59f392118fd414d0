"""Reliability curves and simultaneous bands of curves, against closed forms and their level."""

from __future__ import annotations

import numpy as np
import pytest

from bayesrun.diagnostics.numerics.densities import envelope
from bayesrun.diagnostics.numerics.reliability import isotonic, reliability


def _min_max(values: np.ndarray, weights: np.ndarray) -> list[float]:
    """The closed form of isotonic regression: the largest of the least means of blocks that hold a point."""

    def mean(first: int, last: int) -> float:
        return float(np.average(values[first : last + 1], weights=weights[first : last + 1]))

    n = len(values)
    return [max(min(mean(a, b) for b in range(i, n)) for a in range(i + 1)) for i in range(n)]


@pytest.mark.parametrize("seed", range(5))
def test_isotonic_regression_is_its_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = rng.integers(0, 4, 25) / 3.0, rng.integers(1, 6, 25).astype(float)
    assert np.allclose(isotonic(values, weights), _min_max(values, weights))


def test_the_parts_of_the_brier_score_add_up() -> None:
    rng = np.random.default_rng(1)
    predicted = rng.choice([0.1, 0.3, 0.6, 0.9], 300)
    happened = rng.random(300) < predicted**2  # miscalibrated
    found = reliability(predicted, happened, 0.9)
    brier = np.mean((predicted - happened) ** 2)
    assert found.miscalibration - found.discrimination + found.uncertainty == pytest.approx(brier)
    assert found.rows.sum() == 300 and found.predicted.tolist() == [0.1, 0.3, 0.6, 0.9]
    assert found.calibrated[1] == pytest.approx(happened[predicted == 0.3].mean())
    outside = (found.calibrated < found.lower) | (found.calibrated > found.upper)
    assert outside.any()


def test_consistency_bands_hold_their_level() -> None:
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(150):
        predicted = rng.uniform(0.05, 0.95, 120)
        curve = reliability(predicted, rng.random(120) < predicted, 0.9, seed=int(rng.integers(1_000_000)))
        inside.append(np.mean((curve.calibrated >= curve.lower) & (curve.calibrated <= curve.upper)))
    error = np.std(inside, ddof=1) / np.sqrt(len(inside))
    assert np.mean(inside) > 0.9 - 3 * error
    assert np.mean(inside) < 0.9 + 3 * error + 0.06  # ties of the discrete curves widen the band


def test_the_simultaneous_band_of_curves_holds_its_level() -> None:
    rng = np.random.default_rng(3)
    inside = []
    for _ in range(400):
        curves = np.cumsum(rng.normal(size=(200, 30)), axis=1)  # correlated along the curve
        own = curves[0]
        low, high = envelope(curves[1:], own, 0.9)
        inside.append(np.all((own >= low) & (own <= high)))
    assert np.mean(inside) == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 400))


def test_a_curve_apart_from_all_others_is_outside() -> None:
    curves = np.random.default_rng(4).normal(size=(300, 10))
    own = np.zeros(10)
    own[3] = 5.0
    low, high = envelope(curves, own, 0.94)
    assert (own > high).nonzero()[0].tolist() == [3] and (own > low).all()

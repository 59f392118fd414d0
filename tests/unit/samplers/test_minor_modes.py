"""First points leave modes that hold no mass; where modes may count, or there is one alone, they stay."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from scipy.special import logsumexp

from bayesrun.engines.base import Block, LogDensity
from bayesrun.samplers import minor_modes
from bayesrun.samplers.initial_points import towards_mode
from bayesrun.samplers.minor_modes import leave_minor_modes

LEFT, RIGHT = np.full(2, -5.0), np.full(2, 5.0)
FIRST = np.array([[-5.5, -4.0], [4.5, 5.5], [-4.5, -6.0]])
SEEDS = (1, 2, 3)


def two_modes(log_share: float, sd: float = 0.5) -> LogDensity:
    """A mixture of two normal distributions; the left one has sd 1 and a share of `exp(log_share)`, about."""

    def density(point: Any) -> tuple[float, Any]:
        scaled = (point - LEFT, (point - RIGHT) / sd)
        terms = np.array([log_share - 0.5 * scaled[0] @ scaled[0], -0.5 * scaled[1] @ scaled[1] - 2 * np.log(sd)])
        shares = np.exp(terms - logsumexp(terms))
        return float(logsumexp(terms)), -(shares[0] * scaled[0] + shares[1] * scaled[1] / sd)

    return LogDensity((Block("x", 0, 2, (2,)),), LEFT + 0.3, density)


def test_a_chain_in_a_mode_without_mass_begins_near_the_best_one(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bayesrun.sampling"):
        moved, best = leave_minor_modes(two_modes(-40.0), FIRST, SEEDS)
    assert best is not None
    np.testing.assert_allclose(best, RIGHT, atol=1e-3)
    assert np.array_equal(moved[1], FIRST[1])
    assert np.all(np.abs(moved[[0, 2]] - RIGHT) <= 2 * 0.5 + 1e-3)
    assert not np.array_equal(moved[0], moved[2])
    assert "chains 0, 2 begin near the best mode that was found" in caplog.text
    assert "holds exp(-40) of its mass" in caplog.text
    again, _ = leave_minor_modes(two_modes(-40.0), FIRST, SEEDS)
    assert np.array_equal(again, moved)


@pytest.mark.parametrize("log_share", [-18.0, 0.0, 18.0])
def test_modes_that_may_count_are_left_to_disagree(log_share: float) -> None:
    moved, best = leave_minor_modes(two_modes(log_share), FIRST, SEEDS)
    assert best is None and np.array_equal(moved, FIRST)


def test_a_mode_that_is_high_and_narrow_attracts_no_chain() -> None:
    """The right mode is e^32 times as high, and as narrow, so that both have the same mass."""
    moved, best = leave_minor_modes(two_modes(0.0, sd=float(np.exp(-16.0))), FIRST, SEEDS)
    assert best is None and np.array_equal(moved, FIRST)


def test_a_funnel_and_a_density_without_a_mode_change_nothing() -> None:
    def funnel(point: Any) -> tuple[float, Any]:
        v, x = point[0], point[1:]
        inner = np.exp(-v) * x
        value = -(v**2) / 18 - 0.5 * x @ inner - 2.5 * v
        return float(value), np.array([-v / 9 + 0.5 * x @ inner - 2.5, *-inner])

    def plane(point: Any) -> tuple[float, Any]:
        return float(point @ slope), slope

    slope = np.array([1.0, 100.0, 0.0, 0.0, 0.0, 0.0])
    first = np.random.default_rng(4).normal(size=(4, 6))
    for density in (funnel, plane):
        moved, best = leave_minor_modes(
            LogDensity((Block("x", 0, 6, (6,)),), np.zeros(6), density), first, (1, 2, 3, 4)
        )
        assert best is None and np.array_equal(moved, first)


def test_no_further_modes_are_sought_for_chains_of_which_none_has_a_mode_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Effects of groups around 0 whose sd goes to 0: the density has no bound, and the searches are long."""
    observed = np.linspace(-2.0, 2.0, 12)

    def hierarchy(point: Any) -> tuple[float, Any]:
        log_sd, effects = point[0], point[1:]
        squares, left = effects @ effects * np.exp(-2 * log_sd), observed - effects
        value = -12 * log_sd - 0.5 * squares - 0.5 * np.exp(2 * log_sd) + log_sd - 0.5 * left @ left
        slopes = left - effects * np.exp(-2 * log_sd)
        return float(value), np.array([-11 + squares - np.exp(2 * log_sd), *slopes])

    begun: list[Any] = []

    def counted(density: Any, point: Any) -> Any:
        begun.append(point)
        return towards_mode(density, point)

    monkeypatch.setattr(minor_modes, "towards_mode", counted)
    first = np.random.default_rng(4).uniform(-1, 1, (4, 13))
    density = LogDensity((Block("x", 0, 13, (13,)),), np.zeros(13), hierarchy)
    with np.errstate(all="ignore"):
        moved, best = leave_minor_modes(density, first, (1, 2, 3, 4))
    assert best is None and np.array_equal(moved, first)
    assert len(begun) == 5

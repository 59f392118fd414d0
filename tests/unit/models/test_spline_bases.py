"""Bases of splines are what they are said to be: by exact properties, and by mgcv's REML fits of the same smooths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.interpolate
import xarray as xr
from scipy.optimize import minimize

from bayesrun.models.regression.linear_terms import Rows, Setting
from bayesrun.models.regression.smooth_calls import read_call
from bayesrun.models.regression.smooth_term import SmoothTerm
from bayesrun.models.regression.spline_bases import (
    Basis,
    Spline,
    Tensor,
    cubic_regression,
    tensor_product,
    thin_plate,
)
from tests.conftest import ROOT

PUBLISHED = ROOT / "tests/reference/published"
RNG = np.random.default_rng(8)
ONE, TWO = RNG.gamma(2.0, 20.0, size=(150, 1)), RNG.normal([50.0, -3.0], [10.0, 7.0], size=(200, 2))
BASES: dict[str, tuple[np.ndarray[Any, Any], Basis]] = {
    "tp": (ONE, thin_plate(ONE, 10)),
    "cr": (ONE, cubic_regression(ONE, 10)),
    "of two inputs": (TWO, thin_plate(TWO, 30)),
    "t2": (TWO, tensor_product(TWO, (5, 6))),
}


def blocks_of(basis: Basis, columns: Any) -> list[Any]:
    sizes = [basis.size] if isinstance(basis, Spline) else [turn.shape[1] for turn in basis.rotations]
    return np.split(columns, np.cumsum(sizes)[:-1], axis=1)


@pytest.mark.parametrize("name", BASES)
def test_penalised_columns_are_orthogonal_to_the_rest_and_of_mean_square_1(name: str) -> None:
    points, basis = BASES[name]
    fixed, columns = basis.unpenalised(points), basis.penalised(points)
    np.testing.assert_allclose(fixed.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(columns.sum(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(fixed.T @ columns / np.linalg.norm(fixed, axis=0)[:, None], 0, atol=1e-8)
    for block in blocks_of(basis, columns):
        cross = block.T @ block
        np.testing.assert_allclose(cross, np.diag(np.diag(cross)), atol=1e-7)
        assert (np.diff(np.diag(cross)) <= 1e-9).all() and np.diag(cross).min() > 0  # the smoothest first
        assert np.trace(cross) == pytest.approx(len(points), rel=1e-10)


@pytest.mark.parametrize("name", BASES)
def test_rows_one_by_one_and_a_stored_basis_give_the_same_columns(name: str) -> None:
    points, basis = BASES[name]
    again = type(basis).from_plain(basis.plain())
    one_by_one = np.concatenate([again.penalised(points[[row]]) for row in range(5)])
    np.testing.assert_allclose(one_by_one, basis.penalised(points)[:5], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(again.unpenalised(points), basis.unpenalised(points))


@pytest.mark.parametrize("name", ["tp", "cr"])
def test_the_unpenalised_part_is_the_straight_line_and_the_rest_is_straight_outside(name: str) -> None:
    points, basis = BASES[name]
    inside = np.linspace(points.min(), points.max(), 400)[:, None]
    step = float(inside[1, 0] - inside[0, 0])
    bends = np.diff(basis.penalised(inside), 2, axis=0) / step**2
    energy = bends.T @ bends * step
    # weights of one sd have the same roughness, whatever their direction: the penalty is the identity
    np.testing.assert_allclose(energy / energy[0, 0], np.eye(basis.size), atol=0.02)
    beyond = np.array([[points.max() + 10.0 * k] for k in range(1, 4)])
    np.testing.assert_allclose(np.diff(basis.penalised(beyond), 2, axis=0), 0, atol=1e-8)


def test_a_cubic_regression_spline_is_the_natural_spline_through_its_knots() -> None:
    points, basis = BASES["cr"]
    assert isinstance(basis, Spline)
    knots = basis.knots[:, 0] * basis.unit + basis.centre[0]
    np.testing.assert_allclose(knots, np.quantile(np.unique(points), np.linspace(0, 1, 10)), rtol=1e-12)
    spline = scipy.interpolate.CubicSpline(knots, RNG.normal(size=10), bc_type="natural")
    at = np.linspace(points.min(), points.max(), 50)[:, None]
    whole = np.column_stack([np.ones(50), basis.unpenalised(at), basis.penalised(at)])
    wanted = spline(at[:, 0])
    found = whole @ np.linalg.lstsq(whole, wanted, rcond=None)[0]
    assert whole.shape[1] == 10
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_a_tensor_product_holds_all_products_of_its_margins() -> None:
    points, basis = BASES["t2"]
    assert isinstance(basis, Tensor) and basis.size == 5 * 6 - 4
    first, second = (
        np.column_stack([np.ones(len(points)), one.unpenalised(points[:, [i]]), one.penalised(points[:, [i]])])
        for i, one in enumerate(basis.margins)
    )
    wanted = first @ RNG.normal(size=(5,)) * (second @ RNG.normal(size=(6,)))
    whole = np.column_stack([np.ones(len(points)), basis.unpenalised(points), basis.penalised(points)])
    found = whole @ np.linalg.lstsq(whole, wanted, rcond=None)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * np.abs(wanted).max())
    # a block bends along its inputs alone: with x alone penalised it is straight in z
    along = np.column_stack([np.full(9, 52.0), np.linspace(-20, 15, 9)])
    (of_x, of_z, _) = blocks_of(basis, basis.penalised(along))
    np.testing.assert_allclose(np.diff(of_x, 2, axis=0), 0, atol=1e-9)
    assert np.abs(np.diff(of_z, 2, axis=0)).max() > 0.01


def reml(y: Any, fixed: Any, blocks: list[Any]) -> Any:
    """Return the fitted values at the maximum of the restricted likelihood of a linear mixed model.

    The sds are those of the blocks of random effects; the sd of the residuals is profiled out.
    """
    columns = np.concatenate([fixed, *blocks], axis=1)
    cross, sums = columns.T @ columns, columns.T @ y

    def fit(log_ratios: Any) -> tuple[float, Any]:
        precision = np.concatenate(
            [
                np.zeros(fixed.shape[1]),
                *(np.full(b.shape[1], np.exp(-2 * r)) for b, r in zip(blocks, log_ratios, strict=True)),
            ]
        )
        whole = cross + np.diag(precision)
        b = np.linalg.solve(whole, sums)
        rest = y @ y - b @ sums
        degrees = len(y) - fixed.shape[1]
        log_prior = sum(2 * r * block.shape[1] for block, r in zip(blocks, log_ratios, strict=True))
        return degrees * np.log(rest) + np.linalg.slogdet(whole)[1] + log_prior, b

    found = minimize(
        lambda r: fit(r)[0], np.zeros(len(blocks)), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12}
    )
    return columns @ fit(found.x)[1]


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("tp", "s(times)"),
        ("tp_k20", "s(times, k = 20)"),
        ("cr_k20", "s(times, bs = 'cr', k = 20)"),
        ("by_factor", "s(times, by = g, k = 12)"),
        ("by_number", "s(times, by = z, k = 12)"),
        ("two_inputs", "s(times, z, k = 40)"),
    ],
)
def test_the_fit_by_reml_is_that_of_mgcv(name: str, call: str) -> None:
    table = pd.read_csv(PUBLISHED / "mcycle.csv")
    size = len(table)
    g, z = np.array(["a", "b"] * size)[:size], np.sqrt(7 * np.arange(1, size + 1) % size)
    columns = {"times": table.times.values, "g": g, "z": z}
    rows = xr.Dataset({n: ("obs", v) for n, v in columns.items()}, {"obs": np.arange(size)})
    term = SmoothTerm(read_call(call, "model.formula"))
    fitted, made = term.learn(Rows(rows, "obs", "model.formula"), Setting("", {}, 1.0, 0.0))
    fixed, design = np.ones((size, 1)), made[f"{fitted.name}_design"].values
    levels = [g == level for level in ("a", "b")] if fitted.by.is_factor else [np.ones(size, bool)]
    fixed = np.column_stack([fixed, *([levels[1]] if fitted.by.is_factor else []), fitted.unpenalised(made)[0]])
    found = reml(table.accel.values, fixed, [design * level[:, None] for level in levels])
    wanted = pd.read_csv(PUBLISHED / "mgcv.csv")[name].values
    np.testing.assert_allclose(found, wanted, atol=2e-3)

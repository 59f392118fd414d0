"""Fewer rows with the same sum of squares, whatever the coefficients and effects are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bayesrun.models.regression.fewer_rows import fewer_rows

RNG = np.random.default_rng(3)


def _squares(matrix: Any, apart: Any, groups: Any, b: Any, r: Any) -> float:
    ((codes, columns),) = groups
    effects = np.ones((len(codes), 1)) if columns is None else columns
    predictor = matrix @ b + (r[codes] * effects).sum(axis=1) + apart
    return float(predictor @ predictor)


@pytest.mark.parametrize("level", [0.0, 1e6])
@pytest.mark.parametrize(("rows", "groups", "effects"), [(300, 18, 2), (80, 30, 1), (60, 4, 3)])
def test_the_sum_of_squares_is_the_same_at_any_coefficients(rows: int, groups: int, effects: int, level: float) -> None:
    matrix = RNG.normal(size=(rows, 3))
    matrix[:, 0] = 1.0
    codes = np.r_[np.arange(groups), RNG.integers(groups, size=rows - groups)]  # some groups have a single row
    columns = None if effects == 1 else np.c_[np.ones(rows), RNG.normal(size=(rows, effects - 1)) > 1]
    apart = level + RNG.normal(size=rows)
    made = fewer_rows(matrix, apart, ((codes, columns),))
    assert len(made.matrix) <= groups * effects + 3 < rows
    for size in (0.1, 10.0):
        b, r = size * RNG.normal(size=3), size * RNG.normal(size=(groups, effects))
        b[0] -= level
        wanted = _squares(matrix, apart, ((codes, columns),), b, r)
        found = _squares(made.matrix, made.apart, made.groups, b, r) + made.rest
        assert found == pytest.approx(wanted, rel=1e-9 if level else 1e-12)


def test_columns_that_the_effects_have_too_leave_no_rows_of_their_own_to_cancel() -> None:
    x = np.tile(np.arange(10.0), 18)
    matrix, codes = np.c_[np.ones(180), x], np.repeat(np.arange(18), 10)
    y = RNG.normal(size=180)
    made = fewer_rows(matrix, -y, ((codes, matrix),))
    assert len(made.matrix) == 18 * 2 + 2
    np.testing.assert_allclose(made.matrix[-2:], 0.0, atol=1e-12)
    within = [np.linalg.lstsq(matrix[codes == g], y[codes == g], rcond=None)[1][0] for g in range(18)]
    assert made.rest + (made.apart[-2:] ** 2).sum() == pytest.approx(sum(within), rel=1e-12)


def test_rows_stay_as_they_are_where_they_would_not_be_fewer_or_groupings_cross() -> None:
    matrix, apart = RNG.normal(size=(12, 2)), RNG.normal(size=12)
    codes = np.arange(12)
    for groups in (((codes, None),), ((codes % 3, None), (codes % 2, None))):
        made = fewer_rows(matrix, apart, groups)
        assert made.matrix is matrix
        assert made.groups is groups
        assert made.rest == 0.0

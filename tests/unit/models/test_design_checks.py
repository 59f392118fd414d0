"""Collinear columns and complete separation are found and named, and nothing else is called so."""

from __future__ import annotations

import numpy as np
import pytest

from bayesrun.models.regression.design_checks import collinear, separating

ROWS = 200


def _columns(seed: int = 1, rows: int = ROWS) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    return np.column_stack([np.ones(rows), rng.normal(size=rows), rng.normal(3950, 30, size=rows)]), [
        "one",
        "x",
        "year",
    ]


def test_full_rank_has_no_collinear_columns() -> None:
    matrix, names = _columns()
    assert collinear(matrix, names) == []


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_combination_is_named_whatever_its_units(scale: float) -> None:
    matrix, names = _columns()
    made = scale * (2 * matrix[:, 1] - matrix[:, 2])
    found = collinear(np.column_stack([matrix, made]), [*names, "made"])
    assert [set(f) for f in found] == [{"x", "year", "made"}]


def test_each_combination_is_named_by_itself() -> None:
    matrix, names = _columns()
    both = np.column_stack([matrix, matrix[:, 1] * 3, np.full(ROWS, 7.0), np.zeros(ROWS)])
    found = collinear(both, [*names, "thrice", "seven", "nothing"])
    assert sorted(map(sorted, found)) == [["nothing"], ["one", "seven"], ["thrice", "x"]]


def test_nearly_collinear_columns_are_left_alone() -> None:
    matrix, names = _columns()
    near = matrix[:, 1] + 1e-4 * np.random.default_rng(2).normal(size=ROWS)
    assert collinear(np.column_stack([matrix, near]), [*names, "near"]) == []


def test_more_columns_than_rows_are_collinear() -> None:
    matrix, names = _columns(rows=2)
    assert collinear(matrix, names)


def test_many_rows_with_one_that_breaks_the_rank_are_not_collinear() -> None:
    matrix, names = _columns(rows=10_000)
    nearly = matrix[:, 1].copy()
    nearly[17] += 1.0
    assert collinear(np.column_stack([matrix, nearly]), [*names, "nearly"]) == []


def test_separation_names_the_column_that_separates() -> None:
    matrix, names = _columns()
    assert separating(matrix, matrix[:, 2] > 3955, names) == ("year",)


def test_separation_by_two_columns_names_both() -> None:
    matrix, names = _columns()
    sloped = matrix[:, 1] + (matrix[:, 2] - 3950) / 30 > 0
    assert set(separating(matrix, sloped, names)) == {"x", "year"}


def test_one_row_on_the_other_side_is_no_separation() -> None:
    matrix, names = _columns()
    success = matrix[:, 1] > 0
    success[np.argmax(matrix[:, 1])] = False
    assert separating(matrix, success, names) == ()


def test_the_same_row_as_success_and_failure_is_no_separation() -> None:
    matrix = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 2.0]])
    assert separating(matrix, np.array([False, False, True, True]), ["one", "x"]) == ()


def test_separation_is_seen_in_many_rows_and_not_where_one_row_overlaps() -> None:
    matrix, names = _columns(rows=10_000)
    success = matrix[:, 1] > 0.3
    assert separating(matrix, success, names) == ("x",)
    success[np.argmin(matrix[:, 1])] = True
    assert separating(matrix, success, names) == ()

"""Effects of a predictor from a function that predicts rows, whose effects are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesrun.predict.counterfactuals import Expected, Question, effects

_ROWS = pd.DataFrame({"x": [-1.0, 0.0, 1.0, 2.0, -2.0], "site": [10, 10, 10, 30, 30]})


def _expected(frame: pd.DataFrame) -> Expected:
    assert set(frame["site"]) <= {10, 20, 30}, "a mean of labels is no label"
    x = frame["x"].to_numpy()
    return {("y", None): np.stack([3 * x + x**2, 5 * x + x**2])}


def test_a_slope_at_a_mean_of_zero_has_the_step_of_all_rows() -> None:
    rows = _ROWS.assign(x=_ROWS["x"] + 1e-17)
    (found,) = effects(Question("slopes", of="x", typical=True), rows, {"site": [10, 20, 30]}, _expected)
    assert found.draws == pytest.approx([3.0, 5.0], rel=1e-9)


def test_a_typical_row_is_of_its_group() -> None:
    found = effects(Question("predictions", typical=True, by=["site"]), _ROWS, {"site": [10, 20, 30]}, _expected)
    assert [one.labels["site"] for one in found] == [10, 30]
    assert all(one.draws == pytest.approx([0.0, 0.0]) for one in found)


def test_labels_that_are_numbers_are_compared_as_labels() -> None:
    def by_site(frame: pd.DataFrame) -> Expected:
        return {("y", None): frame["site"].to_numpy()[None] / 10.0}

    found = effects(Question("comparisons", of="site"), _ROWS, {"site": [10, 20, 30]}, by_site)
    assert [one.labels["contrast"] for one in found] == ["20 - 10", "30 - 10"]
    assert [one.draws[0] for one in found] == pytest.approx([1.0, 2.0])

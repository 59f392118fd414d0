from __future__ import annotations

import numpy as np
import pytest


def test_lists_are_over_the_row_dim_and_scalars_over_none(load_data):
    data = load_data(source="inline", values={"y": [28, 8, None], "n": 3, "ok": [True, False, True]})
    np.testing.assert_array_equal(data["y"].values, [28.0, 8.0, np.nan])
    assert data["y"].dims == ("obs",)
    assert (data["n"].dims, int(data["n"])) == ((), 3)
    assert data["ok"].dtype == bool


def test_dims_name_the_levels_and_a_list_named_like_a_dim_labels_it(load_data):
    data = load_data(
        source="inline",
        values={"X": [[1, 2], [3, 4], [5, 6]], "y": [1, 2, 3], "feature": ["a", "b"]},
        dims={"X": ["obs", "feature"]},
    )
    assert data["X"].dims == ("obs", "feature")
    assert data["feature"].values.tolist() == ["a", "b"]
    assert data["X"].sel(obs=2, feature="b") == 6


def test_row_labels_by_dim(load_data):
    data = load_data(source="inline", dim="school", values={"school": ["A", "B"], "effect": [28, 8]})
    assert data["effect"].sel(school="B") == 8


def test_further_dims_without_name_are_numbered(load_data):
    assert load_data(source="inline", values={"X": [[1, 2], [3, 4]]})["X"].dims == ("obs", "X_dim_1")


@pytest.mark.parametrize(
    ("values", "dims", "key", "part"),
    [
        ({"X": [[1, 2], [3]]}, {}, "data.values.X", "row 0 has 2 values, row 1 has 1"),
        ({"X": [[1, 2], 3]}, {}, "data.values.X", "lists beside single values"),
        ({"X": [{"a": 1}]}, {}, "data.values.X", "must be a number"),
        ({"X": [[1, 2]]}, {"X": ["obs"]}, "data.dims.X", "has 2 dims"),
        ({"X": [[1, 2], [3, 4]]}, {"X": ["obs", "obs"]}, "data.dims.X", "twice"),
        ({"x": [1, 2], "y": [1, 2, 3]}, {}, "data.dims.y", "size 3 in 'y', but 2 in 'x'"),
        ({"x": [1, 2]}, {"z": ["obs"]}, "data.dims.z", "no array 'z'"),
        ({"obs": [[1, 2], [3, 4]]}, {"obs": ["obs", "b"]}, "data.values.obs", "has the name of a dim"),
        ({}, {}, "data", "no variables"),
        ({"x": []}, {}, "data", "is empty"),
        ({"obs": ["a", "a"], "x": [1, 2]}, {}, "data.dim", "repeat: 'a'"),
        ({"obs": ["a", None], "x": [1, 2]}, {}, "data.dim", "1 of 2 labels of dim 'obs' are missing"),
        ({"x": [[1, 2]], "b": [1, 1]}, {"x": ["obs", "b"]}, "data.dims", "repeat: 1"),
    ],
)
def test_wrong_values_are_reported_with_their_key(values, dims, key, part, faults):
    assert part in faults(source="inline", values=values, dims=dims)[key]


def test_all_ragged_lists_are_reported_at_once(faults):
    assert set(faults(source="inline", values={"a": [[1], [1, 2]], "b": [1, [2]], "c": [1]})) == {
        "data.values.a",
        "data.values.b",
    }


def test_values_are_required(faults):
    assert "required" in faults(source="inline")["data.values"]


def test_unknown_key_names_the_nearest(faults):
    assert "did you mean 'values'?" in faults(source="inline", valeus={"a": [1]})["data.valeus"]

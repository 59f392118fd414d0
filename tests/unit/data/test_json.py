from __future__ import annotations

import json

import numpy as np
import pytest


def test_object_of_arrays(tmp_path, load_data):
    values = {"J": 2, "y": [28, None], "X": [[1, 2, 3], [4, 5, 6]], "school": ["A", "B"]}
    (tmp_path / "schools.json").write_text(json.dumps(values))
    data = load_data(source="json", path="schools.json", dim="school", dims={"X": ["school", "feature"]})
    np.testing.assert_array_equal(data["y"], [28.0, np.nan])
    assert data["X"].sel(school="B", feature=0) == 4
    assert data.attrs["origin"].endswith("schools.json")


@pytest.mark.parametrize(
    ("text", "key", "part"),
    [
        ("[1, 2]", "data.path", "holds a list, not an object"),
        ("{", "data.path", "can't be read as JSON"),
        ('{"a": [1], "a": [2]}', "data.path", "names repeat: a"),
        ('{"a": [[1], [2, 3]]}', "data.path.a", "row 0 has 1 values, row 1 has 2"),
        ('{"a": {"b": 1}}', "data.path.a", "must be a number"),
        ('{"a": [1], "b": [1, 2]}', "data.dims.b", "size 2 in 'b', but 1 in 'a'"),
    ],
)
def test_what_is_no_object_of_arrays_is_refused(text, key, part, tmp_path, faults):
    (tmp_path / "bad.json").write_text(text)
    assert part in faults(source="json", path="bad.json")[key]

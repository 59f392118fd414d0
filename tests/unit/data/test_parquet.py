from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("pyarrow")


def test_table_with_every_kind_of_column(tmp_path, load_data):
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None, 3], dtype="Int64"),
            "text": pd.Categorical(["a", "b", None]),
            "flag": [True, False, True],
            "day": pd.to_datetime(["2008-05-02", "2008-05-05", "2008-05-06"], utc=True),
            "x": [0.5, np.nan, 2.0],
        },
        index=pd.Index([7, 8, 9], name="id"),
    )
    frame.to_parquet(tmp_path / "t.parquet")
    data = load_data(source="parquet", path="t.parquet", dim="id")
    assert data["id"].values.tolist() == [7, 8, 9]
    np.testing.assert_array_equal(data["whole"], [1.0, np.nan, 3.0])
    assert data["text"].values.tolist() == ["a", "b", None]
    assert data["flag"].dtype == bool
    assert data["day"].dtype == "datetime64[ns]"
    assert str(data["day"].values[0])[:10] == "2008-05-02"


def test_what_is_no_parquet_is_refused(tmp_path, faults):
    (tmp_path / "bad.parquet").write_text("a,b\n1,2\n")
    assert "can't be read as Parquet" in faults(source="parquet", path="bad.parquet")["data.path"]


def test_durations_are_days_as_differences_of_dates_are(tmp_path, load_data):
    frame = pd.DataFrame({"took": pd.to_timedelta(["12h", "2d", None])})
    frame.to_parquet(tmp_path / "t.parquet")
    data = load_data(source="parquet", path="t.parquet")
    np.testing.assert_array_equal(data["took"], [0.5, 2.0, np.nan])


def test_lists_in_cells_are_refused_unless_they_are_left_out(tmp_path, faults, load_data):
    frame = pd.DataFrame({"y": [1.0, 2.0, 3.0], "tags": [["a"], None, ["b", "c"]]})
    frame.to_parquet(tmp_path / "t.parquet")
    said = faults(source="parquet", path="t.parquet")["data.path"]
    assert "'tags' holds lists or mappings: rows 0, 2" in said
    assert list(load_data(source="parquet", path="t.parquet", columns=["y"])) == ["y"]

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr


def write(path):
    xr.Dataset(
        {
            "y": (("time",), [1.0, np.nan]),
            "X": (("time", "k"), [[1, 2, 3], [4, 5, 6]]),
        },
        coords={"time": pd.to_datetime(["2008-05-02", "2008-05-05"]), "k": ["a", "b", "c"]},
    ).to_netcdf(path)


def test_dims_and_labels_are_those_of_the_file(tmp_path, load_data):
    write(tmp_path / "a.nc")
    data = load_data(source="netcdf", path="a.nc", dim="time")
    assert data["X"].dims == ("time", "k")
    assert data["k"].values.tolist() == ["a", "b", "c"]
    assert data["time"].dtype == "datetime64[ns]"
    assert data.attrs["rows"] == 2


def test_dims_rename_and_labels_follow(tmp_path, load_data):
    write(tmp_path / "a.nc")
    dims = {"y": ["day"], "X": ["day", "feature"]}
    data = load_data(source="netcdf", path="a.nc", dim="day", dims=dims, columns=["X", "y"])
    assert data["X"].dims == ("day", "feature")
    assert data["feature"].values.tolist() == ["a", "b", "c"]
    assert data["day"].dtype == "datetime64[ns]"


def test_wrong_dims_and_files_are_refused(tmp_path, faults):
    write(tmp_path / "a.nc")
    assert "has 2 dims" in faults(source="netcdf", path="a.nc", dims={"X": ["day"]})["data.dims.X"]
    assert "did you mean 'X'" in faults(source="netcdf", path="a.nc", dims={"XX": ["day"]})["data.dims.XX"]
    (tmp_path / "bad.nc").write_text("no")
    assert "can't be read as NetCDF" in faults(source="netcdf", path="bad.nc")["data.path"]

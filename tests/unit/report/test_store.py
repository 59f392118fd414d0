from __future__ import annotations

import arviz as az
import netCDF4
import numpy as np
import pytest
import xarray as xr

from bayesrun.report.store import save, storable
from bayesrun.run_folder import RunFolder

NAMES = [
    "",
    " ",
    " x",
    "x ",
    ".x",
    "-x",
    "#",
    "a/b",
    "a÷b",
    "/",
    "x/",
    "a\nb",
    "\t",
    "?column?",
    "é" * 200,
    "100%",
    "µ g",
    "caf\u00e9",
    "cafe\u0301",
    "\u212b",
]


def test_any_names_can_be_stored_and_the_original_is_kept(tmp_path):
    variables = {name: ("km/h", [float(i), 1.0]) for i, name in enumerate(NAMES)}
    dataset = xr.Dataset(variables, coords={"km/h": ["p", "q"]})
    stored = storable(dataset)
    stored.to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    read = xr.load_dataset(tmp_path / "a.nc")
    assert len(read.data_vars) == len(NAMES)
    originals = {array.attrs.get("name", str(name)): array for name, array in read.data_vars.items()}
    assert set(originals) == set(NAMES)
    assert all(originals[name].values[0] == i for i, name in enumerate(NAMES))
    assert read["km÷h"].values.tolist() == ["p", "q"]


def test_columns_and_attributes_of_mixed_types_become_text(tmp_path):
    mixed = np.array(["a", 1, 2.5, True, None, float("nan")], dtype=object)
    dataset = xr.Dataset({"mix": ("obs", mixed, {"levels": [True, False]}), "t": ("obs", ["p"] * 6)})
    dataset["t"].attrs = {"levels": ["p", 1], "labels": "site", "one": [1, 2.5], "flag": ["q"]}
    storable(dataset).to_netcdf(tmp_path / "a.nc", engine="netcdf4")
    read = xr.load_dataset(tmp_path / "a.nc")
    assert read["mix"].values.tolist()[:4] == ["a", "1", "2.5", "True"]
    assert read["mix"].attrs["levels"] == ["True", "False"]
    assert read["t"].attrs["levels"] == ["p", "1"]


@pytest.mark.parametrize("name", ["x", "theta", "C(g)[b]", "a b", "größe", "log(x + 1)"])
def test_names_that_can_be_stored_stay(name):
    dataset = xr.Dataset({name: ("obs", np.ones(2))})
    assert storable(dataset).identical(dataset)


@pytest.mark.parametrize(("compression", "levels"), [(None, (0, 1)), (0, (0, 0)), (4, (4, 4))])
def test_whole_numbers_are_compressed_and_real_ones_on_demand(tmp_path, compression, levels):
    rng = np.random.default_rng(1)
    drawn = {"real": rng.normal(size=(2, 100)), "whole": rng.poisson(3.0, (2, 100))}
    save(az.from_dict(posterior=drawn), RunFolder(tmp_path), None, [], [], 1_000_000, compression)
    with netCDF4.Dataset(tmp_path / "posterior.nc") as file:
        stored = {name: file["posterior"][name].filters() for name in drawn}
    found = tuple(filters["complevel"] if filters["zlib"] else 0 for filters in stored.values())
    assert found == levels
    read = az.from_netcdf(tmp_path / "posterior.nc").posterior
    assert all(np.array_equal(read[name].values, values) for name, values in drawn.items())

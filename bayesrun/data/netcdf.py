"""Source `netcdf`: arrays over named dims in a NetCDF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.data.base import ArraySpec, FileSpec, Source
from bayesrun.data.files import check_file, resolve, sha256_of
from bayesrun.errors import check as check_problems
from bayesrun.errors import fail

if TYPE_CHECKING:
    import xarray as xr


class NetcdfSpec(FileSpec, ArraySpec):
    """Keys of `source: netcdf`; `dims` renames the dims of an array, in the file's order."""


def load(spec: NetcdfSpec, directory: Path) -> xr.Dataset:
    """Read the file over its own dims, or those of `spec.dims`; fill values are missing, times become dates."""
    path = resolve(spec.path, directory)
    dataset = _renamed(_read(path), spec)
    return dataset.assign_attrs(origin=str(path), sha256=sha256_of(path))


def _read(path: Path) -> xr.Dataset:
    import xarray as xr

    try:
        # durations stay numbers in the file's unit
        return xr.load_dataset(path, engine="netcdf4", decode_timedelta=False)
    except (ValueError, OSError) as error:
        raise fail("data.path", f"'{path}' can't be read as NetCDF: {error}", "write it again") from error


def _renamed(read: xr.Dataset, spec: NetcdfSpec) -> xr.Dataset:
    from bayesrun.data.assemble import assemble, unknown_dims

    names = {str(name): read[name] for name in read.variables}
    check_problems(unknown_dims(spec, names))
    new_name = _new_dim_names(names, spec)
    variables = {}
    for name, array in names.items():
        own = tuple(str(d) for d in array.dims)
        # the labels of a dim follow when it is renamed
        is_labels = own == (name,) and name in new_name and new_name[name] not in names
        label = new_name[name] if is_labels else name
        variables[label] = ((label,) if is_labels else tuple(spec.dims.get(name, own)), array.values)
    return assemble(variables, "data")


def _new_dim_names(names: Mapping[str, xr.DataArray], spec: NetcdfSpec) -> dict[str, str]:
    pairs = [(old, new) for name, dims in spec.dims.items() for old, new in zip(names[name].dims, dims, strict=False)]
    return {str(old): new for old, new in pairs if old != new}


SOURCE = Source(spec=NetcdfSpec, load=load, check=check_file)

"""Sources of arrays over named dims: `inline` (values in the YAML itself), `json` and `netcdf`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bayesrun.data.arrays import assemble, from_values, unknown_dims
from bayesrun.data.base import ArraySpec, FileSpec, Source
from bayesrun.data.files import check_file, resolve, sha256_of
from bayesrun.errors import check, fail
from bayesrun.lazy import xr

_MAX_DIGITS = 18  # of a 64-bit integer


class InlineSpec(ArraySpec):
    """Keys of `source: inline`.

    Parameters
    ----------
    values
        Names mapped to a number or a (nested) list; null is a missing value.
    """

    values: dict[str, Any]


def load_inline(spec: InlineSpec, directory: Path) -> xr.Dataset:
    """Build a Dataset from the values; no file is read."""
    return from_values(spec.values, spec, "data.values").assign_attrs(origin="inline")


class JsonSpec(FileSpec, ArraySpec):
    """Keys of `source: json`."""


def load_json(spec: JsonSpec, directory: Path) -> xr.Dataset:
    """Read the file; null and NaN are missing values."""
    path = resolve(spec.path, directory)
    values = _read_json(path)
    return from_values(values, spec, "data.path").assign_attrs(origin=str(path), sha256=sha256_of(path))


def _read_json(path: Path) -> dict[str, Any]:
    hint = 'it must be one object of names and arrays: {"y": [28, 8], "stderr": [15, 10]}'
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text, object_pairs_hook=_without_repeats, parse_int=_number)
    except RecursionError:
        raise fail("data.path", f"'{path}' is nested too deeply", hint) from None
    except ValueError as error:
        raise fail("data.path", f"'{path}' can't be read as JSON: {error}", hint) from error
    if not isinstance(values, dict):
        raise fail("data.path", f"'{path}' holds a {type(values).__name__}, not an object", hint)
    return values


def _number(digits: str) -> int | float:
    """Return an integer; one too large for 64 bits becomes a float, which is infinite from 309 digits on."""
    return int(digits) if len(digits) <= _MAX_DIGITS else float(digits)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Reject repeated names: JSON would keep only the last value."""
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"names repeat: {', '.join(repeated)}")
    return dict(pairs)


class NetcdfSpec(FileSpec, ArraySpec):
    """Keys of `source: netcdf`; `dims` renames the dims of an array, in the order of the file."""


def load_netcdf(spec: NetcdfSpec, directory: Path) -> xr.Dataset:
    """Read the file over its own dims or those of `spec.dims`; fill values become missing, times become dates."""
    path = resolve(spec.path, directory)
    dataset = _renamed(_read_netcdf(path), spec)
    return dataset.assign_attrs(origin=str(path), sha256=sha256_of(path))


def _read_netcdf(path: Path) -> xr.Dataset:
    try:
        # durations stay numbers in the unit of the file
        return xr.load_dataset(path, engine="netcdf4", decode_timedelta=False)
    except (ValueError, OSError) as error:
        raise fail("data.path", f"'{path}' can't be read as NetCDF: {error}", "write it again") from error


def _renamed(read: xr.Dataset, spec: NetcdfSpec) -> xr.Dataset:
    names = {str(name): read[name] for name in read.variables}
    check(unknown_dims(spec, names))
    new_name = _new_dim_names(names, spec)
    variables = {}
    for name, array in names.items():
        own = tuple(str(d) for d in array.dims)
        # when a dim is renamed, its labels are renamed with it
        is_labels = own == (name,) and name in new_name and new_name[name] not in names
        label = new_name[name] if is_labels else name
        variables[label] = ((label,) if is_labels else tuple(spec.dims.get(name, own)), array.values)
    return assemble(variables, "data")


def _new_dim_names(names: Mapping[str, xr.DataArray], spec: NetcdfSpec) -> dict[str, str]:
    pairs = [(old, new) for name, dims in spec.dims.items() for old, new in zip(names[name].dims, dims, strict=False)]
    return {str(old): new for old, new in pairs if old != new}


SOURCES = {
    "inline": Source(spec=InlineSpec, load=load_inline),
    "json": Source(spec=JsonSpec, load=load_json, check=check_file),
    "netcdf": Source(spec=NetcdfSpec, load=load_netcdf, check=check_file),
}

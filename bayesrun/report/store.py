"""`posterior.nc`: what is kept, compressed, large draws as float32; and what it can't hold.

The latter is found before sampling: the file is written once in memory, with one draw of zeros.
"""

from __future__ import annotations

import itertools
import logging
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import NetCDF4DataStore

from bayesrun.data.factors import LABELS
from bayesrun.engines.base import CompiledModel
from bayesrun.errors import Problem
from bayesrun.large_draws import is_stored, row_parts
from bayesrun.lazy import az
from bayesrun.predict.predictive_groups import Groups, inference_data
from bayesrun.run_folder import RunFolder

log = logging.getLogger("bayesrun")

_CACHE = 2**20
"""Bytes of a large variable that NetCDF's library keeps in memory."""
_MAX_NAME_LENGTH = 240  # bytes; NetCDF allows 256


def save(
    idata: az.InferenceData,
    folder: RunFolder,
    variables: Sequence[str] | None,
    exclude: Sequence[str],
    groups: Sequence[str],
    float32_above: int,
    compression: int | None,
) -> None:
    """Write the InferenceData.

    Parameters
    ----------
    idata
        All groups.
    folder
        The run folder.
    variables
        Posterior variables to keep; null = all.
    exclude
        Variables to leave out of every group.
    groups
        Groups to keep beside `posterior`.
    float32_above
        Variables with more numbers than this are stored as float32.
    compression
        zlib level of all numbers, 0 = none; None = 1 for whole numbers, and none for real ones.
    """
    kept = {}
    for group in ("posterior", *groups):
        if group in idata.groups():
            chosen = _chosen(idata[group], variables if group == "posterior" else None, exclude)
            kept[group] = storable(_small(chosen, float32_above))
    result = az.InferenceData(**kept)
    folder.write("posterior.nc", lambda path: _to_netcdf(result, str(path), compression))


def storable(dataset: xr.Dataset, *, tell: bool = True) -> xr.Dataset:
    """Return a dataset that NetCDF can hold.

    A slash in a name becomes `÷` (NetCDF reads it as a path), other characters that it refuses an underscore, and
    letters with their accents one character; the attribute `name` keeps the original. Columns and attributes that mix
    types become text.

    Parameters
    ----------
    dataset
        Any group of an InferenceData.
    tell
        Whether new names are logged.
    """
    dataset = _one_type_each(dataset)
    names = [str(name) for name in dict.fromkeys([*dataset.variables, *dataset.dims])]
    new_names: dict[str, str] = {}
    for name in names:
        new_names[name] = _unused(_storable_name(name), {*new_names.values(), *(n for n in names if n != name)})
    changed = {old: new for old, new in new_names.items() if old != new}
    if not changed:
        return dataset
    log.log(
        logging.INFO if tell else logging.DEBUG,
        "posterior.nc: %s",
        ", ".join(f"'{old}' is called '{new}'" for old, new in changed.items()),
    )
    renamed = dataset.rename(changed)
    for old, new in changed.items():
        if new in renamed.variables:
            renamed[new].attrs["name"] = old
    return renamed


def _one_type_each(dataset: xr.Dataset) -> xr.Dataset:
    dataset = dataset.copy()
    for name, array in list(dataset.variables.items()):
        values = array.values if array.dtype == object else np.empty(0)
        if any(value is not None and not isinstance(value, str) for value in values.ravel()):
            texts = [None if value is None or value != value else str(value) for value in values.ravel()]
            text = np.array(texts, dtype=object).reshape(values.shape)
            dataset = dataset.assign({name: (array.dims, text, array.attrs)})
        for key, value in array.attrs.items():
            if not _is_plain(value):
                listed = isinstance(value, list | tuple)
                dataset[name].attrs[key] = [str(item) for item in value] if listed else str(value)
    return dataset


def _is_plain(attribute: Any) -> bool:
    """Return whether NetCDF can hold an attribute: a text, a number, or a list of one of them."""
    if not isinstance(attribute, list | tuple):
        return isinstance(attribute, str | int | float | np.ndarray) and not isinstance(attribute, bool)
    kinds = set(map(type, attribute))
    return kinds <= {str} or kinds <= {int, float}


def _storable_name(name: str) -> str:
    # NetCDF writes e + accent as é, so that two names could be one
    whole = unicodedata.normalize("NFC", name).replace("/", "÷")
    clean = re.sub(r"[\x00-\x1f\x7f]", "_", whole).strip(" ")
    if not clean or (clean[0].isascii() and not (clean[0].isalnum() or clean[0] == "_")):
        clean = f"_{clean}"
    while len(clean.encode()) > _MAX_NAME_LENGTH:
        clean = clean[:-1]
    return clean


def _unused(name: str, taken: set[str]) -> str:
    """Return a name, with a numeric suffix if it is taken."""
    numbered = itertools.chain([name], (f"{name}_{i}" for i in itertools.count(2)))
    return next(n for n in numbered if n not in taken)


def _chosen(dataset: xr.Dataset, variables: Sequence[str] | None, exclude: Sequence[str]) -> xr.Dataset:
    names = [n for n in dataset.data_vars if n not in exclude and (variables is None or n in variables)]
    kept = dataset[names]
    labels = {array.attrs.get(LABELS) for array in kept.data_vars.values()} & set(dataset.coords)
    return kept.assign_coords({name: dataset[name] for name in labels})  # of the codes of a factor, which lack its dim


def _small(dataset: xr.Dataset, above: int) -> xr.Dataset:
    large = {n: array for n, array in dataset.data_vars.items() if _large(array, above)}
    for array in (array for array in large.values() if is_stored(array)):
        array.encoding["dtype"] = "float32"  # part by part, when it is written
    return dataset.assign({n: array.astype("float32") for n, array in large.items() if not is_stored(array)})


def _large(array: xr.DataArray, above: int) -> bool:
    return array.size > above and array.dtype == "float64"


def as_stored(array: xr.DataArray, above: int) -> NDArray[Any]:
    """Return draws as they are read again from `posterior.nc`: large ones have lost digits."""
    return np.asarray(array.values.astype("float32") if _large(array, above) else array.values)


def _to_netcdf(idata: az.InferenceData, path: str, compression: int | None) -> None:
    """Write all groups while the file is open: opening it again for each takes as long as writing does."""
    with netCDF4.Dataset(path, "w", format="NETCDF4") as file:
        for group in idata.groups():
            dataset = idata[group]
            stored = [name for name, array in dataset.data_vars.items() if is_stored(array)]
            encoding: dict[Any, Any] = {
                name: {"zlib": True, "complevel": level, "shuffle": True}
                for name, array in dataset.data_vars.items()
                if (level := _level(array.dtype, compression)) and array.size > 100 and name not in stored
            }
            place: Any = NetCDF4DataStore(file.createGroup(group))  # type: ignore[no-untyped-call]
            unlimited = dataset.encoding.get("unlimited_dims")
            dataset.drop_vars(stored).dump_to_store(place, encoding=encoding, unlimited_dims=unlimited)
            for name in stored:
                _append(dataset[name], file[group], compression)


def _level(kind: np.dtype[Any], compression: int | None) -> int:
    """Return the level of compression of an array: the digits of real numbers are random, and take time for little."""
    if kind.kind not in "fiu":
        return 0
    return int(kind.kind != "f") if compression is None else compression


def _append(array: xr.DataArray, to: Any, compression: int | None) -> None:
    """Write an array that is kept in a file to its group, part by part, as xarray would at once."""
    kind = np.dtype(array.encoding.get("dtype", array.dtype))
    level = _level(kind, compression)
    parts = row_parts(array)
    first = next(parts)
    rows = first.shape[2] // math.prod(array.shape[3:])
    for dim, size in array.sizes.items():
        if dim not in to.dimensions:
            to.createDimension(dim, size)
    made = to.createVariable(
        array.name,
        kind,
        array.dims,
        compression="zlib" if level else None,
        complevel=level,
        chunksizes=(1, array.shape[1], rows, *array.shape[3:]),
        fill_value=np.nan if kind.kind == "f" else None,
    )
    made.set_var_chunk_cache(size=_CACHE)  # each part is whole chunks, which need not be kept
    made.setncatts(array.attrs)
    begin = 0
    for part in itertools.chain([first], parts):
        values = part.reshape(*part.shape[:2], -1, *array.shape[3:])
        made[:, :, begin : begin + values.shape[2]] = values.astype(kind)
        begin += values.shape[2]


_ROWS = 2

_known_to_fit: set[Any] = set()
"""Data and shapes that were rehearsed in this process: the jobs of a sweep share them."""


def what_can_not_be_stored(model: CompiledModel, data: xr.Dataset | None, digest: str | None) -> list[Problem]:
    """Return what `posterior.nc` can't hold of a model and its data.

    Parameters
    ----------
    model
        The compiled model, which gives names, shapes, dims and labels.
    data
        The prepared data. Of its rows the first ones are written, whose names, types and attributes are those of all.
    digest
        Digest of the data.

    Returns
    -------
    list of Problem
        One for each variable that can't be written.
    """
    shown = model.reported
    key = (digest, tuple(shown.variables.items()), tuple(shown.likelihoods.items()))
    if key in _known_to_fit:
        return []
    groups = Groups(
        posterior={n: np.zeros((1, 1, *shape)) for n, shape in shown.variables.items() if n not in model.helpers},
        posterior_predictive={n: np.zeros((1, 1, *shape)) for n, shape in shown.likelihoods.items()},
    )
    idata = inference_data(shown, data, groups)
    problems = [problem for group in idata.groups() for problem in _of_group(idata[group], group)]
    if not problems:
        _known_to_fit.add(key)
    return problems


def _of_group(dataset: xr.Dataset, group: str) -> list[Problem]:
    few = dataset.isel({dim: slice(_ROWS) for dim in dataset.dims}) if group == "constant_data" else dataset
    whole = _why_not(few)
    if whole is None:
        return []
    alone = {str(name): _why_not(few[[name]]) for name in few.data_vars}
    reasons = {name: why for name, why in alone.items() if why} or {group: whole}
    key = "data.columns" if group == "constant_data" else "model"
    hint = "leave it out: data.columns lists what is read" if group == "constant_data" else ""
    return [Problem(key, f"posterior.nc can't hold '{name}' ({group}): {why}", hint) for name, why in reasons.items()]


def _why_not(dataset: xr.Dataset) -> str | None:
    """Return why NetCDF can't hold a dataset; None if it can."""
    store: Any = NetCDF4DataStore(netCDF4.Dataset("rehearsal", "w", diskless=True))  # type: ignore[no-untyped-call]
    try:
        storable(dataset, tell=False).dump_to_store(store)
    except Exception as error:  # NetCDF's library and xarray raise of all kinds
        return f"{type(error).__name__}: {error}"
    finally:
        store.close()
    return None

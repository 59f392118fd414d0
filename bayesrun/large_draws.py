"""Draws of many rows that are kept in a file: made some draws at a time, and read some rows at a time.

The terms of leave-one-out cross-validation are computed draw by draw and needed row by row. A file of tiles, each of
some rows in all draws, serves both without ever being in memory as a whole. It has no name: it vanishes with the
process, however that ends.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core.indexing import ExplicitIndexer, IndexingSupport, LazilyIndexedArray, explicit_indexing_adapter

from bayesrun.engines.base import ArrayBuffer, DrawBuffer, MakeBuffer

Array = NDArray[Any]

IN_MEMORY = 1_000_000
"""Maximum number of draws of one quantity that stay in memory (8 MB)."""
AT_ONCE = 250_000
"""Approximate number of draws that are read at once (2 MB)."""


def draw_buffers(folder: Path | None) -> MakeBuffer:
    """Return what makes buffers for draws: in memory for few of them, otherwise in a file.

    Parameters
    ----------
    folder
        Where the file is made; None = all draws stay in memory.
    """

    def make_buffer(size: tuple[int, int], shape: tuple[int, ...], dtype: Any) -> DrawBuffer:
        if folder is None or math.prod(size) * math.prod(shape) <= IN_MEMORY:
            return ArrayBuffer(size, shape, dtype)
        return FileBuffer(folder, size, shape, dtype)

    return make_buffer


class _Lazy(BackendArray):
    """An array (chain, draw, ...) of which xarray reads what is asked for, and no more."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __getitem__(self, key: ExplicitIndexer) -> Any:
        return explicit_indexing_adapter(key, self.shape, IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> Array:
        places = [np.arange(size)[one] for size, one in zip(self.shape, key, strict=True)]
        kept = [np.shape(place) for place in places]
        chains, draws, *event = map(np.atleast_1d, places)
        at = (chains[:, None] * self.shape[1] + draws).ravel()
        points = np.zeros(1, dtype=np.int64)
        for size, place in zip(self.shape[2:], event, strict=True):
            points = (points[:, None] * size + place).ravel()
        return self.read(at, points).reshape([n for shape in kept for n in shape])

    def read(self, draws: Array, points: Array) -> Array:
        """Return the values (draw, point) at draws of all chains and at points, both numbered in C order."""
        raise NotImplementedError


class FileBuffer(_Lazy):
    """Draws (chain, draw, ...) in a file without a name.

    Parameters
    ----------
    folder
        Where the file is made.
    size
        Numbers of chains and draws.
    shape
        Of one draw.
    dtype
        Type of the values.
    """

    def __init__(self, folder: Path, size: tuple[int, int], shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = (*size, *shape), np.dtype(dtype)
        self._draws, self._points = math.prod(size), math.prod(shape)
        self._width = max(1, AT_ONCE // self._draws)
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".draws.")  # noqa: SIM115  it lives as long as the draws

    @property
    def draws(self) -> FileBuffer:
        """These draws themselves."""
        return self

    def fill(self, first: int, values: Array) -> None:
        """Write the draws (draw, ...) from number `first` of all chains on.

        Raises
        ------
        OSError
            When the disk is full.
        """
        flat = np.asarray(values, self.dtype).reshape(len(values), self._points)
        for begin, end in self._tiles():
            block = np.ascontiguousarray(flat[:, begin:end])
            _write(self._file.fileno(), block, self._place(begin, end, first))

    def read(self, draws: Array, points: Array) -> Array:
        """Return the values (draw, point) at draws of all chains and at points."""
        found = np.empty((len(draws), len(points)), self.dtype)
        for begin, end in self._tiles():
            wanted = np.flatnonzero((points >= begin) & (points < end))
            if wanted.size and draws.size:
                found[:, wanted] = self._of_tile(begin, end, draws)[:, points[wanted] - begin]
        return found

    def _of_tile(self, begin: int, end: int, draws: Array) -> Array:
        low, high = int(draws.min()), int(draws.max()) + 1
        if 4 * len(draws) > high - low:
            found: Array = self._rows(begin, end, low, high)[draws - low]
            return found
        return np.concatenate([self._rows(begin, end, int(at), int(at) + 1) for at in draws])

    def _rows(self, begin: int, end: int, low: int, high: int) -> Array:
        found = np.empty((high - low, end - begin), self.dtype)
        _read(self._file.fileno(), found, self._place(begin, end, low))
        return found

    def _place(self, begin: int, end: int, draw: int) -> int:
        """Return where, in bytes, a tile has a draw."""
        return (begin * self._draws + draw * (end - begin)) * self.dtype.itemsize

    def _tiles(self) -> Iterator[tuple[int, int]]:
        for begin in range(0, self._points, self._width):
            yield begin, min(begin + self._width, self._points)


class _Flattened(_Lazy):
    """Points (chain, draw, point) of several arrays, one after another."""

    def __init__(self, parts: Sequence[_Lazy | Array]) -> None:
        self._parts = parts
        counts = [math.prod(part.shape[2:]) for part in parts]
        self._ends = list(accumulate(counts))
        self.shape = (*parts[0].shape[:2], self._ends[-1])
        self.dtype = np.result_type(*(part.dtype for part in parts))

    def read(self, draws: Array, points: Array) -> Array:
        found = np.empty((len(draws), len(points)), self.dtype)
        for part, begin, end in zip(self._parts, [0, *self._ends], self._ends, strict=False):
            wanted = np.flatnonzero((points >= begin) & (points < end))
            if wanted.size:
                own = points[wanted] - begin
                if isinstance(part, _Lazy):
                    found[:, wanted] = part.read(draws, own)
                else:
                    found[:, wanted] = part.reshape(math.prod(part.shape[:2]), -1)[np.ix_(draws, own)]
        return found


def _write(number: int, block: Array, place: int) -> None:
    left = block.data.cast("B")
    while left:
        done = os.pwrite(number, left, place)
        left, place = left[done:], place + done


def _read(number: int, block: Array, place: int) -> None:
    left = block.data.cast("B")
    while left:
        done = os.preadv(number, [left], place)
        if not done:
            raise OSError("draws kept in a file end early")
        left, place = left[done:], place + done


# ---------------------------------------------------------------- as xarray's


def lazy_variable(dims: Sequence[str], draws: FileBuffer, attrs: dict[Any, Any]) -> xr.Variable:
    """Return kept draws as a variable of xarray's, which reads the part that is indexed."""
    return xr.Variable(tuple(dims), LazilyIndexedArray(draws), attrs)  # type: ignore[no-untyped-call]


def is_stored(array: xr.DataArray) -> bool:
    """Return whether an array's values are kept in a file of this process."""
    return _stored(array) is not None


def _stored(array: xr.DataArray) -> _Lazy | None:
    """Return what an array, or a part of it, is read from; None for one in memory."""
    data: Any = array.variable._data
    return data.array if isinstance(data, LazilyIndexedArray) and isinstance(data.array, _Lazy) else None


def flattened(arrays: Sequence[xr.DataArray]) -> xr.DataArray:
    """Return arrays (chain, draw, ...), of which some are kept in files, as one over chain, draw, `point`.

    Parameters
    ----------
    arrays
        Whole ones, with their dims in this order.

    Returns
    -------
    DataArray
        Points are numbered from 0 through all arrays.
    """
    parts = [array.values if stored is None else stored for array in arrays for stored in (_stored(array),)]
    values = LazilyIndexedArray(_Flattened(parts))  # type: ignore[no-untyped-call]
    variable = xr.Variable(("chain", "draw", "point"), values)
    sample = {dim: arrays[0][dim].values for dim in ("chain", "draw")}
    coords = {**sample, "point": np.arange(values.shape[2])}
    return xr.Dataset({"terms": variable}, coords)["terms"]  # the constructor of an array would read all


def row_parts(array: xr.DataArray, step: int = 1) -> Iterator[Array]:
    """Yield the values (chain, draw, scalar) of an array (chain, draw, ...): at once, or by parts if kept in a file.

    Parameters
    ----------
    array
        With its dims in this order.
    step
        Each part but the last has a multiple of so many rows.
    """
    if array.ndim < 3 or not is_stored(array):
        values = array.values
        yield values.reshape(*values.shape[:2], -1)
        return
    each = math.prod(array.shape[:2]) * math.prod(array.shape[3:])
    rows = max(1, AT_ONCE // (each * step)) * step
    for begin in range(0, array.shape[2], rows):
        values = array[:, :, begin : begin + rows].values
        yield values.reshape(*values.shape[:2], -1)


def values_at(array: xr.DataArray, chain: int, draws: Array, rows: Array) -> Array:
    """Return the values (draw, row) of an array (chain, draw, ...) at draws of a chain and at rows, flattened."""
    stored = _stored(array)
    if array.ndim == 3:
        found = array.variable[chain][draws][:, rows].values
    elif stored is not None and stored.shape == array.shape:
        found = stored.read(chain * array.shape[1] + draws, rows)
    else:
        found = array.variable[chain].values[draws].reshape(len(draws), -1)[:, rows]
    return np.asarray(found)


def draw_parts(array: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield an array (chain, draw, ...), by parts of some draws of one chain if it is kept in a file."""
    if not is_stored(array):
        yield array
        return
    draws = max(1, AT_ONCE // math.prod(array.shape[2:]))
    for chain in range(array.shape[0]):
        for begin in range(0, array.shape[1], draws):
            yield array[chain : chain + 1, begin : begin + draws]

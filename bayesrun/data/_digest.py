"""The digest of a data set: equal for equal names, dims, labels and values, whatever their order and origin."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import xarray as xr

from bayesrun.data._values import Array


def digest(dataset: xr.Dataset) -> str:
    """Return the SHA-256 over names, dims, labels and values of a data set, in hexadecimal.

    Parameters
    ----------
    dataset
        Any data set. Its `attrs` and the order of its variables do not count.
    """
    whole = hashlib.sha256()
    for name in sorted(str(n) for n in dataset.variables):
        variable = dataset[name]
        kind, content = _content(np.asarray(variable.values))
        head = (name, tuple(str(d) for d in variable.dims), variable.shape, kind)
        whole.update(repr(head).encode() + len(content).to_bytes(8, "little") + content)
    return whole.hexdigest()


def _content(values: Array) -> tuple[str, bytes]:
    """Return kind and bytes, the same on every platform."""
    kind = values.dtype.kind
    if kind == "f":
        numbers = np.where(np.isnan(values), np.nan, values).astype("<f8") + 0.0  # + 0.0: -0.0 is 0.0
        return "float", np.ascontiguousarray(numbers).tobytes()
    if kind in "iu":
        return "int", np.ascontiguousarray(values.astype("<i8")).tobytes()
    if kind == "M":
        return "date", np.ascontiguousarray(values.astype("datetime64[ns]").astype("<i8")).tobytes()
    if kind == "b":
        return "bool", np.ascontiguousarray(values).tobytes()
    return "text", repr([None if pd.isna(v) else str(v) for v in values.ravel()]).encode()

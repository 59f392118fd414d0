"""The data of a run as a table: one row per variable, with counts, missing values and range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bayesrun.diagnostics.summary import label_texts
from bayesrun.lazy import xr
from bayesrun.report.numbers import count, plain

HEADS = ("variable", "role", "dims", "values", "missing", "mean", "sd", "min", "max")
_LARGEST = 20_000_000  # numbers of a variable that is read
_LABELS = 200_000  # texts of one
MOST = 60
"""Variables that are shown."""


def data_rows(constant: xr.Dataset | None, observed: xr.Dataset | None) -> list[list[str]]:
    """Return a row per variable: the observed ones first, as they were before missing values were imputed.

    A likelihood is called by the name of the data variable that it explains.
    """
    rows: list[list[str]] = []
    others = {} if constant is None else {str(name): constant[name] for name in constant.data_vars}
    for name, array in () if observed is None else observed.data_vars.items():
        same = next((other for other, values in others.items() if _same(values, array)), None)
        rows.append(_row(same or str(name), array, "observed"))
        others = {other: values for other, values in others.items() if other != same}
    return rows + [_row(name, array, "data") for name, array in others.items()]


def sizes(constant: xr.Dataset | None, observed: xr.Dataset | None) -> list[tuple[str, int]]:
    """Return the dims of the data with their sizes."""
    found: dict[str, int] = {}
    for group in (observed, constant):
        found |= {} if group is None else {str(dim): int(size) for dim, size in group.sizes.items()}
    return list(found.items())


def _same(array: xr.DataArray, other: xr.DataArray) -> bool:
    if (
        array.dims != other.dims
        or array.shape != other.shape
        or array.size > _LARGEST
        or array.dtype.kind not in "biuf"
    ):
        return False
    return bool(np.array_equal(np.asarray(array.values, float), np.asarray(other.values, float), equal_nan=True))


def _row(name: str, array: xr.DataArray, role: str) -> list[str]:
    shape = " × ".join(f"{dim} ({size:,})" for dim, size in array.sizes.items())
    name = str(array.attrs.get("name", name))
    return [name, role, shape or "–", *_facts(array)]


def _facts(array: xr.DataArray) -> Iterator[str]:
    """Yield the number of values and of missing ones, mean, sd, and both ends."""
    kind = array.dtype.kind
    if array.size > (_LARGEST if kind in "biuf" else _LABELS) or not array.size:
        yield from (count(array.size), "", "", "", "", "")
        return
    values = np.asarray(array.values)
    if kind in "biuf":
        numbers = values.astype(float)
        there = numbers[np.isfinite(numbers)]
        yield from (count(there.size), count(numbers.size - there.size))
        if not there.size:
            yield from ("", "", "", "")
            return
        yield from (plain(float(number)) for number in (there.mean(), there.std(), there.min(), there.max()))
        return
    texts = label_texts(values.ravel())
    there_texts = [text for text in texts if text not in ("", "nan", "None", "NaT")]
    levels = sorted(set(there_texts))
    yield from (count(len(there_texts)), count(len(texts) - len(there_texts)), f"{len(levels):,} distinct", "")
    yield from (levels[0], levels[-1]) if levels else ("", "")

"""Time steps of series: the order of the rows, whether their times are equally spaced, and the lengths of the steps.

A random walk, an autoregression or `lag` goes from row to row. That is a step in time only if the rows are sorted by
time and equally spaced; otherwise the config must define a step (`steps:`, docs/language.md).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.language.calendar_dates import to_days
from bayesrun.language.values import Fault, Value
from bayesrun.lazy import pd, xr

Array = NDArray[Any]

SERIES = ("GaussianRandomWalk", "AR", "AR1", "GARCH11", "MvGaussianRandomWalk", "MvStudentTRandomWalk")
"""Distributions whose draws go from row to row; all take `steps`."""

_TOLERANCE = 1e-6
_DAY = 86_400 * 10**9
_SHIFTS = (_DAY // 24, _DAY // 48)
_WEEKS = 28 * _DAY
"""In nanoseconds: a day, what clocks are moved by in summer, and the least time between two changes (Morocco's)."""


@dataclass(frozen=True)
class Times:
    """The times of the rows along a dim.

    Parameters
    ----------
    name
        Name of the column or dim that holds them.
    dim
        The dim.
    values
        Dates (`datetime64`) or numbers, one per row.
    """

    name: str
    dim: str
    values: Array

    @property
    def dates(self) -> bool:
        """Whether they are dates."""
        return self.values.dtype.kind == "M"

    @property
    def in_order(self) -> bool:
        """Whether they are sorted in non-decreasing order."""
        return bool(np.all(self.values[1:] >= self.values[:-1]))

    @property
    def distinct(self) -> bool:
        """Whether each row has a distinct time, provided that they are sorted."""
        return bool(np.all(self.steps > 0))

    @property
    def labels(self) -> bool:
        """Whether they are the rows' labels."""
        return self.name == self.dim

    @property
    def steps(self) -> Array:
        """Lengths of the steps from row to row; of dates in days."""
        return np.diff(to_days(self.values) if self.dates else self.values.astype(float))

    @property
    def equally_spaced(self) -> bool:
        """Whether all steps are equal: in time, in whole days of a place whose clocks change, or in whole months."""
        if all_equal(self.steps) or not self.dates:
            return all_equal(self.steps)
        dates = on_standard_time(self.values)
        return all_equal(np.diff(to_days(dates))) or _equal_months(pd.DatetimeIndex(dates))

    def steps_from(self, before: Array, dates: bool) -> tuple[Array, str]:
        """Return how many steps it is into each row, into the first one from the last row before these.

        Parameters
        ----------
        before
            The last times before, two or more, equally spaced: a step is that between them.
        dates
            Whether they are dates, in days since 1970-01-01.

        Returns
        -------
        steps : ndarray
            One per row; whole months are counted if all times are on the same day of a month.
        text : str
            The first row and the last one before.

        Raises
        ------
        Fault
            When the one are dates and the others are not.
        """
        if dates != self.dates:
            raise Fault(f"'{self.name}' holds {'dates' if self.dates else 'numbers'}, unlike in the fit")
        every = np.concatenate([before, to_days(self.values) if self.dates else self.values.astype(float)])
        if dates:
            every = to_days(on_standard_time(np.round(every * 86_400e3).astype("datetime64[ms]")))
            before = every[: len(before)]
        after = len(before) - 1
        steps = np.diff(every)[after:] / (before[-1] - before[-2])
        if not dates:
            return steps, f"{self.values[0]:g} follows {before[-1]:g}"
        days = pd.DatetimeIndex(np.round(every * 86_400e3).astype("datetime64[ms]"))
        if _equal_months(days[: len(before)]) and _same_day(days):
            months = np.asarray(days.year) * 12 + np.asarray(days.month)
            steps = np.diff(months)[after:] / (months[1] - months[0])
        return steps, f"{days[after + 1]:%Y-%m-%d} follows {days[after]:%Y-%m-%d}"

    @property
    def spacing(self) -> str:
        """Description of the distance between neighbours."""
        steps = self.steps
        return f"{np.min(steps):.4g} to {np.max(steps):.4g}{' days' if self.dates else ''} apart"

    def instead(self, family: str) -> str:
        """Return a hint on unequally spaced times for a series of this family."""
        rows = f"steps: arange(n_{self.dim}) counts each row as one step"
        if family in ("GaussianRandomWalk", "LinearGaussian"):
            times = f"days({self.name})" if self.dates else self.name
            return f"write steps: {times} for a variance in proportion to the time between rows; {rows}"
        if self._on_a_grid():
            kept = "" if self.dates else " (keep rows with missing values: data.drop_missing=null)"
            return f"add a row for each time that is left out, with an empty value, which is imputed{kept}; {rows}"
        return rows

    def _on_a_grid(self) -> bool:
        """Return whether every step is a multiple of the shortest, so that rows can be inserted."""
        steps = np.diff(to_days(on_standard_time(self.values))) if self.dates else self.steps
        if not np.all(steps > 0):
            return False
        shares = steps / np.min(steps)
        return bool(np.all(np.abs(shares - np.round(shares)) < _TOLERANCE * shares))


def times_along(data: xr.Dataset, dim: str, fewest: int = 2) -> Times | None:
    """Return the times of the rows along a dim: its labels if they are dates or numbers, otherwise its column of dates.

    None if there are no times, or fewer than `fewest`, if one is missing, or if several columns hold dates and none is
    declared to order the rows.
    """
    kind = data.indexes[dim].dtype.kind if dim in data.indexes else ""
    dates = [str(n) for n, v in data.data_vars.items() if v.dims == (dim,) and v.dtype.kind == "M"]
    names = [dim] if kind == "M" else dates if dates else [dim] if kind in "iuf" and kind else []
    if len(names) != 1 or data[names[0]].size < fewest or bool(data[names[0]].isnull().any()):
        return None
    return Times(names[0], dim, data[names[0]].values)


def check_row_before(function: str, times: Times, names: Collection[str]) -> None:
    """Reject the use of the previous row as the previous time where it is not.

    Parameters
    ----------
    function
        The function that uses the previous row.
    times
        Dates of the rows.
    names
        Names in its argument; an argument computed from the dates themselves is allowed.

    Raises
    ------
    Fault
        When the rows are not sorted by time, share a date, or are labelled by dates that are not equally spaced.
    """
    what = f"{function} uses the previous row"
    if not times.in_order:
        hint = f"sort the rows of the file by {times.name}"
        raise Fault(f"{what}, but the rows are not in the order of '{times.name}'", hint)
    if not times.distinct:
        hint = f"compute it in the file, group by group; if '{times.name}' does not order the rows, do not parse it"
        raise Fault(f"{what}, but several rows have the same '{times.name}'", hint)
    if times.labels and times.name not in names and not times.equally_spaced:
        hint = "add the dates that are left out, with empty values; or take rows as they come: data.dim=obs"
        raise Fault(f"{what}, but the rows are {times.spacing} by '{times.name}'", hint)


def step_lengths(steps: Value, size: int) -> Array:
    """Return the length of each step between the points of a series.

    Parameters
    ----------
    steps
        The times of all `size` points, which increase, or the lengths of the `size - 1` steps between them.
    size
        Number of points.

    Returns
    -------
    ndarray
        `size - 1` positive lengths.

    Raises
    ------
    Fault
        When they depend on a random variable, do not fit the series, are missing, or are not positive.
    """
    if steps.known is None:
        raise Fault("must be known beforehand, but this depends on a random variable", "compute it from data")
    numbers = np.asarray(steps.known, dtype=float)
    if numbers.ndim != 1 or len(numbers) not in (size, size - 1):
        got = f"{len(numbers)} numbers" if numbers.ndim == 1 else f"{numbers.ndim} axes"
        hint = f"give the times of the {size} points, such as days(date), or the lengths of the {size - 1} steps"
        raise Fault(f"{got} do not fit a series of {size} points", hint)
    if not np.all(np.isfinite(numbers)):
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise Fault(f"is missing or infinite at position {place}", "each point needs its time; step[1:] leaves one out")
    lengths = np.diff(numbers) if len(numbers) == size else numbers
    if np.all(lengths > 0):
        return lengths
    place = int(np.flatnonzero(~(lengths > 0))[0])
    if len(numbers) == size:
        message = f"times must increase, but {numbers[place + 1]:g} follows {numbers[place]:g}"
        hint = "sort the rows, one per time; if these are lengths of steps, leave out the first: steps: step[1:]"
        raise Fault(message, hint)
    raise Fault(f"steps must be longer than 0 (got {lengths[place]:g})", "keep one row per time")


def on_standard_time(dates: Array) -> Array:
    """Return dates on one clock where those of a place that has summer time were converted to UTC.

    Midnights of Berlin are at 23:00 UTC in winter and at 22:00 UTC in summer, so two steps a year are an hour shorter
    or longer than a day. These are dates at two times of day, an hour or half an hour apart, that keep to each of them
    for weeks; other dates are returned as they are.

    Parameters
    ----------
    dates
        Dates without missing values, in order.
    """
    moments = dates.astype("datetime64[ns]").astype(np.int64)
    clocks = np.unique(moments % _DAY)
    if len(clocks) != 2:
        return dates
    ahead = int(clocks[1] - clocks[0])
    # 23:00 in summer and 0:00 in winter: summer is the earlier one around midnight
    summer, shift = (clocks[0], ahead) if ahead <= _DAY // 2 else (clocks[1], _DAY - ahead)
    in_summer = moments % _DAY == summer
    moved = moments + shift * in_summer
    changes = moments[1:][in_summer[1:] != in_summer[:-1]]
    if shift not in _SHIFTS or np.any(np.diff(changes) < _WEEKS) or np.any(np.diff(moved) <= 0):
        return dates
    return np.asarray(moved.astype("datetime64[ns]"))


def all_equal(numbers: Array) -> bool:
    """Return whether numbers are equal up to rounding."""
    return bool(np.all(np.abs(numbers - numbers[:1]) <= _TOLERANCE * np.abs(numbers[:1])))


def _equal_months(dates: pd.DatetimeIndex) -> bool:
    """Return whether dates are a fixed number of whole months apart, on the same day or all on the last day."""
    months = np.asarray(dates.year) * 12 + np.asarray(dates.month)
    return _same_day(dates) and all_equal(np.diff(months).astype(float)) and months[1] > months[0]


def _same_day(dates: pd.DatetimeIndex) -> bool:
    """Return whether dates are at the same time of the same day of their months, or of the last day."""
    same_time = bool(np.all((dates - dates.normalize()) == (dates - dates.normalize())[0]))
    return same_time and (bool(np.all(np.asarray(dates.day) == dates.day[0])) or bool(np.all(dates.is_month_end)))

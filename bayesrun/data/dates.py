"""Conversion of text to dates, and the order of day and month, which new rows must share with the fitted rows."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesrun.data.arrays import Array, with_none
from bayesrun.errors import Problem, check, did_you_mean
from bayesrun.lazy import pd, xr

log = logging.getLogger("bayesrun")

_SHOWN = 5
_FAR_YEAR = re.compile(r"\s*(\d{4})-\d{1,2}")
_NUMBER = re.compile(r"\s*[+-]?\d+\.?\d*\s*")
_NUMBER_OF_DATE = re.compile(r"\s*(?:\d{4}|\d{8}|\d{12}|\d{14})\s*")
"""Years, and dates without separators."""
_SIX_DIGITS = re.compile(r"\s*\d{6}\s*")
_TIME_OF_DAY = re.compile(r"\s*(?:\d{1,2}:\d.*|now|today)\s*", re.IGNORECASE)
_ZONE = re.compile(r".*\d:\d\d.*?\s*\b(?!(?:AM|PM|Z|UTC|GMT)\b)[A-Z]{2,5}\s*")
_DAY_AND_MONTH = re.compile(r"\s*(\d{1,2})[/.\-](\d{1,2})[/.\-](?:\d{4}|\d{2})(?!\d)")


@dataclass(frozen=True)
class DateFormat:
    """Date format of a column.

    Parameters
    ----------
    format
        A format of `strptime`; None when pandas infers it.
    day_first
        Whether `05/02/2008` is February 5th; None when dates are written differently.
    """

    format: str | None = None
    day_first: bool | None = None


def parse_dates(
    data: xr.Dataset,
    names: Sequence[str],
    given: str | Mapping[str, str] | None = None,
    fitted: Mapping[str, DateFormat] | None = None,
) -> tuple[xr.Dataset, dict[str, DateFormat]]:
    """Parse text variables as dates (`datetime64[ns]`, UTC where a time zone is given).

    Parameters
    ----------
    data
        Renamed variables.
    names
        Variables to parse.
    given
        `data.date_format`: a format for all of them, or by variable.
    fitted
        Date formats of the fitted rows, which also apply to new rows.

    Returns
    -------
    tuple
        The data set with dates, and the date format of each variable.

    Raises
    ------
    UserError
        For unknown names and values that are not dates; all problems are reported.
    """
    problems = _unknown_formats(names, given)
    parsed, formats = {}, {}
    for index, name in enumerate(names):
        key = f"data.parse_dates[{index}]"
        if name not in data.variables:
            problems.append(Problem(key, f"there is no column '{name}'", did_you_mean(name, map(str, data.variables))))
            continue
        if data[name].dtype.kind == "M":
            continue
        values = _as_text(data[name].values)
        formats[name] = _format_of(name, values, given, (fitted or {}).get(name))
        dates = _dates(values, formats[name])
        problems += _no_dates(name, values, dates, formats[name], key)
        parsed[name] = (data[name].dims, dates)
    check(problems)
    return data.assign(parsed), formats


def by_date(data: xr.Dataset, dim: str) -> xr.Dataset:
    """Sort rows labelled by dates, because `lag` and random walks refer to the previous row.

    Parameters
    ----------
    data
        Variables, with row labels.
    dim
        The row dimension.
    """
    labels = data[dim].values if dim in data.coords else np.empty(0)
    if labels.dtype.kind != "M" or np.isnat(labels).any() or bool(np.all(labels[1:] >= labels[:-1])):
        return data
    log.info("the rows are sorted by '%s'", dim)
    return data.isel({dim: np.argsort(labels, kind="stable")})


def _unknown_formats(names: Sequence[str], given: str | Mapping[str, str] | None) -> list[Problem]:
    return [
        Problem(f"data.date_format.{name}", f"'{name}' is not parsed as dates", "list it in data.parse_dates")
        for name in (given if isinstance(given, Mapping) else [])
        if name not in names
    ]


def _as_text(values: Array) -> Array:
    """Convert numbers to text, also among dates: pandas would interpret them as nanoseconds since 1970."""
    if values.dtype == object:
        cells = [
            _number_as_text(cell) if isinstance(cell, int | float | np.integer | np.floating) else cell
            for cell in values.ravel()
        ]
        return np.array([*cells, None], dtype=object)[:-1].reshape(values.shape)
    if values.dtype.kind not in "iufb":
        return values
    whole = values.astype(float)
    missing = np.isnan(whole)
    if values.dtype.kind == "f" and bool(np.all(whole[~missing] == np.round(whole[~missing]))):
        values = np.where(missing, 0, values).astype(np.int64)
    return with_none(values.astype(str), missing)


def _number_as_text(number: Any) -> Any:
    """Return a number, true or false as text; a missing value stays."""
    if number != number:
        return None
    return str(int(number)) if number == round(number) and not isinstance(number, bool) else str(number)


def _format_of(
    name: str, values: Array, given: str | Mapping[str, str] | None, fitted: DateFormat | None
) -> DateFormat:
    written = given.get(name) if isinstance(given, Mapping) else given
    if written is not None:
        return DateFormat(written)
    if fitted is not None and fitted != DateFormat():
        return fitted
    found = [_DAY_AND_MONTH.match(v) for v in values[~pd.isna(values)].ravel() if isinstance(v, str)]
    pairs = [(int(m[1]), int(m[2])) for m in found if m]
    if not pairs or len(pairs) < len(found):
        return DateFormat()
    if all(first <= 12 for first, _ in pairs):
        if all(second <= 12 for _, second in pairs) and any(first != second for first, second in pairs):
            example = next(v for v in values.ravel() if isinstance(v, str))
            log.warning(
                "dates of '%s' may be read month first or day first, such as '%s'; they are read month first. "
                "If the day is first, set data.date_format, e.g. '%%d/%%m/%%Y'", name, example
            )  # fmt: skip
        return DateFormat(day_first=False)
    return DateFormat(day_first=True)


def _dates(values: Array, how: DateFormat) -> Array:
    flat = pd.Series(values.ravel(), dtype=object)
    forms = [_DAY_AND_MONTH.match(cell) if isinstance(cell, str) else None for cell in flat]
    # with the day first, pandas would read 2008-05-02 as February 5th
    day_first = bool(how.day_first) and any(forms)
    with warnings.catch_warnings():
        # anything that pandas warns of (a format it can't infer, day before month) becomes a date or our own error
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # of dateutil, on zones that it leaves out
        dates = pd.to_datetime(flat, errors="coerce", utc=True, format=how.format, dayfirst=day_first)
    found = np.array(dates.dt.tz_localize(None), dtype="datetime64[ns]")
    if how.format is None and how.day_first is not None:
        month = 2 if how.day_first else 1
        # with the month first, pandas would read 13/02 as February 13th
        impossible = np.array([m is not None and int(m[month]) > 12 for m in forms], dtype=bool)
        found[impossible] = np.datetime64("NaT")
    if how.format is None:
        misread = [cell for cell in flat.unique() if isinstance(cell, str) and _misread(cell) is not None]
        found[flat.isin(misread)] = np.datetime64("NaT")
    return found.reshape(values.shape)


def _misread(cell: str) -> str | None:
    """Return what a cell is, with what to do, if pandas would make another date of it than is meant.

    It takes `200501` for May 20th, 2001, `1998.5` for May 1998, and a time of day for today's, and leaves out `EST`.
    """
    if _NUMBER.fullmatch(cell) and not _NUMBER_OF_DATE.fullmatch(cell):
        if _SIX_DIGITS.fullmatch(cell):
            return "may be a month or a day: set data.date_format, '%Y%m' for 200501 or '%d%m%y' for 311205"
        return "are numbers: leave them out of data.parse_dates; trend(x) and differences take numbers as they are"
    if _TIME_OF_DAY.fullmatch(cell):
        return "are times without a day: put day and time into one column"
    if _ZONE.fullmatch(cell):
        return "have zones by name: write how far they are from UTC, 2008-05-02 10:00-05:00"
    return None


def _no_dates(name: str, values: Array, dates: Array, how: DateFormat, key: str) -> list[Problem]:
    bad = values[pd.isna(dates) & ~pd.isna(values)]
    if not bad.size:
        return []
    shown = ", ".join(f"'{v}'" for v in bad[:_SHOWN]) + (", ..." if bad.size > _SHOWN else "")
    years = [int(m[1]) for m in map(_FAR_YEAR.match, map(str, bad)) if m]
    if any(year < 1678 or year > 2261 for year in years):
        message = f"'{name}' has dates outside of what can be held, 1678 to 2261: {shown}"
        return [Problem(key, message, "use the year as a number instead")]
    orders = {True: "with the day first", False: "with the month first", None: "in the format of the first"}
    form = f"in the format '{how.format}'" if how.format else orders[how.day_first]
    message = f"{bad.size} of {values.size} values of '{name}' are not dates {form}: {shown}"
    other = "to theirs" if how.format else "to the one that they have"
    hint = f"write all in one format, best as year-month-day: 2008-05-02; or set data.date_format {other}"
    if how.format is None and (reason := next((r for cell in bad if (r := _misread(str(cell)))), None)):
        message, hint = f"{bad.size} of {values.size} values of '{name}' are not dates: {shown}", f"these {reason}"
        if reason.startswith("are numbers") and not pd.isna(dates).all():
            hint = "these are numbers among dates: write them as the others, in a workbook by the format of the cell"
    return [Problem(key, message, hint)]

"""Sources of tables in binary files: `excel` (a sheet of an `.xlsx` workbook) and `parquet`."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile, ZipFile

from bayesrun.data.base import FileSpec, TextTableSpec
from bayesrun.data.files import (
    asked_for,
    file_source,
    names_in_two_rows,
    note_missing_names,
    two_rows_of_names,
)
from bayesrun.errors import Problem, check, did_you_mean, fail
from bayesrun.lazy import pd

_SAMPLE = 100
_SHOWN_NAMES = 5
_MAX_UNPACKED = 500_000_000
_MAX_CELLS = 100_000_000


class ExcelSpec(TextTableSpec):
    """Keys of `source: excel`.

    Parameters
    ----------
    sheet
        Name of the sheet; null = the first one.
    """

    sheet: str | None = None


def read_excel(spec: ExcelSpec, path: Path) -> pd.DataFrame:
    """Read the sheet; empty cells, errors such as `#N/A` and the words of `spec.missing` are missing values."""
    try:
        _check_unpacked(path)
        with pd.ExcelFile(path, engine="openpyxl") as book:
            sheet = _sheet(spec, [str(name) for name in book.sheet_names])
            _check_size(spec, book.book[sheet])
            cells = book.parse(
                sheet, header=None, dtype=object, skiprows=sorted(spec.skipped), keep_default_na=False, na_values=[""]
            )
    except (ValueError, OSError, KeyError, BadZipFile, ParseError) as error:
        hint = "it must be an .xlsx workbook; save an older .xls as .xlsx"
        raise fail("data.path", f"'{path}' can't be read as Excel: {error}", hint) from error
    cells = cells.dropna(how="all").dropna(how="all", axis="columns")
    if cells.empty:
        raise fail("data.sheet", f"sheet '{sheet}' of '{path}' is empty", "name another sheet")
    check(_name_problems(cells, spec, sheet))
    check(_formulas_without_values(cells, spec, path, sheet))
    _note_missing_names(cells, sheet)
    frame = cells.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index(["" if pd.isna(name) else str(name).strip() for name in cells.iloc[0]])
    missing = {*spec.missing, "#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"}
    frame = frame.mask(frame.applymap(lambda cell: str(cell).strip() in missing), None)
    return frame.applymap(lambda cell: cell.isoformat() if isinstance(cell, datetime.time) else cell)


def _check_unpacked(path: Path) -> None:
    """Refuse a workbook whose parts unpack to more than memory holds: some kilobytes can become gigabytes."""
    with ZipFile(path) as parts:
        size = sum(part.file_size for part in parts.infolist())
    if size > _MAX_UNPACKED:
        message = f"'{path}' unpacks to {size:,} bytes (most allowed: {_MAX_UNPACKED:,})"
        raise fail("data.path", message, "save the sheet as CSV or Parquet")


def _check_size(spec: ExcelSpec, sheet: Any) -> None:
    """Refuse a sheet with too many columns, or with cells so far apart that what is between them fills the memory."""
    rows, columns = sheet.max_row or 0, sheet.max_column or 0
    if rows * columns > _MAX_CELLS:
        message = f"sheet '{sheet.title}' spans {rows:,} rows and {columns:,} columns"
        raise fail("data.sheet", message, "delete what stands far away from the table, or save the table as CSV")
    first = next((row for row in sheet.iter_rows(values_only=True, max_row=_SAMPLE) if any(row)), ())
    asked_for([str(cell) for cell in first if cell is not None], spec)


def _name_problems(cells: pd.DataFrame, spec: ExcelSpec, sheet: str) -> list[Problem]:
    """Detect titles above the column names, and column names that span two rows because of merged cells."""
    there = cells.notna()
    filled = there.sum(axis=1)
    rows = _rows_left(spec, cells)
    if len(cells) > 1 and filled.iloc[0] == 1 and filled.iloc[1] > 1:
        message = f"sheet '{sheet}' does not begin with the names of its columns: this looks like skip_rows={rows[1]}"
        return [Problem("data.skip_rows", message, f"set data.skip_rows={rows[1]}")]
    first, *below = cells.where(there, "").to_numpy().tolist()
    below = [["" if str(cell).strip() in spec.missing else cell for cell in row] for row in below[:_SAMPLE]]
    if two_rows_of_names(below, lambda cell: isinstance(cell, int | float)):
        lines = [row + 1 for row in rows[:2]]
        return [names_in_two_rows(f"sheet '{sheet}'", first, below[0], lines, spec.skipped)]
    nameless = [column for column in cells.columns if not there[column].iloc[0]]
    rest = cells[nameless].iloc[1:]
    second = [rest[column].iloc[0] for column in nameless if _is_name(rest[column])] if len(rest) > 1 else []
    if not second:
        return []
    message = f"the names in sheet '{sheet}' stand in two rows, as in merged cells; the second has '{second[0]}'"
    return [Problem("data.sheet", message, "write each column's name into one row")]


def _note_missing_names(cells: pd.DataFrame, sheet: str) -> None:
    first, *rows = cells.iloc[: _SAMPLE + 1].where(cells.notna(), "").to_numpy().tolist()
    numbers = {str(cell).strip() for cell in first if isinstance(cell, int | float) and not isinstance(cell, bool)}
    names = [str(cell).strip() for cell in first]
    shown = ", ".join([name for name in names if name][:_SHOWN_NAMES])
    note_missing_names(f"sheet '{sheet}'", names, rows, numbers.__contains__, shown)


def _rows_left(spec: ExcelSpec, cells: pd.DataFrame) -> list[int]:
    """Return the positions (from 0) in the sheet of the rows that are read and not empty."""
    kept = [int(at) for at in cells.index.to_numpy()]
    left = [row for row in range(len(spec.skipped) + kept[-1] + 1) if row not in spec.skipped]
    return [left[at] for at in kept]


def _is_name(column: pd.Series[Any]) -> bool:
    """Return whether the first cell is text and all others are not."""
    rest = column.iloc[1:].dropna()
    return isinstance(column.iloc[0], str) and len(rest) > 0 and not any(isinstance(cell, str) for cell in rest)


def _formulas_without_values(cells: pd.DataFrame, spec: ExcelSpec, path: Path, sheet: str) -> list[Problem]:
    """Detect formulas without a stored value: a workbook written by a program has not computed them."""
    import openpyxl  # an extra
    from openpyxl.utils import get_column_letter

    empty = cells.isna()
    if not empty.to_numpy().any():
        return []
    book = openpyxl.load_workbook(path, read_only=True)
    try:
        rows = list(book[sheet].iter_rows(values_only=True))
    finally:
        book.close()
    places = _rows_left(spec, cells)
    for row, column in zip(*empty.to_numpy().nonzero(), strict=True):
        at, place = places[row], int(cells.columns[column])
        cell = rows[at][place] if at < len(rows) and place < len(rows[at]) else None
        if isinstance(cell, str) and cell.startswith("="):
            name = f"{get_column_letter(place + 1)}{at + 1}"
            message = f"cell {name} of sheet '{sheet}' holds {cell}, without its value"
            return [Problem("data.path", message, "open the workbook in Excel or LibreOffice and save it")]
    return []


def _sheet(spec: ExcelSpec, names: list[str]) -> str:
    if spec.sheet is None:
        return names[0]
    if spec.sheet not in names:
        raise fail("data.sheet", f"there is no sheet '{spec.sheet}'", did_you_mean(spec.sheet, names))
    return spec.sheet


def read_parquet(spec: FileSpec, path: Path) -> pd.DataFrame:
    """Read the file; nulls are missing values, and named levels of a pandas index become columns."""
    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError, NotImplementedError) as error:
        raise fail("data.path", f"'{path}' can't be read as Parquet: {error}", "write it again") from error
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame


SOURCES = {
    "excel": file_source(ExcelSpec, read_excel, package="openpyxl", extra="excel"),
    "parquet": file_source(FileSpec, read_parquet, package="pyarrow", extra="parquet"),
}

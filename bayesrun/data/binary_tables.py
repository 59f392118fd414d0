"""Sources of tables that are no text: `excel` (a sheet of an `.xlsx` workbook) and `parquet`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from bayesrun.data.base import FileSpec, TextTableSpec
from bayesrun.data.files import file_source
from bayesrun.errors import did_you_mean, fail

if TYPE_CHECKING:
    import pandas as pd


class ExcelSpec(TextTableSpec):
    """Keys of `source: excel`; `sheet` is the name of the sheet, null is the first one."""

    sheet: str | None = None


def read_excel(spec: ExcelSpec, path: Path) -> pd.DataFrame:
    """Read the sheet; empty cells, errors such as `#N/A` and the words of `spec.missing` are missing values."""
    import pandas as pd

    try:
        with pd.ExcelFile(path, engine="openpyxl") as book:
            sheet = _sheet(spec, [str(name) for name in book.sheet_names])
            cells = book.parse(
                sheet, header=None, dtype=object, skiprows=spec.skip_rows, keep_default_na=False, na_values=[""]
            )
    except (ValueError, OSError, KeyError, BadZipFile) as error:
        hint = "it must be an .xlsx workbook; save an older .xls as .xlsx"
        raise fail("data.path", f"'{path}' can't be read as Excel: {error}", hint) from error
    cells = cells.dropna(how="all").dropna(how="all", axis="columns")
    if cells.empty:
        raise fail("data.sheet", f"sheet '{sheet}' of '{path}' is empty", "name another sheet")
    frame = cells.iloc[1:].reset_index(drop=True)
    frame.columns = pd.Index(["" if pd.isna(name) else str(name).strip() for name in cells.iloc[0]])
    missing = {*spec.missing, "#N/A", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!"}
    return frame.mask(frame.applymap(lambda cell: str(cell).strip() in missing), None)


def _sheet(spec: ExcelSpec, names: list[str]) -> str:
    if spec.sheet is None:
        return names[0]
    if spec.sheet not in names:
        raise fail("data.sheet", f"there is no sheet '{spec.sheet}'", did_you_mean(spec.sheet, names))
    return spec.sheet


def read_parquet(spec: FileSpec, path: Path) -> pd.DataFrame:
    """Read the file; nulls are missing values, named levels of a pandas index are columns."""
    import pandas as pd

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

"""Data frames as data sets: a frame becomes a Parquet file, which `source: parquet` reads.

A run reads the file like any other, with its digest, and its folder keeps it: the run can be made again. pandas' own
frames are taken, and those of other libraries through `to_pandas()`, such as polars', or as a mapping of columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.data.files import sha256_of
from bayesrun.errors import fail
from bayesrun.lazy import pd

if TYPE_CHECKING:
    import pandas

TABLE = "data.parquet"
"""File of a frame's rows in a run folder."""


def as_pandas(frame: Any, key: str = "data") -> pandas.DataFrame:
    """Return a table as a pandas frame.

    Parameters
    ----------
    frame
        A pandas frame, a frame with `to_pandas()`, or columns by name.
    key
        What it is given as, for messages.

    Raises
    ------
    UserError
        When it is none of these, or has no rows.
    """
    if not isinstance(frame, pd.DataFrame):
        if callable(getattr(frame, "to_pandas", None)):
            frame = frame.to_pandas()
        elif isinstance(frame, Mapping):
            frame = _of_columns(frame, key)
    if not isinstance(frame, pd.DataFrame):
        hint = "give a pandas or polars DataFrame, or a mapping of column names to values"
        raise fail(key, f"must be a data frame (got {type(frame).__name__})", hint)
    if frame.empty:
        raise fail(key, "the data frame is empty", "give it at least one row and one column")
    return frame


def _of_columns(columns: Mapping[str, Any], key: str) -> pandas.DataFrame:
    try:
        return pd.DataFrame(dict(columns))
    except ValueError as error:
        raise fail(key, f"the columns do not form a table: {error}", "give each column equally many values") from error


def write_table(frame: pandas.DataFrame, folder: Path, key: str = "data") -> Path:
    """Write a frame into a folder, and return the file.

    Levels of the index that have names become columns; other indexes are left out.

    Raises
    ------
    UserError
        When a column holds what no column of a table can hold, or column names repeat.
    """
    named = [name for name in frame.index.names if name is not None]
    table = frame.reset_index(level=named) if named else frame
    table = table.set_axis([str(name) for name in table.columns], axis="columns")
    if not table.columns.is_unique:
        repeated = sorted(set(table.columns[table.columns.duplicated()]))
        raise fail(key, f"column names repeat: {', '.join(repeated)}", "give each column a name of its own")
    path = folder / TABLE
    try:
        table.to_parquet(path, engine="pyarrow", index=False)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as error:  # pyarrow's errors are ValueErrors
        said = str(error.args[0] if error.args else error)
        raise fail(key, f"the data frame can't be stored: {said}", "give each column values of one type") from error
    return path


def _categorical(frame: pandas.DataFrame) -> list[tuple[Any, Any]]:
    return [(column, of) for column, of in frame.items() if isinstance(of.dtype, pd.CategoricalDtype)]


def data_of(frame: pandas.DataFrame, path: Path, name: str = "frame") -> dict[str, Any]:
    """Return the section `data` of a frame that was written to a file.

    Categories of labels keep their order; those that no row has are left out, as rows may have been filtered before.
    """
    used = {str(column): of.cat.remove_unused_categories().cat.categories for column, of in _categorical(frame)}
    kept = {column: list(of) for column, of in used.items() if len(of) and all(isinstance(each, str) for each in of)}
    return {"name": name, "source": "parquet", "path": str(path), "sha256": sha256_of(path), "levels": kept}

"""Source `csv`: a table in a text file, comma-separated, with column names in the first line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.data._files import check_file, resolve, sha256_of
from bayesrun.data.base import FileSpec, Source
from bayesrun.errors import fail

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def load(spec: FileSpec, directory: Path) -> xr.Dataset:
    """Read the file; empty fields, `NA` and `NaN` are gaps.

    Parameters
    ----------
    spec
        The section `data`.
    directory
        `paths.data`.

    Returns
    -------
    xarray.Dataset
        Every column over `spec.dim`.

    Raises
    ------
    UserError
        When the file is no table.
    """
    from bayesrun.data._table import from_frame

    path = resolve(spec.path, directory)
    dataset = from_frame(_read(path), spec.dim, "data.path")
    return dataset.assign_attrs(origin=str(path), sha256=sha256_of(path))


def _read(path: Path) -> pd.DataFrame:
    import warnings

    import pandas as pd

    try:
        # columns named twice must be seen, so names are read as a row and pandas does not number them
        names = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig").iloc[0]
        with warnings.catch_warnings():
            # a line with more fields than there are names would lose its last ones with a warning only
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(path, encoding="utf-8-sig", index_col=False, skipinitialspace=True)
    except (ValueError, pd.errors.ParserWarning) as error:
        hint = "it must be UTF-8 text, comma-separated, with column names in the first line"
        raise fail("data.path", f"'{path}' can't be read as CSV: {error}", hint) from error
    frame.columns = pd.Index([name.strip() for name in names])
    return frame


SOURCE = Source(spec=FileSpec, load=load, check=check_file)

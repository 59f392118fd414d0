"""Source `csv`: a table in a text file, comma-separated, with column names in the first line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.data.base import FileSpec
from bayesrun.data.tables import file_source
from bayesrun.errors import fail

if TYPE_CHECKING:
    import pandas as pd


def read(spec: FileSpec, path: Path) -> pd.DataFrame:
    """Read the file; empty fields, `NA` and `NaN` are missing values."""
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


SOURCE = file_source(FileSpec, read)

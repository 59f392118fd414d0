"""Source `parquet`: a table in an Apache Parquet file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.data.base import FileSpec
from bayesrun.data.tables import file_source
from bayesrun.errors import fail

if TYPE_CHECKING:
    import pandas as pd


def read(spec: FileSpec, path: Path) -> pd.DataFrame:
    """Read the file; nulls are missing values, named levels of a pandas index are columns."""
    import pandas as pd

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError, NotImplementedError) as error:
        raise fail("data.path", f"'{path}' can't be read as Parquet: {error}", "write it again") from error
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame


SOURCE = file_source(FileSpec, read, package="pyarrow", extra="parquet")

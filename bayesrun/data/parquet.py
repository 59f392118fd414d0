"""Source `parquet`: a table in an Apache Parquet file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from bayesrun.data._files import check_file, resolve, sha256_of
from bayesrun.data.base import FileSpec, Source
from bayesrun.errors import Problem, fail

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def check(spec: FileSpec, directory: Path) -> list[Problem]:
    """Return what is wrong with the file, and whether its reader is not installed."""
    problems = check_file(spec, directory)
    if importlib.util.find_spec("pyarrow") is None:
        hint = "install the extra: pip install 'bayesrun[parquet]'"
        problems.append(Problem("data.source", "source 'parquet' needs the package pyarrow", hint))
    return problems


def load(spec: FileSpec, directory: Path) -> xr.Dataset:
    """Read the file; nulls are gaps, named levels of a pandas index are columns.

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
        When the file is no Parquet file.
    """
    from bayesrun.data._table import from_frame

    path = resolve(spec.path, directory)
    dataset = from_frame(_read(path), spec.dim, "data.path")
    return dataset.assign_attrs(origin=str(path), sha256=sha256_of(path))


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError, NotImplementedError) as error:
        raise fail("data.path", f"'{path}' can't be read as Parquet: {error}", "write it again") from error
    named = [name for name in frame.index.names if name is not None]
    return frame.reset_index(level=named) if named else frame


SOURCE = Source(spec=FileSpec, load=load, check=check)

"""Tables (pandas data frames) to a Dataset over the row dimension."""

from __future__ import annotations

from collections import Counter

import pandas as pd
import xarray as xr

from bayesrun.data._values import plain
from bayesrun.errors import fail


def from_frame(frame: pd.DataFrame, dim: str, key: str) -> xr.Dataset:
    """Make a Dataset of a table.

    Parameters
    ----------
    frame
        The table; its index is left out.
    dim
        Name of the row dimension; a column of that name holds its labels.
    key
        Config key that names the table, for messages.

    Raises
    ------
    UserError
        When two columns have the same name, or there is none.
    """
    names = [str(c) for c in frame.columns]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise fail(key, f"columns bear the same name: {', '.join(repeated)}", "give each column a name of its own")
    if not names:
        raise fail(key, "the table has no columns", "it needs a first line of names, or a query that selects some")
    return xr.Dataset({name: ((dim,), plain(frame.iloc[:, i])) for i, name in enumerate(names)})

"""Source `inline`: values written in the YAML itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import ArraySpec, Source

if TYPE_CHECKING:
    import xarray as xr


class InlineSpec(ArraySpec):
    """Keys of `source: inline`.

    Parameters
    ----------
    values
        Name to number or (nested) list; null is a missing value.
    """

    values: dict[str, Any]


def load(spec: InlineSpec, directory: Path) -> xr.Dataset:
    """Make a Dataset of the values; no file is read."""
    from bayesrun.data.assemble import from_values

    return from_values(spec.values, spec, "data.values").assign_attrs(origin="inline")


SOURCE = Source(spec=InlineSpec, load=load)

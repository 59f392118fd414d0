"""Source `json`: a text file of one object, name to number or (nested) array."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.data.base import ArraySpec, FileSpec, Source
from bayesrun.data.files import check_file, resolve, sha256_of
from bayesrun.errors import fail

if TYPE_CHECKING:
    import xarray as xr


class JsonSpec(FileSpec, ArraySpec):
    """Keys of `source: json`."""


def load(spec: JsonSpec, directory: Path) -> xr.Dataset:
    """Read the file; null and NaN are missing values."""
    from bayesrun.data.assemble import from_values

    path = resolve(spec.path, directory)
    values = _read(path)
    return from_values(values, spec, "data.path").assign_attrs(origin=str(path), sha256=sha256_of(path))


def _read(path: Path) -> dict[str, Any]:
    hint = 'it must be one object of names and arrays: {"y": [28, 8], "stderr": [15, 10]}'
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_without_repeats)
    except ValueError as error:
        raise fail("data.path", f"'{path}' can't be read as JSON: {error}", hint) from error
    if not isinstance(values, dict):
        raise fail("data.path", f"'{path}' holds a {type(values).__name__}, not an object", hint)
    return values


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a repeated name: all but the last of its values would be lost."""
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise ValueError(f"names repeat: {', '.join(repeated)}")
    return dict(pairs)


SOURCE = Source(spec=JsonSpec, load=load, check=check_file)

"""Helpers of the data tests: a config section as YAML gives it, to problems or to a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from bayesrun.data.prepare import load
from bayesrun.data.section import parse_data
from bayesrun.errors import Problem, UserError

Load = Callable[..., xr.Dataset]
Fail = Callable[..., dict[str, str]]


def read(raw: Mapping[str, Any], directory: Path) -> xr.Dataset:
    problems: list[Problem] = []
    spec = parse_data({"name": "test", **raw}, directory, problems)
    if problems or spec is None:
        raise UserError(problems)
    return load(spec, directory)


@pytest.fixture
def load_data(tmp_path: Path) -> Load:
    """`(**section)`: the data set of a section `data`, relative paths from `tmp_path`."""
    return lambda **raw: read(raw, tmp_path)


@pytest.fixture
def faults(tmp_path: Path) -> Fail:
    """`(**section)`: what is wrong with it, key to message and hint; fails where nothing is."""

    def problems_of(**raw: Any) -> dict[str, str]:
        with pytest.raises(UserError) as caught:
            read(raw, tmp_path)
        return {p.key: f"{p.message} | {p.hint}" for p in caught.value.problems}

    return problems_of

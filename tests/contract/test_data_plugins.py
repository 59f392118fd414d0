"""A source and a generator of another package are available once the config lists it, without editing bayesrun."""

from __future__ import annotations

from pathlib import Path

import pytest

from bayesrun.data.base import GENERATORS, SOURCES
from bayesrun.data.prepare import load
from bayesrun.data.section import parse_data
from bayesrun.errors import Problem
from bayesrun.registry import load_plugins

SOURCE = """
import xarray as xr
from bayesrun.data.base import DataSpec, Source

class Spec(DataSpec):
    height: int = 3

def load(spec, directory):
    return xr.Dataset({"y": ((spec.dim,), list(range(spec.height)))}, attrs={"origin": "stairs"})

SOURCE = Source(spec=Spec, load=load)
"""
GENERATOR = """
from bayesrun.data.base import Generator
from bayesrun.schema import Section

class Parameters(Section):
    size: int = 2

GENERATOR = Generator(parameters=Parameters, draw=lambda parameters, seed: {"y": [seed] * parameters.size})
"""
ENTRIES = "[bayesrun.data]\nstairs = stairs_source\n[bayesrun.data.generators]\nflat = flat_generator\n"


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> str:
    info = tmp_path / "throwaway_data-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: throwaway-data\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "stairs_source.py").write_text(SOURCE)
    (tmp_path / "flat_generator.py").write_text(GENERATOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(SOURCES, "_added", {})
    monkeypatch.setattr(GENERATORS, "_added", {})
    return "throwaway-data"


def read(raw):
    problems: list[Problem] = []
    spec = parse_data({"name": "a", **raw}, Path(), problems)
    assert not problems
    return load(spec, Path())


def test_a_plug_in_adds_a_source_and_a_generator(plugin):
    assert "stairs" not in SOURCES.names()
    assert load_plugins([plugin], [SOURCES, GENERATORS]) == []
    assert read({"source": "stairs", "height": 2, "columns": {"z": "y"}})["z"].values.tolist() == [0, 1]
    assert read({"source": "simulate", "generator": "flat", "seed": 7})["y"].values.tolist() == [7, 7]

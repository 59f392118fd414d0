"""Contracts over the registries of data sources and generators, and over every shipped data YAML."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
import yaml

import bayesrun
from bayesrun.data.base import GENERATORS, SOURCES, DataSpec, FileSpec, Source
from bayesrun.data.prepare import digest, load
from bayesrun.data.section import parse_data
from bayesrun.errors import Problem, UserError
from bayesrun.schema import Section

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
YAMLS = sorted((ROOT / "conf" / "data").glob("*.yaml"))
FOLDER = Path(bayesrun.__file__).parent / "data"


def section(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def parsed(path: Path) -> DataSpec:
    problems: list[Problem] = []
    spec = parse_data(section(path), DATA, problems)
    assert not problems
    assert spec is not None
    return spec


# sources


def test_the_sources_of_the_design_are_registered():
    assert SOURCES.names() == ["csv", "excel", "inline", "json", "netcdf", "parquet", "simulate", "sql"]


@pytest.mark.parametrize("name", SOURCES.names())
def test_a_source_keeps_its_contract(name, tmp_path):
    source = SOURCES.load(name, "data.source")
    assert isinstance(source, Source)
    assert issubclass(source.spec, DataSpec)
    assert source.spec.__doc__
    fields = source.spec.model_fields
    assert set(DataSpec.model_fields) < set(fields)
    required = {key for key, field in fields.items() if field.is_required()} - {"name", "source"}
    assert required <= {"path", "values", "url", "query", "generator"}


@pytest.mark.parametrize("name", [n for n in SOURCES.names() if issubclass(SOURCES.load(n, "").spec, FileSpec)])
def test_a_missing_file_is_found_without_reading(name, tmp_path):
    problems: list[Problem] = []
    parse_data({"name": "a", "source": name, "path": "nowhere"}, tmp_path, problems)
    assert [p.key for p in problems] == ["data.path"]


@pytest.mark.parametrize("name", [n for n in SOURCES.names() if issubclass(SOURCES.load(n, "").spec, FileSpec)])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02", b"no such format", b'[{"a": 1}]'])
def test_a_file_of_another_kind_ends_as_a_user_error(name, content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    problems: list[Problem] = []
    spec = parse_data({"name": "a", "source": name, "path": "file"}, tmp_path, problems)
    assert not problems
    with pytest.raises(UserError) as caught:
        load(spec, tmp_path)
    assert all(p.key.startswith("data") and p.hint for p in caught.value.problems)


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda p: p.name)
def test_no_file_imports_a_source_or_a_generator(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        module = node.module if isinstance(node, ast.ImportFrom) else None
        if module and module.startswith("bayesrun.data."):
            name = module.removeprefix("bayesrun.data.")
            assert name not in {*SOURCES.names(), *SOURCES.shared} and not name.startswith("generators"), module


# generators


@pytest.mark.parametrize("name", GENERATORS.names())
def test_a_generator_draws_the_same_rows_for_the_same_seed(name):
    generator = GENERATORS.load(name, "data.generator")
    assert issubclass(generator.parameters, Section)
    parameters = generator.parameters()
    one, again, other = (generator.draw(parameters, seed) for seed in (1, 1, 2))
    assert len({len(values) for values in one.values()}) == 1
    assert all(np.array_equal(one[key], again[key]) for key in one)
    assert any(not np.array_equal(one[key], other[key]) for key in one)


# shipped data sets


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_a_shipped_yaml_loads(path):
    raw = section(path)
    assert raw["name"] == path.stem
    data = load(parsed(path), DATA)
    assert data.attrs["rows"] > 0
    assert digest(data) == digest(load(parsed(path), DATA))


@pytest.mark.parametrize("path", YAMLS, ids=lambda p: p.stem)
def test_a_shipped_yaml_lists_every_key_and_says_how_to_use_it(path):
    raw = section(path)
    assert set(raw) == set(type(parsed(path)).model_fields)
    if raw["source"] == "simulate":
        parameters = GENERATORS.load(raw["generator"], "").parameters
        assert set(raw["parameters"]) == set(parameters.model_fields)
        assert parameters(**raw["parameters"]) == parameters()
    assert path.read_text(encoding="utf-8").startswith("#")


@pytest.mark.parametrize("path", [p for p in YAMLS if section(p)["source"] not in ("inline", "simulate")], ids=str)
def test_a_shipped_file_is_that_of_its_digest_and_documented(path):
    raw = section(path)
    found = hashlib.sha256((DATA / raw["path"]).read_bytes()).hexdigest()
    assert raw["sha256"] == found
    assert f"{found}  {raw['path']}" in (DATA / "README.md").read_text(encoding="utf-8")


def test_mining_disasters():
    data = load(parsed(ROOT / "conf/data/mining_disasters.yaml"), DATA)
    assert data["disasters"].dims == ("year",)
    assert data["year"].values.tolist() == list(range(1851, 1962))
    assert data["year"].values[np.isnan(data["disasters"].values)].tolist() == [1890, 1934]
    assert data["disasters"].sel(year=[1851, 1891, 1961]).values.tolist() == [4, 2, 1]


def test_sp500():
    data = load(parsed(ROOT / "conf/data/sp500.yaml"), DATA)
    assert data.sizes == {"date": 2906}
    assert data["date"].dtype == "datetime64[ns]"
    assert str(data["date"].values[[0, -1]].astype("datetime64[D]")) == "['2008-05-02' '2019-11-14']"
    close = data["close"].values
    np.testing.assert_allclose(data["returns"].values[1:], np.diff(np.log(close)), atol=1e-10)

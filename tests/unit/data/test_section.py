from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bayesrun.data.section import parse_data
from bayesrun.errors import Problem

ROOT = Path(__file__).parents[3]


def parsed(raw, directory=Path()):
    problems: list[Problem] = []
    return parse_data(raw, directory, problems), {p.key: f"{p.message} | {p.hint}" for p in problems}


def test_null_is_empty_for_open_keys():
    keys = ["parse_dates", "factors", "derive", "dims", "columns", "drop_missing"]
    spec, problems = parsed({"name": "a", "source": "inline", "values": {"x": [1]}, **dict.fromkeys(keys)})
    assert not problems
    assert (spec.parse_dates, spec.factors, spec.derive, spec.dims) == ([], {}, {}, {})


def test_only_name_source_and_what_it_needs_are_required():
    spec, problems = parsed({"name": "a", "source": "inline", "values": {"x": [1]}})
    assert not problems
    assert spec.dim == "obs"


def test_source_is_required_and_known():
    assert "inline" in parsed({"name": "a"})[1]["data.source"]
    assert "did you mean 'csv'?" in parsed({"name": "a", "source": "cvs"})[1]["data.source"]


def test_generators_are_no_source():
    assert "unknown data source" in parsed({"name": "a", "source": "generators"})[1]["data.source"]


def test_all_problems_at_once():
    _, problems = parsed({"source": "csv", "pth": "a", "drop_missing": "row", "parse_dates": "x"})
    assert set(problems) == {"data.name", "data.path", "data.pth", "data.parse_dates", "data.drop_missing"}
    assert "did you mean 'path'?" in problems["data.pth"]


def test_an_expression_that_yaml_cut_at_its_comma_is_told_to_be_quoted():
    raw = {"name": "a", "source": "inline", "values": {"x": [1]}}
    problems = parsed({**raw, "derive": {"l": "lag(x", "1)": None}})[1]
    assert 'quote one that contains a comma: {z: "lag(x, 1)"}' in problems["data.derive"]
    assert not parsed({**raw, "derive": {"l": "lag(x, 1)"}})[1]


def test_a_missing_file_is_reported_beside_a_wrong_key(tmp_path):
    raw = {"name": "a", "source": "csv", "path": "nowhere.csv", "drop_missing": "row", "x": 1, "derive": {"y": 1}}
    spec, problems = parsed(raw, tmp_path)
    assert spec is None
    assert set(problems) == {"data.path", "data.drop_missing", "data.x", "data.derive.y"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("columns", 3),
        ("columns", ["a", 1]),
        ("columns", {"a": 1}),
        ("drop_missing", "row"),
        ("drop_missing", {"a": "row"}),
        ("drop_missing", ["rows"]),
        ("factors", ["a"]),
        ("derive", "log(x)"),
        ("dims", {"x": "obs"}),
        ("dim", None),
    ],
)
def test_a_wrong_kind_is_one_problem_at_its_key(key, value):
    _, problems = parsed({"name": "a", "source": "inline", "values": {"x": [1]}, key: value})
    assert len(problems) == 1
    assert next(iter(problems)).startswith(f"data.{key}")


@pytest.mark.parametrize("source", ["csv", "inline", "json", "netcdf", "parquet", "simulate", "sql"])
def test_parsing_imports_nothing_heavy(source):
    raw = {
        "name": "a",
        "source": source,
        **{
            "inline": {"values": {"x": [1]}},
            "simulate": {"generator": "linear_regression"},
            "sql": {"url": "sqlite:///nothing.db", "query": "select 1"},
        }.get(source, {"path": "nothing", "sha256": "0"}),
    }
    code = (
        "import sys; from pathlib import Path; "
        "from bayesrun.data.section import parse_data;"
        f"parse_data({raw!r}, Path('.'), []);"
        "print({'pandas', 'scipy', 'xarray', 'pymc3', 'sqlalchemy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

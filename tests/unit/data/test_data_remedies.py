"""Remedies in messages about data work: what each names is done, and the data are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from bayesrun.data.base import Role
from bayesrun.data.prepare import load
from bayesrun.data.roles import settle
from bayesrun.data.section import parse_data
from bayesrun.errors import UserError

Keys = Mapping[str, Any]
WIDE = ",".join(f"c{i}" for i in range(6000)) + "\n" + ",".join(["1"] * 6000) + "\n"

# (what the file holds, keys at fault, the remedy as the message writes it, keys with it; another file if it is mended)
TABLES: list[tuple[str | bytes, Keys, str, Keys, str | None]] = [
    ("a  b\n1  2\n", {}, "set data.sep=whitespace", {"sep": "whitespace"}, None),
    ("a;b\n1;2\n", {"sep": "|"}, "set data.sep=';'", {"sep": ";"}, None),
    ("a;b\n1;2\n", {"sep": "|"}, "leave it at auto", {}, None),
    ("a\tb\n1\t2\n", {"sep": ";"}, r"set data.sep='\t'", {"sep": r"\t"}, None),
    ("a,b\n1,2\n", {"sep": ",", "decimal": ","}, "set data.sep", {"sep": ",", "decimal": "."}, None),
    ("# note\na,b\n1,2\n", {}, "set data.comment='#'", {"comment": "#"}, None),
    ("y\n1,5\n2,5\n", {}, "set data.sep=';' and data.decimal=','", {"sep": ";", "decimal": ","}, None),
    ("x;y\n1,234;1\n2,500;2\n", {}, "set data.decimal=','", {"decimal": ","}, None),
    ("x;y\n1,234;1\n2,500;2\n", {}, "or data.thousands=','", {"thousands": ","}, None),
    ("a,b\nü,2\n".encode("cp1252"), {}, "encoding='cp1252'", {"encoding": "cp1252"}, None),
    ("a,b\n1,2\n".encode("utf-16"), {}, "encoding='utf-16'", {"encoding": "utf-16"}, None),
    ("Trial\na,b\n1,2\n3,4\n", {}, "set data.skip_rows=1", {"skip_rows": 1}, None),
    ("%note\na,b\n1,2\n3,4\n", {}, "data.comment when the lines are comments", {"comment": "%"}, None),
    ("y,x\n(m),(s)\n1,2\n3,4\n", {}, "data.skip_rows=[2] for the first", {"skip_rows": [2]}, None),
    ("y,x\n(m),(s)\n1,2\n3,4\n", {}, "data.skip_rows=[1] for the second", {"skip_rows": [1]}, None),
    (
        '"t" "y"\n"1" "a" 2\n"2" "b" 3\n',
        {},
        "set data.sep=whitespace",
        {"sep": "whitespace"},
        "row t y\n1 a 2\n2 b 3\n",
    ),
    ("t;y\n1;a;2\n2;b;3\n", {}, "row names, as R writes it, needs a name as well", {}, "row;t;y\n1;a;2\n2;b;3\n"),
    ("t,y\n1,a,2\n2,b,3\n", {}, "row names, as R writes it, needs a name as well", {}, "row,t,y\n1,a,2\n2,b,3\n"),
    ('y,n\n1,"abc\n2,d\n', {}, "close it", {}, 'y,n\n1,"abc"\n2,d\n'),
    (WIDE, {}, "data.columns=[y, x]", {"columns": ["c1", "c2"]}, None),
    ("x,x\n1,2\n", {}, "give each column a name of its own", {}, "x,z\n1,2\n"),
    (
        "id,y\n1,2\n,3\n",
        {"dim": "id"},
        "drop their rows: data.drop_missing=rows",
        {"dim": "id", "drop_missing": "rows"},
        None,
    ),
    ("id,y\n1,2\n1,3\n", {"dim": "id"}, "give the dim another name", {"dim": "row"}, None),
    (
        "d,y\n2008|05|02,1\n",
        {"parse_dates": ["d"]},
        "set data.date_format",
        {"parse_dates": ["d"], "date_format": "%Y|%m|%d"},
        None,
    ),
    ("d,y\n1500-01-01,1\n", {"parse_dates": ["d"]}, "use the year as a number", {}, "d,y\n1500,1\n"),
    ("g,y\na,1\nb,2\n", {"levels": {"g": ["a"]}}, "add what is missing", {"levels": {"g": ["a", "b"]}}, None),
    (
        "g,y\nyes,1\n",
        {"levels": yaml.safe_load("{g: [yes, no]}")},
        "quote them",
        {"levels": {"g": ["yes", "no"]}},
        None,
    ),
    ("g,y\na,1\n", {"levels": {"g": ["a", "a"]}}, "name each label once", {"levels": {"g": ["a"]}}, None),
    ("g,y\na,1\n", {"factors": {"y": "g"}}, "give the codes a new name", {"factors": {"i": "g"}}, None),
    ("g,y\na,1\n", {"factors": {"g": "g"}}, "give them a new name", {"factors": {"i": "g"}}, None),
    ("g,y\na,1\n", {"dim": "g", "factors": {"i": "g"}}, "set data.dim to another name", {"factors": {"i": "g"}}, None),
    ("g,y\na,1\n", {"derive": {"y": "y + 1"}}, "give it a new name", {"derive": {"z": "y + 1"}}, None),
    (
        "d,y\n2008-05-02,1\n",
        {"parse_dates": ["d"], "derive": {"z": "log(d)"}},
        "make a number of it: days(date)",
        {"parse_dates": ["d"], "derive": {"z": "log(days(d))"}},
        None,
    ),
    ("g,y\nb,1\n", {"derive": {"z": "g == 'a'"}}, "allowed: b", {"derive": {"z": "g == 'b'"}}, None),
]


def _told(directory: Path, keys: Keys, roles: tuple[Role, ...] = ()) -> str:
    """Return what is wrong with a data set; empty if it can be read."""
    problems: list[Any] = []
    spec = parse_data({"name": "t", **keys}, directory, problems)
    if problems:
        return "\n".join(map(str, problems))
    assert spec is not None
    try:
        settle(load(spec, directory), roles, spec.drop_missing)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("content", "wrong", "remedy", "right", "mended"), TABLES, ids=[f"{t[2]}" for t in TABLES])
def test_what_an_error_about_a_table_tells_to_do_is_right(
    content: str | bytes, wrong: Keys, remedy: str, right: Keys, mended: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    told = _told(tmp_path, {"source": "csv", "path": "t.csv", **wrong})
    assert remedy in told, told
    path.write_bytes(mended.encode()) if mended else None
    assert _told(tmp_path, {"source": "csv", "path": "t.csv", **right}) == ""


OBSERVED = (Role("y", "observed"),)
BOTH = (*OBSERVED, Role("x", "predictor"))
# (values, keys at fault, roles, the remedy, what changes)
ARRAYS: list[tuple[Keys, Keys, tuple[Role, ...], str, Keys]] = [
    ({"x": [[1, 2], [3, 4]]}, {"dims": {"x": ["a"]}}, (), "name one dim for each level", {"dims": {"x": ["a", "b"]}}),
    ({"x": [[1, 2], [3, 4]]}, {"dims": {"x": ["a", "a"]}}, (), "give each dim a name", {"dims": {"x": ["a", "b"]}}),
    ({"x": [1], "y": [1, 2]}, {}, (), "or another dim: data.dims: {y: [...]}", {"dims": {"y": ["other"]}}),
    ({"x": [1, 2], "obs": 3}, {}, (), "give the variable or the dim another name", {"dim": "row"}),
    ({"y": [1, None]}, {"drop_missing": "error"}, OBSERVED, "use 'impute'", {"drop_missing": "impute"}),
    ({"y": [1, None]}, {"drop_missing": "error"}, OBSERVED, "or 'rows'", {"drop_missing": "rows"}),
    ({"y": [1, 2], "x": [None, 2]}, {}, BOTH, "drop their rows: data.drop_missing=rows", {"drop_missing": "rows"}),
    (
        {"y": [1, 2, None], "x": [None, 5, 6], "z": [7, None, 8]},
        {"drop_missing": "rows"},
        (*OBSERVED, Role("x", "observed"), Role("z", "observed")),
        "drop by variable: {NAME: rows}",
        {"drop_missing": {"y": "rows"}},
    ),
    (
        {"y": [1, 2], "x": ["a", "b"]},
        {},
        (*OBSERVED, Role("i", "predictor", "index")),
        "allowed: obs, x, y",
        {"factors": {"i": "x"}},
    ),
    (
        {"y": [3, 4, 7]},
        {},
        (Role("big", "observed", "binary"),),
        "allowed: obs, y",
        {"derive": {"big": "y > median(y)"}},
    ),
]


@pytest.mark.parametrize(("values", "wrong", "roles", "remedy", "right"), ARRAYS, ids=[a[3] for a in ARRAYS])
def test_what_an_error_about_values_tells_to_do_is_right(
    values: Keys, wrong: Keys, roles: tuple[Role, ...], remedy: str, right: Keys, tmp_path: Path
) -> None:
    told = _told(tmp_path, {"source": "inline", "values": values, **wrong}, roles)
    assert remedy in told, told
    assert _told(tmp_path, {"source": "inline", "values": values, **right}, roles) == ""


def test_the_event_of_two_labels_does_not_depend_on_the_first_row(tmp_path: Path) -> None:
    """Pasted as it stood, `[yes, no]` made `no` the event where the first row says yes."""
    values, role = {"seen": ["yes", "no", "yes"]}, (Role("seen", "observed", "binary"),)
    told = _told(tmp_path, {"source": "inline", "values": values}, role)
    assert "name the labels in their order: data.levels={seen: [no, yes]}" in told


def test_observed_labels_get_codes_in_the_order_that_the_message_asks_for(tmp_path: Path) -> None:
    values, role = {"sat": ["Low", "Mid", "High"]}, (Role("sat", "observed", "index"),)
    told = _told(tmp_path, {"source": "inline", "values": values}, role)
    assert "name the labels in their order: data.levels={sat: [Low, Mid, High]}" in told
    levels = {"levels": {"sat": ["Low", "Mid", "High"]}}
    assert _told(tmp_path, {"source": "inline", "values": values, **levels}, role) == ""


@pytest.mark.parametrize(
    ("domain", "remedy", "right"),
    [
        ("index", "make codes of labels with data.factors", {"factors": {"x": "g"}}),
        ("binary", "make it so with data.derive, e.g. {y: 'Y > median(Y)'}", {"derive": {"x": "Y > median(Y)"}}),
        ("real", "labels become codes with data.factors", {"factors": {"x": "g"}}),
    ],
)
def test_values_that_a_role_does_not_allow_are_made_as_the_message_says(
    domain: Any, remedy: str, right: Keys, tmp_path: Path
) -> None:
    values = {"Y": [1.5, 2.5, 4.5], "g": ["a", "b", "a"]}
    role = (Role("x", "predictor", domain),)
    wrong = ["a", "b", "a"] if domain == "real" else [0.5, 1.5, -2]
    told = _told(tmp_path, {"source": "inline", "values": {**values, "x": wrong}}, role)
    assert remedy in told, told
    assert _told(tmp_path, {"source": "inline", "values": values, **right}, role) == ""


@pytest.mark.parametrize("day", ["2024-01-05", "5.1.2024", "05/01/24 10:00"])
def test_text_that_looks_like_dates_is_told_to_be_parsed(day: str, tmp_path: Path) -> None:
    told = _told(tmp_path, {"source": "inline", "values": {"day": [day, day]}}, (Role("day", "predictor", "real"),))
    assert "make dates of it: data.parse_dates=[day]" in told, told


TEXT = [
    ("x,y\n1,1\n2,2\n.,3\n4,4\n", "list their words in data.missing", {"missing": ["."]}),
    ("x,y\n1,1\n2,2\n.,3\n4,4\n", "fix the cells", None),
    ('x,y\n"1,000",1\n"2,500",2\n', "set what this looks like", {"thousands": ","}),
    ("x,y\n1,1\n2,2\n.,3\n4,4\n", "for labels set data.dtypes: {x: text}", {"dtypes": {"x": "text"}}),
]


@pytest.mark.parametrize(("content", "remedy", "keys"), TEXT, ids=[t[1] for t in TEXT])
def test_a_column_that_is_text_by_mistake_is_mended_as_the_warning_says(content, remedy, keys, tmp_path, caplog):
    path, roles = tmp_path / "t.csv", (Role("x", "predictor", "any"),)
    path.write_text(content)
    assert _told(tmp_path, {"source": "csv", "path": "t.csv"}, roles) == "" and remedy in caplog.text, caplog.text
    caplog.clear()
    if keys is None:
        path.write_text(content.replace(".", "3"))
    given = {"drop_missing": "rows", **(keys or {})}
    assert _told(tmp_path, {"source": "csv", "path": "t.csv", **given}, roles) == "" and not caplog.text


def test_numbers_that_a_file_holds_as_text_become_numbers_by_their_type(tmp_path, caplog):
    (tmp_path / "t.json").write_text(json.dumps({"x": ["1", "2"], "y": [1, 2]}))
    keys, roles = {"source": "json", "path": "t.json"}, (Role("x", "predictor", "any"),)
    assert _told(tmp_path, keys, roles) == "" and "set data.dtypes: {x: number}" in caplog.text
    caplog.clear()
    assert _told(tmp_path, {**keys, "dtypes": {"x": "number"}}, roles) == "" and not caplog.text


@pytest.mark.parametrize(
    ("url", "query", "remedy"),
    [
        ("file.db", "select 1 as y", "or sqlite:///file.db"),
        ("sqlite:///file.db", "delete from t", "write one statement that selects rows: SELECT ..."),
        ("sqlite:///file.db", "select 1 as y; select 2 as y", "write one statement that selects rows"),
    ],
)
def test_what_an_error_about_a_database_tells_to_do_is_right(url: str, query: str, remedy: str, tmp_path: Path) -> None:
    import sqlite3

    sqlite3.connect(tmp_path / "file.db").close()
    told = _told(tmp_path, {"source": "sql", "url": url, "query": query})
    assert remedy in told, told
    assert _told(tmp_path, {"source": "sql", "url": "sqlite:///file.db", "query": "SELECT 1 as y"}) == ""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bayesrun.data.files import sha256_of

TEXT = "year,n,town\n1851,4,Hull\n1852,,York\n1853,2,\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_columns_are_variables_over_the_row_dim(table, load_data):
    data = load_data(source="csv", path="table.csv")
    assert dict(data.sizes) == {"obs": 3}
    assert data["year"].values.tolist() == [1851, 1852, 1853]
    np.testing.assert_array_equal(data["n"].values, [4.0, np.nan, 2.0])
    assert data["town"].values.tolist() == ["Hull", "York", None]
    assert data["obs"].values.tolist() == [0, 1, 2]


def test_provenance_names_file_and_digest(table, load_data):
    attrs = load_data(source="csv", path="table.csv").attrs
    assert attrs["origin"] == str(table)
    assert attrs["sha256"] == sha256_of(table)
    assert (attrs["name"], attrs["source"], attrs["rows"]) == ("test", "csv", 3)


def test_column_named_like_the_dim_labels_the_rows(table, load_data):
    data = load_data(source="csv", path="table.csv", dim="when", columns={"when": "year", "disasters": "n"})
    assert dict(data.sizes) == {"when": 3}
    assert data["when"].values.tolist() == [1851, 1852, 1853]
    assert set(data.data_vars) == {"disasters"}


def test_labels_come_along_when_only_other_columns_are_kept(table, load_data):
    data = load_data(source="csv", path="table.csv", dim="year", columns=["n"])
    assert data["year"].values.tolist() == [1851, 1852, 1853]
    assert set(data.data_vars) == {"n"}


def test_digest_is_checked_before_reading(table, faults):
    found = faults(source="csv", path="table.csv", sha256="0" * 64)
    assert sha256_of(table) in found["data.sha256"]


def test_right_digest_passes_in_any_case(table, load_data):
    assert load_data(source="csv", path="table.csv", sha256=sha256_of(table).upper()).sizes["obs"] == 3


def test_missing_file_names_the_nearest(table, faults):
    found = faults(source="csv", path="tabel.csv")
    assert "did you mean 'table.csv'?" in found["data.path"]


def test_missing_folder_and_folder_as_file_are_said(table, faults):
    assert "no folder" in faults(source="csv", path="nowhere/table.csv")["data.path"]
    assert "is a folder" in faults(source="csv", path=".")["data.path"]


def test_all_missing_columns_are_reported_with_the_nearest_name(table, faults):
    found = faults(source="csv", path="table.csv", columns={"x": "yeer", "y": "m", "n": "n"})
    assert "did you mean 'year'?" in found["data.columns.x"]
    assert set(found) == {"data.columns.x", "data.columns.y"}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "is empty"),
        ("a,a\n1,2\n", "column names repeat: a"),
        ("a,b\n1,2,3\n4,5,6\n", "2 rows have more cells than there are names (2: a, b); the first is row 1"),
        ("a,b\n1,2\n1,2,3\n", "row 2 has more cells"),
    ],
)
def test_what_is_no_table_is_refused(text, part, tmp_path, faults):
    (tmp_path / "bad.csv").write_text(text)
    assert part in faults(source="csv", path="bad.csv")["data.path"]


def test_bytes_that_are_no_text_are_refused(tmp_path, faults):
    (tmp_path / "bad.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    assert "UTF-8" in faults(source="csv", path="bad.csv")["data.encoding"]


def test_table_without_rows_is_empty(tmp_path, faults):
    (tmp_path / "empty.csv").write_text("a,b\n")
    assert "is empty" in faults(source="csv", path="empty.csv")["data"]


def test_byte_order_mark_and_blanks_are_no_part_of_names(tmp_path, load_data):
    (tmp_path / "bom.csv").write_text("\ufeffa, b\n1, x\n", encoding="utf-8")
    data = load_data(source="csv", path="bom.csv")
    assert data["a"].values.tolist() == [1]
    assert data["b"].values.tolist() == ["x"]


@pytest.fixture
def written(tmp_path, load_data):
    """`(text, **keys)`: the data set of a file of this text."""

    def call(text: str | bytes, **keys):
        (tmp_path / "t.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return load_data(source="csv", path="t.csv", **keys)

    return call


def columns(data):
    return {str(name): array.values.tolist() for name, array in data.data_vars.items()}


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_the_separator_is_found(sep, written):
    text = f'a{sep}b{sep}"c, d; e"\n1{sep}2.5{sep}"x{sep}y"\n3{sep}4.5{sep}z\n'
    found = columns(written(text))
    assert found == {"a": [1, 3], "b": [2.5, 4.5], "c, d; e": [f"x{sep}y", "z"]}


@pytest.mark.parametrize("sep", ["tab", "\\t", "\t"])
def test_a_tab_may_be_named(sep, written):
    assert columns(written("a\tb\n1\t2\n", sep=sep)) == {"a": [1], "b": [2]}


def test_blanks_may_separate_cells(written):
    assert columns(written("  a   b\n 1   2\n10  20\n", sep="whitespace")) == {"a": [1, 10], "b": [2, 20]}


@pytest.mark.parametrize(
    ("text", "keys", "x"),
    [
        ("x;y\n1,5;1\n-2;2\n,25;3\n", {}, [1.5, -2.0, 0.25]),
        ("x;y\n1.234,5;1\n2.000;2\n3,5;3\n", {}, [1234.5, 2000.0, 3.5]),
        ('x,y\n"1,234",1\n2,2\n"3,000,000",3\n', {"thousands": ","}, [1234, 2, 3000000]),
        ("x;y\n1,234;1\n2;2\n1,5;3\n", {}, [1.234, 2.0, 1.5]),
        ("x;y\n1,234;1\n2;2\n1,567;3\n", {"decimal": ","}, [1.234, 2.0, 1.567]),
        ("x;y\n1,234;1\n2;2\n1,567;3\n", {"thousands": ","}, [1234, 2, 1567]),
        ("x\ty\n1,5e3;\t1\n2;\t2\n3;\t3\n", {"decimal": ","}, ["1,5e3;", "2;", "3;"]),
        ("x;y\n1.5;1\n2.25;2\n3;3\n", {}, [1.5, 2.25, 3.0]),
        ("x;y\n1,5;1\nNA;2\n;3\n", {}, [1.5, None, None]),
        ('x,y\n"1,5",1\n2,2\n3,3\n', {}, ["1,5", "2", "3"]),
        ("x;y\na,b;1\nc;2\nd;3\n", {}, ["a,b", "c", "d"]),
        ("sep=;\nx;y\n1,5;1\n2;2\n3;3\n", {}, [1.5, 2.0, 3.0]),
        ("x;y\n1 234;1\n2;2\n3\u00a0456;3\n", {"thousands": " "}, [1234, 2, 3456]),
        ("x;y\n1 234,5;1\n2;2\n3\u202f456,25;3\n", {"thousands": " ", "decimal": ","}, [1234.5, 2, 3456.25]),
    ],
)
def test_decimal_and_thousands(text, keys, x, written):
    found = columns(written(text, **keys))["x"]
    assert [None if v != v else v for v in found] == x
    assert columns(written(text, **keys))["y"] == [1, 2, 3]


def test_a_comma_that_may_be_either_is_refused(tmp_path, faults):
    (tmp_path / "t.csv").write_text("x;y\n1,234;1\n2,500;2\n")
    assert "may be 1.234 or a thousand times that" in faults(source="csv", path="t.csv")["data.decimal"]


@pytest.mark.parametrize(
    ("content", "keys", "key", "part"),
    [
        ("a;b\n1,5;2\n", {"sep": ","}, "data.sep", "this looks like sep=';' decimal=','"),
        ("a  b\n1  2\n", {}, "data.sep", "this looks like sep=whitespace"),
        ("a;b\n1;2\n", {"sep": "|"}, "data.sep", "this looks like sep=';'"),
        ("# note\na,b\n1,2\n", {}, "data.comment", "this looks like comment='#'"),
        ("a,b\nü,2\n".encode("latin-1"), {}, "data.encoding", "encoding='cp1252'"),
        ("a,b\n1,2\n".encode("utf-16"), {}, "data.encoding", "encoding='utf-16'"),
        ("a,b\n1,2\n", {"sep": ",", "decimal": ","}, "data.sep", "both the separator and the decimal sign"),
        ("a,b\n1,2\n", {"encoding": "klingon"}, "data.encoding", "an encoding that Python knows"),
        ("a,b\n1,2\n", {"sep": "::"}, "data.sep", "one character, tab, whitespace or auto"),
        ("a,b\n1,2\n", {"decimal": "x"}, "data.decimal", "must be '.', ',' or auto"),
        ("a,b\n1,2\n", {"missing": "NA"}, "data.missing", "must be a list of words"),
        ("Station 4\nmade 2024\nx,y\n1,2\n3,4\n", {}, "data.skip_rows", "this looks like skip_rows=2"),
        ("Made 2024-01-02; by me\nx;y;g\n1,5;2;a\n3,5;4;b\n", {}, "data.skip_rows", "this looks like skip_rows=1"),
        ("a  b\n1  2\n", {}, "data.sep", "| set data.sep=whitespace"),
        ("row,y\n1,a,2\n2,b,3\n", {}, "data.path", "a column of row names"),
        ("y\n1,5\n2,5\n", {}, "data.decimal", "set data.sep=';' and data.decimal=','"),
        ('y,n\n1,"abc\n2,d\n', {}, "data.path", "a quote mark that opens in row 1 of"),
        (b"\x1f\x8b\x08\x00", {}, "data.path", "is compressed with gzip, not a text table | unpack it"),
        (b"PK\x03\x04\x00", {}, "data.path", "set data.source=excel"),
        ("<!DOCTYPE html>\n<html></html>\n", {}, "data.path", "is a web page"),
        (f"y,x\n1,{'a' * 200_000}\n", {}, "data.path", "field larger than field limit"),
        ("y,x\n" + "1,2\n" * 200 + f"1,{'a' * 200_000}\n", {}, "data.path", "field larger than field limit"),
        (",".join(f"c{i}" for i in range(6000)) + "\n", {}, "data.columns", "has 6,000 columns (most allowed: 5,000)"),
    ],
)
def test_what_does_not_fit_is_said_with_what_it_looks_like(content, keys, key, part, tmp_path, faults):
    (tmp_path / "t.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert part in faults(source="csv", path="t.csv", **keys)[key]


def test_comments_skipped_rows_and_encodings(written):
    text = "Export of today\n\nname;größe\n# a comment;\nå;1\nß;2 # another\n"
    found = columns(written(text.encode("cp1252"), encoding="cp1252", comment="#", skip_rows=1))
    assert found == {"name": ["å", "ß"], "größe": [1, 2]}
    assert columns(written("a,b\n1,2\n".encode("utf-16"), encoding="utf-16")) == {"a": [1], "b": [2]}


TWO_LINES = {
    "units": ("y,x,g\n(kg),(cm),\n1,2,a\n3,4,b\n", "set data.skip_rows=[2] for the first names", [2]),
    "one unit": ("g,y\n,[kg]\na,1\nb,3\n", "set data.skip_rows=[2]", [2]),
    "levels of pandas": (",a,a,b\n,y,x,g\n0,1,2,a\n1,3,4,b\n", "set data.skip_rows=[1] for the second names", [1]),
    "below a title": (
        "Trial\nweight;age;group\ny;x;g\n1,5;3;a\n3,5;4;b\n7;5;a\n",
        "data.skip_rows=[1,2] for the second names",
        [1, 2],
    ),
}


@pytest.mark.parametrize(("text", "hint", "skip"), TWO_LINES.values(), ids=TWO_LINES)
def test_names_in_two_lines_are_told_and_either_can_be_left_out(text, hint, skip, tmp_path, faults, load_data):
    (tmp_path / "t.csv").write_text(text)
    given = {"skip_rows": skip[:-1]} if skip[:-1] else {}
    said = faults(source="csv", path="t.csv", **given)
    assert "has names in two lines" in said["data.skip_rows"] and hint in said["data.skip_rows"], said
    read = load_data(source="csv", path="t.csv", skip_rows=skip)
    assert read["y"].dtype.kind in "if" and read["g"].values.tolist()[:2] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    ["y,x,g\n.,?,a\n1,2,b\n3,4,c\n", "y,g\nNA,a\n1,b\n3,c\n", "y,g\nunknown,a\n1,b\n3,c\n", "g,h\na,b\nc,d\n"],
)
def test_a_first_row_of_values_is_none_of_names(text, tmp_path, load_data):
    (tmp_path / "t.csv").write_text(text)
    keys = {"missing": ["NA", ".", "?"]}
    assert load_data(source="csv", path="t.csv", **keys).sizes["obs"] == text.count("\n") - 1


def test_quoted_line_ends_are_part_of_a_cell(written):
    assert columns(written('a,b\n"x\ny",1\n"p, q",2\r\n')) == {"a": ["x\ny", "p, q"], "b": [1, 2]}


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        ({}, [None, "None", "n/a", "null", ".", None]),
        ({"missing": []}, ["NA", "None", "n/a", "null", ".", None]),
        ({"missing": ["n/a", "."]}, ["NA", "None", None, "null", None, None]),
    ],
)
def test_only_the_listed_words_are_missing(keys, kept, written):
    assert columns(written("a,b\nNA,1\nNone,2\nn/a,3\nnull,4\n.,5\n,6\n", **keys))["a"] == kept


def test_a_number_can_stand_for_a_missing_value(written):
    np.testing.assert_array_equal(written("a,b\n-99,1\n5,2\n", missing=[-99])["a"].values, [np.nan, 5.0])


@pytest.mark.parametrize(
    "text",
    [",y,x\n0,1,2\n1,3,4\n", "y,x,\n1,2,\n3,4,\n", "Unnamed: 0,y,x\n0,1,2\n1,3,4\n", '"","y","x"\n"1",1,2\n"2",3,4\n'],
)
def test_columns_without_a_name_are_left_out_and_said(text, written, caplog):
    with caplog.at_level("INFO", "bayesrun"):
        assert columns(written(text)) == {"y": [1, 3], "x": [2, 4]}
    assert "has no name and is left out" in caplog.text


def test_a_column_without_a_name_can_be_asked_for(written):
    assert columns(written(",y\n7,1\n8,2\n", columns={"i": "", "y": "y"})) == {"i": [7, 8], "y": [1, 2]}


def test_codes_stay_text_when_they_are_declared(written):
    text = "zip,n,d\n01234,1,x\n00501,2,3\n,3,4\n"
    found = columns(written(text, columns={"code": "zip", "n": "n", "d": "d"}, dtypes={"code": "text", "n": "text"}))
    assert found["code"] == ["01234", "00501", None]
    assert found["n"] == ["1", "2", "3"]


def test_cells_that_are_no_numbers_are_refused_when_numbers_are_declared(tmp_path, faults):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n2,3\n")
    found = faults(source="csv", path="t.csv", dtypes={"b": "number", "c": "text"})
    assert "got 'x' (obs 0)" in found["data.dtypes.b"]
    assert "no column 'c'" in found["data.dtypes.c"]


def test_a_long_column_with_one_text_at_its_end_is_text_in_all(written):
    data = written("x\n" + "1\n" * 300_000 + "a\n")
    assert {type(v) for v in data["x"].values.tolist()} == {str}


def test_of_a_very_wide_table_the_columns_that_are_asked_for_are_read(written, tmp_path, faults):
    names = [f"c{i}" for i in range(20_000)]
    text = "\n".join([",".join(names), ",".join(map(str, range(20_000))), ",".join(map(str, range(1, 20_001)))])
    assert columns(written(text, columns={"y": "c19999", "x": "c7"})) == {"y": [19_999, 20_000], "x": [7, 8]}
    assert (
        "there is no column 'c20000' | did you mean 'c2000'?"
        in faults(source="csv", path="t.csv", columns=["c20000"])["data.columns"]
    )
    (tmp_path / "t.csv").write_text(text + ",1\n")
    assert "row 2 has more cells" in faults(source="csv", path="t.csv", columns=["c1"])["data.path"]


def test_numbers_that_may_have_been_meant_otherwise_are_told(written, caplog):
    with caplog.at_level("INFO", "bayesrun"):
        written("id;x;d\n007;1.234;1.5\n012;12.345;2.25\n")
    assert "'id' is read as numbers: 007 becomes 7. data.dtypes={id: text} keeps leading zeros" in caplog.text
    assert "'x' holds 1.234, which is read with a decimal point" in caplog.text
    assert "'d'" not in caplog.text
    caplog.clear()
    with caplog.at_level("INFO", "bayesrun"):
        written("id,x\n007,1.234\n10,12.345\n", dtypes={"id": "text"})
    assert not caplog.text


def test_dates_of_digits_keep_their_leading_zeros(written):
    data = written("day,y\n01022024,1\n11122024,2\n", parse_dates=["day"], date_format="%d%m%Y")
    assert [str(day)[:10] for day in data["day"].values] == ["2024-02-01", "2024-12-11"]


def test_a_first_line_of_data_is_told_and_names_written_above_it_are_the_remedy(tmp_path, load_data, caplog):
    path = tmp_path / "table.csv"
    for rows in ("1.2,1\n2.1,2\n2.9,3\n", "1.2,a\n2.1,b\n2.9,a\n", "a,3\nb,4\na,5\n"):
        path.write_text(rows, encoding="utf-8")
        assert load_data(source="csv", path="table.csv").sizes["obs"] == 2
        assert (
            f"'table.csv' seems to have no line of column names: its first line ({rows.splitlines()[0]})" in caplog.text
        )
        caplog.clear()
        path.write_text(f"y,x\n{rows}", encoding="utf-8")
        assert load_data(source="csv", path="table.csv").sizes["obs"] == 3
        assert "line of column names" not in caplog.text


def test_years_may_name_columns(tmp_path, load_data, caplog):
    (tmp_path / "table.csv").write_text("country,2001,2002\nNA,1,2\nDE,3,4\n", encoding="utf-8")
    load_data(source="csv", path="table.csv")
    assert "line of column names" not in caplog.text

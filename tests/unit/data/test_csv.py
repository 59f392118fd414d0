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
        ("", "can't be read"),
        ("a,a\n1,2\n", "have the same name: a"),
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

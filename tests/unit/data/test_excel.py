from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

openpyxl = pytest.importorskip("openpyxl")

ROWS = [
    ["name", "n", "day", "zip", None],
    ["a", 1, datetime.date(2024, 11, 5), "01234", "x"],
    ["NA", 2.5, datetime.date(2024, 11, 6), "00501", None],
    ["b", None, None, 1234, "y"],
    ["n/a", "#N/A", datetime.date(2024, 11, 8), "7", None],
]


@pytest.fixture
def book(tmp_path):
    made = openpyxl.Workbook()
    made.active.title = "Results"
    for row in ROWS:
        made.active.append(row)
    other = made.create_sheet("Other")
    other.append(["made today"])
    other.append(["x", "x"])
    other.append([1, 2])
    made.create_sheet("Empty")
    made.save(tmp_path / "book.xlsx")


def test_cells_keep_their_types(book, load_data):
    data = load_data(source="excel", path="book.xlsx", dtypes={"zip": "text"})
    assert set(data.data_vars) == {"name", "n", "day", "zip"}
    assert data["name"].values.tolist() == ["a", None, "b", "n/a"]
    np.testing.assert_array_equal(data["n"].values, [1, 2.5, np.nan, np.nan])
    assert data["zip"].values.tolist() == ["01234", "00501", "1234", "7"]
    assert str(data["day"].values[0])[:10] == "2024-11-05"
    assert np.isnat(data["day"].values[2])


def test_missing_words_are_listed(book, load_data):
    data = load_data(source="excel", path="book.xlsx", missing=["n/a"])
    assert data["name"].values.tolist() == ["a", "NA", "b", None]


@pytest.mark.parametrize(
    ("keys", "key", "part"),
    [
        ({"sheet": "Result"}, "data.sheet", "did you mean 'Results'?"),
        ({"sheet": "Empty"}, "data.sheet", "is empty"),
        ({"sheet": "Other", "skip_rows": 1}, "data.path", "column names repeat: x"),
    ],
)
def test_what_is_no_table_is_refused(book, keys, key, part, faults):
    assert part in faults(source="excel", path="book.xlsx", **keys)[key]


@pytest.mark.parametrize(
    ("rows", "key", "part"),
    [
        ([["My trial"], [], ["y", "x"], [1, 2], [3, 4]], "data.skip_rows", "this looks like skip_rows=2"),
        (
            [["y", "x", None], [None, "a", "b"], [1, 2, 3], [4, 5, 6]],
            "data.skip_rows",
            "write each column's name into one line",
        ),
        ([["y", "x"], [1, 2], [3, "=A3*2"]], "data.path", "cell B3 of sheet 'Sheet' holds =A3*2, without its value"),
    ],
)
def test_what_a_workbook_has_beside_a_table_is_told(rows, key, part, tmp_path, faults):
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    made.save(tmp_path / "book.xlsx")
    assert part in faults(source="excel", path="book.xlsx")[key]


def test_times_of_day_are_text(tmp_path, load_data):
    made = openpyxl.Workbook()
    for row in [["y", "at"], [1, datetime.time(10, 20)], [2, datetime.time(9, 5)]]:
        made.active.append(row)
    made.save(tmp_path / "times.xlsx")
    assert load_data(source="excel", path="times.xlsx")["at"].values.tolist() == ["10:20:00", "09:05:00"]


@pytest.mark.parametrize("odd", [45294, 45294.5, 2])
def test_a_number_among_dates_is_no_date(odd, tmp_path, faults):
    """Excel stores dates as numbers: a cell without the format of a date is one. Pandas takes it for 1970."""
    made = openpyxl.Workbook()
    for row in [["y", "day"], [1, datetime.date(2024, 1, 1)], [2, odd], [3, datetime.date(2024, 1, 3)]]:
        made.active.append(row)
    made.save(tmp_path / "days.xlsx")
    said = faults(source="excel", path="days.xlsx", parse_dates=["day"])["data.parse_dates[0]"]
    assert f"1 of 3 values of 'day' are not dates: '{odd}'" in said and "numbers among dates" in said


def test_a_column_of_numbers_with_a_text_in_it_is_text_and_says_why(tmp_path, load_data):
    made = openpyxl.Workbook()
    for row in [["x", "y"], [1, 2], [2.5, 3], [".", 4], [4, 5]]:
        made.active.append(row)
    made.save(tmp_path / "odd.xlsx")
    data = load_data(source="excel", path="odd.xlsx")
    assert data["x"].values.tolist() == ["1", "2.5", ".", "4"]
    assert data["x"].attrs["text_because"] == "'x' is text because of '.' in row 3"
    np.testing.assert_array_equal(
        load_data(source="excel", path="odd.xlsx", missing=["."])["x"].values, [1, 2.5, np.nan, 4]
    )


@pytest.mark.parametrize("rows", [[[1.5, 3], [2.5, 4], [3.5, 5]], [["a", 3], ["b", 4], ["a", 5]]])
def test_a_first_row_of_data_is_told(tmp_path, load_data, caplog, rows):
    pd.DataFrame(rows).to_excel(tmp_path / "bare.xlsx", header=False, index=False)
    load_data(source="excel", path="bare.xlsx")
    first = ", ".join(map(str, rows[0]))
    assert f"sheet 'Sheet1' seems to have no line of column names: its first line ({first})" in caplog.text
    caplog.clear()
    pd.DataFrame(rows, columns=["country", 2001]).to_excel(tmp_path / "named.xlsx", index=False)
    load_data(source="excel", path="named.xlsx")
    assert "line of column names" not in caplog.text

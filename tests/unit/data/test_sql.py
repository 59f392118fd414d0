from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from bayesrun.data.prepare import load
from bayesrun.data.section import parse_data
from bayesrun.redaction import redact, without_credentials
from tests.conftest import ROOT

pytest.importorskip("sqlalchemy")
QUERY = "select id, x, town, day from t order by id"


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "t.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (id integer, x real, town text, day text)")
        rows = [(1, 0.5, "Hull", "2008-05-02"), (2, None, "10:30", "2008-05-05"), (3, 2.0, None, "2008-05-06")]
        connection.executemany("insert into t values (?, ?, ?, ?)", rows)
    connection.close()
    return path


@pytest.mark.parametrize("form", ["sqlite:///t.db", "sqlite+pysqlite:///t.db", "sqlite:///{path}"])
def test_rows_of_a_query(form, database, load_data):
    url = form.format(path=database)
    data = load_data(source="sql", url=url, query=QUERY, dim="id", parse_dates=["day"])
    assert data["id"].values.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(data["x"], [0.5, np.nan, 2.0])
    assert data["town"].values.tolist() == ["Hull", "10:30", None]
    assert data["day"].dtype == "datetime64[ns]"
    assert data.attrs["origin"] == url


def test_colons_and_percents_in_a_query_are_text(database, load_data):
    data = load_data(source="sql", url="sqlite:///t.db", query="select id from t where town like '%:30'")
    assert data["id"].values.tolist() == [2]


def test_a_query_changes_nothing(database, load_data, faults):
    assert "selects rows" in faults(source="sql", url="sqlite:///t.db", query="delete from t")["data.query"]
    assert load_data(source="sql", url="sqlite:///t.db", query=QUERY).sizes["obs"] == 3


@pytest.mark.parametrize(
    ("url", "query", "key", "part"),
    [
        ("sqlite:///tt.db", QUERY, "data.url", "did you mean 't.db'?"),
        ("t.db", QUERY, "data.url", "no '://'"),
        ("postgresql://me@host:port/db", QUERY, "data.url", "no URL that SQLAlchemy knows"),
        ("postgresql://me:a@b@host/db", QUERY, "data.url", "%40"),
        ("nosuchdb://host/db", QUERY, "data.url", "nosuchdb"),
        ("sqlite:///t.db", "select nope from t", "data.query", "no such column: nope"),
        ("sqlite:///t.db", "select id, id from t", "data.query", "column names repeat: id"),
        ("sqlite:///t.db", "select id from t where id > 9", "data", "is empty"),
    ],
)
def test_what_is_wrong_is_said(url, query, key, part, database, faults):
    assert part in faults(source="sql", url=url, query=query)[key]


def test_missing_sqlite_file_is_not_made(tmp_path, faults):
    faults(source="sql", url="sqlite:///new.db", query=QUERY)
    assert not (tmp_path / "new.db").exists()


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me@host:5432/db"),
        (
            "postgresql+psycopg2://me:s3/c?r#et@host/db?sslmode=require",
            "postgresql+psycopg2://me@host/db?sslmode=require",
        ),
        ("postgresql://me:s3@cret@host/db", "postgresql://me@host/db"),
        (
            "postgresql://host/db?user=me&password=s3cret&sslmode=require",
            "postgresql://host/db?user=me&sslmode=require",
        ),
        ("mssql://?odbc_connect=UID%3Dme%3BPWD%3Ds3cret", "mssql://"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
    ],
)
def test_passwords_are_left_out(url, safe):
    assert without_credentials(url) == safe


def test_passwords_are_left_out_of_messages_in_every_form():
    url = "postgresql://me:s3%21cret@host/db?sslpassword=t0p!"
    message = redact(f"bad '{url}': s3%21cret or s3!cret or t0p!", about=url)
    assert message == "bad 'postgresql://me:***@host/db?sslpassword=***': *** or *** or ***"


def test_a_spec_does_not_show_its_password(tmp_path):
    raw = {"name": "a", "source": "sql", "url": "postgresql://me:s3cret@127.0.0.1:1/db", "query": "select 1"}
    spec = parse_data(raw, tmp_path, [])
    assert "s3cret" not in f"{spec!r} {spec} {spec.model_dump()} {spec.model_dump_json()}"
    with pytest.raises(Exception, match="can't connect") as caught:
        load(spec, tmp_path)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "query",
    [
        "vacuum into 'planted.db'",
        "attach database 'planted.db' as other",
        "select 1 as x; attach database 'planted.db' as other",
        "/* select */ attach database 'planted.db' as other",
        "with a as (select 1) insert into t (id) values (9)",
        "pragma journal_mode = delete",
    ],
)
def test_a_query_reads_and_nothing_more(tmp_path, database, faults, query):
    before = (tmp_path / "t.db").read_bytes()
    assert "data.query" in faults(source="sql", url="sqlite:///t.db", query=query)
    assert not list(tmp_path.rglob("planted.db"))
    assert not (ROOT / "planted.db").exists()
    assert (tmp_path / "t.db").read_bytes() == before


def test_a_semicolon_within_a_text_is_no_second_statement(database, load_data):
    query = "select id from t where town is null or town <> 'a;b';"
    assert load_data(source="sql", url="sqlite:///t.db", query=query).sizes["obs"] == 3


@pytest.mark.parametrize(
    "query",
    [
        "select 1 into outfile '/tmp/x'",
        "select * into copied from t",
        "select 1 /*!50000 into outfile '/tmp/x' */",
        "select 1 /*M! into dumpfile '/tmp/x' */",
        "select '\\''; drop table t; -- '",
        "select 1 # '\n; drop table t; # '",
    ],
)
def test_a_query_of_mysql_reads_and_nothing_more(faults, query):
    """By MySQL's own quotes and comments, before its driver is asked for."""
    said = faults(source="sql", url="mysql+pymysql://me@localhost/db", query=query)
    assert any(part in said["data.query"] for part in ("INTO", "executes", "more than one statement"))


def test_quotes_and_comments_that_only_look_dangerous_are_allowed(database, load_data):
    query = """select id from t where town is not 'a;b into' -- and; into
    and "id" < 9 /* ; into */"""
    assert load_data(source="sql", url="sqlite:///t.db", query=query)["id"].values.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "url",
    [
        "mssql+pyodbc://@/?driver=/shared/evil.so",
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7B%2Fshared%2Fevil.so%7D%3BSERVER%3Dh",
        "mssql+pyodbc://h/db?Driver=..%5Cevil.dll",
    ],
)
def test_a_library_is_no_driver(faults, url):
    assert "names a file as driver" in faults(source="sql", url=url, query="select 1")["data.url"]

"""Source `sql` on a real PostgreSQL server, installed from Debian's packages and started for these tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from tests.postgresql import PASSWORD, postgresql

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg2")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """`host:port` of a server on 127.0.0.1 that asks for a password, run by a user that is not root."""
    with postgresql() as address:
        yield address


@pytest.fixture(scope="module")
def url(server: str) -> str:
    """URL of a database with a table `radon`."""
    url = f"postgresql+psycopg2://me:{PASSWORD}@{server}/postgres"
    engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "create table radon (id int primary key, county text, radon numeric(6, 2), day date, at timestamptz)"
        )
        connection.exec_driver_sql(
            "insert into radon values (1, 'AITKIN', 2.20, '2008-05-02', '2008-05-02 12:00+02'),"
            "(2, 'ANOKA', null, '2008-05-05', null), (3, 'AITKIN', 0.80, null, '2008-05-06 00:00+00')"
        )
    return url


def test_every_kind_of_column(url, load_data):
    data = load_data(source="sql", url=url, query="select * from radon order by id", dim="id", factors={"c": "county"})
    np.testing.assert_array_equal(data["radon"], [2.2, np.nan, 0.8])
    assert data["c"].values.tolist() == [0, 1, 0]
    assert data["county"].values.tolist() == ["AITKIN", "ANOKA"]
    assert data["day"].values.astype("datetime64[D]").astype(str).tolist() == ["2008-05-02", "2008-05-05", "NaT"]
    assert data["at"].values[0] == np.datetime64("2008-05-02T10:00")


def test_casts_and_patterns_are_the_databases_own(url, load_data):
    query = "select id::float8 as id from radon where county like '%KIN' and id % 2 = 1 order by 1"
    assert load_data(source="sql", url=url, query=query)["id"].values.tolist() == [1.0, 3.0]


@pytest.mark.parametrize(
    "query", ["delete from radon returning id", "with gone as (delete from radon returning id) select * from gone"]
)
def test_a_query_changes_nothing(query, url, load_data, faults):
    assert "data.query" in faults(source="sql", url=url, query=query)
    assert load_data(source="sql", url=url, query="select * from radon").sizes["obs"] == 3


def test_the_password_is_written_nowhere(url, load_data, caplog):
    with caplog.at_level(logging.DEBUG):
        data = load_data(source="sql", url=url, query="select * from radon")
    assert PASSWORD not in f"{data.attrs} {caplog.text}"
    assert data.attrs["origin"].startswith("postgresql+psycopg2://me@127.0.0.1")


def test_without_password_in_the_url_the_environments_is_used(url, load_data, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    assert load_data(source="sql", url=url.replace(f":{PASSWORD}", ""), query="select id from radon").sizes["obs"] == 3


@pytest.mark.parametrize(
    ("change", "query", "key", "part"),
    [
        ((PASSWORD, "wr0ng-w0rd"), "select 1 as a", "data.url", "password authentication failed"),
        (("/postgres", "/nowhere"), "select 1 as a", "data.url", '"nowhere" does not exist'),
        (("", ""), "select nope from radon", "data.query", 'column "nope" does not exist'),
        (("", ""), "select 1 +", "data.query", "syntax error"),
        (("psycopg2", "nodriver"), "select 1 as a", "data.url", "nodriver"),
    ],
)
def test_errors_are_clear_and_hold_no_password(change, query, key, part, url, faults):
    found = faults(source="sql", url=url.replace(*change), query=query)
    assert part in found[key]
    assert PASSWORD not in str(found)
    assert "wr0ng-w0rd" not in str(found)

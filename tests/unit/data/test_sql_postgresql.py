"""Source `sql` on a real PostgreSQL server, installed from Debian's packages and started for these tests."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

sa = pytest.importorskip("sqlalchemy")
pytest.importorskip("psycopg2")

PASSWORD = "s3cret-w0rd"


def _binaries() -> Path:
    """Find the newest server's programs, installed with apt-get where there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and shutil.which("apt-get") and os.geteuid() == 0:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # 1: starts no service
        for command in (["update"], ["install", "-y", "--no-install-recommends", "postgresql"]):
            subprocess.run(["apt-get", "-q", *command], env=environment, check=True, stdout=subprocess.DEVNULL)
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("NOT TESTED: no PostgreSQL, and apt-get (as root) is not available to install it")
    return found[-1].parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """`host:port` of a server on 127.0.0.1 that asks for a password, run by a user that is not root."""
    programs, root = _binaries(), os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix="bayesrun-pg-"))
    (folder / "password").write_text(PASSWORD)
    if root:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres", "postgres")
    user = "postgres" if root else None
    port = _free_port()

    def run(*command: str) -> None:
        arguments = [str(programs / command[0]), *command[1:]]
        # Popen would start in our folder, which that user may not enter; a pipe would wait for the server's end
        subprocess.run(arguments, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

    cluster = str(folder / "cluster")
    run(
        "initdb",
        "-D",
        cluster,
        "-U",
        "me",
        "-A",
        "scram-sha-256",
        f"--pwfile={folder / 'password'}",
        "-N",
        "-E",
        "UTF8",
    )
    options = f"-h 127.0.0.1 -p {port} -k {folder} -c fsync=off"
    try:
        run("pg_ctl", "start", "-w", "-D", cluster, "-l", str(folder / "log"), "-o", options)
        yield f"127.0.0.1:{port}"
    finally:
        if (folder / "cluster" / "postmaster.pid").exists():
            run("pg_ctl", "stop", "-w", "-m", "fast", "-D", cluster)
        shutil.rmtree(folder)


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


def test_a_query_changes_nothing(url, load_data):
    query = "delete from radon returning id"
    assert load_data(source="sql", url=url, query=query).sizes["obs"] == 3
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
        (("", ""), "selec 1", "data.query", "syntax error"),
        (("psycopg2", "nodriver"), "select 1 as a", "data.url", "nodriver"),
    ],
)
def test_errors_are_clear_and_hold_no_password(change, query, key, part, url, faults):
    found = faults(source="sql", url=url.replace(*change), query=query)
    assert part in found[key]
    assert PASSWORD not in str(found)
    assert "wr0ng-w0rd" not in str(found)

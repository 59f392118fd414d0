"""Source `sql`: the rows that a query selects from a database, through SQLAlchemy.

A query comes from a YAML file, which may be untrusted, so it is read-only. It must be a single statement that selects,
and that selects into nothing; for SQLite, an authorizer denies everything except reading (`VACUUM INTO` and `ATTACH`
would write files); for PostgreSQL, CockroachDB, MySQL, MariaDB and Oracle, the transaction is read-only; of any other
database the transaction is rolled back.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote_plus

from pydantic import Field, PlainSerializer

from bayesrun.data.base import DataSpec, Source
from bayesrun.data.files import from_frame, missing_file, resolve
from bayesrun.errors import Problem, UserError, fail
from bayesrun.lazy import pd, xr
from bayesrun.redaction import missing_credentials, redact, without_credentials, without_redacted
from bayesrun.secret_patterns import REDACTED

if TYPE_CHECKING:
    import sqlalchemy as sa


_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_QUOTED_IN_MYSQL = re.compile(  # a backslash escapes there, and a comment needs a blank after `--`
    r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`[^`]*`|(?:--(?=\s)|#)[^\n]*|/\*(?!M?!).*?\*/", re.DOTALL
)
_SELECTS = ("select", "with", "values", "table")
_READ_ONLY = {
    **dict.fromkeys(("mysql", "mariadb"), "SET SESSION TRANSACTION READ ONLY"),
    **dict.fromkeys(("cockroachdb", "oracle"), "SET TRANSACTION READ ONLY"),
}
"""What makes the transaction of a dialect read-only."""
# SQLite's action codes for reading: SELECT, READ, FUNCTION, RECURSIVE
_READING = (21, 20, 31, 33)
_SQLITE_FILE = re.compile(r"^sqlite(?:\+\w+)?:///(?!file:)([^?]+)")


class SqlSpec(DataSpec):
    """Keys of `source: sql`.

    Parameters
    ----------
    url
        Any SQLAlchemy URL. A password is used to connect, and removed wherever the spec is written.
    query
        A single statement that selects rows.
    """

    url: Annotated[str, PlainSerializer(without_credentials), Field(repr=False)]
    query: str


def check(spec: SqlSpec, directory: Path) -> list[Problem]:
    """Return the problems of the URL, a missing SQLite file, and packages that are not installed."""
    if importlib.util.find_spec("sqlalchemy") is None:
        return [_not_installed("sqlalchemy")]
    if REDACTED in spec.query:
        return [Problem("data.query", "a secret was left out of it when it was written", "write the query again")]
    missing = missing_credentials(spec.url)
    if missing:
        return [Problem("data.url", "its password was left out when it was written", missing)]
    if "://" not in spec.url:
        hint = "e.g. postgresql://user@host/database, or sqlite:///file.db"
        return [Problem("data.url", "is not the URL of a database: it has no '://'", hint)]
    if spec.url.count("@") > 1:
        return [Problem("data.url", "has more than one '@'", "write an '@' within a user name or password as %40")]
    # SQLite would create a new, empty file
    return [
        *_not_a_selection(spec.query, spec.url),
        *_driver_problems(spec.url),
        *(p for file in _sqlite_file(spec.url) for p in missing_file(resolve(file, directory), "data.url", file)),
    ]


def _not_a_selection(query: str, url: str) -> list[Problem]:
    """Reject anything but a single statement that selects, by the database's rules for quotes and comments."""
    quoted = _QUOTED_IN_MYSQL if re.match(r"(mysql|mariadb)\b", url, re.IGNORECASE) else _QUOTED
    bare = quoted.sub(" ", query).strip().removesuffix(";").strip()
    hint = "write one statement that selects rows: SELECT ..., or WITH ... SELECT ..."
    if re.search(r"/\*M?!", bare):
        return [Problem("data.query", "holds a comment that MySQL executes (/*! ... */)", "leave it out")]
    if ";" in bare:
        return [Problem("data.query", "holds more than one statement", hint)]
    if re.search(r"\binto\b", bare, re.IGNORECASE):
        return [Problem("data.query", "selects INTO something: it may only read", hint)]
    word = re.split(r"\W", bare.lstrip("("), maxsplit=1)[0].lower()
    if word not in _SELECTS:
        return [Problem("data.query", f"must select rows (it begins with '{word[:20]}')", hint)]
    return []


def load(spec: SqlSpec, directory: Path) -> xr.Dataset:
    """Run the read-only query; NULL is a missing value.

    Raises
    ------
    UserError
        When the database does not respond or rejects the query; the message does not contain the password.
    """
    frame = _select(spec, directory)
    return from_frame(frame, spec, "data.query").assign_attrs(origin=without_credentials(spec.url))


def _select(spec: SqlSpec, directory: Path) -> pd.DataFrame:
    import sqlalchemy as sa  # an extra

    try:
        url = _absolute(sa.make_url(without_redacted(spec.url)), spec, directory)
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        with engine.connect() as connection:
            return _rows(_reading_only(connection), spec.query)
    # `from None`: the driver's own error may quote the URL, and a traceback would show it
    except ModuleNotFoundError as error:
        raise UserError([_not_installed(str(error.name))]) from None
    except (sa.exc.ArgumentError, ValueError) as error:  # ValueError: a port that is not a number
        message = f"is no URL that SQLAlchemy knows: {_first_line(error, spec)}"
        raise fail("data.url", message, "e.g. postgresql://user@host/database, or sqlite:///file.db") from None
    except sa.exc.DBAPIError as error:
        raise _refused(error, spec) from None
    except sa.exc.SQLAlchemyError as error:
        raise fail("data.query", _first_line(error, spec), "it must be one statement that selects rows") from None


def _driver_problems(url: str) -> list[Problem]:
    """Reject an ODBC driver that is given as a file: it is a library, which would be loaded."""
    if re.search(r"driver\s*=\s*\{?[^;&]*[/\\]", unquote_plus(unquote_plus(url.partition("?")[2])), re.IGNORECASE):
        return [Problem("data.url", "names a file as driver, whose code would run", "name a driver of odbcinst.ini")]
    return []


def _reading_only(connection: sa.Connection) -> sa.Connection:
    """Make a connection read-only by the means of the database."""
    name = connection.dialect.name
    if name == "sqlite":
        raw = connection.connection.driver_connection
        raw.set_authorizer(lambda action, *_: 0 if action in _READING else 1)  # type: ignore[union-attr]
        return connection
    if name == "postgresql":
        return connection.execution_options(postgresql_readonly=True)
    if name in _READ_ONLY:
        connection.exec_driver_sql(_READ_ONLY[name])
    return connection


def _rows(connection: sa.Connection, query: str) -> pd.DataFrame:
    # pass the query unchanged to the driver: ':' and '%' are not placeholders
    result = connection.execution_options(no_parameters=True).exec_driver_sql(query)
    return pd.DataFrame(result.fetchall(), columns=list(result.keys()), dtype=object)


def _refused(error: sa.exc.DBAPIError, spec: SqlSpec) -> UserError:
    """Distinguish an unreachable database from a rejected query."""
    message = _first_line(error.orig or error, spec)
    if error.statement is None:
        return fail("data.url", f"can't connect: {message}", "check host, port, user, database, and the password")
    return fail("data.query", f"the database refuses it: {message}", "try the query in the database's own shell")


def _absolute(url: sa.URL, spec: SqlSpec, directory: Path) -> sa.URL:
    files = _sqlite_file(spec.url)
    return url.set(database=str(resolve(files[0], directory).resolve())) if files else url


def _sqlite_file(url: str) -> list[str]:
    found = _SQLITE_FILE.match(url)
    return [found.group(1)] if found and found.group(1) != ":memory:" else []


def _first_line(error: BaseException, spec: SqlSpec) -> str:
    lines = redact(str(error), about=spec.url).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _not_installed(package: str) -> Problem:
    hint = "install the extra: pip install 'bayesrun[sql]', and the driver that the URL names"
    return Problem("data.source", f"this database needs the package {package}", hint)


SOURCE = Source(spec=SqlSpec, load=load, check=check)

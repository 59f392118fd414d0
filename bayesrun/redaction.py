"""Secrets are removed from everything that leaves the process: files, console, log, errors, provenance, tracking.

Two ways work together. A secret is recognised by where it stands: in a URL (user information, a query's parameter, a
fragment), after `password=` and the like, or below a key of the config with such a name. And a secret that was found
in the command line or in the config is remembered, and removed wherever it turns up later, in whatever form it is
quoted there. `***` takes its place.

A config that was written so runs again: credentials then come from the environment, `~/.netrc` (servers) or
`~/.pgpass` (PostgreSQL); the user is asked for what can't come from there (`missing_credentials`).
"""

from __future__ import annotations

import errno
import html
import json
import netrc
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

REDACTED = "***"

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_URL_IN_TEXT = re.compile(
    r"(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]*://"
    # a blank in a password: it ends at the '@' of the same line
    r"(?:[^\s:/@\"'<>`]*:(?!\d*[\s/])[^@\n\"'<>`]*@)?[^\s\"'<>`]*"
)
_LOGIN = re.compile(r"[^\s:/@={}\[\]]+:[^@\s{}\[\]]+@[\w.\-]+(?::\d+)?(?:/\S*)?$")  # a URL whose scheme was forgotten
_PAGES = ("/experiments/", "/compare-runs")  # of MLflow's pages, which bayesrun names itself
_WEB = ("http", "https", "ftp", "ftps", "ws", "wss")
_DATABASES = (
    *("postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "sqlite", "snowflake", "redshift", "mongodb"),
    *("cockroachdb", "clickhouse", "duckdb", "db2", "trino", "hive", "redis"),
    "x",  # replaces a scheme that was forgotten
)

_STRONG = r"passw(?:or)?d|passwd|passphrase|passcode|\bpwd\b|secret|token|credential|api_?key|access_?key|private_?key"
_STRONG_NAME = re.compile(_STRONG.replace(r"\bpwd\b", "pwd"), re.IGNORECASE)
_KEY_NAME = re.compile(_STRONG_NAME.pattern + r"|(?:^|[_\-])key$|(?:^|[_\-])auth(?:orization)?$", re.IGNORECASE)
_PARAMETER_NAME = re.compile(_STRONG_NAME.pattern + r"|key|sig|auth|^pass$|^code$|^sas$|^jwt$", re.IGNORECASE)
_ENVIRONMENT_NAME = re.compile(r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_KEY)$", re.IGNORECASE)

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ASSIGNMENT = re.compile(
    # begins where a word begins: tried at each of its letters, a long word would take forever
    r"(?<![\w.@/\-])"
    rf"(?P<name>[\w.@/\-]+)(?P<between>[\"']?\s*(?:=|(?<=[\"'])\s*:)\s*)(?P<value>{_QUOTED}|\{{[^{{}}]*\}}|[^\s,;&)\]}}\"']+)"
)

# below these keys people name parameters, columns and levels as they like: a prior `key`, a column `token`
_OPEN_SECTIONS = re.compile(r"^(?:model(?!\.options(?:\.|$))|sampler|diagnostics|store|predictive)(?:\.|$)")
_OPEN_DATA = re.compile(r"^(?:data|predict)\.(?:\w+\.)*(?:derive|rename|dtypes|levels|columns|factors|values)(?:\.|$)")

_TOKEN_LENGTH = 16
_SHORTEST = 4  # shorter ones are removed only where they are recognised: they would be found inside words
_known: set[str] = set()


# ---------------------------------------------------------------- leaving out


def redact(text: str, about: str = "") -> str:
    """Return a text without the secrets in it.

    Parameters
    ----------
    text
        Any text: a message, a URL, a command line.
    about
        A URL that the text may quote parts of, as drivers do with one that they can't read.
    """
    return _redact_assignments(redact_known(text, about))


def redact_known(text: str, about: str = "") -> str:
    """Return a text without secrets that are known, and without those in its URLs.

    For files that are mostly not bayesrun's own words, such as a page with scripts: `token = x` is not a secret there.
    """
    extra = [form for secret in secrets_of(about) for form in _forms(secret, parts=True)] if about else []
    for secret in sorted({*_known, *extra}, key=len, reverse=True):
        if secret in text:
            text = re.sub(_bounded(secret), REDACTED, text)
    return _URL_IN_TEXT.sub(lambda match: redact_url(match.group()), text) if "://" in text else text


def redact_url(url: str) -> str:
    """Return a URL with `***` for each secret in it."""
    for start, end in reversed(_secret_spans(url)):
        url = url[:start] + REDACTED + url[end:]
    return url


def redact_override(override: str) -> str:
    """Return `key=value` of a command line without the secrets in it."""
    name, equals, value = override.partition("=")
    if not equals:
        return redact(override)
    if is_secret_key(name.lstrip("+~")) and value not in ("", "null"):
        return f"{name}={REDACTED}"
    return f"{name}={','.join(redact_value(part) for part in _choices(value))}"


def redact_tree(value: Any, path: str = "") -> Any:
    """Return plain values, such as a config, without the secrets in them.

    Parameters
    ----------
    value
        Mappings, lists and scalars.
    path
        Dotted key of `value`.
    """
    if isinstance(value, Mapping):
        return {key: redact_tree(each, f"{path}.{key}" if path else str(key)) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [redact_tree(each, path) for each in value]
    if is_secret_key(path) and _is_secret_value(value):
        return REDACTED
    return redact_value(value) if isinstance(value, str) else value


def redact_value(text: str) -> str:
    """Return one value of a config without the secrets in it: a URL that is the whole of it may hold blanks."""
    if _LOGIN.match(text) and not _SCHEME.match(text):
        return redact_url(f"x://{text}").removeprefix("x://")
    return redact_url(redact_known(text)) if _SCHEME.match(text) else redact(text)


class RedactedStream:
    """A text stream that leaves secrets out of what is written to it; all else is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text without its secrets."""
        with _into_the_void():
            self._stream.write(redact(text) if _known or "://" in text or "=" in text else text)
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with _into_the_void():
            self._stream.flush()

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines without their secrets."""
        for each in lines:
            self.write(each)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _into_the_void() -> Iterator[None]:
    """Ignore output to a terminal that was closed: SIGHUP has reported it, and keeping the draws matters more."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise


# ---------------------------------------------------------------- remembering


def remember_overrides(overrides: Iterable[str]) -> None:
    """Remember the secrets of a command line: later messages may quote them."""
    for override in overrides:
        name, _, value = override.partition("=")
        if is_secret_key(name.lstrip("+~")):
            _remember([value.strip("'\"")])
        for part in _choices(value):
            _remember(secrets_of(part.strip("'\"")))
        _remember(secrets_of(override))


def remember_texts(texts: Iterable[str]) -> None:
    """Remember the secrets of texts; one in which none is recognised is a secret as a whole."""
    for text in texts:
        _remember(secrets_of(text) or [text])


def remember_config(value: Any, path: str = "") -> None:
    """Remember the secrets of a config."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            remember_config(each, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for each in value:
            remember_config(each, path)
    elif is_secret_key(path) and _is_secret_value(value):
        _remember([str(value)])
    elif isinstance(value, str):
        _remember(secrets_of(value))


def remember_environment() -> None:
    """Remember the secrets of the environment: a library's message may quote one.

    Those of variables that are named so (`PGPASSWORD`), and those in URLs. A plain word is not remembered: it would be
    left out wherever it is meant as a word.
    """
    values = os.environ.items()
    named = [value for name, value in values if _ENVIRONMENT_NAME.search(name)]
    in_urls = [secret for _, value in values if "://" in value for secret in secrets_of(value)]
    _remember(secret for secret in (*named, *in_urls) if len(secret) >= 2 * _SHORTEST and not secret.isalpha())


def secrets_of(text: str) -> list[str]:
    """Return the secrets in a text: those of its URLs, and what is assigned to `password` and the like."""
    urls = [text] if _SCHEME.match(text) else _URL_IN_TEXT.findall(text)
    if not urls and _LOGIN.match(text):
        urls = [f"x://{text}"]
    found = [secret for url in urls for secret in _url_secrets(url)]
    found += [match["value"].strip("'\"{}") for match in _ASSIGNMENT.finditer(text) if _is_assignment_of_secret(match)]
    return [secret for secret in found if secret and REDACTED not in secret]


def _url_secrets(url: str) -> Iterator[str]:
    for start, end in _secret_spans(url):
        secret = url[start:end]
        yield secret
        user, colon, password = secret.partition(":")
        if colon and url[end : end + 1] == "@":  # a user name alone is not a secret, unless it looks like a token
            yield password
            yield user if len(user) >= _TOKEN_LENGTH else ""


def _remember(secrets: Iterable[str]) -> None:
    for secret in secrets:
        if secret and REDACTED not in secret:
            _known.update(_forms(secret))


def _forms(secret: str, parts: bool = False) -> set[str]:
    """Return the forms in which a secret may be quoted; with `parts` also its words, as a driver cuts it."""
    plain = {secret, unquote(secret), unquote_plus(secret)}
    forms = {form for each in plain for form in (each, quote(each, safe=""), quote_plus(each), html.escape(each))}
    forms |= {form for each in plain for form in (json.dumps(each)[1:-1], repr(each)[1:-1])}
    if parts:
        forms |= {word for each in plain for word in re.split(r"[\s/?#@:=&]+", each)}
    return {form for form in forms if len(form) >= _SHORTEST and not _is_common(form)}


def _is_common(word: str) -> bool:
    """Return whether a word is a number or a common one: removing it everywhere would make texts unreadable."""
    try:
        float(word)
        return len(word) < 2 * _SHORTEST
    except ValueError:
        return word.lower() in ("true", "false", "null", "none", "auto", "data", "user", "host", "require")


def _bounded(secret: str) -> str:
    before = r"(?<![A-Za-z0-9])" if secret[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if secret[-1].isalnum() else ""
    return f"{before}{re.escape(secret)}{after}"


# ---------------------------------------------------------------- recognising


def is_secret_key(path: str) -> bool:
    """Return whether a dotted key of a config names a secret: `tags.api_token` does, a prior called `key` does not."""
    path = re.sub(r"\[\d+\]", "", path)
    if _OPEN_SECTIONS.match(path) or _OPEN_DATA.match(path):
        return False
    return any(_KEY_NAME.search(part) for part in path.split("."))


def _is_secret_value(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and value != ""


def _is_assignment_of_secret(match: re.Match[str]) -> bool:
    name = match["name"].lstrip("-")
    if _OPEN_SECTIONS.match(name) or _OPEN_DATA.match(name):
        return False
    return bool(_STRONG_NAME.search(name.rpartition(".")[2].rpartition("/")[2]))


def _redact_assignments(text: str) -> str:
    def without(match: re.Match[str]) -> str:
        if not _is_assignment_of_secret(match) or match["value"].strip("'\"") in ("", "null", "None", REDACTED):
            return match.group()
        marks = match["value"][0] if match["value"][0] in "'\"" else ""
        return f"{match['name']}{match['between']}{marks}{REDACTED}{marks}"

    return _ASSIGNMENT.sub(without, text) if "=" in text or ":" in text else text


def _choices(value: str) -> list[str]:
    """Split the values that a sweep's override names where the next one is a URL: a password may hold a comma."""
    return re.split(r",(?=\s*['\"]?[A-Za-z][A-Za-z0-9+.\-]*://)", value)


def _secret_spans(url: str) -> list[tuple[int, int]]:
    """Return the positions of secrets in a URL, in order, without overlaps."""
    scheme = _SCHEME.match(url)
    if scheme is None:
        return []
    start = scheme.end()
    name = scheme.group()[:-3].lower().partition("+")[0]
    is_web = name in _WEB
    at = _end_of_user(url, start, is_web)
    spans = [] if at is None else _user_spans(url, start, at, name in _DATABASES)
    place = start if at is None else at + 1
    if not url.startswith("/", start):  # `sqlite:///a#b.db` is a path
        spans += _fragment_span(url, place, is_web)
    mark = url.find("#", place)
    end = mark if mark >= 0 and (is_web or (spans and spans[-1][0] == mark + 1)) else len(url)
    return sorted([*spans, *_query_spans(url, place, end)])


def _end_of_user(url: str, start: int, is_web: bool) -> int | None:
    """Return the position of the '@' after user name and password; both may hold any character, escaped or not."""
    head = re.match(r"[^/?#]*", url[start:]).group()  # type: ignore[union-attr]
    last = url.rfind("@", start)
    if last < 0 or (not head and url.startswith("/", start)):
        return None
    if not is_web:
        return last if ("@" in head or ":" in head) else None
    if "@" in head:
        query = re.search(r"[?#]", url[start + len(head) :])
        return url.rfind("@", start, start + len(head) + query.start() if query else len(url))
    host, colon, port = head.partition(":")
    if not colon or (port.isdigit() and ("." in host or host == "localhost" or "@" not in _segment(url, start, head))):
        return None  # an '@' of the path or the query
    return last


def _segment(url: str, start: int, head: str) -> str:
    """Return the first segment of a URL's path, without its first character."""
    return re.split(r"[/?#]", url[start + len(head) + 1 :], maxsplit=1)[0][1:]


def _user_spans(url: str, start: int, at: int, is_database: bool) -> list[tuple[int, int]]:
    """A server's user name may be a token, so both go; a database's user name stays."""
    user, colon, password = url[start:at].partition(":")
    if not is_database:
        return [(start, at)] if url[start:at] not in ("", REDACTED) else []
    if colon:
        return [(start + len(user) + 1, at)] if password not in ("", REDACTED) else []
    return [(start, at)] if len(user) >= _TOKEN_LENGTH else []


def _fragment_span(url: str, place: int, is_web: bool) -> list[tuple[int, int]]:
    mark = url.find("#", place)
    if mark < 0 or (not is_web and "?" in url[place:mark]):  # of a database's query it is a character as any
        return []
    fragment = url[mark + 1 :]
    return [] if fragment in ("", REDACTED) or fragment.startswith(_PAGES) else [(mark + 1, len(url))]


def _query_spans(url: str, place: int, end: int) -> list[tuple[int, int]]:
    mark = url.find("?", place, end)
    return [] if mark < 0 else [span for span in _parameters(url, mark + 1, end) if span[0] < span[1]]


def _parameters(url: str, place: int, end: int) -> Iterator[tuple[int, int]]:
    for part in url[place:end].split("&"):
        name, equals, value = part.partition("=")
        begin = place + len(name) + 1
        plain = unquote_plus(value)
        if equals and value != REDACTED:
            if _PARAMETER_NAME.search(unquote(name)) or _redact_nested(plain) != plain:
                yield begin, place + len(part)
        elif not equals and len(name) >= _TOKEN_LENGTH:  # `?TOKEN`
            yield place, place + len(part)
        place += len(part) + 1


def _redact_nested(text: str) -> str:
    """A parameter may hold a whole connection string, such as `odbc_connect`."""
    spans = _secret_spans(text)
    return REDACTED if spans else _redact_assignments(re.sub(r"\bPWD\b", "password", text, flags=re.IGNORECASE))


# ---------------------------------------------------------------- running again


_AGAIN = "give it again on the command line"
_SERVER_CREDENTIALS = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, or write a line for the host "
    "into ~/.netrc"
)
_DATABASE_CREDENTIALS = "set PGPASSWORD, or write a line for the host into ~/.pgpass"


def without_redacted(url: str) -> str:
    """Return a URL without its redacted parts, so that it works with credentials from elsewhere."""
    url = re.sub(rf"://{re.escape(REDACTED)}@", "://", url)
    url = re.sub(rf":{re.escape(REDACTED)}@", "@", url)
    base, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and not part.endswith(f"={REDACTED}") and part != REDACTED]
    return re.sub(rf"#{re.escape(REDACTED)}$", "", base + ("?" + "&".join(kept) if kept else ""))


def without_credentials(url: str) -> str:
    """Return a URL without its secrets, as it may be written and used again: PostgreSQL asks `~/.pgpass` then."""
    return without_redacted(redact_url(url))


def missing_credentials(url: str) -> str:
    """Return where the credentials that were left out of a URL can come from; empty where none are missing."""
    if REDACTED not in url:
        return ""
    scheme = url.partition(":")[0].lower().partition("+")[0]
    if f"{REDACTED}@" in url and scheme in _WEB:
        return "" if _has_server_credentials(without_redacted(url)) else f"{_SERVER_CREDENTIALS}, or {_AGAIN}"
    if scheme in ("postgresql", "postgres"):
        return "" if _has_database_credentials() else f"{_DATABASE_CREDENTIALS}, or {_AGAIN}"
    return _AGAIN


def _has_server_credentials(url: str) -> bool:
    names = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_AUTH", "DATABRICKS_TOKEN")
    if any(os.environ.get(name) for name in names):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _has_database_credentials() -> bool:
    file = Path(os.environ.get("PGPASSFILE") or "~/.pgpass").expanduser()
    return bool(os.environ.get("PGPASSWORD") or os.environ.get("PGSERVICE") or file.is_file())

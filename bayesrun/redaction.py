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

from bayesrun.secret_patterns import (
    ENVIRONMENT_NAME,
    LOGIN,
    REDACTED,
    SCHEME,
    TOKEN_LENGTH,
    URL_IN_TEXT,
    WEB,
    is_open,
    is_secret_key,
    phrase_spans,
    url_spans,
)

_MIN_LENGTH = 4  # shorter ones are removed only where they are recognised: they would be found inside words
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
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
    return _redact_phrases(redact_known(text, about))


def redact_known(text: str, about: str = "") -> str:
    """Return a text without secrets that are known, and without those in its URLs.

    For files that are mostly not bayesrun's own words, such as a page with scripts: `token = x` is not a secret there.
    """
    extra = [form for secret in secrets_of(about) for form in _forms(secret, parts=True)] if about else []
    for secret in sorted({*_known, *extra}, key=len, reverse=True):
        if secret in text:
            text = re.sub(_bounded(secret), REDACTED, text)
    return URL_IN_TEXT.sub(lambda match: redact_url(match.group()), text) if "://" in text else text


def redact_url(url: str) -> str:
    """Return a URL with `***` for each secret in it."""
    for start, end in reversed(url_spans(url)):
        url = url[:start] + REDACTED + url[end:]
    return url


def redact_override(override: str) -> str:
    """Return `key=value` of a command line without the secrets in it."""
    name, equals, value = override.partition("=")
    if not equals:
        return redact(override)
    if is_secret_key(name.lstrip("+~")) and value not in ("", "null"):
        return f"{name}={REDACTED}"
    if is_open(name.lstrip("+~")):
        return f"{name}={','.join(redact_known(part) for part in _choices(value))}"
    safe = ",".join(redact_value(part) for part in _choices(value))
    return f"{name}={_QUOTED.sub(lambda match: _within_quotes(match.group()), safe)}"


def _within_quotes(text: str) -> str:
    return text[0] + redact_value(text[1:-1]) + text[-1]


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
    if not isinstance(value, str):
        return value
    return redact_known(value) if is_open(path) else redact_value(value)  # `token == 1` is an expression of a model


def redact_value(text: str) -> str:
    """Return one value of a config without the secrets in it: a URL that is the whole of it may hold blanks."""
    if LOGIN.match(text) and not SCHEME.match(text):
        return redact_url(f"x://{text}").removeprefix("x://")
    if SCHEME.match(text):
        text = redact_url(redact_known(text))
    return _redact_phrases(redact_known(text), lines=True)


def redact_lines(text: str) -> str:
    """Return a text of YAML or of a program without the secrets in it: `password: VALUE` is one there."""
    return _redact_phrases(redact_known(text), lines=True)


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
            part = part.strip("'\"")
            _remember(_secrets_of_urls(part) if is_open(name.lstrip("+~")) else secrets_of(part))
        if not is_open(name.lstrip("+~")):
            _remember(secrets_of(override))
            for quoted in _QUOTED.findall(value):
                _remember(secrets_of(quoted[1:-1]))


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
        _remember(_secrets_of_urls(value) if is_open(path) else secrets_of(value))


def remember_environment() -> None:
    """Remember the secrets of the environment: a library's message may quote one.

    Those of variables that are named so (`PGPASSWORD`), and those in URLs. A plain word is not remembered: it would be
    left out wherever it is meant as a word.
    """
    values = os.environ.items()
    named = [value for name, value in values if ENVIRONMENT_NAME.search(name)]
    in_urls = [secret for _, value in values if "://" in value for secret in secrets_of(value)]
    _remember(secret for secret in (*named, *in_urls) if len(secret) >= 2 * _MIN_LENGTH and not secret.isalpha())


def secrets_of(text: str) -> list[str]:
    """Return the secrets in a text: those of its URLs, and what is assigned to `password` and the like."""
    found = [*_secrets_of_urls(text), *(text[begin:end] for begin, end in phrase_spans(text, lines=True))]
    found += [secret.strip("{}") for secret in found]
    found += [inner for secret in found for inner in _inside(secret)]
    found += [
        secret.split(None, 1)[1] for secret in found if re.match(r"(?i)(?:bearer|basic|token|digest|apikey)\s", secret)
    ]
    return [secret for secret in dict.fromkeys(found) if secret and REDACTED not in secret]


def _inside(secret: str) -> list[str]:
    """Return the secrets of a connection string that is one as a whole, such as `odbc_connect` of a URL."""
    text = secret
    while (plain := unquote_plus(text)) != text:
        text = plain
    return [text[begin:end].strip("{}") for begin, end in phrase_spans(text)]


def _secrets_of_urls(text: str) -> list[str]:
    urls = [text] if SCHEME.match(text) else URL_IN_TEXT.findall(text)
    if not urls and LOGIN.match(text):
        urls = [f"x://{text}"]
    return [secret for url in urls for secret in _url_secrets(url) if secret and REDACTED not in secret]


def _url_secrets(url: str) -> Iterator[str]:
    for start, end in url_spans(url):
        secret = url[start:end]
        yield secret
        user, colon, password = secret.partition(":")
        if colon and url[end : end + 1] == "@":  # a user name alone is not a secret, unless it looks like a token
            yield password
            yield user if len(user) >= TOKEN_LENGTH else ""


@contextmanager
def remembering_apart() -> Iterator[None]:
    """Remember secrets for the time of a block alone, in which those of before are not known."""
    before = set(_known)
    _known.clear()
    try:
        yield
    finally:
        _known.clear()
        _known.update(before)


def _remember(secrets: Iterable[str]) -> None:
    for secret in secrets:
        if secret and REDACTED not in secret:
            _known.update(_forms(secret))


def _forms(secret: str, parts: bool = False) -> set[str]:
    """Return the forms in which a secret may be quoted; with `parts` also its words, as a driver cuts it."""
    plain = {secret, unquote(secret), unquote_plus(secret), re.sub(r"\\(.)", r"\1", secret)}
    forms = {form for each in plain for form in (each, quote(each, safe=""), quote_plus(each), html.escape(each))}
    forms |= {form for each in plain for form in (json.dumps(each)[1:-1], repr(each)[1:-1])}
    if parts:
        forms |= {word for each in plain for word in re.split(r"[\s/?#@:=&]+", each)}
    return {form for form in forms if len(form) >= _MIN_LENGTH and not _is_common(form)}


def _is_common(word: str) -> bool:
    """Return whether a word is a number or a common one: removing it everywhere would make texts unreadable."""
    try:
        float(word)
        return len(word) < 2 * _MIN_LENGTH
    except ValueError:
        return word.lower() in ("true", "false", "null", "none", "auto", "data", "user", "host", "require")


def _bounded(secret: str) -> str:
    before = r"(?<![A-Za-z0-9])" if secret[0].isalnum() else ""
    after = r"(?![A-Za-z0-9])" if secret[-1].isalnum() else ""
    return f"{before}{re.escape(secret)}{after}"


def _is_secret_value(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and value != ""


def _redact_phrases(text: str, lines: bool = False) -> str:
    for begin, end in reversed(phrase_spans(text, lines)):
        text = text[:begin] + REDACTED + text[end:]
    return text


def _choices(value: str) -> list[str]:
    """Split the values that a sweep's override names where the next one is a URL: a password may hold a comma."""
    return re.split(r",(?=\s*['\"]?[A-Za-z][A-Za-z0-9+.\-]*://)", value)


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
    if f"{REDACTED}@" in url and scheme in WEB:
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

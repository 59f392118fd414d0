"""Passwords in database URLs: whatever is written, logged or tracked goes through `without_passwords`."""

from __future__ import annotations

import re
from urllib.parse import unquote

_URL = re.compile(r"[A-Za-z][\w+.\-]*://\S+")
# greedy: an '@' that stands in a password unescaped must not save what is before it
_PASSWORD = re.compile(r"^(\w[\w+.\-]*://[^:/@]*):(.*)@", re.DOTALL)
_SECRET = re.compile(r"password|passwd|passphrase|pwd|secret|token", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """Return a text with the passwords of the URLs in it left out.

    A URL without its password is still good: PostgreSQL then takes it from `PGPASSWORD` or `~/.pgpass`.

    Parameters
    ----------
    text
        A URL, or anything with URLs in it (a command line, a message).
    """
    return _URL.sub(lambda match: _without_password(match.group()), text)


def scrubbed(message: str, url: str) -> str:
    """Return a message about a URL without the URL's password, in whatever form it may be quoted there.

    Parameters
    ----------
    message
        Text of an error.
    url
        The URL as the user wrote it.
    """
    message = without_passwords(message.replace(url, without_passwords(url)))
    found = _PASSWORD.match(url)
    secrets = [found.group(2)] if found else []
    secrets += [part.partition("=")[2] for part in _query(url) if _SECRET.search(unquote(part))]
    for secret in [form for s in secrets if s for form in (s, unquote(s))]:
        message = message.replace(secret, "***")
    return message


def _without_password(url: str) -> str:
    url = _PASSWORD.sub(r"\1@", url)
    parts = [part for part in _query(url) if not _SECRET.search(unquote(part))]
    return "?".join([url.partition("?")[0], *(["&".join(parts)] if parts else [])])


def _query(url: str) -> list[str]:
    return [part for part in url.partition("?")[2].split("&") if part]

"""How secrets are recognised: in URLs, by the words before them, by their format, and by the key of a config.

Spans are positions in a text, in order and without overlaps; what is done about them is for `redaction` to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote, unquote_plus

REDACTED = "***"

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
URL_IN_TEXT = re.compile(
    r"(?<![A-Za-z0-9+.\-])[A-Za-z][A-Za-z0-9+.\-]*://"
    # a blank in a password: it ends at the '@' of the same line
    r"(?:[^\s:/@\"'<>`]*:(?!\d*[\s/])[^@\n\"'<>`]*@)?[^\s\"'<>`]*"
)
LOGIN = re.compile(  # a URL whose scheme was forgotten, or a name that drivers in Go take
    r"[^\s:/@={}\[\]]+:[^@\s{}\[\]]+@(?:[\w.\-]+(?::\d+)?|(?:tcp|unix)\([^()\s]*\))(?:/\S*)?$"
)
_PAGES = ("/experiments/", "/compare-runs")  # of MLflow's pages, which bayesrun names itself
WEB = ("http", "https", "ftp", "ftps", "ws", "wss")
_DATABASES = (
    *("postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "sqlite", "snowflake", "redshift", "mongodb"),
    *("cockroachdb", "clickhouse", "duckdb", "db2", "trino", "hive", "redis"),
    "x",  # replaces a scheme that was forgotten
)

_STRONG = (
    r"passw(?:or)?[dt]|passwd|passphrase|passcode|\bpwd\b|secret|token|credential"
    r"|api[_\-]?key|access[_\-]?key|private[_\-]?key|kennwort|contrase[nñ]a|motdepasse|session_?id"
)
_STRONG_NAME = re.compile(_STRONG.replace(r"\bpwd\b", "pwd"), re.IGNORECASE)
_NO_KEYS = r"(?<!mon)(?<!don)(?<!tur)(?<!hoc)(?<!whis)(?<!joc)key(?!word|board|note|stone)"
_KEY_NAME = re.compile(
    rf"{_STRONG_NAME.pattern}|{_NO_KEYS}|(?:^|[_\-])(?:auth(?:orization)?|pass|jwt|sas|bearer|cookie)$", re.IGNORECASE
)
_ASSIGNED_NAME = re.compile(
    rf"{_STRONG_NAME.pattern}|(?:^|[_\-])pass$|[_\-]key(?:[_\-]data)?$|(?-i:[a-z](?<!viewStateShare)Key)$",
    re.IGNORECASE,
)
_PARAMETER_NAME = re.compile(_STRONG_NAME.pattern + r"|key|sig|auth|^pass$|^pw$|^code$|^sas$|^jwt$", re.IGNORECASE)
ENVIRONMENT_NAME = re.compile(r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_KEY|_PASS)$", re.IGNORECASE)

_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ASSIGNMENT = re.compile(
    # begins where a word begins: tried at each of its letters, a long word would take forever
    r"(?<![\w.@/\-])"
    r"(?P<name>[\w.@/\-]+)(?P<between>\\*[\"']?\s*(?::=|=>|=(?![=>])|(?<=[\"'])\s*:)\s*)"
    rf"(?P<value>{_QUOTED}|\\+[\"'][^\"'\\]*\\+[\"']|\{{[^{{}}]*\}}|[^\s,;&)\]}}\"']+)"
)
_COLON = re.compile(rf"(?<![\w.@/\-])(?P<name>[\w.\-]+)\s*:\s+(?P<value>{_QUOTED}|[^\s,;)\]}}]+)")  # a line of YAML
_PHRASES = (
    re.compile(  # headers of HTTP
        r"(?<![\w.\-])(?:(?:proxy-)?authorization|(?:private|job|deploy)-token|x-[\w\-]*(?:key|token|auth|secret)[\w\-]*)[\"']?\s*[:=]\s*[\"']?(?P<value>"
        r"[\w\-]+\s+\w+=(?:\"[^\"]*\"|[^\s\"',]+)(?:,\s*\w+=(?:\"[^\"]*\"|[^\s\"',]+))*"  # a scheme with parameters
        r"|(?:(?:bearer|basic|token|digest|apikey)\s+)?[^\s\"',]+)",
        re.IGNORECASE,
    ),
    re.compile(r"(?<![\w.\-])(?:set-)?cookie[\"']?\s*[:=]\s*[\"']?(?P<value>[^\n\"']+)", re.IGNORECASE),
    re.compile(r"\bbearer\s+(?P<value>(?=\S*\d)[\w.~+/=\-]{8,})", re.IGNORECASE),
    re.compile(
        rf"(?<![^\s\"'(\[,])--?[\w\-]*(?:{_STRONG})(?:[_\-]key)?\s+(?P<value>{_QUOTED}|[^\s\-]\S*)", re.IGNORECASE
    ),  # of a command line
    re.compile(
        r"(?<!\S)(?:-[uU][ =]?|--(?:proxy-)?user[ =]|--(?:basic-)?auth[ =]|--creds[ =])(?P<value>[^\s:/=]+:\S+)"
    ),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?P<value>.*?)(?:-----END|$)", re.DOTALL),
    re.compile(  # tokens that are known by their format: GitHub, GitLab, Slack, AWS, Hugging Face, Databricks, JWT
        r"(?<![\w\-])(?P<value>gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w\-]{16,}|xox[abprs]-[\w\-]{10,}|AKIA[A-Z0-9]{16}"
        r"|hf_\w{20,}|dapi[0-9a-f]{32}|eyJ[\w\-]{8,}\.[\w\-]{4,}\.[\w\-]+"
        # OpenAI and Anthropic, Stripe, Google, npm, PyPI
        r"|sk-[\w\-]{20,}|[sr]k_(?:live|test)_\w{10,}|AIza[\w\-]{30,}|ya29\.[\w\-]{20,}|npm_\w{20,}|pypi-[\w\-]{16,}"
        # AWS (temporary), Google, HashiCorp Vault, SendGrid, Docker, DigitalOcean, Shopify, Atlassian, GitLab's runners
        r"|ASIA[A-Z0-9]{16}|GOCSPX-[\w\-]{20,}|hv[sbr]\.[\w\-]{20,}|SG\.[\w\-]{16,}\.[\w\-]{16,}|dckr_pat_[\w\-]{20,}"
        r"|do[opr]_v1_\w{20,}|shp(?:at|ca|pa|ss)_\w{20,}|ATATT[\w\-=]{20,}|gl(?:rt|dt|cbt|ptt)-[\w\-]{16,}|xapp-[\w\-]{10,})"
    ),
    re.compile(  # of chats' web hooks and bots the path is the secret
        r"(?:hooks\.slack\.com/services|discord(?:app)?\.com/api/webhooks|webhook\.office\.com/\w+|api\.telegram\.org)/"
        r"(?P<value>[^\s\"'<>]+)"
    ),
    re.compile(rf"(?:password|identified\s+by)\s+(?P<value>{_QUOTED})", re.IGNORECASE),  # SQL, and messages of drivers
    re.compile(  # a word among others: it has a digit and a letter
        rf"\b(?:pass(?:word|phrase|code)|mot de passe)(?:\s+is\s+|\s*:\s*|\s+)"
        rf"(?P<value>{_QUOTED}|(?=\S*\d|\S*(?-i:[a-z][A-Z]))(?=\S*[a-z])[^\s,;\"']{{6,}})",
        re.IGNORECASE,
    ),
    re.compile(
        rf"(?:passw(?:or)?[dt]|passwd|pwd)\w{{0,20}}\s*==\s*(?P<value>{_QUOTED})", re.IGNORECASE
    ),  # of a program
    re.compile(rf"\(\s*[\"']\w{{0,30}}?(?:{_STRONG})[\"']\s*,\s*(?P<value>{_QUOTED})\s*\)", re.IGNORECASE),
    re.compile(rf"(?:{_STRONG})\t+(?P<value>\S+)", re.IGNORECASE),  # a table
    re.compile(r"[\"']_?auth[\"']\s*:\s*[\"'](?P<value>[^\s\"']{8,})[\"']", re.IGNORECASE),  # Docker's and npm's files
    re.compile(
        rf"(?:<|&lt;)(?P<tag>[\w:\-]*(?:{_STRONG})[\w:\-]*)(?:(?!&gt;)[^<>])*(?:>|&gt;)(?P<value>(?:(?!&lt;)[^<>])+)(?:<|&lt;)/",
        re.IGNORECASE,
    ),  # XML
    re.compile(
        rf"(?:key|name)\s*=\s*[\"'][\w:.\-]*(?:{_STRONG})[\w:.\-]*[\"']\s+value\s*=\s*(?P<value>{_QUOTED})",
        re.IGNORECASE,
    ),
    # quoted for a URL, once or more often
    re.compile(
        rf"(?:{_STRONG})%(?:25)*3[DA](?P<value>(?:[^\s&%\"'<>]|%(?!(?:25)*(?:26|3B)[\w.]+%(?:25)*3D))+)", re.IGNORECASE
    ),
    re.compile(r"%(?:25)*3A%(?:25)*2F%(?:25)*2F(?P<value>[^\s&\"'<>]{1,300})%(?:25)*40", re.IGNORECASE),
    re.compile(r"(?<!\w)(?:sharedaccesssignature|sig)=(?P<value>[^\s;\"'<>]{8,})", re.IGNORECASE),  # Azure
    re.compile(
        r"(?<![\w.\-])(?:apikey|pw)\s*[:=]\s*(?P<value>(?=[^\s]*\d)(?=[^\s]*[A-Za-z])[^\s;,&\"']{6,})", re.IGNORECASE
    ),
    re.compile(
        rf"(?:{_STRONG})[\w.\-]*[\"']?\s*:\s*[|>][+\-\d]*\s*\n\s+(?P<value>[^\n]+)", re.IGNORECASE
    ),  # a block of YAML
    re.compile(r"(?<!\S)-pass(?:in|out)?\s+pass:(?P<value>\S+)"),  # of openssl
    re.compile(
        r"[\"']user(?:name)?[\"']\s*:\s*[\"'][^\"']*[\"']\s*,\s*[\"']key[\"']\s*:\s*[\"'](?P<value>[^\"']+)"
    ),  # Kaggle's file
    re.compile(r"\blogin\s+\S+\s+password\s+(?P<value>\S+)"),  # a line of ~/.netrc
    re.compile(r"^[^\s:]+:(?:\d{2,5}|\*):[^\s:]+:[*A-Za-z_][^\s:]*:(?P<value>\S+)", re.MULTILINE),  # ... of ~/.pgpass
    re.compile(
        r"\b(?:docker|podman|helm|az|oc|nerdctl)\s[^\n]{0,40}?login\s(?:[^\n]{0,100}\s)?-p[ =]?(?P<value>[^\s\-]\S*)"
    ),
    re.compile(r"\b(?:sqlplus|expdp|impdp|sqlldr|rman)\s(?:-\w+\s){0,6}[^\s/@]{1,60}/(?P<value>[^\s@/]+)@"),
    re.compile(r"\b(?:sshpass\s+-p\s*|(?:mysql|mysqldump|mariadb)\s(?:[^\n]{0,200}\s)?-p)(?P<value>[^\s\-]\S*)"),
    re.compile(  # programs that have a letter for it
        r"\b(?:redis-cli\s(?:[^\n]{0,200}\s)?-a|ldap\w+\s(?:[^\n]{0,200}\s)?-w"
        r"|(?:mongo(?:sh|dump|restore|import|export)?|cqlsh)\s(?:[^\n]{0,200}\s)?-p"
        r"|(?:sqlcmd|bcp|isql|zip|unzip|ipmitool|mosquitto_[ps]ub)\s(?:[^\n]{0,200}\s)?-P"
        r"|lftp\s(?:[^\n]{0,200}\s)?-u\s*[^\s,]+,|smbclient\s(?:[^\n]{0,200}\s)?-U\s*[^\s%]+%)\s*(?P<value>[^\s\-]\S*)"
    ),
    re.compile(r"(?<![\w:/])//[^\s/@:]+:(?P<value>[^\s/@]+)@"),  # a URL without its scheme
    re.compile(r"\bjdbc:oracle:\w+:[^\s/]+/(?P<value>[^\s@]+)@"),
)

# below these keys people name parameters, columns and levels as they like: a prior `key`, a column `token`
_OPEN_SECTIONS = re.compile(r"^(?:model(?!\.options(?:\.|$))|sampler|diagnostics|store|predictive)(?:\.|$)")
_OPEN_DATA = re.compile(
    r"^(?:data|predict)\.(?:\w+\.)*(?:derive|rename|dtypes|levels|columns|factors|values|dims|parameters)(?:\.|$)"
)

TOKEN_LENGTH = 16


def is_secret_key(path: str) -> bool:
    """Return whether a dotted key of a config names a secret: `tags.api_token` does, a prior called `key` does not."""
    path = re.sub(r"\[\d+\]", "", path)
    return not is_open(path) and any(_KEY_NAME.search(part) for part in path.split("."))


def is_open(path: str) -> bool:
    """Return whether a dotted key lies where people choose names as they like: of parameters, columns and levels."""
    return bool(_OPEN_SECTIONS.match(path) or _OPEN_DATA.match(path))


def phrase_spans(text: str, lines: bool = False) -> list[tuple[int, int]]:
    """Return the positions of what is a secret by the words before it, or by its format, without overlaps.

    With `lines`, also of `password: VALUE`: in bayesrun's own messages a colon comes after a key.
    """
    found = [_value_span(match) for match in _assignments(text)]
    if lines and ":" in text:
        found += [_value_span(match) for match in _lines(text)]
    found += [_value_span(match) for phrase in _PHRASES for match in phrase.finditer(text)]
    kept: list[tuple[int, int]] = []
    for begin, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if text[begin:end] not in ("", "null", "None", REDACTED) and (not kept or begin >= kept[-1][1]):
            kept.append((begin, end))
    return kept


def _value_span(match: re.Match[str]) -> tuple[int, int]:
    begin, end = match.span("value")
    marks = re.match(r"\\*[\"']", match["value"])
    return (begin + marks.end(), end - marks.end()) if marks and end - begin >= 2 * marks.end() else (begin, end)


def _assignments(text: str) -> Iterator[re.Match[str]]:
    """Yield the assignments to names of secrets; what is quoted or in braces may hold further ones."""
    place = 0
    while "=" in text or ":" in text:
        match = _ASSIGNMENT.search(text, place)
        if match is None:
            return
        name = match["name"].lstrip("-")
        if not is_open(name) and _ASSIGNED_NAME.search(name.rpartition(".")[2].rpartition("/")[2]):
            yield match
            place = match.end()
        else:
            place = match.start("value") + (match["value"][0] in "{'\"\\")


def _lines(text: str) -> Iterator[re.Match[str]]:
    """Yield the lines of YAML that name secrets; a quoted value may hold further ones."""
    place = 0
    while (match := _COLON.search(text, place)) is not None:
        is_secret = _is_secret_line(match)
        if is_secret:
            yield match
        place = match.end() if is_secret else match.start("value") + (match["value"][0] in "'\"")


def _is_secret_line(match: re.Match[str]) -> bool:
    """Return whether a line of YAML names a secret; after `token:` and the like a plain word is none."""
    name, value = match["name"], match["value"].strip("'\"")
    if not _ASSIGNED_NAME.search(name):
        return False
    return bool(re.search(r"pass|pwd", name, re.IGNORECASE)) or not (value.isalpha() and value[1:].islower())


def url_spans(url: str) -> list[tuple[int, int]]:
    """Return the positions of secrets in a URL, in order, without overlaps."""
    scheme = SCHEME.match(url)
    if scheme is None:
        return []
    start = scheme.end()
    name = scheme.group()[:-3].lower().partition("+")[0]
    is_web = name in WEB
    at = _end_of_user(url, start, is_web)
    spans = [] if at is None else _user_spans(url, start, at, name in _DATABASES)
    if name == "oracle" and at is None:
        spans = _after_slash(url, start)
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
    return [(start, at)] if len(user) >= TOKEN_LENGTH else []


def _after_slash(url: str, start: int) -> list[tuple[int, int]]:
    """Oracle's own form of user name and password, `USER/PASSWORD@HOST`."""
    match = re.compile(r"[^/@?#]+/([^/@]+)@").match(url, start)
    return [] if match is None or match[1] == REDACTED else [match.span(1)]


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
            if _PARAMETER_NAME.search(unquote(name)) or _holds_secret(plain):
                yield begin, place + len(part)
        elif not equals and len(name) >= TOKEN_LENGTH:  # `?TOKEN`
            yield place, place + len(part)
        place += len(part) + 1


def _holds_secret(text: str) -> bool:
    """A parameter may hold a whole connection string, such as `odbc_connect`, quoted more than once."""
    while (plain := unquote_plus(text)) != text and len(plain) < len(text):
        text = plain
    return bool(url_spans(text) or phrase_spans(re.sub(r"\bPWD\b", "password", text, flags=re.IGNORECASE)))

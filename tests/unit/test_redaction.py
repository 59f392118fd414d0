"""What is a secret, and what only looks like one."""

from __future__ import annotations

import io
import re
import resource
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bayesrun.redaction import (
    RedactedStream,
    is_secret_key,
    missing_credentials,
    redact,
    redact_lines,
    redact_override,
    redact_tree,
    redact_url,
    remember_config,
    remember_environment,
    remember_overrides,
    remembering_apart,
    secrets_of,
    without_redacted,
)
from tests.secret_forms import TAGS, TOKENS


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("http://me:pw@h:5000/x", "http://***@h:5000/x"),
        ("http://ghp_abc@h", "http://***@h"),
        ("http://me:p#w@h", "http://***@h"),
        ("http://me:p/w?x@h", "http://***@h"),
        ("http://me:12/34@h", "http://***@h"),
        ("http://me:a b@h/", "http://***@h/"),
        ("http://h/?token=pw", "http://h/?token=***"),
        ("http://h/?a=1&sig=pw&b=2", "http://h/?a=1&sig=***&b=2"),
        ("http://h/#pw", "http://h/#***"),
        ("postgresql://me:pw@h/db?sslmode=require", "postgresql://me:***@h/db?sslmode=require"),
        ("postgresql://me:a@b/c?d#e@h/db", "postgresql://me:***@h/db"),
        ("postgresql:///db?host=h&password=p w", "postgresql:///db?host=h&password=***"),
        ("sqlite+pysqlcipher://:pw@/foo.db", "sqlite+pysqlcipher://:***@/foo.db"),
        ("mssql://?odbc_connect=UID%3Dme%3BPWD%3Dpw", "mssql://?odbc_connect=***"),
        ("mongodb://u:pw@h1:1,h2:2/db", "mongodb://u:***@h1:1,h2:2/db"),
        ("databricks://dapi1234:x@h", "databricks://***@h"),
        ("s3://KEY:pw@bucket/x", "s3://***@bucket/x"),
    ],
)
def test_secrets_of_a_url(url: str, safe: str) -> None:
    assert redact_url(url) == safe
    assert redact_url(safe) == safe
    assert redact_tree({"data": {"url": url}}) == {"data": {"url": safe}}


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me@h/db?sslmode=require",
        "https://h/data.csv?id=5&format=csv",
        "http://h/p?email=a@b.c",
        "http://localhost:8000/@user/f.csv",
        "sqlite:////tmp/a@b#c.db",
        "http://h:5000/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=bayesrun",
        "see http://127.0.0.1:5000 and mail a@b.c",
        "model.priors.token: unknown prior 'token'",
        "model.priors.key={dist: Normal, mu: 0}",
        "model.deterministics.token=key + 1",
        "data.derive.secret=log(x)",
        "ran for 10:05, key=3",
        "error: tags.api_token: must be a text",
        "password: is required",
        "the model has no token == 'a'",
        "a basic model; the bearer of it",
        "python -u script.py --tokens",
        "y ~ monkey + turkey_size",
        "pw: petal width, pw=petal_width, pw = 0.25",
        "the password must not be 'x'",
        "2001:1234:1:2:5: times, a:1:b",
        "the sk-learn package and risk-averse",
        "unknown key 'tokn': did you mean 'token', 'uri' or 'password', 'name'?",
        "the password is required; a passphrase for it",
        "the oracle is at a/b@c",
        "mosquitto_sub -h h -p 1883 -t x",
        "the mongo shell: a p-value, x -p",
        "unzip x.zip -d there; ldapsearch -x",
        "data.path: '//server/share/x.csv' is missing",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("host=h password=pw user=u", "host=h password=*** user=u"),
        ("host=h password='p w' user=u", "host=h password='***' user=u"),
        ("Server=x;Pwd=pw;Uid=me", "Server=x;Pwd=***;Uid=me"),
        ("{'password': 'pw'}", "{'password': '***'}"),
        ('{"api_key": "pw"}', '{"api_key": "***"}'),
        ("--db-password=pw", "--db-password=***"),
        ("at http://me:pw@h:5000/x now", "at http://***@h:5000/x now"),
        ("Authorization: Bearer ab12cd34", "Authorization: ***"),
        ("headers: {'X-Api-Key': 'ab12'}", "headers: {'X-Api-Key': '***'}"),
        ("it said Bearer ab12cd34ef", "it said Bearer ***"),
        ('{"auth": {"user": "me", "password": "p w"}}', '{"auth": {"user": "me", "password": "***"}}'),
        ('{\\"password\\": \\"pw\\"}', '{\\"password\\": \\"***\\"}'),
        ("cmd='psql --password=pw'", "cmd='psql --password=***'"),
        ("AccountName=x;AccountKey=ab12==;a=1", "AccountName=x;AccountKey=***;a=1"),
        ("export DB_PASS=pw", "export DB_PASS=***"),
        ("PWD={a;b}", "PWD=***"),
        ("mysql --password 'p w' -h x", "mysql --password '***' -h x"),
        ("curl -u me:pw https://h", "curl -u *** https://h"),
        ("use ghp_0123456789abcdefABCDEF", "use ***"),
        ("eyJhbGciOiJIUzI1.eyJzdWIi.abc-d", "***"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nab\ncd\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
    ],
)
def test_secrets_of_a_text(text: str, safe: str) -> None:
    assert redact(text) == safe


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_tokens_that_are_known_by_their_looks(token: str) -> None:
    assert redact(f"it said '{token}', at x") == "it said '***', at x"
    assert secrets_of(f"use {token}") == [token]


@pytest.mark.parametrize("form", TAGS)
def test_every_form_is_left_out_of_overrides_and_remembered(form: str) -> None:
    for override in (f"tags.{form}={TAGS[form]}", f'+tags={{{form}: "{TAGS[form]}"}}', f"++tags.{form}='{TAGS[form]}'"):
        assert not re.search("hunTer", redact_override(override)), override


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [
        ("tags.api_token", True),
        ("tags.my_key", True),
        ("tags.encryptionKey", True),
        ("tags.keys.first", True),
        ("tags.KEYFILE", True),
        ("tags.db_pass", True),
        ("tags.keyword", False),
        ("tags.bypass", False),
        ("data.password", True),
        ("model.options.secret", True),
        ("model.priors.key", False),
        ("model.priors.token.mu", False),
        ("data.derive.key", False),
        ("data.dtypes.token", False),
        ("data.values.secret", False),
        ("tags.monkey", False),
        ("sampler.draws", False),
    ],
)
def test_secret_keys(key: str, is_secret: bool) -> None:
    assert is_secret_key(key) == is_secret


def test_below_a_secret_key_all_is_secret_but_nothing_else() -> None:
    config = {"tags": {"token": 5, "note": "x", "secrets": {"a": "b"}}, "model": {"priors": {"key": {"mu": "x"}}}}
    safe = {"tags": {"token": "***", "note": "x", "secrets": {"a": "***"}}, "model": {"priors": {"key": {"mu": "x"}}}}
    assert redact_tree(config) == safe
    assert redact_override("tags.token=p w") == "tags.token=***"
    assert redact_override("tracking.uri=me:pw@h") == "tracking.uri=me:***@h"


def test_a_secret_that_was_given_is_left_out_wherever_it_turns_up() -> None:
    remember_overrides(["tracking.uri='postgresql://me:zAp /%24x@h/db'", "tags.token=xYzzy7"])
    said = redact("invalid: zAp /%24x, zAp%20%2F%2524x, zAp /$x, or xYzzy7; but xYzzy77 and me")
    assert said == "invalid: ***, ***, ***, or ***; but xYzzy77 and me"
    stream = io.StringIO()
    print("it was", "xYzzy7", file=RedactedStream(stream))  # type: ignore[type-var]
    assert stream.getvalue() == "it was ***\n"


def test_numbers_and_common_words_are_not_torn_out_of_other_texts() -> None:
    remember_overrides(["data.url=postgresql://me:1000@h/db", "tags.token=true"])
    assert redact("draws: 1000, progress: true") == "draws: 1000, progress: true"


def test_a_line_of_yaml_in_a_value_or_a_program_is_a_secret() -> None:
    text = "-  password: swordfish\n+  api_token: 'aB3'\n   token: number of words\n   key: value"
    safe = "-  password: ***\n+  api_token: '***'\n   token: number of words\n   key: value"
    assert redact_lines(text) == safe
    assert redact_tree({"tags": {"note": text}}) == {"tags": {"note": safe}}


def test_an_expression_of_a_model_stays_as_it_is_written() -> None:
    config = {
        "model": {"deterministics": {"d": "where(token == 'abcd', secret=2)"}},
        "data": {"derive": {"k": "password: x"}},
    }
    remember_config(config)
    assert redact_tree(config) == config
    assert redact_override("model.deterministics.d='token=5'") == "model.deterministics.d='token=5'"
    assert redact("the level abcd") == "the level abcd"


LONG_TEXTS = """
from bayesrun.redaction import redact, secrets_of
for part, times in [("a='", 7000), ("a={", 7000), ("x", 20_000), ("token", 4000), ("a:", 10_000), ("--password ", 2000),
                    ("-u a", 5000), ("%3A%2F%2F", 4000)]:
    redact(part * times)
    secrets_of(part * times)
print("done")
"""


def test_long_texts_do_not_take_for_ever() -> None:
    """Patterns that go back over what they have read would take hours for these."""
    done = subprocess.run([sys.executable, "-c", LONG_TEXTS], preexec_fn=_limited, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))


@given(st.text(min_size=1, max_size=12).filter(lambda text: "***" not in text and not text.isspace()))
def test_any_password_of_a_database_is_found(password: str) -> None:
    url = f"postgresql://me:{password}@host/db"
    assert redact_url(url) == "postgresql://me:***@host/db"
    assert password in secrets_of(url)


def test_what_was_redacted_asks_for_its_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for name in ("PGPASSWORD", "PGSERVICE", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nowhere")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert without_redacted("http://***@h/x") == "http://h/x"
    assert without_redacted("postgresql://me:***@h/db?password=***&a=1") == "postgresql://me@h/db?a=1"
    assert "PGPASSWORD" in missing_credentials("postgresql://me:***@h/db")
    assert "netrc" in missing_credentials("http://***@h")
    assert "command line" in missing_credentials("http://h/?token=***")
    assert missing_credentials("postgresql://me@h/db") == ""
    (tmp_path / "netrc").write_text("machine h login me password pw\n")
    monkeypatch.setenv("PGPASSWORD", "pw")
    assert missing_credentials("postgresql://me:***@h/db") == ""
    assert missing_credentials("http://***@h") == ""


def test_secrets_of_the_environment_are_left_out_and_its_words_are_not(monkeypatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "Sesame-42")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:Sesame-43@h/d")
    monkeypatch.setenv("MY_TOKEN", "switchpoint")
    with remembering_apart():
        remember_environment()
        assert redact("model switchpoint: Sesame-42 and Sesame-43") == "model switchpoint: *** and ***"

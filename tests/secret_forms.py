"""The many forms in which people write a secret: tests and the fault harness try them through the real command."""

from __future__ import annotations

from urllib.parse import quote

PW = "hunTer2xq"
BLANK = "hunTer 2xqWithBlanks zk"
CLOSED = "127.0.0.1:9"
"""A port at which nobody listens."""

URIS = {
    "user and password": f"http://me:{PW}@127.0.0.1:9",
    "token as user": f"http://{PW}@127.0.0.1:9",
    "token as user, empty password": f"http://{PW}:@127.0.0.1:9",
    "query token": f"http://127.0.0.1:9/?token={PW}",
    "query key": f"http://127.0.0.1:9/mlflow?a=1&key={PW}&b=2",
    "fragment": f"http://127.0.0.1:9/#{PW}",
    "special characters": f"http://me:{PW}/a?b#c@127.0.0.1:9",
    "escaped": f"http://me:{quote(PW + '@/')}@127.0.0.1:9",
    "blank": f"http://me:{BLANK}@127.0.0.1:9",
    "database": f"postgresql://me:{PW}@127.0.0.1:9/db",
    "database, driver": f"postgresql+psycopg2://me:{PW}@127.0.0.1:9/db?connect_timeout=1",
    "database, query": f"postgresql://me@127.0.0.1:9/db?password={PW}",
    "database, user and query": f"postgresql://me:{PW}@127.0.0.1:9/db?password={PW}",
    "database, blank": f"postgresql://me:{BLANK}@127.0.0.1:9/db",
    "database, no host": f"postgresql:///db?host=127.0.0.1&port=9&user=me&password={PW}",
    "database, '@' in it": f"postgresql://me:{PW}@x@127.0.0.1:9/db",
}
TAGS = {
    "note": f"see http://me:{PW}@host/x and on",
    "bucket": f"s3://AKIA:{PW}@bucket/x",
    "signed": f"https://host/x.csv?X-Amz-Signature={PW}&id=5",
    "dsn": f"host=h password={PW} user=u",
    "dsn_blank": f"host=h password='{BLANK}' user=u",
    "odbc": f"Server=x;Pwd={PW};Uid=me",
    "nested": f"mssql://?odbc_connect=UID%3Dme%3BPWD%3D{PW}",
    "json": f'{{"secret": "{PW}"}}',
    "api_token": PW,
    "db_password": BLANK,
    "my_key": PW,
    "encryptionKey": PW,
    "header": f"Authorization: Bearer {PW}",
    "header_key": f"X-Api-Key: {PW}",
    "nested_json": f'{{"auth": {{"user": "me", "password": "{PW}"}}}}',
    "yaml": f"user: me, password: {PW}",
    "command": f"psql --password {PW} -h x",
    "login": f"curl -u me:{PW} https://host/x",
    "azure": f"AccountName=x;AccountKey={PW}==;EndpointSuffix=y",
    "odbc_braces": f"Driver=x;PWD={{a;{PW}}};Server=y",
}
TAGS |= {
    "odbc_twice": "mssql://?odbc_connect=UID%253Dme%253BPWD%253D" + PW,
    "libpq_spaces": f"host = h password = {PW} user = u",
    "sslpassword": f"host=h sslkey=/k sslpassword={PW}",
    "sslpassword_uri": f"postgresql://h/db?sslpassword={PW}&sslmode=require",
    "libpq_options": f"postgresql://h/db?options=-c%20my.password%3D{PW}",
    "percent_user": f"postgresql://me%40corp:{PW}@h/db",
    "url_then_text": f"http://h/x with password={PW}",
    "url_then_header": f"https://h/x Authorization: Bearer {PW}",
    "scheme_relative": f"//me:{PW}@h/x",
    "ipv6": f"http://me:{PW}@[::1]:5000",
    "azure_file": f"wasbs://c:{PW}@acc.blob.core.windows.net/x",
    "azure_sas": f"https://a.blob.core.windows.net/c/f?sv=2021&sig={PW}&se=2030",
    "azure_signature": f"AccountName=a;SharedAccessSignature=sv=1&sig={PW}",
    "service_bus": f"Endpoint=sb://x/;SharedAccessKeyName=r;SharedAccessKey={PW}=",
    "gcs": f"https://storage.googleapis.com/b/o?X-Goog-Signature={PW}",
    "aws": f"export AWS_SESSION_TOKEN={PW}",
    "cli": f"aws --secret-key {PW} s3 ls",
    "api_key_cli": f"x --api-key '{PW}'",
    "sshpass": f"sshpass -p {PW} ssh x",
    "mysql": f"mysql -u me -p{PW} db",
    "netrc": f"machine h login me password {PW}",
    "pgpass": f"h:5432:db:me:{PW}",
    "jdbc": f"jdbc:sqlserver://h:1433;user=me;password={PW};",
    "jdbc_oracle": f"jdbc:oracle:thin:me/{PW}@h:1521/x",
    "sql": f"alter user me with password '{PW}'",
    "identified": f"create user me identified by '{PW}'",
    "xml": f"<a><dbPassword>{PW}</dbPassword></a>",
    "form": f"user=me&password={PW}",
    "form_quoted": f"user%3Dme%26password%3D{PW}",
    "slack": f"https://hooks.slack.com/services/T00/B00/{PW}",
    "cookie": f"Cookie: session={PW}; a=b",
    "german": f"Passwort: {PW}",
    "deep": f'{{"a": {{"b": "http://me:{PW}@h"}}}}',
}
TOKENS = {
    "GitHub": "ghp_0123456789abcdefABCDEF",
    "OpenAI": "sk-proj-0123456789abcdefABCDEF",
    "Stripe": "sk_live_0123456789abcdef",
    "Google": "AIza0123456789abcdefABCDEF0123456789abc",
    "npm": "npm_0123456789abcdefABCDEF0123456789",
    "PyPI": "pypi-AgEIcHlwaS5vcmcCJDAxMjM0",
}
"""Tokens that are known by their looks, wherever they stand."""
WRONG = {
    "unknown key": [f"trackin.uri=http://me:{PW}@h"],
    "no scheme": [f"tracking.uri=me:{PW}@h"],
    "wrong type": [f"tracking.timeout=http://me:{PW}@h"],
    "unreadable": [f"tracking.uri=http://me:{PW}@h,[{{"],
    "unknown choice": [f"tracking=http://me:{PW}@h"],
    "data": ["data.source=sql", f"data.url=host=h password={PW}", "data.query=select 1"],
    "artifacts": [f"tracking.artifacts=s3://AKIA:{PW}@bucket"],
    "added": [f"+tags.x.y='http://me:{PW}@h'", "sampler.draws=no"],
    "added, forced": [f'++tags={{n: "me:{PW}@h:5432/db", m: "password: {PW}"}}', "seed=no"],
    "added, unknown": [f"+data.url2='postgresql://me:{PW}@h/db'"],
    "libpq": ["data.source=sql", f"data.url='host=h user=me sslpassword={PW}'", "data.query=select 1"],
    "odbc": [
        *("data.source=sql", "data.query=select 1"),
        f"data.url='mssql+pyodbc:///?odbc_connect=DRIVER%3Dx%3BPWD%3D{PW}'",
    ],
    "file": ["data.source=csv", f"data.path='https://me:{PW}@127.0.0.1:9/x.csv?sig={PW}'"],
    "bucket": ["data.source=csv", f"data.path='s3://AKIA:{PW}@bucket/x.csv'"],
    "swept": ["-m", f"data.url='postgresql://me:{PW}@h/a','postgresql://me:{PW}@h/b'", "data.source=sql"],
    "a run": ["task=report", f"run='mlflow:http://me:{PW}@h/1'"],
    "task": ["task=sync", f"tracking.uri=http://me:{PW}@h", f"run=http://me:{PW}@h"],
}

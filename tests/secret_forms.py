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
WRONG = {
    "unknown key": [f"trackin.uri=http://me:{PW}@h"],
    "no scheme": [f"tracking.uri=me:{PW}@h"],
    "wrong type": [f"tracking.timeout=http://me:{PW}@h"],
    "unreadable": [f"tracking.uri=http://me:{PW}@h,[{{"],
    "unknown choice": [f"tracking=http://me:{PW}@h"],
    "data": ["data.source=sql", f"data.url=host=h password={PW}", "data.query=select 1"],
    "artifacts": [f"tracking.artifacts=s3://AKIA:{PW}@bucket"],
    "task": ["task=sync", f"tracking.uri=http://me:{PW}@h", f"run=http://me:{PW}@h"],
}

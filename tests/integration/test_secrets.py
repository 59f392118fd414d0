"""No secret is written: each form goes through the real command, and every file and all output is searched for it.

Runs fail to reach their tracking server on purpose (port 9 is closed): their messages are searched, too.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.conftest import Command, only_run
from tests.postgresql import PASSWORD, postgresql
from tests.secret_forms import BLANK, PW, TAGS, URIS, WRONG

SMALL = ["model=linear_regression", "sampler=prior", "sampler.draws=20", "model.figures=[]", "tracking.timeout=1"]


def found(folder: Path, *output: str) -> list[str]:
    """Return where a secret, or a part of it, stands."""
    secrets = [form for word in (PW, *BLANK.split()[1:2], "hunTer") for form in (word, quote(word))]
    texts = {f"output {index}": text.encode() for index, text in enumerate(output)}
    texts |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    names = [str(path) for path in folder.rglob("*") if any(secret in path.name for secret in secrets)]
    return [*names, *(name for name, text in texts.items() if any(secret.encode() in text for secret in secrets))]


@pytest.mark.parametrize("form", ["user and password", "token as user", "blank", "fragment", "database, query"])
def test_no_secret_of_a_tracking_uri_is_written(bayesrun: Command, tmp_path: Path, form: str) -> None:
    done = bayesrun(*SMALL, f"tracking.uri='{URIS[form]}'", f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "not in MLflow yet" in done.stderr
    assert "127.0.0.1" in done.stderr
    assert (only_run(tmp_path) / "posterior.nc").is_file()
    assert found(tmp_path, done.stdout, done.stderr) == []


def test_no_secret_of_a_tag_is_written(bayesrun: Command, tmp_path: Path) -> None:
    file = tmp_path / "own" / "experiment" / "mine.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\n" + yaml.safe_dump({"tags": TAGS, "seed": 3}))
    outputs = tmp_path / "outputs"
    done = bayesrun(*SMALL, "--config-dir", file.parents[1], "experiment=mine", f"paths.outputs={outputs}")
    assert done.returncode == 0, done.stderr
    assert (outputs / "mlflow.db").is_file()
    assert found(outputs, done.stdout, done.stderr) == []
    tags = yaml.safe_load((only_run(outputs) / "config.yaml").read_text())["tags"]
    assert tags["api_token"] == "***"
    assert tags["signed"] == "https://host/x.csv?X-Amz-Signature=***&id=5"


LABELS = ("plain", f"http://me:{PW}@h/x", f"http://you:{PW}@h/x", "https://h/page#one", "https://h/page#two", f"{PW}7")


def test_data_are_stored_as_data(bayesrun: Command, tmp_path: Path) -> None:
    """Labels that look like secrets, or are one of the command, stay what they are; messages leave them out."""
    files = {
        "model/r.yaml": 'name: r\ntype: regression\nformula: "y ~ 1 + (1 | g)"\nfamily: normal\nfigures: []\n',
        "data/fitted.yaml": f"name: fitted\nsource: csv\npath: {tmp_path}/fitted.csv\n",
        "data/new.yaml": f"name: new\nsource: csv\npath: {tmp_path}/new.csv\n",
        "fitted.csv": "y,g,unread\n" + "".join(f"{i % 7 + i / 9},{LABELS[i % 6]},{PW}unread\n" for i in range(36)),
        "new.csv": "g\n" + "".join(f"{label}\n" for label in LABELS),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    own = ["--config-dir", tmp_path, f"paths.outputs={tmp_path}/outputs"]
    short = ["sampler.draws=50", "sampler.tune=50", "sampler.chains=1", "sampler.progress=false"]
    fit = ["model=r", "data=fitted", "data.columns=[y,g]", *short]
    done = bayesrun(*own, *fit, f"+tags.api_token={PW}7")
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path / "outputs")
    assert found(run / "run.log", done.stdout, done.stderr) == []
    assert PW not in (run / "run.log").read_text() + (run / "config.yaml").read_text()
    design = (run / "design.json").read_text()
    assert all(json.dumps(label) in design for label in LABELS)
    assert len([name for name in json.loads((run / "metrics.json").read_text()) if name.startswith("mean/r_g")]) == 6
    assert not [path for path in run.rglob("*") if path.is_file() and f"{PW}unread".encode() in path.read_bytes()]
    predicted = bayesrun("task=predict", *own, f"run={run}", "predict.data=new", "tracking=none")
    assert predicted.returncode == 0, predicted.stderr


@pytest.mark.parametrize("key", ["name", "experiment_name"])
@pytest.mark.parametrize("text", [f"PGPASSWORD={PW}", f"http://me:{PW}@h"])
def test_a_name_that_is_a_secret_is_refused(bayesrun: Command, tmp_path: Path, key: str, text: str) -> None:
    """Folders, pages and runs in MLflow have these names: without the secret they would be others."""
    done = bayesrun(*SMALL, f"{key}='{text}'", f"paths.outputs={tmp_path}/out")
    assert done.returncode == 1
    assert f"{key}: holds a secret" in done.stderr
    assert not (tmp_path / "out").exists()
    assert found(tmp_path, done.stdout, done.stderr) == []


@pytest.mark.parametrize("form", WRONG)
def test_no_secret_is_in_an_error(bayesrun: Command, tmp_path: Path, form: str) -> None:
    for traceback in ("0", "1"):
        done = bayesrun(*WRONG[form], f"paths.outputs={tmp_path}", HYDRA_FULL_ERROR=traceback)
        assert done.returncode == 1, done.stdout + done.stderr
        assert found(tmp_path, done.stdout, done.stderr) == []


@pytest.mark.slow
def test_no_secret_of_a_sweep_over_all_forms_is_written(bayesrun: Command, tmp_path: Path) -> None:
    uris = ",".join(f"'{uri}'" for uri in URIS.values())
    tokens = ",".join(f"{PW}{number}" for number in range(len(URIS)))
    swept = [f"tracking.uri={uris}", f"tags.api_token={tokens}", "sweep.zip=[[tracking.uri,tags.api_token]]"]
    done = bayesrun("-m", *SMALL, *swept, f"paths.outputs={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("sweeps/*/*/*/posterior.nc"))) == len(URIS)
    assert found(tmp_path, done.stdout, done.stderr) == []


DATA = """
name: rows
source: sql
url: URL
query: >-
  select a as "X1", b as "X2", c as "Y" from (values (1.0, 3.0, 2.0), (2.0, 1.0, 4.1), (3.0, 2.0, 5.9)) as t(a, b, c)
"""


@pytest.mark.slow
def test_no_secret_of_a_database_is_written_and_a_run_folder_runs_again(bayesrun: Command, tmp_path: Path) -> None:
    with postgresql() as address:
        url = f"postgresql://me:{PASSWORD}@{address}/postgres"
        own = tmp_path / "own" / "data" / "rows.yaml"
        own.parent.mkdir(parents=True)
        own.write_text(DATA.replace("URL", url))
        mine = ["--config-dir", own.parents[1], "data=rows", f"tracking.uri={url}", f"paths.outputs={tmp_path}/1"]
        first = bayesrun(*SMALL, *mine)
        assert first.returncode == 0, first.stderr
        folder = only_run(tmp_path / "1")
        for path in (tmp_path / "1").rglob("*"):
            assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), path
        assert PASSWORD not in first.stdout + first.stderr

        again = ["--config-dir", folder, "--config-name", "config", f"paths.outputs={tmp_path}/2"]
        nowhere = {"PGPASSFILE": "/nowhere", "PGPASSWORD": ""}
        refused = bayesrun(*again, **nowhere)
        assert refused.returncode == 1
        assert "tracking.uri" in refused.stderr
        assert "PGPASSWORD" in refused.stderr
        assert bayesrun(*again, **{**nowhere, "PGPASSWORD": PASSWORD}).returncode == 0
        passwords = tmp_path / "pgpass"
        passwords.write_text(f"*:*:*:*:{PASSWORD}\n")
        passwords.chmod(0o600)
        assert bayesrun(*again, **{**nowhere, "PGPASSFILE": str(passwords)}).returncode == 0
        assert len(list(tmp_path.glob("2/runs/*/*/posterior.nc"))) == 2


def test_a_prior_may_be_called_key_and_a_column_token(bayesrun: Command, tmp_path: Path) -> None:
    own = tmp_path / "own" / "model" / "mine.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(
        "name: mine\ntype: declarative\n"
        "priors: {key: {dist: Normal, mu: 0, sigma: 10}, token: {dist: HalfNormal, sigma: 5}}\n"
        "likelihood: {y: {dist: Normal, mu: key, sigma: token, observed: secret}}\n"
    )
    values = ["+data.name=d", "+data.source=inline", "+data.values.secret=[1.0,2.0,3.0]"]
    arguments = ["--config-dir", own.parents[1], "model=mine", *values, *SMALL[1:], f"paths.outputs={tmp_path}/outputs"]
    done = bayesrun(*arguments)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "outputs")
    assert "***" not in "".join((folder / name).read_text() for name in ("config.yaml", "summary.csv", "metrics.json"))
    assert {"mean/key", "mean/token"} <= set(json.loads((folder / "metrics.json").read_text()))
    again = bayesrun("--config-dir", folder, "--config-name", "config", f"paths.outputs={tmp_path}/again")
    assert again.returncode == 0, again.stderr


def test_run_folders_follow_the_umask(bayesrun: Command, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert bayesrun(*SMALL, "tracking=none", f"paths.outputs={tmp_path}").returncode == 0
    finally:
        os.umask(before)
    folder = only_run(tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert set(modes.values()) == {0o600}, modes

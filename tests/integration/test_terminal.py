"""What the command answers beside runs: `list`, `describe`, `new`, completion, JSON, quiet and verbose."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from bayesrun.cli.catalogue import kinds
from tests.conftest import ROOT, Command, only_run

PRIOR = ("sampler=prior", "sampler.draws=30", "model.figures=[]", "tracking=none")
LARGE = {"pandas", "xarray", "arviz", "pymc3", "theano", "mlflow", "matplotlib", "scipy"}
ON_PATH = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
DOCS = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_listed_with_a_line_each(bayesrun: Command, kind: str) -> None:
    done = bayesrun("list", kind, "output=json")
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)
    assert len(entries) >= 3
    assert all(entry["name"] and entry["line"] and entry["use"] for entry in entries)


def test_what_is_listed_fits_and_has_no_colours(bayesrun: Command) -> None:
    done = bayesrun("list", "experiments", FORCE_COLOR="1", TERM="xterm-256color")
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert "..." in done.stdout
    done = bayesrun("describe", "switchpoint", FORCE_COLOR="1")
    assert "\x1b" not in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())


@pytest.mark.parametrize("words", [("list", "figures"), ("describe", "nuts"), ("complete", "bayesrun mod")])
def test_it_answers_without_large_imports(words: tuple[str, ...]) -> None:
    script = "import runpy, sys, os; os._exit = lambda status: print('|', *sorted(sys.modules)) or sys.exit(status)"
    run = f"{script}\nsys.argv = ['bayesrun', *{words!r}]\nrunpy.run_module('bayesrun', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not LARGE & set(done.stdout.rpartition("|")[2].split())


def test_a_name_is_described_by_its_keys(bayesrun: Command, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text(
        "# Mine.\nname: mine\ntype: declarative\npriors:\n  mu: {dist: Normal, mu: 0, sigma: 1}  # the mean\n"
    )
    (mine,) = json.loads(bayesrun(f"--config-dir={tmp_path}", "describe", "mine", "output=json").stdout)
    keys = {key["key"]: key for key in mine["keys"]}
    assert mine["line"] == "Mine."
    assert keys["priors.mu"]["default"] == {"dist": "Normal", "mu": 0, "sigma": 1}
    assert keys["priors.mu"]["meaning"] == "the mean"
    assert "likelihood" in keys
    shown = bayesrun("describe", "nuts").stdout
    assert re.search(r"^  draws +1000 +kept draws per chain", shown, re.MULTILINE)
    both = bayesrun("describe", "varying_intercepts").stdout
    assert "model varying_intercepts" in both and "data set varying_intercepts" in both
    assert re.search(r"sigma +null +give sigma or tau", bayesrun("describe", "Normal").stdout)
    assert re.search(
        r"^  mu +null +predicted by the formula · links: log", bayesrun("describe", "poisson").stdout, re.M
    )


def test_every_distribution_that_a_model_takes_is_listed_and_described(bayesrun: Command) -> None:
    listed = {entry["name"] for entry in json.loads(bayesrun("list", "priors", "output=json").stdout)}
    defs = json.loads(bayesrun("schema", "model").stdout)["$defs"]
    taken = {name for kind in ("prior", "likelihood") for name in defs[kind]["properties"]["dist"]["enum"]}
    assert listed == taken and {"HiddenMarkov", "LinearGaussian", "Marginal"} < listed
    shown = bayesrun("describe", "LinearGaussian").stdout
    assert re.search(r"^  sigma +null +sd of an observation about the components", shown, re.M)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "modells"], "list: there is no kind 'modells'\n    did you mean 'models'?"),
        (["list"], "list: takes one kind (got 0)"),
        (["describe", "nutz"], "describe: nothing is called 'nutz'\n    did you mean 'nuts'?"),
        (["schema", "modell"], "schema: there is no schema 'modell'\n    did you mean 'model'?"),
        (["schema", "model", "plugins=[nowhere]"], "'nowhere' is not an installed bayesrun plug-in"),
        (["new", "model", "/nowhere.csv"], "no file '/nowhere.csv'"),
        (["new", "thing", "x.csv"], "new: takes what to write and a table"),
        (["model=ar", "output=xml"], "output: must be text or json (got 'xml')"),
        (["task=expand", "output=json"], "output: task=expand has nothing to print as JSON"),
        (["--shell-completion", "install=tcsh"], "--shell-completion: install=SHELL names no known shell (got 'tcsh')"),
    ],
)
def test_what_is_wrong_is_told(bayesrun: Command, words: list[str], said: str) -> None:
    done = bayesrun(*words)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_ends_as_json_and_nothing_else_is_printed(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("model=linear_regression", *PRIOR, "output=json", f"paths.outputs={tmp_path}")
    end = json.loads(done.stdout)
    assert Path(end["folder"]) == only_run(tmp_path)
    assert (end["status"], end["verdict"], end["exit_status"]) == ("finished", "ok", 0)
    assert "mean/alpha" in end["metrics"]
    swept = bayesrun("-m", "model=linear_regression", "seed=1,2", *PRIOR, "output=json", f"paths.outputs={tmp_path}")
    jobs = json.loads(swept.stdout)["jobs"]
    assert [(job["setting"], job["status"]) for job in jobs] == [("seed=1", "finished"), ("seed=2", "finished")]
    wrong = bayesrun("model=linear_regression", "sampler.drawz=1", "output=json")
    assert wrong.returncode == 1
    (problem,) = json.loads(wrong.stdout)["problems"]
    assert problem["key"] == "sampler.drawz" and "did you mean 'draws'?" in problem["hint"]
    assert "sampler.drawz: unknown key" in wrong.stderr


def test_quiet_and_verbose(bayesrun: Command, tmp_path: Path) -> None:
    quiet = bayesrun("-q", "model=linear_regression", *PRIOR, f"paths.outputs={tmp_path}/q")
    assert quiet.stdout == f"verdict: ok\nfolder: {only_run(tmp_path / 'q')}\n"
    assert quiet.stderr == ""
    verbose = bayesrun("-v", "model=linear_regression", *PRIOR, f"paths.outputs={tmp_path}/v")
    assert "coords of predictor: 2 (X1, X2)" in verbose.stdout
    assert "coords of predictor: 2 (X1, X2)" in (only_run(tmp_path / "q") / "run.log").read_text()


def test_tasks_end_as_json_with_their_tables(bayesrun: Command, tmp_path: Path) -> None:
    few = ("sampler=prior", "sampler.draws=30", "model.figures=[]", "tracking=none", f"paths.outputs={tmp_path}")
    fitted = json.loads(bayesrun("model=regression", *few, "output=json").stdout)["folder"]
    words = (f"run={fitted}", "output=json", "tracking=none", f"paths.outputs={tmp_path}")
    effects = json.loads(bayesrun("task=effects", "effects.of=floor", *words).stdout)
    assert effects["task"] == "effects" and effects["status"] == "finished"
    assert {"mean", "sd"} <= set(effects["tables"]["effects"][0])
    (row,) = json.loads(bayesrun("task=hypothesis", "sigma > 0", *words).stdout)["tables"]["hypotheses"]
    assert row["probability"] == 1 and row["statement"] == "sigma > 0"
    wrong = json.loads(bayesrun("task=effects", "effects.of=nothing", *words).stdout)
    assert wrong["exit_status"] == 1 and wrong["problems"][0]["key"] == "effects.of"
    plain = bayesrun("task=effects", "effects.of=floor", *[word for word in words if word != "output=json"])
    assert re.search(rf"^folder: {tmp_path}/runs/\S+_effects$", plain.stdout, re.MULTILINE)


def test_a_run_names_its_report(bayesrun: Command, tmp_path: Path) -> None:
    done = bayesrun("model=linear_regression", *PRIOR, f"paths.outputs={tmp_path}")
    named = re.search(r"^report: (\S+)$", done.stdout, re.MULTILINE)
    assert named and Path(named[1]) == only_run(tmp_path) / "report.html" and Path(named[1]).is_file()
    without = bayesrun("model=linear_regression", *PRIOR, "report=false", f"paths.outputs={tmp_path}/b")
    assert "report:" not in without.stdout


@pytest.mark.skipif(shutil.which("zsh") is None, reason="NOT TESTED: zsh is not installed")
def test_zsh_completes_words_and_keys() -> None:
    # compadd shows what it would add; a real widget needs a terminal
    script = (
        'autoload -U compinit && compinit -D -u; eval "$(bayesrun --shell-completion install=zsh)"\n'
        'compadd() { shift 3; print -- "$@" }\n'
        'for line in "bayesrun model=sw" "bayesrun sampler=smc sampler.thr" "bayesrun schema dat"; do\n'
        "words=(${(z)line}); CURRENT=${#words}; _bayesrun; done; print -- ${_comps[bayesrun]}"
    )
    done = subprocess.run(["zsh", "-fc", script], env=ON_PATH, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines() == ["model=switchpoint", "sampler.threshold=", "data", "_bayesrun"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="NOT TESTED: fish is not installed")
def test_fish_completes_words_and_keys() -> None:
    script = (
        "bayesrun --shell-completion install=fish | source\n"
        'complete -C "bayesrun model=sw"; complete -C "bayesrun sampler=smc sampler.thr"\n'
        'complete -C "bayesrun schema dat"'
    )
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], env=ON_PATH, capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.splitlines() == ["model=switchpoint", "sampler.threshold=", "data"]


def test_bash_completes_words_and_keys() -> None:
    done = subprocess.run(
        ["bash", "-c", 'eval "$(bayesrun --shell-completion install=bash)"\n'
         'for line in "bayesrun model=sw" "bayesrun sampler=smc sampler.thr" "bayesrun list fam"; do\n'
         'COMP_LINE="$line" COMP_POINT=${#line} _bayesrun; echo "${COMPREPLY[@]}"; done'],
        env=ON_PATH,
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["switchpoint", "sampler.threshold=", "families"]


# ---------------------------------------------------------------- new

TABLES = {
    "counts": "id,y,x,my col,g,when,k\n"
    + "".join(f"{i},{(i * 7) % 5},{(i * 3) % 11 / 2},{'' if i == 3 else i % 4 + 0.5},{'abc'[i % 3]},2020-01-{i:02},3\n"
              for i in range(1, 25)),
    "labels": "outcome;size;group\n" + "".join(f"{i % 2};{(i * 5) % 13},5;g{(i * 7) % 12}\n" for i in range(60)),
}  # fmt: skip


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    for name, text in TABLES.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", TABLES)
def test_the_files_of_a_table_run_as_they_are(bayesrun: Command, tables: Path, name: str) -> None:
    made = bayesrun(f"--config-dir={tables}/own", "new", "model", str(tables / f"{name}.csv"))
    assert made.returncode == 0, made.stderr
    again = bayesrun(f"--config-dir={tables}/own", "new", "model", str(tables / f"{name}.csv"))
    assert again.returncode == 1 and "is there already" in again.stderr
    line = made.stdout.splitlines()[-1].partition("-m bayesrun ")[2].split()
    done = bayesrun(*line, *PRIOR, f"paths.outputs={tables}/out")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", TABLES)
def test_the_files_of_a_table_name_schemas_and_are_valid(bayesrun: Command, tables: Path, name: str) -> None:
    bayesrun(f"--config-dir={tables}/own", "new", "model", str(tables / f"{name}.csv"))
    for group in ("data", "model"):
        file = tables / "own" / group / f"{name}.yaml"
        named = file.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
        schema = json.loads((file.parent / named).read_text())
        assert [error.message for error in Draft7Validator(schema).iter_errors(yaml.safe_load(file.read_text()))] == []
    (entry,) = json.loads(bayesrun(f"--config-dir={tables}/own", "describe", name, "output=json").stdout)[:1]
    assert entry["line"].startswith("A regression for")


def test_schemas_are_printed_and_written(bayesrun: Command, tmp_path: Path) -> None:
    assert "sampler.nuts" in json.loads(bayesrun("schema", "sampler").stdout)["$defs"]
    written = bayesrun(f"--config-dir={tmp_path}", "schema").stdout.splitlines()
    assert f"wrote {tmp_path}/.schemas/model.json" in written
    assert all(Path(line.removeprefix("wrote ")).is_file() for line in written)


def test_what_was_found_in_a_table_is_said(bayesrun: Command, tables: Path) -> None:
    bayesrun(f"--config-dir={tables}", "new", "model", str(tables / "counts.csv"))
    data, model = ((tables / group / "counts.yaml").read_text() for group in ("data", "model"))
    assert "#   my col  numbers, 0.5 to 3.5; missing in 1 of 24: row 3" in data
    assert "#   g       3 labels: " in data
    assert "#   when    dates, 2020-01-01 to 2020-01-24" in data
    assert yaml.safe_load(data)["columns"] == ["y", "x", "my col", "g"]
    assert yaml.safe_load(data)["drop_missing"] == "rows"
    found = yaml.safe_load(model)
    assert (found["formula"], found["family"]) == ("y ~ x + `my col` + g", "negative_binomial")
    assert "#   k       is constant" in model
    bayesrun(f"--config-dir={tables}/b", "new", "model", str(tables / "labels.csv"), "response=size")
    assert yaml.safe_load((tables / "b/model/labels.yaml").read_text())["formula"] == "size ~ outcome + (1 | group)"
    bayesrun(f"--config-dir={tables}/c", "new", "data", str(tables / "labels.csv"))
    assert not (tables / "c/model").exists()
    assert yaml.safe_load((tables / "c/data/labels.yaml").read_text())["source"] == "csv"


# ---------------------------------------------------------------- docs


def test_help_has_every_exit_status_and_the_docs_every_kind(bayesrun: Command) -> None:
    told = bayesrun("--help").stdout
    assert all(f"{status} " in told for status in (0, 1, 2, 3, 4, 130, 143))
    assert set(kinds()) == set(re.findall(r"^\| `list (\w+)` \|", DOCS, re.MULTILINE))
